"""The operating point: what is chosen on which scores, and what is then called what."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import f1_score, roc_auc_score

from mvdefect.core.errors import ConfigError, ContractError, RunError
from mvdefect.evaluation.calibration import Calibration
from mvdefect.evaluation.operating_point import (
    Judged,
    OperatingPoint,
    add_foreign_threshold,
    choose_operating_point,
    operating_point_to_json,
    parse_operating_point,
)

LOGITS, NOVELTY = np.array([-1.0, 1.0, -1.0, 1.0]), np.array([0.1, 0.1, 3.0, 2.0])


def make_judged(count: int = 200, seed: int = 0) -> Judged:
    """Logit and novelty each know half of the defects."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2 == 0
    seen, novel = labels & (np.arange(count) % 4 == 0), labels & (np.arange(count) % 4 == 2)
    return Judged(
        labels=labels,
        groups=np.arange(count),
        logits=rng.normal(0, 1, count) + 5 * seen,
        novelty=np.exp(rng.normal(0, 0.3, count) + 1.5 * novel),
    )


def make_point(verdict: str) -> OperatingPoint:
    return OperatingPoint(
        "f1",
        "val",
        1.0,
        "",
        verdict,
        Calibration(2.0),
        Calibration(1.0, 1.0, 0.0),
        {"classifier": 0.0, "novelty": 2.0, "combined": 0.05},
    )


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("classifier", [False, True, False, True]),
        ("novelty", [False, False, True, True]),
        ("combined", [False, False, True, True]),  # log(3) - 1 is 0.0986, 1 + log(0.1) is negative
        ("either", [False, True, True, True]),
    ],
)
def test_each_verdict_by_hand(verdict: str, expected: list[bool]) -> None:
    point = make_point("either")
    assert point.find_defective(LOGITS, NOVELTY, verdict).tolist() == expected
    assert make_point(verdict).find_defective(LOGITS, NOVELTY).tolist() == expected
    assert point.verdicts == ("classifier", "novelty", "combined", "either")


def test_in_the_grey_zone_a_person_decides_but_not_on_what_is_novel() -> None:
    point = replace(make_point("classifier"), review=(1.5, 2.5))  # of the doubled logit
    assert point.decide(LOGITS, NOVELTY).tolist() == ["good", "review", "good", "review"]
    either = replace(make_point("either"), review=(1.5, 2.5))
    assert either.decide(LOGITS, NOVELTY).tolist() == ["good", "review", "defective", "defective"]


def test_both_together_see_what_each_alone_misses() -> None:
    judged, fresh = make_judged(), make_judged(seed=1)
    point = choose_operating_point(judged, "val")
    assert point.verdict == "combined"
    scores = point.find_scores(fresh.logits, fresh.novelty)
    assert roc_auc_score(fresh.labels, scores) > roc_auc_score(fresh.labels, fresh.logits) + 0.1
    found = point.find_defective(fresh.logits, fresh.novelty)
    alone = point.find_defective(fresh.logits, fresh.novelty, "classifier")
    assert f1_score(fresh.labels, found) > f1_score(fresh.labels, alone) + 0.1
    assert point.probability == pytest.approx(expit(point.score))


def test_without_novelty_the_classifier_decides() -> None:
    judged = replace(make_judged(), novelty=None)
    for verdict in ("combined", "either"):
        point = choose_operating_point(judged, "val", verdict=verdict)
        assert (point.verdict, point.verdicts) == ("classifier", ("classifier",))


def test_without_defective_images_at_most_a_twentieth_of_the_good_is_rejected() -> None:
    judged = make_judged()
    good = Judged(*(found[~judged.labels] for found in (judged.labels, judged.groups, judged.logits)), None)
    point = choose_operating_point(good, "val")
    assert point.contract == "max-fpr 0.05"
    assert 0 < point.find_defective(good.logits, None).mean() <= 0.05


