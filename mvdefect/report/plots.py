"""Plots as inline SVG that follows the page's colours, and as PNG for whatever is no page."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import escape
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator
from scipy.special import expit
from sklearn.metrics import precision_recall_curve, roc_curve

from mvdefect.data.records import GOOD as GOOD_TYPE
from mvdefect.evaluation.bootstrap import Figure, wilson_interval
from mvdefect.evaluation.calibration import ReliabilityBin
from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.evaluation.figures import find_bins
from mvdefect.report.contents import Difference, RunContents
from mvdefect.report.sheets import make_confusion_sheet
from mvdefect.runs import EpochRow, PredictionRow

# Light colours; in the page each becomes the CSS variable of its name, which the dark theme sets anew.
INK, SOFT, GRID, PAPER = "#1b2430", "#5a6672", "#d9dde1", "#ffffff"
GOOD, BAD, OTHER = "#1f6f8b", "#b5452c", "#8a6d1d"
VARIABLES = {
    INK: "--ink",
    SOFT: "--soft",
    GRID: "--grid",
    PAPER: "--card",
    GOOD: "--good",
    BAD: "--bad",
    OTHER: "--other",
}
SETTINGS = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "mvdefect",  # the same plot gives the same file
    "font.size": 10,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
}
WIDTH_INCHES, HEIGHT_INCHES = 4.8, 3.6
DPI = 130
MAX_NAME = 30


MAX_TYPES = 30
BINS = 40
ROW_INCHES = 0.34
DASHES = ("--", "-.", ":")
POINT = "operating point, 95% intervals"


@dataclass(frozen=True)
class Plot:
    """A plot of the report.

    Attributes:
        slug: Name for files and anchors.
        title: Its caption.
        alt: What it shows, for who cannot see it.
        svg: An element for the page.
        canvas: matplotlib's figure, for a file.
    """

    slug: str
    title: str
    alt: str
    svg: str
    canvas: Canvas


def draw_plot(
    title: str,
    alt: str,
    draw: Callable[[Any], None],
    height_inches: float = HEIGHT_INCHES,
    width_inches: float = WIDTH_INCHES,
) -> Plot:
    """Draw on a pair of axes.

    Args:
        title: Caption; names the file too.
        alt: What the plot shows.
        draw: Draws on axes of matplotlib, with this module's colours.
        height_inches: Height.
        width_inches: Width; another one than that of most plots changes the size of text in the page.
    """
    slug = re.sub(r"\W+", "_", title.lower())
    with mpl.rc_context(SETTINGS):
        canvas = Canvas(figsize=(width_inches, height_inches), layout="constrained")
        draw(canvas.add_subplot())
        svg = io.StringIO()
        canvas.savefig(
            svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return Plot(slug, title, alt, _make_inline(svg.getvalue(), slug, alt), canvas)


def name_in_plot(name: str, longest: int = MAX_NAME) -> str:
    """Let a name mean itself in a plot, and leave room for the plot."""
    if len(name) > longest:
        name = f"{name[: longest // 2 - 1]}…{name[-longest // 2 :]}"
    name = name.replace("$", r"\$")  # else it begins a formula
    return f"\u200b{name}" if name.startswith("_") else name  # else a legend leaves it out


def write_png(plot: Plot, folder: Path) -> Path:
    """Write a plot as a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{plot.slug}.png"
    with mpl.rc_context(SETTINGS):
        plot.canvas.savefig(path, format="png", dpi=DPI)
    return path


def _make_inline(svg: str, slug: str, alt: str) -> str:
    """Turn a file of matplotlib's into an element: no address, ids of its own, the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = (
        re.sub(r'\s(xmlns(:\w+)?|version|width|height)="[^"]*"', "", svg[: svg.index(">")])
        + svg[svg.index(">") :]
    )
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'id="([^"]+)"', rf'id="{slug}-\1"', svg)
    svg = svg.replace('href="#', f'href="#{slug}-').replace("url(#", f"url(#{slug}-")
    svg = re.sub(r"font: ?([\d.]+px) [^;\"]+", r"font-size: \1", svg)
    svg = re.sub(r"font-family: ?[^;\"]+;? ?", "", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)


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
        scored = [row for row in history if not np.isnan(row.val_loss)]
        judged = [row.epoch for row in scored]
        axes.plot(judged, [row.val_loss for row in scored], "--", color=GOOD, label="validation loss")
        axes.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
        twin = axes.twinx()
        twin.spines["right"].set_visible(True)
        twin.plot(judged, [row.val_roc_auc for row in scored], color=BAD, label="validation ROC-AUC")
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
