"""From predictions to an evaluation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.special import expit
from sklearn.metrics import brier_score_loss, roc_auc_score

from mvdefect.core.errors import RunError
from mvdefect.data.splits.plan import PlanRow, SplitPlan
from mvdefect.evaluation.calibration import Calibration
from mvdefect.evaluation.evaluate import evaluate_predictions, evaluate_run, evaluation_to_json
from mvdefect.evaluation.operating_point import OperatingPoint
from mvdefect.runs import PredictionRow, RunFolder, read_predictions

POINT = OperatingPoint(
    contract="f1",
    part="val",
    achieved=1.0,
    guarantee="",
    verdict="classifier",
    classifier=Calibration(),
    combined=Calibration(1.0, 1.0, 0.0),
    thresholds={"classifier": 0.0, "combined": 1.5, "novelty": 0.5},
)
OUTCOMES = (("good", -2.0), ("good", 1.0), ("crack", 2.0), ("crack", -1.0), ("dent", 3.0))


def make_rows() -> tuple[list[PredictionRow], SplitPlan]:
    plan_rows = [
        PlanRow(f"{n}.png", "test", "nut", kind, n, f"{n:064x}") for n, (kind, _) in enumerate(OUTCOMES)
    ]
    rows = [
        PredictionRow(
            id=row.id,
            split="test",
            label=row.label,
            category="nut",
            defect_type=row.defect_type,
            group=row.group,
            logit=logit,
            novelty=float(kind == "crack"),
            score=logit,
            probability=float(expit(logit)),
            verdict="defective" if logit >= 0 else "good",
            defect_share={0: 0.0, 2: 0.2, 3: 0.1, 4: float("nan")}.get(row.group, 0.0),
        )
        for row, (kind, logit) in zip(plan_rows, OUTCOMES, strict=True)
    ]
    return rows, SplitPlan("closed-set", 0, tuple(plan_rows))


def test_what_good_images_alone_cannot_tell_is_left_out() -> None:
    rows, plan = make_rows()
    good = [row for row in rows if not row.label]
    plan = SplitPlan("good-only", 0, tuple(row for row in plan.rows if not row.label))
    evaluation = evaluate_predictions(good, plan, POINT)
    tree = evaluation_to_json(evaluation)
    known = {name for name, figure in tree["figures"].items() if figure["value"] is not None}
    assert known == {"specificity", "false_alarm_rate"}
    assert evaluation.figures["false_alarm_rate"].value == 0.5
    assert tree["figures"]["recall"] == {
        "value": None,
        "low": None,
        "high": None,
        "method": "no image is defective",
    }
    assert (evaluation.line, evaluation.recall_by_type, evaluation.reliability) == (None, (), ())
    assert tree["by_category"][0]["roc_auc"]["value"] is None


def test_counts_and_recall_by_type_worked_out_by_hand() -> None:
    rows, plan = make_rows()
    evaluation = evaluate_predictions(rows, plan, POINT)
    counts = {name: figure.value for name, figure in evaluation.confusion.items()}
    assert counts == {"true_positive": 2, "false_negative": 1, "true_negative": 1, "false_positive": 1}
    caught = evaluation.confusion["true_positive"]
    assert caught.low <= 2 <= caught.high
    by_type = {
        entry.defect_type: (entry.caught, entry.count, entry.recall.value)
        for entry in evaluation.recall_by_type
    }
    assert by_type == {"crack": (1, 2, 0.5), "dent": (1, 1, 1.0)}
    assert evaluation.figures["accuracy"].value == pytest.approx(3 / 5)
    assert evaluation.figures["precision"].value == pytest.approx(2 / 3)
    assert evaluation.figures["majority_rate"].value == pytest.approx(3 / 5)
    assert evaluation.figures["roc_auc"].value == pytest.approx(5 / 6)
    assert (evaluation.images, evaluation.groups, evaluation.defective) == (5, 5, 3)
    probabilities = [row.probability for row in rows]
    brier = brier_score_loss([row.label for row in rows], probabilities)
    assert evaluation.figures["brier"].value == pytest.approx(brier)


def test_recall_by_size_and_category_worked_out_by_hand() -> None:
    rows, plan = make_rows()
    evaluation = evaluate_predictions(rows, plan, POINT)
    sizes = [(size.name, size.low_share, size.caught, size.count) for size in evaluation.recall_by_size]
    assert sizes == [("smallest quarter", 0.1, 0, 1), ("second quarter", 0.2, 1, 1)]  # one has no mask
    (nut,) = evaluation.by_category
    assert (nut.category, nut.images, nut.defective) == ("nut", 5, 3)
    assert nut.recall.value == pytest.approx(2 / 3)
    assert nut.false_alarm_rate.value == pytest.approx(1 / 2)


def test_the_line_has_its_own_share_of_defects() -> None:
    rows, plan = make_rows()
    line = evaluate_predictions(rows, plan, POINT, prevalence=0.01).line
    assert line is not None
    assert line.escape_ppt.value == pytest.approx(1000 * 0.01 / 3)
    assert line.overkill_ppt.value == pytest.approx(1000 * 0.99 / 2)
    assert line.precision.value == pytest.approx(0.01 * (2 / 3) / (0.01 * (2 / 3) + 0.99 / 2))
    assert line.review_ppt.value == 0
    as_photographed = evaluate_predictions(rows, plan, POINT).line
    assert as_photographed is not None
    assert as_photographed.prevalence == pytest.approx(3 / 5)
    assert as_photographed.precision.value == pytest.approx(2 / 3)


def test_no_false_alarm_is_no_certain_precision() -> None:
    rows, plan = make_rows()
    rows[1] = replace(rows[1], verdict="good")
    line = evaluate_predictions(rows, plan, POINT, prevalence=0.01).line
    assert line is not None
    assert line.precision.value == 1
    assert line.precision.low < 0.1  # two good images say little of a thousand


def test_what_is_left_to_a_person_neither_escapes_nor_is_rejected() -> None:
    rows, plan = make_rows()
    rows[1], rows[3] = replace(rows[1], verdict="review"), replace(rows[3], verdict="review")
    evaluation = evaluate_predictions(rows, plan, POINT, prevalence=0.1)
    assert evaluation.reviewed == 2
    assert evaluation.line is not None
    assert (evaluation.line.escape_ppt.value, evaluation.line.overkill_ppt.value) == (0, 0)
    assert evaluation.line.review_ppt.value == pytest.approx(1000 * (0.1 / 3 + 0.9 / 2))
    assert evaluation.figures["recall"].value == 1


def test_what_each_verdict_catches_worked_out_by_hand() -> None:
    rows, plan = make_rows()
    found = {entry.verdict: entry for entry in evaluate_predictions(rows, plan, POINT).by_verdict}
    recalls = {name: entry.recall.value for name, entry in found.items()}
    assert recalls == pytest.approx({"classifier": 2 / 3, "novelty": 2 / 3, "combined": 1 / 3, "either": 1.0})
    alarms = {name: entry.false_alarm_rate.value for name, entry in found.items()}
    assert alarms == pytest.approx({"classifier": 0.5, "novelty": 0.0, "combined": 0.0, "either": 0.5})
    for entry in found.values():
        assert entry.false_alarm_rate.low <= entry.false_alarm_rate.value <= entry.false_alarm_rate.high


def test_predictions_of_other_images_are_refused() -> None:
    rows, plan = make_rows()
    with pytest.raises(RunError, match="not those of the test part"):
        evaluate_predictions(rows[1:], plan, POINT)


def test_undefined_figures_become_null_in_json() -> None:
    rows, plan = make_rows()
    plan = replace(plan, rows=plan.rows[:2])
    tree = evaluation_to_json(evaluate_predictions(rows[:2], plan, POINT))
    assert tree["figures"]["roc_auc"]["value"] is None
    json.dumps(tree, allow_nan=False)


def test_a_run_is_measured_from_its_own_files(finished_run: Path) -> None:
    evaluation = evaluate_run(finished_run)
    rows = [row for row in read_predictions(RunFolder(finished_run)) if row.split == "test"]
    assert evaluation.figures["roc_auc"].value == pytest.approx(
        roc_auc_score([row.label for row in rows], [row.score for row in rows])
    )
    assert json.loads((finished_run / "metrics.json").read_text()) == evaluation_to_json(evaluation)
    assert evaluation.operating_point.part == "val"


def test_the_threshold_is_that_of_the_validation_part_alone(finished_run: Path) -> None:
    from mvdefect.evaluation.evaluate import judge_rows
    from mvdefect.evaluation.operating_point import choose_operating_point

    rows = [row for row in read_predictions(RunFolder(finished_run)) if row.split == "val"]
    point = evaluate_run(finished_run).operating_point
    chosen = choose_operating_point(judge_rows(rows), "val")
    found = {name: value for name, value in point.thresholds.items() if name != "mean_novelty"}
    assert replace(point, thresholds=found) == chosen
