"""What stands in a report, in its order; HTML and Markdown are two ways of setting it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mvdefect.audit.findings import Severity
from mvdefect.config import dump_config
from mvdefect.evaluation.operating_point import FOREIGN_NUMBERS
from mvdefect.report.audit_summary import AuditSummary
from mvdefect.report.contents import Difference, RunContents, make_difference_sheet, make_run_sheet
from mvdefect.report.gallery import Gallery
from mvdefect.report.plots import (
    Plot,
    draw_confusion,
    draw_differences,
    draw_history,
    draw_precision_recall,
    draw_recall,
    draw_reliability,
    draw_roc,
    draw_scores,
)
from mvdefect.report.sheets import (
    Column,
    Sheet,
    join_figure,
    make_any_view_sheet,
    make_category_sheet,
    make_confusion_sheet,
    make_count_sheet,
    make_figure_sheet,
    make_member_sheet,
    make_part_sheet,
    make_size_sheet,
    make_type_sheet,
    make_verdict_sheet,
)
from mvdefect.report.tradeoff import ScoredImages, make_threshold_sheet
from mvdefect.report.wording import (
    describe_pooling,
    describe_protocol,
    find_common_remark,
    format_probability,
)

TRADE_OFF = "trade-off"
NOTHING_TO_CATCH = (
    "No tested image is defective, so what share of defects this inspector catches cannot be told. One "
    "defective image is a beginning: add it, and the same command tests it."
)
ROOTS = "Heights in the histograms are roots of counts, so that single photographs can be seen."
NO_PROBABILITY = (
    "The inspector learned from good images alone: its probability is no calibrated one. It is 0.5 at the "
    "threshold and rises with the distance from good images."
)
DIAGONAL = (
    "On the diagonal of the reliability diagram, what was said is what came; numbers are photographs, and "
    "the bars Wilson's intervals with a group as one observation."
)


@dataclass(frozen=True)
class Notice:
    """Something to know before a figure is believed; `level` is error, warning or remark."""

    level: str
    code: str
    message: str
    advice: str = ""


@dataclass(frozen=True)
class Code:
    """Lines for a shell, or of a file."""

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """A part of the report under one heading."""

    slug: str
    title: str
    words: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    plots: tuple[Plot, ...] = ()
    galleries: tuple[Gallery, ...] = ()
    codes: tuple[Code, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """All that a report is made from.

    Attributes:
        runs: The inspector, then what it is compared with.
        differences: The inspector against each other run.
        audit: What the data check found; None where the photographs are gone.
        images: What the slider starts from.
        galleries: Photographs to look at.
    """

    runs: tuple[RunContents, ...]
    differences: tuple[Difference, ...]
    audit: AuditSummary | None
    images: ScoredImages
    galleries: tuple[Gallery, ...]


def make_sections(evidence: Evidence) -> tuple[Section, ...]:
    """Return the parts of the report: doubts first, then what was measured, then every figure."""
    return tuple(_list_sections(evidence))


def _list_sections(evidence: Evidence) -> Iterator[Section]:
    runs, evaluation = evidence.runs, evidence.runs[0].evaluation
    yield _warn(evidence)
    yield _say_what_was_measured(runs[0])
    yield _compare(runs, evidence.differences)
    yield from _show_parts(runs[0])
    yield Section(
        "figures",
        "Figures",
        sheets=(
            make_figure_sheet(evaluation),
            make_count_sheet(evaluation),
            make_verdict_sheet(evaluation),
        ),
    )
    if evaluation.defective:
        yield Section(
            "curves",
            "Ranking: ROC, precision and recall",
            words=(_explain_point(runs[0]),),
            plots=(draw_roc(runs), draw_precision_recall(runs)),
        )
    yield _show_scores(runs[0])
    yield Section(
        "recall",
        "Which defects are caught",
        words=() if evaluation.defective else (NOTHING_TO_CATCH,),
        sheets=_keep_filled(
            make_type_sheet(evaluation), make_size_sheet(evaluation), make_category_sheet(evaluation)
        ),
        plots=(draw_recall(evaluation),) if evaluation.recall_by_type else (),
    )
    if runs[0].history:
        yield Section("learning", "Learning curves", plots=(draw_history(runs[0].history),))
    if evaluation.defective:
        yield Section(
            TRADE_OFF,
            "Trade-off: escapes, overkill and review",
            words=(
                "A lower threshold lets fewer defects escape and rejects more good products. The figures are "
                f"those of the test {evidence.images.unit}s, weighed to the share of defective products on "
                "the line.",
            ),
            sheets=(make_threshold_sheet(evidence.images),),
        )
    yield _show(evidence)
    yield _reproduce(runs)


def _show_parts(run: RunContents) -> Iterator[Section]:
    """Yield what parts come to that several images show, if there are any."""
    parts, by_part = run.evaluation.by_part, run.evaluation.operating_point.by_part
    if parts is None or by_part is None or parts.any_view is None:
        return
    point = parts.operating_point
    guarantee = f" {point.guarantee[0].upper()}{point.guarantee[1:]}." if point.guarantee else ""
    words = (
        f"{run.evaluation.images} images show {parts.images} parts, {parts.defective} of them defective: a "
        f"part is, if one of its images is. {describe_pooling(by_part)}",
        f"From the probability {format_probability(point.probability)} on a part is rejected, by the "
        f"contract {point.contract} on {point.part}.{guarantee} All further sections are of images, but for "
        "the trade-off.",
    )
    sheets = (
        replace(make_figure_sheet(parts), title="Every figure of parts"),
        replace(make_count_sheet(parts), title="Counts of parts, and the line"),
        make_any_view_sheet(parts.any_view),
    )
    yield Section("parts", "Parts", words, sheets=sheets)


def _show_scores(run: RunContents) -> Section:
    """Return what the scores are, and how far they are probabilities where that can be told."""
    evaluation, words = run.evaluation, [ROOTS]
    plots = [draw_confusion(evaluation), draw_scores(run.rows, evaluation)]
    if evaluation.operating_point.verdict == "novelty":
        words.append(NO_PROBABILITY)
    if evaluation.reliability:
        words.append(DIAGONAL)
        plots.append(draw_reliability(run))
    return Section(
        "scores",
        "Verdicts, scores and probabilities",
        words=(" ".join(words),),
        sheets=(make_confusion_sheet(evaluation),),
        plots=tuple(plots),
    )


def _warn(evidence: Evidence) -> Section:
    evaluation, audit = evidence.runs[0].evaluation, evidence.audit
    notices = [
        Notice(
            found.severity.value,
            found.code,
            found.message,
            "" if found.advice == "Nothing." else found.advice,
        )
        for found in (audit.findings if audit else ())
        if found.severity != Severity.NOTE
    ]
    notices += [Notice("warning", "split plan", note) for note in evaluation.notes]
    shifts = evidence.runs[0].shifts
    words: tuple[str, ...] = ()
    if audit is None:
        words = ("The photographs are not at hand, so the data check could not be repeated.",)
    elif not notices:
        words = ("The data check found no error and nothing to warn of.",)
    notices += [Notice("remark", shift.code, shift.message, shift.advice) for shift in shifts]
    reason = find_common_remark(audit.probes) if audit else ""
    if reason:
        words = (*words, f"What a property alone tells is {reason}.")
    sheets = () if audit is None or reason else (_make_probe_sheet(audit),)
    return Section("warnings", "What to know first", words, tuple(notices), sheets)


def _make_probe_sheet(audit: AuditSummary) -> Sheet:
    rows = [(probe.name, join_figure(probe.roc_auc), probe.remark) for probe in audit.probes]
    note = (
        "ROC-AUC of a small model that sees nothing but the named property, over all photographs; 0.5 is "
        "chance. An inspector that is no better than one of these may have learned it instead of the defect."
    )
    columns = (Column("property"), Column("ROC-AUC", "figure"), Column("remark"))
    return Sheet("What a property alone tells", columns, tuple(rows), note)


def _say_whether_groups_straddle(run: RunContents) -> str:
    tested = {row.group for row in run.plan.rows if row.part == run.evaluation.part}
    torn = tested & {row.group for row in run.plan.rows if row.part != run.evaluation.part}
    return f"{len(torn)} of which are in another part as well" if torn else "none of which is in another part"


def _say_what_was_measured(run: RunContents) -> Section:
    evaluation, point = run.evaluation, run.evaluation.operating_point
    guarantee = f" {point.guarantee[0].upper()}{point.guarantee[1:]}." if point.guarantee else ""
    by_requirement = point.contract.startswith("requirement")  # of two figures
    came_to = "" if by_requirement else f", which came to {point.achieved:.3f} there"
    review = ""
    if point.review is not None:
        review = f" Scores from {point.review[0]:.3f} to {point.review[1]:.3f} go to a person."
    foreign = ""
    if point.foreign is not None:
        name, limit = point.foreign
        foreign = (
            f" An image whose {FOREIGN_NUMBERS[name]} is {limit:.4g} or more, beyond training and "
            "validation images, is called 'not this product' as well."
        )
    words = (
        f"Run {run.name} ({run.kind}) was measured on the {evaluation.part} part: {evaluation.images} "
        f"photographs, {evaluation.defective} of them defective, in {evaluation.groups} groups of "
        f"near-duplicates, {_say_whether_groups_straddle(run)}.",
        f"Protocol {evaluation.protocol}: {describe_protocol(evaluation.protocol)} Split plan "
        f"{evaluation.split_digest[:12]}, seed {run.plan.seed}, of "
        f"{', '.join(run.config.data) or 'unknown images'}.",
        f"Nothing was chosen on these photographs. The threshold {format_probability(point.probability)} "
        f"(score {point.score:.3f}) was chosen on {point.part} by the contract {point.contract}{came_to}."
        f"{guarantee}{review}{foreign}",
    )
    made_of = (make_member_sheet(run.members),) if run.members else ()
    return Section("measured", "What was measured", words, sheets=(make_part_sheet(run.plan), *made_of))


def _compare(runs: Sequence[RunContents], differences: Sequence[Difference]) -> Section:
    sheets: tuple[Sheet, ...] = (make_run_sheet(runs),)
    if not differences:
        words = (
            "This report has one run. A baseline of the same split plan beside it, as in mvdefect report RUN "
            "BASELINE, tells whether the inspector is worth its effort.",
        )
        return Section("runs", "Against the baselines", words, sheets=sheets)
    sheets = (*sheets, make_difference_sheet(runs, differences))
    plots = (draw_differences(differences),) if runs[0].evaluation.defective else ()
    return Section("runs", "Against the baselines", sheets=sheets, plots=plots)


def _explain_point(run: RunContents) -> str:
    reasons = []
    if run.evaluation.reviewed:
        reasons.append("it leaves out what a person decides")
    if run.evaluation.operating_point.verdict == "either":
        reasons.append("novel photographs are rejected whatever their score")
    words = "The dot is the operating point; the cross spans the 95% intervals of both of its figures."
    return f"{words} It lies beside the curve, since {' and '.join(reasons)}." if reasons else words


def _show(evidence: Evidence) -> Section:
    pictures = [picture for gallery in evidence.galleries for picture in gallery.pictures]
    views = ["the image"]
    if any(picture.heatmap for picture in pictures):
        views.append("the image under its heatmap, which is the brighter, the more suspicious a place is")
    if any(picture.outline for picture in pictures):
        views.append("the image with the true defect outlined, if there is a mask")
    words = f"Of each image there is, from left to right or from top to bottom: {'; '.join(views)}."
    if len(views) > 2:
        words += (
            " Look whether the heat lies on the defect: an inspector that is right for another reason may be "
            "wrong on the next image."
        )
    first = "Caught defects come first, of each type those that were nearest to being missed."
    return Section("photographs", "Images to look at", (words, first), galleries=evidence.galleries)


def _reproduce(runs: Sequence[RunContents]) -> Section:
    first = runs[0]
    commands = [run.command or f"# {run.name}: the command was not recorded" for run in runs]
    environment = {key: value for key, value in first.environment.items() if key != "command"}
    codes = (
        Code("Commands, as they were given", "\n".join(commands)),
        Code(f"Settings of {first.name} (config.yaml)", dump_config(first.config)),
        Code(f"Environment of {first.name}", _list_environment(environment) or "not recorded"),
        Code(
            "Split plan",
            f"protocol {first.plan.protocol}\nseed {first.plan.seed}\ndigest {first.plan.digest}",
        ),
    )
    words = ("The settings, given as mvdefect fit --config config.yaml, make the run again.",)
    return Section("reproduce", "To reproduce", words if first.config.baseline is None else (), codes=codes)


def _list_environment(environment: Mapping[str, Any]) -> str:
    lines = []
    for key, value in environment.items():
        words = [f"{name} {version}" for name, version in value.items()] if isinstance(value, dict) else value
        lines.append(f"{key}: {', '.join(map(str, words)) if isinstance(words, list) else words}")
    return "\n".join(lines)


def _keep_filled(*sheets: Sheet) -> tuple[Sheet, ...]:
    return tuple(sheet for sheet in sheets if sheet.rows)
