"""What a quality engineer is told, case by case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvdefect.audit.findings import Finding, Probe, Severity
from mvdefect.config import FitConfig
from mvdefect.data.splits.plan import PlanRow, SplitPlan
from mvdefect.evaluation.bootstrap import Figure
from mvdefect.evaluation.calibration import Calibration
from mvdefect.evaluation.evaluate import evaluate_predictions
from mvdefect.evaluation.operating_point import OperatingPoint
from mvdefect.evaluation.requirement import answer_requirement, settle_requirement
from mvdefect.report.audit_summary import AuditSummary
from mvdefect.report.contents import Difference, RunContents
from mvdefect.report.verdict import Tone, Verdict, reach_verdict
from mvdefect.report.wording import format_percent
from mvdefect.runs import PredictionRow, RunFolder

CLEAN = AuditSummary((), (Probe("image size", Figure(0.5, 0.4, 0.6), ""),))


def make_contents(
    strength: float = 8.0,
    images: int = 60,
    baseline: str | None = None,
    guarantee: str = "",
    notes: tuple[str, ...] = (),
    only: str = "",
) -> RunContents:
    """A run of `images` independent images, half of them defective, or all of one kind."""
    scores = np.random.default_rng(0).normal(size=images) + strength * (np.arange(images) % 2 - 0.5)
    kinds = [only or ("crack" if number % 2 else "good") for number in range(images)]
    plan = SplitPlan(
        "closed-set",
        0,
        tuple(PlanRow(f"{n:03}", "test", "nut", kinds[n], n, "") for n in range(images)),
        notes,
    )
    rows = tuple(
        PredictionRow(
            id=f"{n:03}", split="test", label=int(kinds[n] != "good"), category="nut",
            defect_type=kinds[n], group=n,
            logit=score, novelty=np.nan, score=score, probability=0.5,
            verdict="defective" if score >= 0 else "good", defect_share=np.nan,
        )
        for n, score in enumerate(scores.tolist())
    )  # fmt: skip
    point = OperatingPoint(
        "f1", "val", 0.9, guarantee, "classifier", Calibration(), None, {"classifier": 0.0}
    )
    evaluation = evaluate_predictions(rows, plan, point, prevalence=0.01)
    config = FitConfig(baseline=baseline)
    return RunContents(
        "run" if baseline is None else baseline,
        RunFolder(Path("a folder/x.partial")),
        config,
        plan,
        rows,
        (),
        evaluation,
        {},
    )


def differ(value: float, low: float, high: float, baseline: str | None = "handcrafted") -> Difference:
    return Difference(make_contents(baseline=baseline), {"roc_auc": Figure(value, low, high)})


def reach(run: RunContents, *differences: Difference, audit: AuditSummary | None = CLEAN) -> Verdict:
    return reach_verdict(run, differences, audit)


def require(run: RunContents, text: str, stored: str | None = None) -> RunContents:
    """Ask a requirement of a run; one that is stored was stated before the figures."""
    requirement = settle_requirement(stored, text)
    assert requirement is not None
    answer = answer_requirement(requirement, run.evaluation.figures, run.sample)
    return replace(run, evaluation=replace(run.evaluation, requirement=answer))


def test_without_a_requirement_it_says_what_it_does_and_asks_for_one() -> None:
    found = reach(make_contents())
    assert found.tone == Tone.PLAIN
    assert found.headline == "30 of 30 defective caught, 0 of 30 good rejected"
    assert "caught 30 of 30 defective ones and rejected 0 of 30 good ones" in found.summary
    assert (
        "expect it to catch 89 to 100% of the defective and to reject 0 to 11% of the good." in found.summary
    )
    command = "mvdefect report 'a folder/x' --require 'recall 0.95, false-alarms 0.05'"
    assert f"`{command}`" in found.question
    assert (found.statement, found.clauses, found.alarm) == ("", (), "")


@pytest.mark.parametrize(
    ("text", "tone", "headline", "asked", "answers"),
    [
        (
            "recall 0.8, false-alarms 0.2",
            Tone.FINE,
            "The requirement is met",
            "recall of at least 80%",
            ["met"] * 2,
        ),
        (
            "recall 0.95, false-alarms 0.2",
            Tone.CARE,
            "Too few images to say whether the requirement is met",
            "recall of at least 95%",
            ["too few images to say", "met"],
        ),
    ],
)
def test_a_requirement_is_answered(
    text: str, tone: Tone, headline: str, asked: str, answers: list[str]
) -> None:
    found = reach(require(make_contents(), text))
    assert (found.tone, found.headline) == (tone, headline)
    assert [clause.answer for clause in found.clauses] == answers
    assert [clause.asked for clause in found.clauses] == [asked, "false alarms of at most 20%"]
    assert found.question == ""


def test_what_it_takes_to_tell_is_named() -> None:
    (recall,) = reach(require(make_contents(), "recall 0.95")).clauses
    # 73 of 73 in all: Wilson's interval of 73 ends at 0.950, that of 72 does not.
    assert recall.detail == (
        "30 of 30 defective caught, 100%; cautious 95% interval 88 to 100%; at this rate, 43 more "
        "independent defective images in the test part would show that it is met"
    )


def test_rejecting_most_good_products_is_not_met() -> None:
    found = reach(require(make_contents(strength=1.0), "false-alarms 0.05"))
    assert (found.tone, found.headline) == (Tone.STOP, "The requirement is not met")


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ("recall 0.8", "The requirement was stated before the figures were known."),
        (None, "The requirement was stated after the figures."),
        (
            "recall 0.9",
            "The requirement was stated after the figures. The fit had another one, which stays: recall 0.9.",
        ),
    ],
)
def test_it_says_when_the_requirement_was_stated(stored: str | None, words: str) -> None:
    assert reach(require(make_contents(), "recall 0.8", stored)).statement == words


def test_other_runs_inform_and_do_not_decide() -> None:
    differences = [
        differ(0.2, 0.1, 0.3),
        differ(0.01, -0.01, 0.03),
        differ(-0.05, -0.09, -0.01, None),
        differ(float("nan"), float("nan"), float("nan")),
    ]
    alone = reach(require(make_contents(), "recall 0.8"))
    beside = reach(require(make_contents(), "recall 0.8"), *differences)
    assert replace(beside, remarks=alone.remarks) == alone
    assert beside.remarks == (
        "It ranks better than handcrafted (ROC-AUC +0.200, +0.100 to +0.300).",
        "It cannot be told from handcrafted (ROC-AUC +0.010, −0.010 to +0.030).",
        "run ranks better (ROC-AUC −0.050, −0.090 to −0.010).",
    )


@pytest.mark.parametrize(("contract", "is_fault"), [("f1", True), ("min-recall 0.9", False)])
def test_verdicts_that_are_no_better_than_one_for_all_are_told(contract: str, is_fault: bool) -> None:
    run = make_contents()
    counts = {"true_positive": 20, "false_negative": 10, "false_positive": 20, "true_negative": 10}
    confusion = {name: Figure(count, count, count) for name, count in counts.items()}
    point = replace(run.evaluation.operating_point, contract=contract)
    found = reach(
        replace(run, evaluation=replace(run.evaluation, confusion=confusion, operating_point=point))
    )
    assert (found.headline == "No better than calling all good") == is_fault
    assert ("30 of its verdicts are wrong, and 30 if all are called good." in found.remarks) == is_fault


def test_scores_by_chance_are_told_whatever_is_required() -> None:
    words = "Its scores cannot be told from chance (ROC-AUC"
    alone = reach(make_contents(strength=0.0))
    assert (alone.tone, alone.headline) == (Tone.STOP, "No better than chance")
    assert alone.remarks[0].startswith(words)
    run = make_contents(strength=0.0)
    all_caught = replace(run, evaluation=replace(run.evaluation, figures={
        **run.evaluation.figures, "recall": Figure(1.0, 0.98, 1.0)
    }))  # fmt: skip
    met = reach(require(all_caught, "recall 0.8"))
    assert (met.tone, met.headline) == (Tone.CARE, "The requirement is met")
    assert met.remarks[0].startswith(words)


def test_an_error_of_the_data_check_comes_first() -> None:
    audit = AuditSummary((Finding("blank", Severity.ERROR, "m", "a"),), ())
    for run in (make_contents(), require(make_contents(), "recall 0.8")):
        found = reach(run, audit=audit)
        assert (found.tone, found.headline) == (
            Tone.STOP,
            "The data have errors, so no figure can be believed yet",
        )
        assert found.alarm.startswith("The data check has 1 error (blank). Mend the data and fit again")


@pytest.mark.parametrize(
    ("run", "audit", "words"),
    [
        (
            make_contents(),
            AuditSummary(tuple(Finding(f"w{n}", Severity.WARNING, "m", "a") for n in range(2)), ()),
            "The data check has 2 warnings (w0, w1).",
        ),
        (
            make_contents(guarantee="no promise for fresh images: 8 independent good ones are too few"),
            CLEAN,
            "The contract f1 is no promise for fresh images.",
        ),
        (
            make_contents(guarantee="recall 0.9 cannot be met: x"),
            CLEAN,
            "Recall 0.9 cannot be met: x.",
        ),
        (make_contents(images=20), CLEAN, "Only 10 independent defects were tested."),
    ],
)
def test_what_else_to_know_is_told(run: RunContents, audit: AuditSummary, words: str) -> None:
    found = reach(run, audit=audit)
    assert words in found.remarks
    assert found.tone == Tone.PLAIN


def test_what_nobody_can_settle_is_no_condition() -> None:
    noted = AuditSummary((Finding("mixed-sizes", Severity.NOTE, "m", "Nothing."),), ())
    expected = reach(make_contents())
    assert reach(make_contents(), audit=noted) == expected
    assert reach(make_contents(), audit=None) == expected  # the images are not there any more
    assert reach(make_contents(notes=("a group is torn",))) == expected


def test_a_type_that_escapes_is_named() -> None:
    run = make_contents()
    types = tuple(replace(entry, recall=Figure(0.2, 0.1, 0.4)) for entry in run.evaluation.recall_by_type)
    found = reach(replace(run, evaluation=replace(run.evaluation, recall_by_type=types)))
    assert "Fewer than half are caught of crack." in found.remarks


@pytest.mark.parametrize(("kind", "other"), [("good", "defective"), ("crack", "good")])
def test_a_class_that_was_not_tested_is_unknown(kind: str, other: str) -> None:
    found = reach(require(make_contents(only=kind), "recall 0.8, false-alarms 0.2"))
    assert f"No {other} image was tested." in found.summary
    missing = found.clauses[0 if other == "defective" else 1]
    assert missing.answer == "too few images to say"
    assert missing.detail.startswith(f"no {other} image was tested; it takes 1")
    text = " ".join((found.headline, found.summary, *found.remarks, *map(str, found.key_figures)))
    assert "nan" not in text
    assert "not defined" not in text


def test_key_figures() -> None:
    figures = {figure.name: figure for figure in reach(make_contents()).key_figures}
    assert list(figures) == ["threshold", "defects caught", "good rejected", "escapes", "ROC-AUC"]
    assert figures["defects caught"].value == "30 of 30"
    assert figures["escapes"].value == "0 per 1000"
    assert (
        figures["escapes"].detail == "at 1.0% defective, 95% interval 0 to 1.1"
    )  # Wilson: 11% of 10 per 1000


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "0%"),
        (1.0, "100%"),
        (1 - 1e-12, "100%"),
        (0.9999, "99.99%"),
        (0.962, "96.2%"),
        (0.5, "50%"),
        (0.079, "7.9%"),
        (0.005, "0.5%"),
        (0.00021, "0.021%"),
        (float("nan"), "not defined"),
    ],
)
def test_percentages(share: float, words: str) -> None:
    assert format_percent(share) == words
