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
    choose_foreign_limit,
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


def make_seen(count: int = 40) -> Judged:
    """Draw images with a mean novelty, some of which is below 0, as a memory bank measures it."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2 == 0
    novelty = np.exp(rng.normal(size=count)) + labels
    return Judged(labels, np.arange(count), rng.normal(size=count) + labels, novelty, np.log(novelty))


def test_unlike_everywhere_beyond_everything_seen_is_not_this_product() -> None:
    seen = make_seen()
    point = choose_operating_point(seen, "val")
    huge = np.array([1e9])
    assert point.foreign is None
    assert not point.find_foreign(huge, huge).any()
    known = add_foreign_threshold(point, seen)
    assert seen.mean_novelty is not None
    usual, largest = float(np.median(seen.mean_novelty)), float(seen.mean_novelty.max())
    limit = usual + 1.2 * (largest - usual)
    assert known.foreign == ("mean_novelty", pytest.approx(limit))
    means = np.array([largest, limit - 0.01, limit + 0.01])
    assert known.find_foreign(np.array([1e9, 1e9, 0.0]), means).tolist() == [False, False, True]
    assert known.find_foreign(huge, None).tolist() == [False]  # an export that does not measure it
    logits, novelty = np.array([-9.0, 9.0]), np.array([1e6, 1e6])
    assert known.decide(logits, novelty).tolist() == point.decide(logits, novelty).tolist()
    assert known.verdicts == point.verdicts
    assert parse_operating_point(operating_point_to_json(known)) == known
    assert add_foreign_threshold(known, make_seen(19)).foreign is None  # too few to say
    assert add_foreign_threshold(known, replace(seen, novelty=None, mean_novelty=None)).foreign is None
    alike = replace(seen, mean_novelty=np.full(40, 3.0))
    assert add_foreign_threshold(known, alike).foreign is None


def test_what_is_not_this_product_depends_on_no_scale() -> None:
    seen = np.random.default_rng(0).normal(size=50)
    assert choose_foreign_limit(seen) > seen.max()
    assert choose_foreign_limit(seen - 100) == pytest.approx(choose_foreign_limit(seen) - 100)
    assert choose_foreign_limit(7 * seen) == pytest.approx(7 * choose_foreign_limit(seen))


def test_one_screenshot_among_the_images_seen_hides_no_other() -> None:
    seen = np.random.default_rng(0).normal(10, 1, 250)
    odd = np.append(seen, 80.0)
    assert choose_foreign_limit(seen) <= choose_foreign_limit(odd) < 20
    few = np.append(seen[:100], 80.0)  # of which one may as well be a rare defect
    assert choose_foreign_limit(few) > 80


def test_a_run_without_a_mean_goes_by_the_largest_novelty() -> None:
    """As version 0.1.0 left it."""
    seen = replace(make_seen(), mean_novelty=None)
    point = add_foreign_threshold(choose_operating_point(seen, "val"), seen)
    assert seen.novelty is not None
    largest = seen.novelty.max()
    assert point.foreign == ("foreign", pytest.approx(1.2 * largest))
    assert point.find_foreign(np.array([1.19, 1.21]) * largest, None).tolist() == [False, True]
    assert point.find_foreign(np.array([1.19, 1.21]) * largest, np.full(2, 1e9)).tolist() == [False, True]
    assert add_foreign_threshold(point, make_seen()).thresholds.keys() == {
        *(point.thresholds.keys() - {"foreign"}),
        "mean_novelty",
    }


def make_good(count: int, seed: int = 0) -> Judged:
    """Good images alone, without a classifier."""
    novelty = np.exp(np.random.default_rng(seed).normal(1, 0.3, count))
    return Judged(np.zeros(count, bool), np.arange(count), None, novelty)


@pytest.mark.parametrize("contract", ["f1", "max-fpr 0.05"])
def test_without_a_classifier_the_threshold_is_a_half_and_rests_on_good_images(contract: str) -> None:
    judged = make_good(400)
    point = choose_operating_point(judged, "val", contract, "either")
    assert (point.verdict, point.contract, point.verdicts) == ("novelty", "max-fpr 0.05", ("novelty",))
    assert point.probability == pytest.approx(0.5)
    found = point.find_defective(None, judged.novelty)
    assert 0 < found.mean() <= 0.05
    scores = point.find_scores(None, judged.novelty)
    assert np.array_equal(found, scores >= point.score)
    assert np.array_equal(np.argsort(scores), np.argsort(judged.novelty))
    assert point.guarantee.startswith("chosen on 400 good images held out of training; at most 0.05 of")
    tree = json.loads(json.dumps(operating_point_to_json(point)))
    assert parse_operating_point(tree) == point
    told = replace(judged, mean_novelty=judged.novelty)
    assert add_foreign_threshold(point, told).foreign is None  # a defect may lie as far away
    del tree["novelty"]  # as earlier versions wrote it, of a run with a classifier
    assert parse_operating_point(tree).novelty is None


def test_what_few_good_images_promise_is_told_and_kept() -> None:
    """Of 12 images none is beyond the threshold, so that one in 13 fresh ones is."""
    shares = []
    for seed in range(400):
        point = choose_operating_point(make_good(12, seed), "val")
        fresh = make_good(200, 1000 + seed)
        shares.append(point.find_defective(None, fresh.novelty).mean())
    assert "about 8% of fresh ones are expected to be rejected; no promise for fresh" in point.guarantee
    assert np.mean(shares) == pytest.approx(1 / 13, abs=0.01)


def test_with_defective_images_in_validation_the_novelty_can_be_weighed() -> None:
    judged = replace(make_judged(), logits=None)
    best = max(f1_score(judged.labels, judged.novelty >= threshold) for threshold in judged.novelty)
    point = choose_operating_point(judged, "val")
    assert point.contract == "f1"
    assert f1_score(judged.labels, point.find_defective(None, judged.novelty)) == pytest.approx(best)
    assert point.probability == pytest.approx(0.5)
    assert point.guarantee == "chosen on 100 good images held out of training"


def test_a_probability_counts_from_the_usual_threshold() -> None:
    judged = make_good(400)
    usual, stricter = (choose_operating_point(judged, "val", contract) for contract in ("f1", "0.9"))
    assert stricter.probability == pytest.approx(0.9)
    assert stricter.thresholds["novelty"] > usual.thresholds["novelty"]
    assert stricter.novelty == usual.novelty
    grey = choose_operating_point(judged, "val", review_budget=0.1)
    verdicts = grey.decide(None, judged.novelty)
    assert (verdicts == "review").mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("contract", ["min-recall 0.9", "cost 1:20"])
def test_what_needs_defects_cannot_be_chosen_without(contract: str) -> None:
    with pytest.raises(ContractError, match="needs defective images to choose a threshold by"):
        choose_operating_point(make_good(100), "val", contract)
