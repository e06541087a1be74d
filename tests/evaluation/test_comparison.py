"""Paired differences against a bootstrap that really draws images, and against values by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics as sk

from mvdefect.core.errors import RunError
from mvdefect.evaluation.bootstrap import Bootstrap, wilson_interval
from mvdefect.evaluation.comparison import compare_repeats, compare_samples
from mvdefect.evaluation.figures import Metric, Sample, f1_score, measure, recall, roc_auc

REPLICATES = 200


def draw_pair(count: int = 90, groups: int = 45, seed: int = 0) -> tuple[Sample, Sample]:
    """Two inspectors that share most of their mistakes, the first a little better."""
    rng = np.random.default_rng(seed)
    labels, shared = rng.random(count) < 0.4, rng.normal(size=count)
    code = rng.integers(0, groups, count)
    first = shared + 0.3 * rng.normal(size=count) + 1.6 * labels
    second = shared + 0.3 * rng.normal(size=count) + 1.2 * labels
    return Sample(labels, first, first > 0.8, code), Sample(labels, second, second > 0.8, code)


REFERENCES = [
    (roc_auc, lambda one, drawn: sk.roc_auc_score(one.labels[drawn], one.scores[drawn])),
    (f1_score, lambda one, drawn: sk.f1_score(one.labels[drawn], one.verdicts[drawn])),
    (recall, lambda one, drawn: sk.recall_score(one.labels[drawn], one.verdicts[drawn])),
]


@pytest.mark.parametrize(("metric", "reference"), REFERENCES)
def test_it_is_the_bootstrap_that_draws_groups_for_both(metric: Metric, reference) -> None:
    sample, other = draw_pair()
    _, code = np.unique(sample.groups, return_inverse=True)
    count = code.max() + 1
    members = [np.flatnonzero(code == group) for group in range(count)]
    differences = []
    for times in np.random.default_rng(5).multinomial(count, np.full(count, 1 / count), REPLICATES):
        drawn = np.concatenate([np.tile(members[group], n) for group, n in enumerate(times)])
        differences.append(reference(sample, drawn) - reference(other, drawn))
    found = compare_samples(sample, other, metric, Bootstrap(sample.groups, 5, REPLICATES))
    every = np.arange(len(sample.labels))
    assert found.value == pytest.approx(reference(sample, every) - reference(other, every))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))
    assert found.low < found.value < found.high


def test_the_other_way_round_it_is_the_negative() -> None:
    sample, other = draw_pair()
    there, back = compare_samples(sample, other, roc_auc), compare_samples(other, sample, roc_auc)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_pairing_makes_it_narrower_than_two_intervals_apart() -> None:
    sample, other = draw_pair(count=300, groups=200)
    paired = compare_samples(sample, other, roc_auc)
    apart = np.hypot(
        *(figure.high - figure.low for figure in (measure(sample, roc_auc), measure(other, roc_auc)))
    )
    assert paired.high - paired.low < 0.6 * apart


def test_two_that_agree_are_not_certain_to_be_alike() -> None:
    sample, _ = draw_pair()
    perfect = replace(sample, verdicts=sample.labels)
    groups = len(np.unique(sample.groups[sample.labels]))
    low, _ = wilson_interval(1.0, groups)
    found = compare_samples(perfect, perfect, recall)
    assert found.value == 0
    assert (found.low, found.high) == pytest.approx((low - 1, 1 - low))
    assert found.method == "Newcombe on groups"


def test_few_groups_by_hand() -> None:
    """Three of four against one of four: Newcombe's (1998) method 10 from the two Wilson intervals."""
    labels, scores, groups = np.ones(4, bool), np.zeros(4), np.arange(4)
    sample = Sample(labels, scores, np.array([True, True, True, False]), groups)
    other = Sample(labels, scores, np.array([True, False, False, False]), groups)
    # Wilson: 3 of 4 is 0.300642 to 0.954413, 1 of 4 its mirror image.
    below = np.hypot(0.75 - 0.300642, 0.699358 - 0.25)
    above = np.hypot(0.954413 - 0.75, 0.25 - 0.045587)
    found = compare_samples(sample, other, recall)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5 - below, 0.5 + above), abs=1e-5)


def test_only_the_same_images_can_be_compared() -> None:
    sample, other = draw_pair()
    shorter = other.select(np.arange(len(other.labels)) > 0)
    with pytest.raises(RunError, match="Received: 90 and 89 images"):
        compare_samples(sample, shorter, roc_auc)
    with pytest.raises(RunError, match="with other labels or groups"):
        compare_samples(sample, replace(other, labels=~other.labels), roc_auc)
    with pytest.raises(RunError, match="with other labels or groups"):
        compare_samples(sample, replace(other, groups=other.groups[::-1]), roc_auc)


def test_two_inspectors_that_separate_few_images_are_not_known_to_be_equal() -> None:
    labels = np.arange(12) < 4
    one = Sample(labels, labels.astype(float), labels, np.arange(12))
    figure = compare_samples(one, one, roc_auc)
    assert figure.value == 0
    assert figure.low < -0.3
    assert figure.high > 0.3


def test_the_same_fold_thrice_is_no_more_evidence() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(60) % 3 == 0
    scores = [rng.normal(0, 1, 60) + labels for _ in range(2)]
    pair = [Sample(labels, score, np.zeros_like(labels), np.arange(60) // 2) for score in scores]
    once, thrice = (
        compare_repeats([[(pair[0], pair[1])]] * count, roc_auc, replicates=300) for count in (1, 3)
    )
    assert (thrice.value, thrice.low, thrice.high) == pytest.approx((once.value, once.low, once.high))


def test_the_interval_over_several_draws_of_folds_covers_what_it_should() -> None:
    """Two that are equally good in truth, on three draws of three folds of the same 24 groups."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(120):
        labels, groups = np.repeat(np.arange(24) % 3 == 0, 2), np.repeat(np.arange(24), 2)
        shared = np.repeat(rng.normal(0, 1, 24), 2) + 1.5 * labels
        own = [np.repeat(rng.normal(0, 0.7, 24), 2) for _ in range(2)]
        folds = []
        for _ in range(3):
            order = np.argsort(
                rng.permutation(24) + 100 * (np.arange(24) % 3 == 0)
            )  # as many defects in each
            for fold in range(3):
                chosen = np.isin(groups, order[fold::3])
                noise = [rng.normal(0, 0.3, 48) for _ in range(2)]  # of the training
                pair = [
                    Sample(labels, shared + bias + more, np.zeros_like(labels), groups).select(chosen)
                    for bias, more in zip(own, noise, strict=True)
                ]
                folds.append([(pair[0], pair[1])])
        figure = compare_repeats(folds, roc_auc, replicates=300)
        hits += figure.low <= 0 <= figure.high
    assert hits >= 110
