"""The evaluation as a table on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.report.wording import COUNT_NAMES, FIGURE_NAMES, VERDICT_NAMES, format_count, format_figure

if TYPE_CHECKING:
    from rich.table import Table


def make_evaluation_tables(evaluation: Evaluation, title: str) -> tuple[Table, ...]:
    """Return the tables of figures, of recall by defect type, and of what each kind of verdict catches."""
    from rich.table import Table

    point = evaluation.operating_point
    caption = (
        f"{evaluation.part} part, {evaluation.protocol} protocol, split plan {evaluation.split_digest[:12]}: "
        f"{evaluation.images} images ({evaluation.defective} defective) in {evaluation.groups} groups; "
        f"threshold {point.probability:.3f} ({point.contract} on {point.part})"
    )
    figures = Table(title=title, caption=caption, caption_justify="left", title_justify="left")
    figures.add_column("figure")
    figures.add_column("value", justify="right")
    figures.add_column("95% interval")
    for name, figure in evaluation.figures.items():
        figures.add_row(FIGURE_NAMES[name], *format_figure(figure))
    for name, words in COUNT_NAMES.items():
        figures.add_row(words, *format_count(evaluation.confusion[name]))
    types = Table(title="Recall by defect type", title_justify="left")
    for column in ("category", "defect type", "caught", "recall", "95% interval"):
        types.add_column(column, justify="right" if column in {"caught", "recall"} else "left")
    for entry in evaluation.recall_by_type:
        caught = f"{entry.caught} of {entry.count}"
        types.add_row(entry.category, entry.defect_type, caught, *format_figure(entry.recall))
    verdicts = Table(title="What each verdict catches", title_justify="left")
    for column in ("verdict: defective if", "recall", "95% interval", "false alarms", "95% interval"):
        verdicts.add_column(column, justify="right" if column in {"recall", "false alarms"} else "left")
    for found in evaluation.by_verdict:
        words = VERDICT_NAMES[found.verdict] + (" (in use)" if found.verdict == point.verdict else "")
        verdicts.add_row(words, *format_figure(found.recall), *format_figure(found.false_alarm_rate))
    return figures, types, verdicts
