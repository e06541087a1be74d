"""From predictions to an evaluation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mvdefect.data.splits import PlanRow, SplitPlan
from mvdefect.errors import RunError
from mvdefect.evaluation.evaluate import evaluate_predictions, evaluate_run, evaluation_to_json
from mvdefect.evaluation.thresholds import OperatingPoint
from mvdefect.runs import PredictionRow, RunFolder, read_predictions

POINT = OperatingPoint(0.0, 0.5, "f1", "val", 1.0, novelty=0.5)
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
            probability=0.5,
            verdict="defective" if logit >= 0 else "good",
            novelty=float(kind == "crack"),
        )
        for row, (kind, logit) in zip(plan_rows, OUTCOMES, strict=True)
    ]
    return rows, SplitPlan("closed-set", 0, tuple(plan_rows))


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


def test_what_each_verdict_catches_worked_out_by_hand() -> None:
    rows, plan = make_rows()
    found = {entry.verdict: entry for entry in evaluate_predictions(rows, plan, POINT).by_verdict}
    recalls = {name: entry.recall.value for name, entry in found.items()}
    assert recalls == pytest.approx({"classifier": 2 / 3, "novelty": 2 / 3, "either": 1.0})
    alarms = {name: entry.false_alarm_rate.value for name, entry in found.items()}
    assert alarms == pytest.approx({"classifier": 0.5, "novelty": 0.0, "either": 0.5})
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
        roc_auc_score([row.label for row in rows], [row.logit for row in rows])
    )
    assert json.loads((finished_run / "metrics.json").read_text()) == evaluation_to_json(evaluation)
    assert evaluation.operating_point.part == "val"


def test_the_threshold_is_that_of_the_validation_part_alone(finished_run: Path) -> None:
    from mvdefect.evaluation.thresholds import choose_max_f1, choose_max_novelty

    rows = [row for row in read_predictions(RunFolder(finished_run)) if row.split == "val"]
    labels = np.array([row.label == 1 for row in rows])
    again = choose_max_f1(labels, np.array([row.logit for row in rows]), "val")
    novelty = np.array([row.novelty for row in rows])
    again = replace(again, novelty=choose_max_novelty(novelty[~labels]))
    assert evaluate_run(finished_run).operating_point == again
