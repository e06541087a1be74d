"""The answer of a report: whether the requirement is met; without one, what the inspector does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from mvdefect.audit.findings import Severity
from mvdefect.core.errors import list_some
from mvdefect.evaluation.bootstrap import FEW_GROUPS, Figure
from mvdefect.evaluation.contracts import NO_PROMISE, UNMET
from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.evaluation.requirement import Answer
from mvdefect.report.audit_summary import AuditSummary
from mvdefect.report.contents import Difference, RunContents
from mvdefect.report.requirement import (
    ANSWERS,
    HEADLINES,
    describe_clause,
    describe_question,
    describe_statement,
    name_clause,
)
from mvdefect.report.wording import format_percent, format_probability, format_signed, format_span
from mvdefect.runs import PARTIAL_SUFFIX

CHANCE = 0.5
DEFAULT_CONTRACT = "f1"


class Tone(StrEnum):
    """How the answer is coloured."""

    FINE = "fine"
    CARE = "care"
    STOP = "stop"
    PLAIN = "plain"


TONES = {Answer.MET: Tone.FINE, Answer.TOO_FEW: Tone.CARE, Answer.NOT_MET: Tone.STOP}


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
class AnsweredClause:
    """One line of the requirement: what is asked, the answer, and what it rests on."""

    asked: str
    answer: str
    detail: str
    tone: Tone


@dataclass(frozen=True)
class Verdict:
    """The answer.

    Attributes:
        tone: How it is coloured.
        headline: The same in a few words.
        alarm: An error of the data check, which comes before any figure; "" for none.
        statement: When the requirement was stated; "" where there is none.
        clauses: The requirement line by line.
        summary: What the inspector does.
        remarks: What else to know before a decision; none of it decides.
        question: Asks for a requirement where there is none; "" otherwise.
        key_figures: What a decision rests on.
    """

    tone: Tone
    headline: str
    alarm: str
    statement: str
    clauses: tuple[AnsweredClause, ...]
    summary: str
    remarks: tuple[str, ...]
    question: str
    key_figures: tuple[KeyFigure, ...]


def reach_verdict(run: RunContents, differences: Sequence[Difference], audit: AuditSummary | None) -> Verdict:
    """Say whether the requirement is met; without one, say what the inspector does and ask for one.

    If several images show one part, all of it is said of parts. Other runs inform and do not decide. Scores
    that cannot be told from chance, and as many wrong verdicts as if all were the same, are said plainly in
    any case.
    """
    evaluation, answer = run.evaluation.decisive, run.evaluation.requirement
    alarm, faults = describe_errors(audit), dict(list_faults(evaluation))
    if answer is not None:
        tone, headline = TONES[answer.answer], HEADLINES[answer.answer]
        tone = Tone.CARE if tone == Tone.FINE and faults else tone
    elif faults:
        tone, headline = Tone.STOP, next(iter(faults))
    else:
        tone, headline = Tone.PLAIN, _describe_counts(evaluation)
    if alarm:
        tone, headline = Tone.STOP, "The data have errors, so no figure can be believed yet"
    place = run.folder.path.with_name(run.folder.path.name.removesuffix(PARTIAL_SUFFIX))
    return Verdict(
        tone=tone,
        headline=headline,
        alarm=alarm,
        statement="" if answer is None else describe_statement(answer),
        clauses=tuple(
            AnsweredClause(
                name_clause(one), ANSWERS[one.answer], describe_clause(one, evaluation), TONES[one.answer]
            )
            for one in (answer.clauses if answer is not None else ())
        ),
        summary=_describe_inspector(evaluation),
        remarks=(*faults.values(), *_list_remarks(run, audit), *_compare(differences)),
        question="" if answer is not None else describe_question("report", place),
        key_figures=_choose_key_figures(evaluation),
    )


def describe_errors(audit: AuditSummary | None) -> str:
    """Say what the data check found that comes before any figure; "" for nothing."""
    errors = name_findings(audit, Severity.ERROR)
    if not errors:
        return ""
    return f"The data check has {errors}. Mend the data and fit again: what follows may be wrong either way."


def name_findings(audit: AuditSummary | None, severity: Severity) -> str:
    """Count and name the findings of a severity; "" for none."""
    codes = [found.code for found in (audit.findings if audit else ()) if found.severity == severity]
    return f"{len(codes)} {severity}{'s' if len(codes) > 1 else ''} ({list_some(codes, 3)})" if codes else ""


def list_faults(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """Yield what makes an inspector worthless, in few words and with its figures."""
    auc = evaluation.figures["roc_auc"]
    is_perfect = auc.value == 1  # then few images widen the interval, and no error
    if not math.isnan(auc.value) and not auc.low > CHANCE and not is_perfect:
        yield (
            "No better than chance",
            f"Its scores cannot be told from chance (ROC-AUC {auc.value:.3f}, where {CHANCE} is chance).",
        )
    counts = {name: int(figure.value) for name, figure in evaluation.confusion.items()}
    wrong = counts["false_negative"] + counts["false_positive"]
    defective, good = evaluation.defective, evaluation.images - evaluation.defective
    # A contract that weighs one kind of error more may have more errors in all.
    if evaluation.operating_point.contract == DEFAULT_CONTRACT and 0 < min(defective, good) <= wrong:
        kind = "good" if good >= defective else "defective"
        yield (
            f"No better than calling all {kind}",
            f"{wrong} of its verdicts are wrong, and {min(defective, good)} if all are called {kind}.",
        )


def _list_remarks(run: RunContents, audit: AuditSummary | None) -> Iterator[str]:
    evaluation = run.evaluation.decisive
    guarantee = evaluation.operating_point.guarantee
    if warnings := name_findings(audit, Severity.WARNING):
        yield f"The data check has {warnings}."
    if UNMET in guarantee:
        yield f"{guarantee[0].upper()}{guarantee[1:]}."
    elif NO_PROMISE in guarantee and evaluation.requirement is None:
        yield f"The contract {evaluation.operating_point.contract} is no promise for fresh images."
    groups = len(np.unique([row.group for row in run.judged if row.label]))
    if 0 < groups < FEW_GROUPS:
        yield f"Only {groups} independent defect{'s were' if groups > 1 else ' was'} tested."
    missed = [entry.defect_type for entry in evaluation.recall_by_type if entry.recall.value < CHANCE]
    if missed:
        yield f"Fewer than half are caught of {list_some(missed, 3)}."


def _compare(differences: Sequence[Difference]) -> Iterator[str]:
    """Say how the other runs rank, which informs and decides nothing."""
    for found in differences:
        difference = found.figures["roc_auc"]
        if math.isnan(difference.value):
            continue
        value, low, high = (format_signed(end) for end in (difference.value, difference.low, difference.high))
        words = {
            "better": f"It ranks better than {found.run.name}",
            "worse": f"{found.run.name} ranks better",
            "": f"It cannot be told from {found.run.name}",
        }[found.judge("roc_auc")]
        yield f"{words} (ROC-AUC {value}, {low} to {high})."


def _count(evaluation: Evaluation) -> tuple[int, int, int]:
    """Return how many defective ones are caught, how many good ones rejected, and how many good ones are."""
    caught, rejected = (int(evaluation.confusion[name].value) for name in ("true_positive", "false_positive"))
    return caught, rejected, evaluation.images - evaluation.defective


def _describe_counts(evaluation: Evaluation) -> str:
    caught, rejected, good = _count(evaluation)
    parts = [f"{caught} of {evaluation.defective} defective caught"] if evaluation.defective else []
    parts += [f"{rejected} of {good} good rejected"] if good else []
    return ", ".join(parts)


def _describe_inspector(evaluation: Evaluation) -> str:
    caught, rejected, good = _count(evaluation)
    review = (
        f"; it left {evaluation.reviewed} to a person, whom no figure counts" if evaluation.reviewed else ""
    )
    done, expected = [], []
    if evaluation.defective:
        done.append(f"caught {caught} of {evaluation.defective} defective ones")
        expected.append(f"to catch {_span(evaluation.figures['recall'])} of the defective")
    if good:
        done.append(f"rejected {rejected} of {good} good ones")
        expected.append(f"to reject {_span(evaluation.figures['false_alarm_rate'])} of the good")
    unknown = ""
    if len(done) == 1:
        unknown = f" No {'good' if evaluation.defective else 'defective'} {evaluation.unit} was tested."
    return (
        f"On {evaluation.unit}s that it had never seen, this inspector {' and '.join(done)}{review}. On more "
        f"like these, expect it {' and '.join(expected)}.{unknown}"
    )


def _format_rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _span(figure: Figure) -> str:
    return format_span(figure.low, figure.high)


def _choose_key_figures(evaluation: Evaluation) -> tuple[KeyFigure, ...]:
    figures, counts, point = evaluation.figures, evaluation.confusion, evaluation.operating_point
    good = evaluation.images - evaluation.defective
    missed = counts["false_negative"].value
    asked = evaluation.defective - counts["true_positive"].value - missed
    left = f", {asked:.0f} to a person" if asked else ""
    contract = "requirement" if point.contract.startswith("requirement") else point.contract
    chosen = [
        KeyFigure(
            "threshold",
            format_probability(point.probability),
            f"reject from this probability on ({contract} on {point.part})",
        )
    ]
    if evaluation.defective:
        detail = (
            f"{missed:.0f} missed{left}; recall {format_percent(figures['recall'].value)}, "
            f"95% interval {_span(figures['recall'])}"
        )
        caught = f"{counts['true_positive'].value:.0f} of {evaluation.defective}"
        chosen.append(KeyFigure("defects caught", caught, detail))
    if good:
        rate = figures["false_alarm_rate"]
        detail = f"{format_percent(rate.value)}, 95% interval {_span(rate)}"
        chosen.append(KeyFigure("good rejected", f"{counts['false_positive'].value:.0f} of {good}", detail))
    if (line := evaluation.line) is not None:
        share = f"at {format_percent(line.prevalence)} defective" + (
            "" if line.is_given else " (as photographed)"
        )
        escapes = f"{_format_rate(line.escape_ppt.value)} per 1000"
        interval = f"{_format_rate(line.escape_ppt.low)} to {_format_rate(line.escape_ppt.high)}"
        chosen.append(KeyFigure("escapes", escapes, f"{share}, 95% interval {interval}"))
    auc = figures["roc_auc"]
    if not math.isnan(auc.value):
        interval = f"95% interval {auc.low:.3f} to {auc.high:.3f}"
        chosen.append(KeyFigure("ROC-AUC", f"{auc.value:.3f}", interval))
    return tuple(chosen)
