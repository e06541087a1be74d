"""What a quality engineer is told to do, case by case."""

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
from mvdefect.report.audit_summary import AuditSummary
from mvdefect.report.contents import Difference, RunContents
from mvdefect.report.verdict import Advice, Verdict, reach_verdict
from mvdefect.report.wording import format_percent
from mvdefect.runs import PredictionRow, RunFolder

CLEAN = AuditSummary((), (Probe("image size", Figure(0.5, 0.4, 0.6), ""),))


def make_contents(
    strength: float = 8.0, images: int = 60, baseline: str | None = None, guarantee: str = "", notes=()
) -> RunContents:
    """A run of `images` independent photographs, half of them defective."""
    scores = np.random.default_rng(0).normal(size=images) + strength * (np.arange(images) % 2 - 0.5)
    kinds = ["crack" if number % 2 else "good" for number in range(images)]
    plan = SplitPlan(
        "closed-set",
        0,
        tuple(PlanRow(f"{n:03}", "test", "nut", kinds[n], n, "") for n in range(images)),
        notes,
    )
    rows = tuple(
        PredictionRow(
            id=f"{n:03}", split="test", label=n % 2, category="nut", defect_type=kinds[n], group=n,
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
        "run" if baseline is None else baseline, RunFolder(Path("x")), config, plan, rows, (), evaluation, {}
    )


def differ(value: float, low: float, high: float, baseline: str | None = "handcrafted") -> Difference:
    return Difference(make_contents(baseline=baseline), {"roc_auc": Figure(value, low, high)})


def reach(run: RunContents, *differences: Difference, audit: AuditSummary | None = CLEAN) -> Verdict:
    return reach_verdict(run, differences, audit)


def test_nothing_speaks_against_it() -> None:
    found = reach(make_contents(), differ(0.2, 0.1, 0.3))
    assert found.advice == Advice.SHIP
    assert found.headline == "Ship at threshold 0.500"
    assert "ranks better than handcrafted (ROC-AUC +0.200, +0.100 to +0.300)" in found.sentences[1]
    assert "caught 30 of 30 defective ones and rejected 0 of 30 good ones" in found.sentences[0]
    assert (
        "expect it to catch 89 to 100% of the defective and to reject 0 to 11% of the good."
        in found.sentences[0]
    )


@pytest.mark.parametrize(("contract", "advice"), [("f1", Advice.STOP), ("min-recall 0.9", Advice.SHIP)])
def test_verdicts_that_are_no_better_than_one_for_all_stop_it(contract: str, advice: Advice) -> None:
    run = make_contents()
    counts = {"true_positive": 20, "false_negative": 10, "false_positive": 20, "true_negative": 10}
    confusion = {name: Figure(count, count, count) for name, count in counts.items()}
    point = replace(run.evaluation.operating_point, contract=contract)
    found = reach(
        replace(run, evaluation=replace(run.evaluation, confusion=confusion, operating_point=point))
    )
    assert found.advice == advice
    words = "30 of its verdicts are wrong, and 30 if all are called good"
    assert (words in found.sentences[1]) == (advice == Advice.STOP)


def test_two_sentences_are_two_sentences() -> None:
    for run in (make_contents(), make_contents(notes=("a note",))):
        found = reach(run, differ(0.2, 0.1, 0.3))
        assert all(sentence.count(". ") == 0 and sentence.endswith(".") for sentence in found.sentences)


@pytest.mark.parametrize(
    ("run", "differences", "words"),
    [
        (make_contents(strength=0.0), [], "cannot be told from chance"),
        (make_contents(), [differ(0.01, -0.01, 0.03)], "not shown to be better than baseline handcrafted"),
        (
            make_contents(),
            [differ(-0.05, -0.09, -0.01, None)],
            "run is better (ROC-AUC −0.050, −0.090 to −0.010)",
        ),
    ],
)
def test_what_stops_it(run: RunContents, differences: list[Difference], words: str) -> None:
    found = reach(run, *differences)
    assert found.advice == Advice.STOP
    assert found.headline == "Do not ship this inspector yet"
    assert words in found.sentences[1]


def test_another_model_that_is_as_good_does_not_stop_it() -> None:
    assert reach(make_contents(), differ(0.0, -0.01, 0.01, None)).advice == Advice.SHIP


@pytest.mark.parametrize(
    ("run", "audit", "words"),
    [
        (make_contents(), AuditSummary((Finding("blank", Severity.ERROR, "m", "a"),), ()), "1 error (blank)"),
        (
            make_contents(),
            AuditSummary(tuple(Finding(f"w{n}", Severity.WARNING, "m", "a") for n in range(2)), ()),
            "2 warnings (w0, w1)",
        ),
        (make_contents(notes=("a group is torn",)), CLEAN, "the split plan has 1 note"),
        (
            make_contents(guarantee="no promise for fresh images: 8 independent good ones are too few"),
            CLEAN,
            "f1 is no promise for fresh images",
        ),
        (make_contents(images=20), CLEAN, "only 10 independent defects were tested"),
    ],
)
def test_what_calls_for_care(run: RunContents, audit: AuditSummary, words: str) -> None:
    found = reach(run, audit=audit)
    assert found.advice == Advice.CARE
    assert found.headline.endswith("with care")
    assert words in found.sentences[1]


def test_notes_of_the_audit_call_for_nothing() -> None:
    audit = AuditSummary((Finding("mixed-sizes", Severity.NOTE, "m", "Nothing."),), ())
    assert reach(make_contents(), audit=audit).advice == Advice.SHIP


def test_photographs_that_cannot_be_checked_leave_a_doubt() -> None:
    found = reach(make_contents(), audit=None)
    assert found.advice == Advice.CARE
    assert "not there any more" in found.sentences[1]


def test_a_type_that_escapes_is_named() -> None:
    run = make_contents()
    types = tuple(replace(entry, recall=Figure(0.2, 0.1, 0.4)) for entry in run.evaluation.recall_by_type)
    found = reach(replace(run, evaluation=replace(run.evaluation, recall_by_type=types)))
    assert "fewer than half are caught of crack" in found.sentences[1]


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
