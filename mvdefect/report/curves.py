"""Plots with curves: ROC, precision and recall, reliability, learning."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from scipy.special import expit
from sklearn.metrics import precision_recall_curve, roc_curve

from mvdefect.evaluation.calibration import ReliabilityBin, find_bins
from mvdefect.evaluation.metrics import Figure, wilson_interval
from mvdefect.report.contents import RunContents
from mvdefect.report.drawing import BAD, GOOD, GRID, INK, OTHER, SOFT, Plot, draw_plot, name_in_plot
from mvdefect.runs import EpochRow

DASHES = ("--", "-.", ":")
POINT = "operating point, 95% intervals"


def draw_roc(runs: Sequence[RunContents]) -> Plot:
    """The ROC curve of every run, and where the first one operates."""
    evaluation = runs[0].evaluation
    figures, auc = evaluation.figures, evaluation.figures["roc_auc"]

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        for run, style in _list_styles(runs, "roc_auc"):
            false_alarms, recalls, _ = roc_curve(run.sample.labels, run.sample.scores)
            axes.plot(false_alarms, recalls, **style)
        _draw_point(axes, figures["false_alarm_rate"], figures["recall"])
        axes.set(xlabel="good rejected", ylabel="defective caught", xlim=(-0.02, 1), ylim=(0, 1.02))
        axes.legend(loc="lower right")

    caught, rejected = figures["recall"].value, figures["false_alarm_rate"].value
    alt = (
        f"ROC curve. Area {auc.value:.3f}, 95% interval {auc.low:.3f} to {auc.high:.3f}. "
        f"The operating point catches {caught:.1%} and rejects {rejected:.1%} of the good."
    )
    return draw_plot("ROC curve", alt, draw)


def draw_precision_recall(runs: Sequence[RunContents]) -> Plot:
    """Precision against recall for every run, and where the first one operates."""
    evaluation = runs[0].evaluation
    figures, share = evaluation.figures, evaluation.defective / evaluation.images

    def draw(axes: Any) -> None:
        axes.axhline(share, color=GRID, linewidth=1)
        for run, style in _list_styles(runs, "average_precision"):
            precisions, recalls, _ = precision_recall_curve(run.sample.labels, run.sample.scores)
            axes.step(recalls, precisions, where="post", **style)
        _draw_point(axes, figures["recall"], figures["precision"])
        axes.set(xlabel="recall: defective caught", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.03))
        axes.legend(loc="lower left")

    average, precision, recall = (
        figures[name].value for name in ("average_precision", "precision", "recall")
    )
    alt = (
        f"Precision against recall. Average precision {average:.3f}; at the operating point precision "
        f"{precision:.3f} and recall {recall:.3f}. The level line is the share of defective photographs, "
        f"{share:.1%}."
    )
    return draw_plot("Precision and recall", alt, draw)


def draw_reliability(run: RunContents) -> Plot:
    """What was said against what came, with Wilson's intervals."""
    bins, ece, sample = run.evaluation.reliability, run.evaluation.figures["ece"], run.sample
    numbers = find_bins(expit(sample.scores))
    groups = [len(np.unique(sample.groups[numbers == number])) for number in np.unique(numbers)]

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        for one, count in zip(bins, groups, strict=True):
            low, high = wilson_interval(one.defective_share, count)
            axes.plot([one.mean_probability] * 2, [low, high], color=SOFT, linewidth=1.4)
            axes.plot(one.mean_probability, one.defective_share, "o", color=BAD, markersize=6)
            _name_count(axes, one)
        axes.set(xlabel="probability that was said", ylabel="share that was defective")
        axes.set(xlim=(-0.03, 1.06), ylim=(-0.04, 1.04))

    parts = "; ".join(
        f"said {one.mean_probability:.2f}, came {one.defective_share:.2f} of {one.count}" for one in bins
    )
    alt = f"Reliability diagram, calibration error {ece.value:.3f}: {parts}."
    return draw_plot("Reliability", alt, draw)


def draw_history(history: Sequence[EpochRow]) -> Plot:
    """Losses and validation score by epoch."""

    def draw(axes: Any) -> None:
        epochs = [row.epoch for row in history]
        axes.plot(epochs, [row.loss for row in history], color=GOOD, label="training loss")
        axes.plot(epochs, [row.val_loss for row in history], "--", color=GOOD, label="validation loss")
        axes.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
        twin = axes.twinx()
        twin.spines["right"].set_visible(True)
        twin.plot(epochs, [row.val_roc_auc for row in history], color=BAD, label="validation ROC-AUC")
        twin.set_ylabel("ROC-AUC")
        for before, row in itertools.pairwise(history):
            if row.stage != before.stage:
                axes.axvline(row.epoch - 0.5, color=GRID, linewidth=1)
        lines = [line for line in (*axes.get_lines(), *twin.get_lines()) if line.get_label()[0] != "_"]
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.figure.legend(
            lines, [line.get_label() for line in lines], loc="outside lower center", ncols=len(lines)
        )

    last = history[-1]
    alt = (
        f"Learning curves of {len(history)} epochs: the training loss goes from {history[0].loss:.3f} to "
        f"{last.loss:.3f}, the validation ROC-AUC from {history[0].val_roc_auc:.3f} to "
        f"{last.val_roc_auc:.3f}."
    )
    return draw_plot("Learning curves", alt, draw)


def _list_styles(runs: Sequence[RunContents], name: str) -> list[tuple[RunContents, dict[str, Any]]]:
    styles: list[tuple[RunContents, dict[str, Any]]] = []
    for number, run in enumerate(runs):
        label = (
            f"{name_in_plot(run.name)}: {run.evaluation.figures[name].value:.3f}" if len(runs) > 1 else None
        )
        if number == 0:
            styles.append((run, {"color": BAD, "label": label, "zorder": 3}))
        else:
            colour = (GOOD, OTHER, SOFT)[(number - 1) // len(DASHES) % 3]
            dashes = DASHES[(number - 1) % len(DASHES)]
            styles.append((run, {"color": colour, "linestyle": dashes, "linewidth": 1.3, "label": label}))
    return styles


def _draw_point(axes: Any, across: Figure, along: Figure) -> None:
    """Draw the operating point with its intervals as a cross."""
    axes.plot([across.low, across.high], [along.value] * 2, color=INK, linewidth=1.4, zorder=4)
    axes.plot([across.value] * 2, [along.low, along.high], color=INK, linewidth=1.4, zorder=4)
    axes.plot(across.value, along.value, "o", color=INK, markersize=5, zorder=5, label=POINT)


def _name_count(axes: Any, one: ReliabilityBin) -> None:
    axes.annotate(
        str(one.count),
        (one.mean_probability, one.defective_share),
        (6, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=SOFT,
    )
