"""Plots with bars and intervals: confusion, scores by defect type, recall, differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mvdefect.data.records import GOOD as GOOD_TYPE
from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.evaluation.metrics import Figure
from mvdefect.report.comparing import Difference
from mvdefect.report.drawing import (
    BAD,
    GOOD,
    GRID,
    HEIGHT_INCHES,
    INK,
    PAPER,
    SOFT,
    Plot,
    draw_plot,
    name_in_plot,
)
from mvdefect.report.sheets import make_confusion_sheet
from mvdefect.runs import PredictionRow

MAX_TYPES = 30
BINS = 40
ROW_INCHES = 0.34


def draw_confusion(evaluation: Evaluation) -> Plot:
    """Truth against verdict, as tiles whose area is the share of the row."""
    sheet = make_confusion_sheet(evaluation)
    counts = np.array([[int(cell) for cell in row[1:]] for row in sheet.rows])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    right = {(0, 0), (1, 1)}

    def draw(axes: Any) -> None:
        for (row, column), share in np.ndenumerate(shares):
            colour = SOFT if column == 2 else GOOD if (row, column) in right else BAD
            side = 0.94 * float(np.sqrt(share))
            axes.add_patch(_make_square(column, row, 0.94, GRID, 0.35))
            axes.add_patch(_make_square(column, row, side, colour, 0.35))
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="bottom", fontsize=15)
            axes.text(column, row + 0.08, f"{share:.1%}", ha="center", va="top", fontsize=9)
        axes.set(xlim=(-0.52, counts.shape[1] - 0.48), ylim=(1.52, -0.52), aspect="equal")
        axes.set_xticks(range(counts.shape[1]), [column.name for column in sheet.columns[1:]])
        axes.set_yticks([0, 1], [row[0] for row in sheet.rows])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    parts = [
        f"{count} {row[0]} {column.name}"
        for row in sheet.rows
        for column, count in zip(sheet.columns[1:], row[1:], strict=True)
    ]
    return draw_plot("Confusion matrix", f"Confusion matrix: {', '.join(parts)}.", draw)


def _make_square(x: float, y: float, side: float, colour: str, opacity: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - side / 2, y - side / 2), side, side, facecolor=colour, alpha=opacity, linewidth=0)


def draw_scores(rows: Sequence[PredictionRow], evaluation: Evaluation) -> Plot:
    """A histogram of scores for each defect type, one above the other."""
    types = sorted({row.defect_type for row in rows}, key=lambda name: (name != GOOD_TYPE, name))[:MAX_TYPES]
    scores = {name: np.array([row.score for row in rows if row.defect_type == name]) for name in types}
    threshold, review = evaluation.operating_point.score, evaluation.operating_point.review
    every = np.concatenate([*scores.values(), [threshold]])
    edges = np.linspace(every.min(), every.max() + 1e-9, BINS + 1)

    def draw(axes: Any) -> None:
        if review is not None:
            axes.axvspan(*review, color=GRID, alpha=0.6, linewidth=0)
        for position, name in enumerate(types):
            counts = np.histogram(scores[name], edges)[0]
            heights = 0.82 * np.sqrt(counts / max(counts.max(), 1))
            colour = GOOD if name == GOOD_TYPE else BAD
            axes.bar(
                edges[:-1],
                -heights,
                np.diff(edges),
                bottom=position + 0.42,
                align="edge",
                color=colour,
                linewidth=0,
            )
            axes.axhline(position + 0.42, color=GRID, linewidth=0.8)
        axes.axvline(threshold, color=INK, linewidth=1.2)
        axes.set_yticks(range(len(types)), [f"{name_in_plot(name)} ({len(scores[name])})" for name in types])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set(xlabel="score; the line is the threshold", ylim=(len(types) - 0.5, -0.55))

    below = [f"{name}: {int((scores[name] >= threshold).sum())} of {len(scores[name])}" for name in types]
    alt = f"Histogram of scores for each defect type. At or above the threshold: {', '.join(below)}."
    return draw_plot("Scores by defect type", alt, draw, max(HEIGHT_INCHES, 0.6 + 0.5 * len(types)))


def draw_recall(evaluation: Evaluation) -> Plot:
    """Recall by defect type and by size, with intervals."""
    several = len({entry.category for entry in evaluation.recall_by_type}) > 1
    rows: list[tuple[str, Figure]] = [
        (
            f"{f'{e.category}: ' if several else ''}{e.defect_type} ({e.caught}/{e.count})",
            e.recall,
        )
        for e in evaluation.recall_by_type
    ]
    rows += [(f"{size.name} ({size.caught}/{size.count})", size.recall) for size in evaluation.recall_by_size]
    dividing_line = len(evaluation.recall_by_type) if evaluation.recall_by_size else None
    alt = "Share of defects caught, with 95% intervals: " + "; ".join(
        f"{name} {figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})" for name, figure in rows
    )
    return _draw_intervals("Recall by type and size", alt, rows, "share caught", (0, 1.03), dividing_line)


def draw_differences(differences: Sequence[Difference]) -> Plot:
    """By how much the inspector's ROC-AUC is above that of each other run."""
    rows = [(f"against {found.run.name}", found.figures["roc_auc"]) for found in differences]
    alt = "Differences in ROC-AUC with paired 95% intervals: " + "; ".join(
        f"{name} {figure.value:+.3f} ({figure.low:+.3f} to {figure.high:+.3f})" for name, figure in rows
    )
    return _draw_intervals("Differences in ROC-AUC", alt, rows, "difference in ROC-AUC", None, None)


def _draw_intervals(
    title: str,
    alt: str,
    rows: Sequence[tuple[str, Figure]],
    label: str,
    limits: tuple[float, float] | None,
    dividing_line: int | None,
) -> Plot:
    def draw(axes: Any) -> None:
        if limits is None:
            axes.axvline(0, color=SOFT, linewidth=1)
        if dividing_line is not None:
            axes.axhline(dividing_line - 0.5, color=GRID, linewidth=0.8)
        for position, (_, figure) in enumerate(rows):
            axes.plot([figure.low, figure.high], [position] * 2, color=SOFT, linewidth=1.6)
            axes.plot(figure.value, position, "o", color=BAD, markersize=6, markeredgecolor=PAPER)
        axes.set_yticks(range(len(rows)), [name_in_plot(name) for name, _ in rows])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set(xlabel=label, ylim=(len(rows) - 0.5, -0.5))
        if limits is not None:
            axes.set_xlim(*limits)

    return draw_plot(title, alt, draw, max(1.4, 0.8 + ROW_INCHES * len(rows)))
