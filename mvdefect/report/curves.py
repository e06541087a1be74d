"""Plots with curves: ROC, precision and recall, reliability, learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.metrics import precision_recall_curve, roc_curve

from mvdefect.evaluation.calibration import ReliabilityBin
from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.evaluation.metrics import Figure
from mvdefect.report.contents import RunContents
from mvdefect.report.drawing import BAD, GOOD, GRID, INK, OTHER, SOFT, Plot, draw_plot
from mvdefect.runs import EpochRow

DASHES = ("--", "-.", ":")
POINT = "operating point, 95% intervals"


def draw_roc(runs: Sequence[RunContents]) -> Plot:
    """The ROC curve of every run, and where the first one operates."""
    evaluation = runs[0].evaluation
    figures, auc = evaluation.figures, evaluation.figures["roc_auc"]

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        for run, style in _list_styles(runs):
            false_alarms, recalls, _ = roc_curve(run.sample.labels, run.sample.scores)
            axes.plot(false_alarms, recalls, **style)
        _draw_point(axes, figures["false_alarm_rate"], figures["recall"])
        axes.set(xlabel="good rejected", ylabel="defective caught", xlim=(-0.02, 1), ylim=(0, 1.02))
        axes.legend(loc="lower right")

    alt = (
        f"ROC curve. Area {auc.value:.3f}, 95% interval {auc.low:.3f} to {auc.high:.3f}. The operating point "
        f"catches {figures['recall'].value:.1%} and rejects {figures['false_alarm_rate'].value:.1%} of the good."
    )
    return draw_plot("ROC curve", alt, draw)


def draw_precision_recall(runs: Sequence[RunContents]) -> Plot:
    """Precision against recall for every run, and where the first one operates."""
    evaluation = runs[0].evaluation
    figures, share = evaluation.figures, evaluation.defective / evaluation.images

    def draw(axes: Any) -> None:
        axes.axhline(share, color=GRID, linewidth=1)
        for run, style in _list_styles(runs):
            precisions, recalls, _ = precision_recall_curve(run.sample.labels, run.sample.scores)
            axes.step(recalls, precisions, where="post", **style)
        _draw_point(axes, figures["recall"], figures["precision"])
        axes.set(xlabel="recall: defective caught", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.03))
        axes.legend(loc="lower left")

    alt = (
        f"Precision against recall. Average precision {figures['average_precision'].value:.3f}; at the operating "
        f"point precision {figures['precision'].value:.3f} and recall {figures['recall'].value:.3f}. The level "
        f"line is the share of defective photographs, {share:.1%}."
    )
    return draw_plot("Precision and recall", alt, draw)


def draw_reliability(evaluation: Evaluation) -> Plot:
    """What was said against what came."""
    bins, ece = evaluation.reliability, evaluation.figures["ece"]

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        said = [one.mean_probability for one in bins]
        axes.plot(said, [one.defective_share for one in bins], color=INK, linewidth=1.2)
        for one in bins:
            axes.plot(one.mean_probability, one.defective_share, "o", color=INK, markersize=4)
            _name_count(axes, one)
        axes.set(
            xlabel="probability that was said",
            ylabel="share that was defective",
            xlim=(-0.03, 1.03),
            ylim=(-0.05, 1.12),
        )

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
        for before, row in zip(history, history[1:], strict=False):
            if row.stage != before.stage:
                axes.axvline(row.epoch - 0.5, color=GRID, linewidth=1)
        lines = [line for line in (*axes.get_lines(), *twin.get_lines()) if line.get_label()[0] != "_"]
        axes.legend(lines, [line.get_label() for line in lines], loc="center right")

    last = history[-1]
    alt = (
        f"Learning curves of {len(history)} epochs: the training loss goes from {history[0].loss:.3f} to "
        f"{last.loss:.3f}, the validation ROC-AUC from {history[0].val_roc_auc:.3f} to {last.val_roc_auc:.3f}."
    )
    return draw_plot("Learning curves", alt, draw)


def _list_styles(runs: Sequence[RunContents]) -> list[tuple[RunContents, dict[str, Any]]]:
    styles: list[tuple[RunContents, dict[str, Any]]] = []
    for number, run in enumerate(runs):
        label = f"{run.name}: {run.evaluation.figures['roc_auc'].value:.3f}" if len(runs) > 1 else None
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
        (0, 6),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=SOFT,
    )
