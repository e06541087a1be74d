"""The answer of a report: what to ship, at which threshold, and what speaks against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from mvdefect.audit.findings import Severity
from mvdefect.core.errors import list_some
from mvdefect.evaluation.bootstrap import FEW_GROUPS, Figure
from mvdefect.evaluation.contracts import NO_PROMISE, UNMET
from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.report.audit_summary import AuditSummary
from mvdefect.report.contents import Difference, RunContents
from mvdefect.report.wording import format_percent, format_probability, format_signed

CHANCE = 0.5
DEFAULT_CONTRACT = "f1"


class Advice(StrEnum):
    """What to do with the inspector."""

    SHIP = "ship"
    CARE = "care"
    STOP = "stop"


@dataclass(frozen=True)
class KeyFigure:
    """A figure of the first screen.

    Attributes:
        name: What it is.
        value: As large as it gets.
        detail: Its interval, or where it comes from.
    """

    name: str
    value: str
    detail: str


@dataclass(frozen=True)
class Verdict:
    """The answer.

    Attributes:
        advice: What to do.
        headline: The same in a few words.
        sentences: What the inspector does, and what to do with it.
        key_figures: What a decision rests on.
    """

    advice: Advice
    headline: str
    sentences: tuple[str, str]
    key_figures: tuple[KeyFigure, ...]


def reach_verdict(run: RunContents, differences: Sequence[Difference], audit: AuditSummary | None) -> Verdict:
    """Decide what a quality engineer can be told.

    A stop: the scores cannot be told from chance, as many verdicts are wrong as if all were the same, another
    run is better, or no simple baseline is shown to be worse. Care: the audit, the split plan, the contract
    or the number of defects leaves a doubt.
    """
    evaluation = run.evaluation
    threshold = format_probability(evaluation.operating_point.probability)
    stops, doubts = list(_list_stops(run, differences)), list(_list_doubts(run, audit))
    better = _describe_better(differences)
    if stops:
        advice, headline = Advice.STOP, "Do not ship this inspector yet"
        second = f"Do not ship it: {'; '.join(stops)}."
    elif doubts:
        advice, headline = Advice.CARE, f"Ship at threshold {threshold}, with care"
        second = f"Ship it at this threshold{better}, once this is settled: {'; '.join(doubts)}."
    else:
        advice, headline = Advice.SHIP, f"Ship at threshold {threshold}"
        second = f"Ship it at this threshold{better}, if the line can bear that."
    return Verdict(
        advice, headline, (_describe_inspector(evaluation), second), _choose_key_figures(evaluation)
    )


def _list_stops(run: RunContents, differences: Sequence[Difference]) -> Iterator[str]:
    auc = run.evaluation.figures["roc_auc"]
    if not auc.low > CHANCE:
        yield f"its scores cannot be told from chance (ROC-AUC {auc.value:.3f}, where {CHANCE} is chance)"
    counts = {name: int(figure.value) for name, figure in run.evaluation.confusion.items()}
    wrong = counts["false_negative"] + counts["false_positive"]
    defective, good = run.evaluation.defective, run.evaluation.images - run.evaluation.defective
    # A contract that weighs one kind of error more may have more errors in all.
    if run.evaluation.operating_point.contract == DEFAULT_CONTRACT and 0 < min(defective, good) <= wrong:
        kind = "good" if good >= defective else "defective"
        yield f"{wrong} of its verdicts are wrong, and {min(defective, good)} if all are called {kind}"
    for found in differences:
        difference = found.figures["roc_auc"]
        signed = [format_signed(end) for end in (difference.value, difference.low, difference.high)]
        interval = f"ROC-AUC {signed[0]}, {signed[1]} to {signed[2]}"
        if found.judge("roc_auc") == "worse":
            yield f"{found.run.name} is better ({interval})"
        elif found.run.config.baseline is not None and found.judge("roc_auc") != "better":
            yield f"it is not shown to be better than {found.run.kind} ({interval})"


def _list_doubts(run: RunContents, audit: AuditSummary | None) -> Iterator[str]:
    evaluation = run.evaluation
    groups = len(np.unique([row.group for row in run.rows if row.label]))
    found = [] if audit is None else [(one.severity, one.code) for one in audit.findings]
    named = [
        f"{len(codes)} {severity}{'s' if len(codes) > 1 else ''} ({list_some(codes, 3)})"
        for severity in (Severity.ERROR, Severity.WARNING)
        if (codes := [code for other, code in found if other == severity])
    ]
    if named:
        yield f"the data check has {' and '.join(named)}"
    if evaluation.notes:
        yield f"the split plan has {len(evaluation.notes)} note{'s' if len(evaluation.notes) > 1 else ''}"
    if audit is None:
        yield "the photographs are not there any more to be checked"
    if UNMET in evaluation.operating_point.guarantee:
        yield evaluation.operating_point.guarantee
    if NO_PROMISE in evaluation.operating_point.guarantee:
        yield f"{evaluation.operating_point.contract} is no promise for fresh images"
    if groups < FEW_GROUPS:
        yield f"only {groups} independent defects were tested"
    missed = [entry.defect_type for entry in evaluation.recall_by_type if entry.recall.value < CHANCE]
    if missed:
        yield f"fewer than half are caught of {list_some(missed, 3)}"


def _describe_inspector(evaluation: Evaluation) -> str:
    counts = {name: int(figure.value) for name, figure in evaluation.confusion.items()}
    good = evaluation.images - evaluation.defective
    review = f" and left {evaluation.reviewed} to a person" if evaluation.reviewed else ""
    comma = "," if review else " and"
    return (
        f"On photographs that it had never seen, this inspector caught {counts['true_positive']} of "
        f"{evaluation.defective} defective ones{comma} rejected {counts['false_positive']} of {good} good "
        f"ones{review}: on more like these, expect it to catch {_span(evaluation.figures['recall'])} of the "
        f"defective and to reject {_span(evaluation.figures['false_alarm_rate'])} of the good"
        f"{' of those that it decides' if review else ''}."
    )


def _format_rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _span(figure: Figure) -> str:
    return f"{format_percent(figure.low)} to {format_percent(figure.high)}".replace("%", "", 1)


def _describe_better(differences: Sequence[Difference]) -> str:
    """Name the strongest of the runs that rank worse."""
    worse = [found for found in differences if found.judge("roc_auc") == "better"]
    if not worse:
        return ""
    nearest = min(worse, key=lambda found: found.figures["roc_auc"].value)
    figure = nearest.figures["roc_auc"]
    return (
        f", for it ranks better than {nearest.run.name} (ROC-AUC {format_signed(figure.value)}, "
        f"{format_signed(figure.low)} to {format_signed(figure.high)})"
    )


def _choose_key_figures(evaluation: Evaluation) -> tuple[KeyFigure, ...]:
    figures, counts, point = evaluation.figures, evaluation.confusion, evaluation.operating_point
    good = evaluation.images - evaluation.defective
    missed = counts["false_negative"].value
    asked = evaluation.defective - counts["true_positive"].value - missed
    left = f", {asked:.0f} to a person" if asked else ""
    chosen = [
        KeyFigure(
            "threshold",
            format_probability(point.probability),
            f"reject from this probability on ({point.contract} on {point.part})",
        ),
        KeyFigure(
            "defects caught",
            f"{counts['true_positive'].value:.0f} of {evaluation.defective}",
            f"{missed:.0f} missed{left}; recall {format_percent(figures['recall'].value)}, "
            f"95% interval {_span(figures['recall'])}",
        ),
        KeyFigure(
            "good rejected",
            f"{counts['false_positive'].value:.0f} of {good}",
            f"{format_percent(figures['false_alarm_rate'].value)}, 95% interval "
            f"{_span(figures['false_alarm_rate'])}",
        ),
    ]
    if (line := evaluation.line) is not None:
        share = f"at {format_percent(line.prevalence)} defective" + (
            "" if line.is_given else " (as photographed)"
        )
        escapes = f"{_format_rate(line.escape_ppt.value)} per 1000"
        interval = f"{_format_rate(line.escape_ppt.low)} to {_format_rate(line.escape_ppt.high)}"
        chosen.append(KeyFigure("escapes", escapes, f"{share}, 95% interval {interval}"))
    auc = figures["roc_auc"]
    chosen.append(KeyFigure("ROC-AUC", f"{auc.value:.3f}", f"95% interval {auc.low:.3f} to {auc.high:.3f}"))
    return tuple(chosen)
