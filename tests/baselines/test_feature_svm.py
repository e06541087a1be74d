"""The search of SVM settings: grouped, honest, repeatable, and the same on any number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mvdefect.baselines.feature_svm import GAMMA_FACTORS, PENALTIES, draw_folds, make_grid, search_svm
from mvdefect.baselines.handcrafted import HandcraftedClassifier
from mvdefect.core.errors import ConfigError

RNG = np.random.default_rng(0)


@settings(deadline=None, max_examples=50)
@given(
    groups=st.lists(st.integers(0, 12), min_size=4, max_size=60),
    count=st.integers(2, 6),
    seed=st.integers(0, 1000),
)
def test_inner_folds_tear_no_group_apart(groups: list[int], count: int, seed: int) -> None:
    codes = np.array(groups)
    labels = np.random.default_rng(seed).integers(0, 2, len(codes))
    folds = draw_folds(labels, codes, count, seed)
    for fit, score in folds:
        assert not set(codes[fit]) & set(codes[score])
        assert sorted([*fit, *score]) == list(range(len(codes)))
        assert len(set(labels[fit])) == len(set(labels[score])) == 2
    tested = np.concatenate([np.zeros(0, int), *(score for _, score in folds)])
    assert len(tested) == len(set(tested))


def test_folds_hold_about_the_same_share_of_defective_images() -> None:
    labels = np.repeat([0, 0, 0, 1], 40)
    folds = draw_folds(labels, np.arange(160) // 2, 4, 0)
    assert [labels[score].mean() for _, score in folds] == pytest.approx([0.25] * 4, abs=0.06)


def test_the_best_settings_are_those_of_the_highest_mean_roc_auc() -> None:
    """Found again by hand: each setting is fitted and scored on each fold."""
    features = RNG.normal(size=(60, 3)).astype(np.float32)
    labels = (np.linalg.norm(features, axis=1) > 1.6).astype(int)  # a ball: no line can do it
    folds = draw_folds(labels, np.arange(60) // 2, 3, 0)
    _, best, score = search_svm(features, labels, folds, make_grid(3, (1.0, 30.0), (0.3, 3.0)), 1)
    expected = {}
    for kernel, penalty, gamma in [
        *(("linear", penalty / 3, None) for penalty in (1.0, 30.0)),
        *(("rbf", penalty, factor / 3) for penalty in (1.0, 30.0) for factor in (0.3, 3.0)),
    ]:
        found = []
        for fit, tested in folds:
            svm = make_pipeline(
                StandardScaler(), SVC(C=penalty, kernel=kernel, gamma=gamma or 1.0, class_weight="balanced")
            )
            svm.fit(features[fit], labels[fit])
            found.append(roc_auc_score(labels[tested], svm.decision_function(features[tested])))
        expected[kernel, penalty, gamma] = np.mean(found)
    winner = max(expected, key=lambda key: expected[key])
    assert winner == (best["svc__kernel"], best["svc__C"], best.get("svc__gamma"))
    assert winner[0] == "rbf"
    assert score == pytest.approx(expected[winner])


def test_groups_keep_copies_from_flattering_the_search() -> None:
    """Labels are drawn by chance for each group of four copies: there is nothing to learn but the copies."""
    features = np.repeat(RNG.normal(size=(40, 5)), 4, axis=0).astype(np.float32)
    labels = np.repeat(RNG.permutation(np.arange(40) % 2), 4)
    groups = np.repeat(np.arange(40), 4)
    grid = make_grid(5, PENALTIES, GAMMA_FACTORS)
    *_, torn = search_svm(features, labels, draw_folds(labels, np.arange(160), 4, 0), grid, 1)
    *_, kept = search_svm(features, labels, draw_folds(labels, groups, 4, 0), grid, 1)
    assert torn > 0.95
    assert kept < 0.75


def test_no_result_depends_on_the_number_of_threads() -> None:
    features = RNG.normal(size=(50, 4)).astype(np.float32)
    labels = (features[:, 0] + RNG.normal(size=50) > 0).astype(int)
    folds, grid = draw_folds(labels, np.arange(50), 4, 0), make_grid(4, PENALTIES, GAMMA_FACTORS)
    (one, best, score), (two, *others) = (search_svm(features, labels, folds, grid, jobs) for jobs in (1, 3))
    assert [best, score] == others
    assert np.array_equal(one.decision_function(features), two.decision_function(features))


def test_rare_defects_weigh_as_much_as_good_images() -> None:
    """Two clouds that overlap, one of them ten times as large: the border lies halfway between them."""
    labels = np.repeat([0, 1], [300, 30])
    features = (RNG.normal(size=(330, 1)) + 2 * labels[:, np.newaxis]).astype(np.float32)
    folds = [(np.arange(330), np.arange(330))]
    svm, *_ = search_svm(features, labels, folds, make_grid(1, (1.0,), (1.0,)), 1)
    places = np.linspace(-2, 4, 601)[:, np.newaxis].astype(np.float32)
    border = places[np.argmin(np.abs(svm.decision_function(places)))].item()
    assert border == pytest.approx(1, abs=0.4)


def test_one_defective_group_is_too_few_to_search(
    pictures: tuple[np.ndarray, np.ndarray],
) -> None:
    pixels, labels = pictures
    few = np.flatnonzero(np.cumsum(labels) * labels <= 2)[:30]
    estimator = HandcraftedClassifier(("lbp",)).fit(pixels[few], labels[few], np.where(labels[few], 99, few))
    assert labels[few].sum() == 2
    assert np.isnan(estimator.best_score_)
    assert roc_auc_score(labels[few], estimator.decision_function(pixels[few])) > 0.9


GOOD_X = np.zeros((4, 64, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("pixels", "labels", "groups", "message"),
    [
        (GOOD_X.astype(float), [0, 1, 0, 1], None, "X must be pictures, uint8"),
        (GOOD_X[..., 0], [0, 1, 0, 1], None, "X must be pictures, uint8"),
        (GOOD_X, [0, 1, 0], None, "y must be 4 labels"),
        (GOOD_X, [0, 1, 2, 1], None, "y must be 4 labels"),
        (GOOD_X, [0, 0, 0, 0], None, "y must be 4 labels.* good and defective"),
        (GOOD_X, [0, 1, 0, 1], [1, 2], r"groups must be of shape \(4,\)"),
    ],
)
def test_what_is_no_picture_or_label_is_refused(
    pixels: np.ndarray, labels: list[int], groups: list[int] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        HandcraftedClassifier(("lbp",)).fit(pixels, labels, groups)


@pytest.mark.parametrize("settings_", [{"penalties": ()}, {"gamma_factors": (0.0, 1.0)}, {"folds": 1}])
def test_settings_that_search_nothing_are_refused(settings_: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings_))} must be"):
        HandcraftedClassifier(("lbp",), **settings_).fit(GOOD_X, [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("names", "message"), [(("hok",), "Did you mean 'hog'"), ((), "must name one at least of hog")]
)
def test_unknown_descriptors_are_named(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HandcraftedClassifier(names).fit(GOOD_X, [0, 1, 0, 1])
