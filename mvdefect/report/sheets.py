"""The tables of an evaluation: for the report (HTML and Markdown from the same ones), and on the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mvdefect.data.records import count_by_stratum
from mvdefect.data.splits.plan import PARTS, SplitPlan
from mvdefect.evaluation.bootstrap import Figure
from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.evaluation.figures import COUNTS, FIGURES, PART_FIGURES, FigureKind
from mvdefect.evaluation.members import NAMES, Member
from mvdefect.evaluation.parts import AnyView
from mvdefect.report.wording import (
    VERDICT_NAMES,
    describe_line,
    describe_localisation,
    format_count,
    format_figure,
    name_latency,
)

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Column:
    """Head of a column.

    Attributes:
        name: What stands there.
        kind: "number" is set flush right; "figure" has more behind it in brackets, which is set below it;
            "interval" stays on one line; "text" may be long.
    """

    name: str
    kind: Literal["number", "figure", "interval", "text"] = "text"


@dataclass(frozen=True)
class Sheet:
    """A table of text.

    Attributes:
        title: Its caption.
        columns: The heads.
        rows: Cells, as many a row as there are columns; the first names the row.
        note: A sentence below it; "" for none.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


COUNTS_OF_DEFECTS = frozenset({"true_positive", "false_negative"})
GOOD_ALONE = "No tested image is defective: what defects define, as recall and ROC-AUC, is left out."
VALUE, INTERVAL = Column("value", "number"), Column("95% interval", "interval")
CAUGHT, RECALL = Column("caught", "number"), Column("recall", "number")


def make_figure_sheet(evaluation: Evaluation) -> Sheet:
    """Every figure of the test photographs with its interval."""
    note = (
        "Intervals: group bootstrap, near-duplicates drawn together; where groups are few or a share is 0 "
        "or 1, Wilson's interval with a group as one observation. A ROC-AUC of 1 has that of as many groups "
        "as the smaller class has; other figures that are 1 for want of errors have none."
    )
    note = note if evaluation.defective else f"{GOOD_ALONE} {note}"
    return Sheet("Every figure", (Column("figure"), VALUE, INTERVAL), tuple(_list_figures(evaluation)), note)


