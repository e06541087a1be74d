"""The estimators: scikit-learn's interface, better than chance, repeatable, and kept whole on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import keras
import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.metrics import roc_auc_score

from mvdefect.baselines.frozen import FrozenSVMClassifier
from mvdefect.baselines.handcrafted import HandcraftedClassifier
from mvdefect.baselines.majority import MajorityClassifier
from mvdefect.baselines.one_class import OneClassDetector, draw_aside
from mvdefect.core.errors import ConfigError
from mvdefect.models.backbones import find_backbone
from mvdefect.models.classifier import build_classifier
from mvdefect.models.gaussians import PooledGaussian
from mvdefect.models.heads import HeadSettings
from mvdefect.models.normality import KINDS

Pictures = tuple[np.ndarray, np.ndarray]

ESTIMATORS = {
    "majority": MajorityClassifier(),
    "handcrafted": HandcraftedClassifier(penalties=(1.0, 10.0), gamma_factors=(0.3, 1.0)),
    "frozen-svm": FrozenSVMClassifier("small_cnn", "none", (1.0, 10.0), (0.3, 1.0)),
    "one-class": OneClassDetector("padim", "small_cnn", "none"),
}


def fit(estimator: Any, pictures: Pictures) -> Any:
    """Fit on the first 50 pictures; the others are for a test."""
    pixels, labels = pictures
    return clone(estimator).fit(pixels[:50], labels[:50], groups=np.arange(50) // 2)


@pytest.fixture(scope="module")
def fitted(pictures: Pictures) -> dict[str, Any]:
    return {name: fit(estimator, pictures) for name, estimator in ESTIMATORS.items()}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_settings_can_be_read_changed_and_cloned(name: str) -> None:
    estimator = ESTIMATORS[name]
    settings = estimator.get_params()
    again = clone(estimator)
    assert again is not estimator
    assert again.get_params() == settings
    if "seed" in settings:
        assert again.set_params(seed=7).seed == 7
        assert estimator.seed == 0
    with pytest.raises(ValueError, match="Invalid parameter"):
        again.set_params(sead=7)
    assert is_classifier(estimator)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_clone_of_what_is_fitted_is_not_fitted(name: str, fitted: dict[str, Any]) -> None:
    assert [key for key in vars(fitted[name]) if key.endswith("_")]
    assert not [key for key in vars(clone(fitted[name])) if key.endswith("_")]


@pytest.mark.parametrize("name", ["handcrafted", "frozen-svm", "one-class"])
def test_plain_defects_are_told_from_good_pictures(
    name: str, fitted: dict[str, Any], pictures: Pictures
) -> None:
    pixels, labels = pictures
    scores = fitted[name].decision_function(pixels[50:])
    assert scores.shape == (30,)
    assert scores.dtype == np.float64
    assert roc_auc_score(labels[50:], scores) > 0.75  # by chance, one in a hundred


@pytest.mark.parametrize("name", ESTIMATORS)
def test_verdicts_are_the_signs_of_decisions(name: str, fitted: dict[str, Any], pictures: Pictures) -> None:
    pixels, labels = pictures
    verdicts = fitted[name].predict(pixels[50:])
    assert np.array_equal(verdicts, (fitted[name].decision_function(pixels[50:]) >= 0).astype(int))
    assert fitted[name].score(pixels[50:], labels[50:]) == pytest.approx(np.mean(verdicts == labels[50:]))
    assert fitted[name].classes_.tolist() == [0, 1]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_two_fits_agree_to_the_last_bit(name: str, fitted: dict[str, Any], pictures: Pictures) -> None:
    keras.utils.set_random_seed(99)  # nothing may depend on what ran before
    again = fit(ESTIMATORS[name], pictures)
    rest = pictures[0][50:]
    assert np.array_equal(again.decision_function(rest), fitted[name].decision_function(rest))


@pytest.mark.parametrize("name", ["frozen-svm", "one-class"])
def test_another_seed_draws_other_random_weights(
    name: str, fitted: dict[str, Any], pictures: Pictures
) -> None:
    other = fit(clone(ESTIMATORS[name]).set_params(seed=5), pictures)
    rest = pictures[0][50:]
    assert not np.allclose(other.decision_function(rest), fitted[name].decision_function(rest))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_is_kept_on_disk_decides_the_same(
    name: str, fitted: dict[str, Any], pictures: Pictures, tmp_path: Path
) -> None:
    joblib.dump(fitted[name], tmp_path / "model.joblib")
    again = joblib.load(tmp_path / "model.joblib")
    rest = pictures[0][50:]
    assert np.array_equal(again.decision_function(rest), fitted[name].decision_function(rest))


@pytest.mark.parametrize("name", ["handcrafted", "frozen-svm", "one-class"])
def test_pictures_are_scored_one_by_one(name: str, fitted: dict[str, Any], pictures: Pictures) -> None:
    rest = pictures[0][50:53]
    single = np.concatenate([fitted[name].decision_function(rest[i : i + 1]) for i in range(3)])
    assert np.allclose(single, fitted[name].decision_function(rest), atol=1e-4)


def test_the_majority_is_counted() -> None:
    pixels = np.zeros((10, 8, 8, 3), np.uint8)
    few = MajorityClassifier().fit(pixels, [1, 1, *[0] * 8])
    assert few.decision_function(pixels[:2]) == pytest.approx([np.log(2 / 8)] * 2)
    assert few.predict(pixels[:3]).tolist() == [0, 0, 0]
    most = MajorityClassifier().fit(pixels, [0, 0, 0, *[1] * 7])
    assert most.predict(pixels[:3]).tolist() == [1, 1, 1]
    assert MajorityClassifier().fit(pixels, [0, 1] * 5).predict(pixels[:1]).tolist() == [1]
    with pytest.raises(ConfigError, match="good and defective"):
        MajorityClassifier().fit(pixels, [0] * 10)


def test_frozen_features_are_the_averages_of_two_maps(fitted: dict[str, Any], pictures: Pictures) -> None:
    """Built again from the same seed, and averaged by NumPy."""
    pixels = pictures[0][:4]
    keras.utils.set_random_seed(0)
    model = build_classifier(find_backbone("small_cnn"), (64, 64), HeadSettings(), 2, None)
    maps = model.get_layer("backbone")(model.get_layer("scaling")(pixels))
    expected = np.concatenate([np.mean(found, axis=(1, 2)) for found in maps], axis=1)
    assert expected.shape == (4, 48 + 64)
    assert np.allclose(fitted["frozen-svm"].network_.predict_on_batch(pixels), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_class_never_looks_at_defective_pictures(kind: str, pictures: Pictures) -> None:
    """Other defective pictures, or none at all, change nothing, to the last bit."""
    pixels, labels = pictures[0][:50], pictures[1][:50]
    groups, rest = np.arange(50) // 3, pictures[0][50:]
    noise = np.random.default_rng(1).integers(0, 256, pixels.shape).astype(np.uint8)
    changed = np.where(labels[:, np.newaxis, np.newaxis, np.newaxis] == 1, noise, pixels)
    good = labels == 0
    assert not np.array_equal(changed, pixels)
    estimator = OneClassDetector(kind, "small_cnn", "none")
    expected = clone(estimator).fit(pixels, labels, groups).decision_function(rest)
    assert np.array_equal(clone(estimator).fit(changed, labels, groups).decision_function(rest), expected)
    alone = clone(estimator).fit(pixels[good], None, groups[good])
    assert np.array_equal(alone.decision_function(rest), expected)
    relabelled = clone(estimator).fit(pixels, np.zeros(50, int), groups)
    assert not np.allclose(relabelled.decision_function(rest), expected)


def test_one_class_decides_on_good_pictures_that_it_had_not_seen(pictures: Pictures) -> None:
    """Found again from what was kept aside: of its distances the median is at -1, its third quartile at 0."""
    pixels = pictures[0][pictures[1] == 0]
    detector = OneClassDetector("gaussian", "small_cnn", "none", contamination=0.25).fit(pixels)
    aside = draw_aside(np.arange(40), 0)
    maps = detector.network_.predict_on_batch(pixels)
    first = PooledGaussian.fit(maps[~aside])
    distances = first.score_images(maps[aside])
    assert len(distances) == 8
    assert detector.limit_ == pytest.approx(np.quantile(distances, 0.75), rel=1e-4)
    assert detector.scale_ == pytest.approx(np.quantile(distances, 0.75) - np.median(distances), rel=1e-3)
    whole = PooledGaussian.fit(maps).score_images(maps)
    expected = (whole - detector.limit_) / detector.scale_
    assert np.allclose(detector.decision_function(pixels), expected, atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_the_distances_of_positions_show_where(kind: str, pictures: Pictures) -> None:
    pixels = pictures[0][pictures[1] == 0]
    detector = OneClassDetector(kind, "small_cnn", "none").fit(pixels[:30])
    planted = pixels[30:31].copy()
    planted[:, 40:52, 8:20] = (255, 0, 255)
    maps = detector.map_distances(planted)
    assert maps is not None
    cell = 64 / maps.shape[1]
    row, column = np.unravel_index(maps[0].argmax(), maps.shape[1:])
    assert 40 - cell <= (row + 0.5) * cell <= 52 + cell
    assert 8 - cell <= (column + 0.5) * cell <= 20 + cell


def test_a_fifth_of_whole_groups_is_kept_aside() -> None:
    groups = np.random.default_rng(0).integers(0, 20, 100)
    aside = draw_aside(groups, 0)
    assert not set(groups[aside]) & set(groups[~aside])
    assert len(set(groups[aside])) == round(len(set(groups)) / 5)
    assert not np.array_equal(aside, draw_aside(groups, 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "patchcore"}, "unknown kind of one-class score 'patchcore'"),
        ({"contamination": 0.5}, "contamination must be above 0 and below 0.5"),
        ({"backbone": "small_cn"}, "Did you mean 'small_cnn'"),
    ],
)
def test_bad_settings_are_told(settings: dict[str, Any], message: str, pictures: Pictures) -> None:
    with pytest.raises(ConfigError, match=message):
        clone(ESTIMATORS["one-class"]).set_params(**settings).fit(pictures[0][:20])


def test_too_few_good_pictures_are_told(pictures: Pictures) -> None:
    with pytest.raises(ConfigError, match="at least 5 groups in train. Received: 12 images of 4 groups"):
        clone(ESTIMATORS["one-class"]).fit(pictures[0][:12], groups=np.arange(12) // 3)