def test_a_score_that_is_not_in_use_need_not_meet_the_contract() -> None:
    """The classifier misses one defect altogether, which only the novelty sees."""
    judged = make_judged()
    logits = np.where(judged.labels, 9.0, judged.logits)
    logits[0] = -9.0
    novelty = np.array(judged.novelty)
    novelty[0] = 1e6
    judged = replace(judged, logits=logits, novelty=novelty)
    point = choose_operating_point(judged, "val", "min-recall 0.999")
    assert point.achieved == 1.0
    assert "classifier" not in point.thresholds
    assert "combined" in point.verdicts
    with pytest.raises(ContractError, match="cannot be met"):
        choose_operating_point(judged, "val", "min-recall 0.999", verdict="classifier")


def test_a_contract_of_either_counts_what_is_rejected_as_novel() -> None:
    judged = make_judged(4000)
    point = choose_operating_point(judged, "val", "max-fpr 0.05", verdict="either")
    called = point.find_defective(judged.logits, judged.novelty)
    assert called[~judged.labels].mean() <= 0.05
    assert point.achieved == pytest.approx(called[~judged.labels].mean())
    with pytest.raises(ContractError, match="max-fpr 0.01 cannot be met"):
        choose_operating_point(judged, "val", "max-fpr 0.01", verdict="either")  # 2% are novel already


def test_at_most_the_budget_is_left_to_a_person_and_it_is_the_least_certain() -> None:
    judged = make_judged()
    point = choose_operating_point(judged, "val", review_budget=0.1)
    verdicts = point.decide(judged.logits, judged.novelty)
    distances = np.abs(point.find_scores(judged.logits, judged.novelty) - point.score)
    assert (verdicts == "review").sum() == 20
    assert distances[verdicts == "review"].max() < distances[verdicts != "review"].min()


def test_the_novelty_threshold_lets_two_in_a_hundred_good_images_through() -> None:
    judged = make_judged(400)
    point = choose_operating_point(judged, "val")
    assert judged.novelty is not None
    assert (judged.novelty[~judged.labels] >= point.thresholds["novelty"]).mean() == pytest.approx(0.02)


def test_it_survives_json() -> None:
    point = choose_operating_point(make_judged(), "val", "min-recall 0.9", review_budget=0.05)
    tree = json.loads(json.dumps(operating_point_to_json(point), allow_nan=False))
    assert parse_operating_point(tree) == point
    assert tree["score"] == point.score


def test_what_is_damaged_or_unknown_is_refused() -> None:
    with pytest.raises(RunError, match="damaged, or of an older version"):
        parse_operating_point({"logit": 1.0})
    with pytest.raises(ConfigError, match="Received: verdict=maybe"):
        choose_operating_point(make_judged(), "val", verdict="maybe")


def test_far_beyond_everything_seen_is_not_this_product() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2 == 0
    judged = Judged(labels, np.arange(40), rng.normal(size=40) + labels, np.exp(rng.normal(size=40)) + labels)
    point = choose_operating_point(judged, "val")
    assert point.foreign is None
    assert not point.find_foreign(np.array([1e9])).any()
    assert judged.novelty is not None
    known = add_foreign_threshold(point, judged.novelty)
    largest = judged.novelty.max()
    assert known.foreign == pytest.approx(1.2 * largest)
    found = known.find_foreign(np.array([largest, 1.19 * largest, 1.21 * largest]))
    assert found.tolist() == [False, False, True]
    assert known.find_foreign(None).tolist() == []
    logits, novelty = np.array([-9.0, 9.0]), np.array([1e6, 1e6])
    assert known.decide(logits, novelty).tolist() == point.decide(logits, novelty).tolist()
    assert known.verdicts == point.verdicts
    assert parse_operating_point(operating_point_to_json(known)) == known
    assert add_foreign_threshold(known, judged.novelty[:19]).foreign is None  # too few to say
    assert add_foreign_threshold(known, None).foreign is None