def _list_figures(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Return name, value and interval of each figure; if no image is defective, of those that are defined."""
    return [
        (FIGURES[name].label, *format_figure(figure))
        for name, figure in evaluation.figures.items()
        if evaluation.defective or not math.isnan(figure.value)
    ]


def _list_counts(evaluation: Evaluation) -> list[tuple[FigureKind, Figure]]:
    """Return each count of images; if no image is defective, those of good ones."""
    kinds = (kind for name, kind in COUNTS.items() if evaluation.defective or name not in COUNTS_OF_DEFECTS)
    return [(kind, evaluation.confusion[kind.name]) for kind in kinds]


def make_count_sheet(evaluation: Evaluation) -> Sheet:
    """Counts of photographs, what becomes of products on the line, and time."""
    rows = []
    for kind, figure in _list_counts(evaluation):
        value, interval = format_count(figure)
        is_constant = figure.low == figure.high  # no bootstrap draws what no image showed
        rows.append((kind.label, value, "" if is_constant else interval))
    if evaluation.reviewed:
        rows.append(("left to a person", str(evaluation.reviewed), ""))
    rows += [*describe_line(evaluation), *describe_localisation(evaluation)]
    rows += [
        (name_latency(name), f"{milliseconds:.1f}", "")
        for name, milliseconds in (evaluation.latency or {}).items()
    ]
    return Sheet("Counts, the line, and time", (Column("figure"), VALUE, INTERVAL), tuple(rows))


def make_any_view_sheet(found: AnyView) -> Sheet:
    """The figures of parts as they are judged, and if one image decided, as far as they are defined."""
    rows = [
        (
            PART_FIGURES[name].label,
            *map(join_figure, (pooled, found.figures[name], found.differences[name])),
        )
        for name, pooled in found.pooled.items()
        if not math.isnan(pooled.value)
    ]
    columns = (
        Column("figure of parts"),
        Column("as judged", "figure"),
        Column("defective if any view is", "figure"),
        Column("difference", "figure"),
    )
    note = (
        "The threshold of 'any view' is that of images. Differences are paired by part, with 95% intervals."
    )
    return Sheet("Against one view that decides", columns, tuple(rows), note)


def make_type_sheet(evaluation: Evaluation) -> Sheet:
    """Recall by defect type, with counts."""
    several = len({entry.category for entry in evaluation.recall_by_type}) > 1
    rows = [
        (
            f"{entry.category}: {entry.defect_type}" if several else entry.defect_type,
            f"{entry.caught} of {entry.count}",
            *format_figure(entry.recall),
        )
        for entry in evaluation.recall_by_type
    ]
    columns = (Column("defect type"), CAUGHT, RECALL, INTERVAL)
    return Sheet("Recall by defect type", columns, tuple(rows), _explain_review(evaluation))


def make_size_sheet(evaluation: Evaluation) -> Sheet:
    """Recall by the size of the defect."""
    rows = [
        (
            size.name,
            f"{size.low_share:.2%} to {size.high_share:.2%}",
            f"{size.caught} of {size.count}",
            *format_figure(size.recall),
        )
        for size in evaluation.recall_by_size
    ]
    columns = (Column("defects"), Column("share of the image", "number"), CAUGHT, RECALL, INTERVAL)
    return Sheet(
        "Recall by size of the defect",
        columns,
        tuple(rows),
        f"Of defects whose mask is known. {_explain_review(evaluation)}".strip(),
    )


def make_category_sheet(evaluation: Evaluation) -> Sheet:
    """What each product comes to; no rows where there is one alone."""
    several = len(evaluation.by_category) > 1
    rows = [
        (
            entry.category,
            f"{entry.defective} of {entry.images}",
            join_figure(entry.roc_auc),
            join_figure(entry.recall),
            join_figure(entry.false_alarm_rate),
        )
        for entry in evaluation.by_category
        if several
    ]
    columns = (
        Column("category"),
        Column("defective", "number"),
        Column("ROC-AUC", "figure"),
        Column("recall", "figure"),
        Column("false-alarm rate", "figure"),
    )
    return Sheet("Each category on its own", columns, tuple(rows), _explain_review(evaluation))


def make_verdict_sheet(evaluation: Evaluation) -> Sheet:
    """What other ways of reaching a verdict would catch, and at which cost."""
    used = evaluation.operating_point.verdict
    rows = [
        (
            VERDICT_NAMES[found.verdict] + (" (in use)" if found.verdict == used else ""),
            *((join_figure(found.recall),) if evaluation.defective else ()),
            join_figure(found.false_alarm_rate),
        )
        for found in evaluation.by_verdict
    ]
    columns = (
        Column("defective if"),
        *((Column("recall", "figure"),) if evaluation.defective else ()),
        Column("false-alarm rate", "figure"),
    )
    return Sheet(_name_verdicts(evaluation), columns, tuple(rows), "Without a grey zone.")


def _name_verdicts(evaluation: Evaluation) -> str:
    return "What each verdict catches" if evaluation.defective else "What each verdict rejects"


def make_part_sheet(plan: SplitPlan) -> Sheet:
    """How many photographs each part of the plan has."""
    counts = {part: count_by_stratum(plan.select(part)) for part in PARTS}
    strata = sorted({row.stratum for row in plan.rows})
    several = len({row.category for row in plan.rows}) > 1
    rows = [
        (
            stratum.replace("/", ": ", 1) if several else stratum.split("/", 1)[1],
            *(str(counts[part].get(stratum, 0)) for part in PARTS),
        )
        for stratum in strata
    ]
    rows.append(("all", *(str(sum(counts[part].values())) for part in PARTS)))
    columns = (Column("photographs"), *(Column(part, "number") for part in PARTS))
    return Sheet("Photographs in each part", columns, tuple(rows))


def make_member_sheet(members: Sequence[Member]) -> Sheet:
    """What the score of the classifier is made of, what was left out, and why."""
    rows = [
        (
            NAMES[member.name],
            "yes" if member.weight else "no",
            join_figure(member.roc_auc),
            "" if member.gain is None else join_figure(member.gain),
            member.reason,
        )
        for member in members
    ]
    columns = (
        Column("member"),
        Column("in use"),
        Column("ROC-AUC", "figure"),
        Column("gain over the simplest", "figure"),
        Column("why"),
    )
    note = "On images that were held out when it was fitted; none of them is of the test part."
    return Sheet("What the classifier is made of", columns, tuple(rows), note)


def make_confusion_sheet(evaluation: Evaluation) -> Sheet:
    """Truth against verdict."""
    counts = {name: f"{figure.value:.0f}" for name, figure in evaluation.confusion.items()}
    columns = [Column("truth"), Column("rejected", "number"), Column("passed", "number")]
    defective = ["defective", counts["true_positive"], counts["false_negative"]]
    good = ["good", counts["false_positive"], counts["true_negative"]]
    if evaluation.reviewed:
        columns.append(Column("to a person", "number"))
        for row, images in (
            (defective, evaluation.defective),
            (good, evaluation.images - evaluation.defective),
        ):
            row.append(str(images - int(row[1]) - int(row[2])))
    return Sheet("Confusion matrix", tuple(columns), (tuple(defective), tuple(good)))


def _explain_review(evaluation: Evaluation) -> str:
    if not evaluation.reviewed:
        return ""
    return "Recall is of those that the inspector decides itself; what goes to a person is not counted in it."


def join_figure(figure: Figure) -> str:
    """Return a figure and its interval in one cell."""
    value, interval = format_figure(figure)
    return f"{value} ({interval})" if interval else value


def make_evaluation_tables(evaluation: Evaluation, title: str) -> tuple[Table, ...]:
    """Return the tables of parts, of figures, of recall by defect, and of what each kind of verdict catches.

    If no image is defective, what only defects define is left out, and the first table says so.
    """
    recalls = (_make_recalls(evaluation),) if evaluation.defective else ()
    parts: tuple[Table, ...] = ()
    if evaluation.by_part is not None:
        by_part = evaluation.by_part
        compared = (_make_any_view(by_part.any_view),) if by_part.any_view is not None else ()
        parts = _make_figures(by_part, f"{title}: parts"), *compared
        title = f"{title}: images"
    return *parts, _make_figures(evaluation, title), *recalls, _make_verdicts(evaluation)


def _make_figures(evaluation: Evaluation, title: str) -> Table:
    from rich.table import Table

    point = evaluation.operating_point
    caption = (
        f"{evaluation.part} part, {evaluation.protocol} protocol, split plan {evaluation.split_digest[:12]}: "
        f"{evaluation.images} {evaluation.unit}s ({evaluation.defective} defective) in "
        f"{evaluation.groups} groups; "
        f"threshold {point.probability:.3f} ({point.contract} on {point.part})"
        + (f": {point.guarantee}" if point.guarantee else "")
        + ("" if evaluation.defective else f". {GOOD_ALONE}")
    )
    figures = Table(title=title, caption=caption, caption_justify="left", title_justify="left")
    figures.add_column("figure")
    figures.add_column("value", justify="right")
    figures.add_column("95% interval")
    for row in _list_figures(evaluation):
        figures.add_row(*row)
    for kind, figure in _list_counts(evaluation):
        figures.add_row(kind.label, *format_count(figure))
    if evaluation.reviewed:
        figures.add_row("left to a person", str(evaluation.reviewed), "")
    for words, value, interval in [*describe_line(evaluation), *describe_localisation(evaluation)]:
        figures.add_row(words, value, interval)
    for name, milliseconds in (evaluation.latency or {}).items():
        figures.add_row(name_latency(name), f"{milliseconds:.1f}", "")
    return figures


def _make_any_view(found: AnyView) -> Table:
    from rich.table import Table

    sheet = make_any_view_sheet(found)
    table = Table(title=sheet.title, caption=sheet.note, caption_justify="left", title_justify="left")
    for column in sheet.columns:
        table.add_column(column.name)
    for row in sheet.rows:
        table.add_row(*row)
    return table


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
    verdicts = Table(title=_name_verdicts(evaluation), title_justify="left")
    recall = ("recall", "95% interval") if evaluation.defective else ()
    for column in ("verdict: defective if", *recall, "false alarms", "95% interval"):
        verdicts.add_column(column, justify="right" if column in {"recall", "false alarms"} else "left")
    for found in evaluation.by_verdict:
        words = VERDICT_NAMES[found.verdict] + (" (in use)" if found.verdict == used else "")
        caught = format_figure(found.recall) if evaluation.defective else ()
        verdicts.add_row(words, *caught, *format_figure(found.false_alarm_rate))
    return verdicts
