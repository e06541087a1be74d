"""The plots of a report, drawn with matplotlib and saved as PNG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Canvas
from sklearn.metrics import precision_recall_curve, roc_curve

from mvdefect.data.records import GOOD
from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.evaluation.strata import make_sample
from mvdefect.runs import EpochRow, PredictionRow

GOOD_COLOUR = "#2a7f9e"
DEFECTIVE_COLOUR = "#c8553d"
SIZE_INCHES = (4.6, 3.6)
DPI = 110


def draw_figures(
    rows: Sequence[PredictionRow], history: Sequence[EpochRow], evaluation: Evaluation, folder: Path
) -> dict[str, Path]:
    """Draw every plot.

    Args:
        rows: Predictions of the evaluated part.
        history: The epochs of the training; empty where nothing was trained by epochs.
        evaluation: The evaluation of those predictions.
        folder: Where the PNG files go.

    Returns:
        Title of each plot -> its file, in the order of the report.
    """
    folder.mkdir(exist_ok=True)
    plots: dict[str, Callable[[Any], None]] = {
        "ROC curve": lambda axes: _draw_roc(axes, rows, evaluation),
        "Precision and recall": lambda axes: _draw_precision_recall(axes, rows, evaluation),
        "Scores by defect type": lambda axes: _draw_scores(axes, rows, evaluation),
        "Confusion matrix": lambda axes: _draw_confusion(axes, evaluation),
        "Recall by defect type": lambda axes: _draw_recall(axes, evaluation),
    }
    if history:
        plots["Learning curves"] = lambda axes: _draw_history(axes, history)
    return {title: _save(draw, folder / f"{_slug(title)}.png") for title, draw in plots.items()}


def _save(draw: Callable[[Any], None], path: Path) -> Path:
    canvas = Canvas(figsize=SIZE_INCHES, layout="constrained")
    axes = canvas.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes)
    canvas.savefig(path, dpi=DPI)
    return path


def _slug(title: str) -> str:
    return title.lower().replace(" ", "_")


def _draw_roc(axes: Any, rows: Sequence[PredictionRow], evaluation: Evaluation) -> None:
    sample = make_sample(rows)
    false_alarms, recalls, _ = roc_curve(sample.labels, sample.scores)
    axes.plot(false_alarms, recalls, color=DEFECTIVE_COLOUR)
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":", linewidth=1)
    counts = {name: figure.value for name, figure in evaluation.confusion.items()}
    at_point = counts["false_positive"] / (counts["false_positive"] + counts["true_negative"])
    axes.plot(at_point, evaluation.figures["recall"].value, "ko", label="operating point")
    auc = evaluation.figures["roc_auc"]
    axes.set(
        xlabel="false alarms among good",
        ylabel="defective caught",
        title=f"AUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})",
    )
    axes.legend(frameon=False, loc="lower right")


def _draw_precision_recall(axes: Any, rows: Sequence[PredictionRow], evaluation: Evaluation) -> None:
    sample = make_sample(rows)
    precisions, recalls, _ = precision_recall_curve(sample.labels, sample.scores)
    axes.step(recalls, precisions, where="post", color=DEFECTIVE_COLOUR)
    figures = evaluation.figures
    axes.plot(figures["recall"].value, figures["precision"].value, "ko", label="operating point")
    axes.axhline(sample.labels.mean(), color="0.7", linestyle=":", linewidth=1, label="share of defective")
    axes.set(
        xlabel="recall",
        ylabel="precision",
        ylim=(0, 1.03),
        title=f"average precision {figures['average_precision'].value:.3f}",
    )
    axes.legend(frameon=False, loc="lower left")


def _draw_scores(axes: Any, rows: Sequence[PredictionRow], evaluation: Evaluation) -> None:
    types = sorted({row.defect_type for row in rows}, key=lambda name: (name != GOOD, name))
    rng = np.random.default_rng(0)  # sideways jitter, for the eye only
    for position, name in enumerate(types):
        scores = np.array([row.score for row in rows if row.defect_type == name])
        heights = position + rng.uniform(-0.3, 0.3, len(scores))
        colour = GOOD_COLOUR if name == GOOD else DEFECTIVE_COLOUR
        axes.scatter(scores, heights, s=7, alpha=0.6, color=colour, linewidths=0)
    axes.axvline(evaluation.operating_point.score, color="black", linewidth=1)
    axes.set_yticks(range(len(types)), types)
    axes.invert_yaxis()
    axes.set(xlabel="score (line: threshold)")


def _draw_confusion(axes: Any, evaluation: Evaluation) -> None:
    counts = {name: int(figure.value) for name, figure in evaluation.confusion.items()}
    good = [counts["true_negative"], counts["false_positive"]]
    matrix = np.array([good, [counts["false_negative"], counts["true_positive"]]])
    shares = matrix / matrix.sum(axis=1, keepdims=True)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.3)
    for (row, column), count in np.ndenumerate(matrix):
        axes.text(column, row, f"{count}\n{shares[row, column]:.1%}", ha="center", va="center")
    axes.set_xticks([0, 1], ["called good", "called defective"])
    axes.set_yticks([0, 1], ["good", "defective"])
    axes.spines[:].set_visible(False)


def _draw_recall(axes: Any, evaluation: Evaluation) -> None:
    types = evaluation.recall_by_type
    several = len({entry.category for entry in types}) > 1
    names = [f"{e.category}/{e.defect_type}" if several else e.defect_type for e in types]
    for position, entry in enumerate(types):
        axes.plot([entry.recall.low, entry.recall.high], [position] * 2, color="0.6")
        axes.plot(entry.recall.value, position, "o", color=DEFECTIVE_COLOUR)
    labels = [f"{name} ({entry.caught}/{entry.count})" for name, entry in zip(names, types, strict=True)]
    axes.set_yticks(range(len(types)), labels)
    axes.invert_yaxis()
    axes.set(xlabel="share caught, with 95% interval", xlim=(0, 1.03))


def _draw_history(axes: Any, history: Sequence[EpochRow]) -> None:
    epochs = [row.epoch for row in history]
    axes.plot(epochs, [row.loss for row in history], color=GOOD_COLOUR, label="training loss")
    axes.plot(
        epochs, [row.val_loss for row in history], color=GOOD_COLOUR, linestyle="--", label="validation loss"
    )
    axes.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    twin = axes.twinx()
    twin.plot(
        epochs, [row.val_roc_auc for row in history], color=DEFECTIVE_COLOUR, label="validation ROC-AUC"
    )
    twin.set_ylabel("ROC-AUC")
    handles = [*axes.get_lines(), *twin.get_lines()]
    axes.legend(
        handles, [line.get_label() for line in handles], frameon=False, loc="center right", fontsize=8
    )
