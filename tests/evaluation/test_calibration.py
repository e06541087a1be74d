"""From scores to probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import log_loss, roc_auc_score

from mvdefect.evaluation.calibration import (
    Calibration,
    fit_combination,
    fit_distance,
    fit_temperature,
    list_reliability,
)
from mvdefect.evaluation.figures import Sample, brier, expected_calibration_error


def draw(count: int = 4000, sharpness: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels that follow the probabilities, and logits that are too sure of themselves."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, count)
    return rng.random(count) < expit(true), true * sharpness


def make_sample(labels: np.ndarray, scores: np.ndarray) -> Sample:
    return Sample(labels, scores, scores >= 0, np.arange(len(labels)))


def test_the_temperature_is_found() -> None:
    labels, logits = draw()
    found = fit_temperature(labels, logits)
    assert found.logit_weight == pytest.approx(1 / 3, rel=0.08)
    assert (found.novelty_weight, found.bias) == (0, 0)
    best = log_loss(labels, expit(found.score(logits)))
    for other in (0.9, 1.1):
        assert best < log_loss(labels, expit(found.score(logits) * other))


def test_calibration_makes_the_error_small() -> None:
    labels, logits = draw()
    ones = np.ones((1, len(labels)))
    before = expected_calibration_error(make_sample(labels, logits), ones)[0]
    after = expected_calibration_error(
        make_sample(labels, fit_temperature(labels, logits).score(logits)), ones
    )[0]
    assert before > 0.1
    assert after < 0.06


def test_reliability_is_that_of_scikit_learn() -> None:
    labels, logits = draw(500)
    bins = list_reliability(make_sample(labels, logits))
    shares, means = calibration_curve(labels, expit(logits), n_bins=10)
    assert [found.defective_share for found in bins] == pytest.approx(shares)
    assert [found.mean_probability for found in bins] == pytest.approx(means)
    assert sum(found.count for found in bins) == 500
    error = sum(b.count * abs(b.mean_probability - b.defective_share) for b in bins) / 500
    ones = np.ones((1, 500))
    assert expected_calibration_error(make_sample(labels, logits), ones)[0] == pytest.approx(error)


def test_brier_and_calibration_error_by_hand_with_weights() -> None:
    sample = make_sample(np.array([True, False]), np.array([0.0, np.log(3)]))  # 0.5 and 0.75
    assert brier(sample, np.array([[1.0, 1.0], [3.0, 1.0]])) == pytest.approx([0.40625, 0.328125])
    errors = expected_calibration_error(sample, np.array([[1.0, 1.0], [3.0, 1.0]]))
    assert errors == pytest.approx([0.625, 0.5625])


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_scores_are_weighed_as_the_discriminant_of_two_gaussians(correlation: float) -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(6000) % 3 == 0
    noise = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], 6000)
    columns = (noise + np.outer(labels, [1.8, 1.2])) * [2.0, 0.5] + [0.0, 1.0]
    found = fit_combination(labels, columns[:, 0], np.exp(columns[:, 1]))
    assert found is not None
    expected = LinearDiscriminantAnalysis().fit(columns, labels).coef_[0]
    scores, best = found.score(columns[:, 0], np.exp(columns[:, 1])), columns @ expected
    assert roc_auc_score(labels, scores) > roc_auc_score(labels, best) - 0.002
    assert found.logit_weight / found.novelty_weight == pytest.approx(expected[0] / expected[1], rel=0.3)


def test_novelty_that_adds_nothing_keeps_a_little_weight() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(900) % 3 == 0
    logits = rng.normal(0, 1, 900) + 3 * labels
    novelty = np.exp(0.5 * logits + rng.normal(0, 1.5, 900))
    found = fit_combination(labels, logits, novelty)
    assert found is not None
    assert found.novelty_weight > 0
    scores = found.score(logits, novelty)
    assert roc_auc_score(labels, scores) > roc_auc_score(labels, logits) - 0.005


def test_what_adds_nothing_is_left_out() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(200) % 2 == 0
    logits = rng.normal(0, 1, 200) + labels
    assert fit_combination(labels, logits, np.exp(-1.0 * labels + rng.normal(0, 0.1, 200))) is None
    assert fit_combination(labels, logits, np.ones(200)) is None
    assert fit_combination(np.zeros(200, bool), logits, np.exp(logits)) is None
    assert fit_temperature(np.zeros(200, bool), logits) == Calibration()


def test_a_distance_counts_from_its_threshold_in_steps_of_what_good_images_vary_by() -> None:
    good = np.exp(np.random.default_rng(0).normal(1, 0.3, 4000))
    usual, unusual = np.quantile(np.log(good), [0.5, 0.95])
    found = fit_distance(good, float(np.exp(unusual)))
    scores = found.score(None, np.exp([usual, unusual, unusual + 0.3]))
    assert expit(scores[:2]) == pytest.approx([0.05, 0.5])
    assert scores[2] == pytest.approx(0.3 / (unusual - usual) * np.log(19))
    assert np.array_equal(found.score(np.full(3, np.nan), np.ones(3)), found.score(None, np.ones(3)))


def test_good_images_that_are_all_alike_do_not_magnify_rounding() -> None:
    scores = fit_distance(np.full(12, 5.0), 5.0).score(None, np.array([5.0, 5.0 * (1 + 1e-6)]))
    assert abs(scores[1] - scores[0]) < 1e-4


def test_novelty_of_chance_is_left_out_and_a_logit_of_chance_too() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4 == 0
    good, chance = rng.normal(size=200) + 3 * labels, rng.normal(size=200)
    novelty = np.exp(rng.normal(size=200) + 2 * labels)
    both = fit_combination(labels, good, novelty)
    assert both is not None
    assert min(both.logit_weight, both.novelty_weight) > 0
    alone = fit_combination(labels, -np.abs(chance) - labels, novelty)
    assert alone is not None
    assert alone.logit_weight == 0 < alone.novelty_weight
    assert alone.score(None, novelty).argmax() == novelty.argmax()
    assert fit_combination(labels, good, np.exp(chance - labels)) is None


def test_one_score_out_of_all_proportion_does_not_drown_the_others() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4 == 0
    good, novelty = rng.normal(size=200) + 3 * labels, np.exp(rng.normal(size=200) + 2 * labels)
    drowned = np.where(np.arange(200) == 0, 3000.0, good)
    kept, expected = (fit_combination(labels, logits, novelty) for logits in (drowned, good))
    assert kept is not None
    assert expected is not None
    ratio = expected.logit_weight / expected.novelty_weight
    assert kept.logit_weight / kept.novelty_weight == pytest.approx(ratio, rel=0.05)
