"""The evaluation as a table on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.report.wording import (
    COUNT_NAMES,
    FIGURE_NAMES,
    LATENCY_NAMES,
    VERDICT_NAMES,
    describe_line,
    describe_localisation,
    format_count,
    format_figure,
)

if TYPE_CHECKING:
    from rich.table import Table


def make_evaluation_tables(evaluation: Evaluation, title: str) -> tuple[Table, ...]:
    """Return the tables of figures, of recall by defect, and of what each kind of verdict catches."""
    return _make_figures(evaluation, title), _make_recalls(evaluation), _make_verdicts(evaluation)


def _make_figures(evaluation: Evaluation, title: str) -> Table:
    from rich.table import Table

    point = evaluation.operating_point
    caption = (
        f"{evaluation.part} part, {evaluation.protocol} protocol, split plan {evaluation.split_digest[:12]}: "
        f"{evaluation.images} images ({evaluation.defective} defective) in {evaluation.groups} groups; "
        f"threshold {point.probability:.3f} ({point.contract} on {point.part})"
        + (f": {point.guarantee}" if point.guarantee else "")
    )
    figures = Table(title=title, caption=caption, caption_justify="left", title_justify="left")
    figures.add_column("figure")
    figures.add_column("value", justify="right")
    figures.add_column("95% interval")
    for name, figure in evaluation.figures.items():
        figures.add_row(FIGURE_NAMES[name], *format_figure(figure))
    for name, words in COUNT_NAMES.items():
        figures.add_row(words, *format_count(evaluation.confusion[name]))
    if evaluation.reviewed:
        figures.add_row("left to a person", str(evaluation.reviewed), "")
    for words, value, interval in [*describe_line(evaluation), *describe_localisation(evaluation)]:
        figures.add_row(words, value, interval)
    for name, milliseconds in (evaluation.latency or {}).items():
        figures.add_row(LATENCY_NAMES[name], f"{milliseconds:.1f}", "")
    return figures


def _make_recalls(evaluation: Evaluation) -> Table:
    from rich.table import Table

    recalls = Table(title="Recall by defect type and size", title_justify="left")
    for column in ("category", "defect type", "caught", "recall", "95% interval"):
        recalls.add_column(column, justify="right" if column in {"caught", "recall"} else "left")
    for entry in evaluation.recall_by_type:
        caught = f"{entry.caught} of {entry.count}"
        recalls.add_row(entry.category, entry.defect_type, caught, *format_figure(entry.recall))
    for size in evaluation.recall_by_size:
        caught, share = f"{size.caught} of {size.count}", f"{size.low_share:.2%} to {size.high_share:.2%}"
        recalls.add_row(size.name, f"{share} of the image", caught, *format_figure(size.recall))
    return recalls


def _make_verdicts(evaluation: Evaluation) -> Table:
    from rich.table import Table

    used = evaluation.operating_point.verdict
    verdicts = Table(title="What each verdict catches", title_justify="left")
    for column in ("verdict: defective if", "recall", "95% interval", "false alarms", "95% interval"):
        verdicts.add_column(column, justify="right" if column in {"recall", "false alarms"} else "left")
    for found in evaluation.by_verdict:
        words = VERDICT_NAMES[found.verdict] + (" (in use)" if found.verdict == used else "")
        verdicts.add_row(words, *format_figure(found.recall), *format_figure(found.false_alarm_rate))
    return verdicts
