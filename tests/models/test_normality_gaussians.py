"""Gaussians of the whole image and of each position, against SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import OAS, LedoitWolf

from mvdefect.core.errors import ConfigError
from mvdefect.models.feature_maps import average_neighbourhoods
from mvdefect.models.gaussians import PatchGaussians, PooledGaussian, shrink_covariances

RNG = np.random.default_rng(0)
MIX = RNG.normal(0, 1, (6, 6))
GOOD = (RNG.normal(0, 1, (60, 3, 4, 6)) @ MIX + 20).astype(np.float32)
NEW = (RNG.normal(0, 2, (5, 3, 4, 6)) @ MIX + 20).astype(np.float32)


def test_pooled_distances_are_those_of_scikit_learn() -> None:
    fitted = LedoitWolf().fit(GOOD.mean(axis=(1, 2)).astype(np.float64))
    expected = np.sqrt(fitted.mahalanobis(NEW.mean(axis=(1, 2)).astype(np.float64)))
    assert np.allclose(PooledGaussian.fit(GOOD).score_images(NEW), expected)


def test_mahalanobis_distance_of_a_known_gaussian() -> None:
    rng = np.random.default_rng(0)
    scale = np.array([1.0, 2.0, 4.0])
    good = (rng.normal(0, 1, (20_000, 1, 1, 3)) * scale + 10).astype(np.float32)
    points = np.array([[10, 10, 10], [13, 10, 10], [10, 10, 22]], np.float32).reshape(3, 1, 1, 3)
    assert np.allclose(PooledGaussian.fit(good).score_images(points), [0, 3, 3], atol=0.15)


def test_novelty_works_with_fewer_images_than_features() -> None:
    rng = np.random.default_rng(0)
    normality = PooledGaussian.fit(rng.normal(0, 1, (20, 1, 1, 100)))
    near, far = rng.normal(0, 1, (10, 1, 1, 100)), rng.normal(3, 1, (10, 1, 1, 100))
    assert normality.score_images(near).max() < normality.score_images(far).min()


def test_each_position_has_the_mahalanobis_distance_of_scipy() -> None:
    found = PatchGaussians.fit(GOOD).score_positions(NEW)
    good = average_neighbourhoods(GOOD).astype(np.float64)
    new = average_neighbourhoods(NEW).astype(np.float64)
    for row, column in np.ndindex(3, 4):
        fitted = OAS().fit(good[:, row, column])
        precision = np.linalg.inv(fitted.covariance_)
        for image in range(len(new)):
            expected = mahalanobis(new[image, row, column], fitted.location_, precision)
            assert np.isclose(found[image, row, column], expected, rtol=0.01)


@pytest.mark.parametrize("count", [3, 10, 500])
def test_shrinkage_is_that_of_scikit_learn(count: int) -> None:
    points = RNG.normal(0, 1, (2, count, 6)) @ MIX
    empirical = np.stack([np.cov(side.T, bias=True) for side in points])
    expected = np.stack([OAS().fit(side).covariance_ for side in points])
    assert np.allclose(shrink_covariances(empirical, count), expected)


def test_a_position_is_compared_with_itself_alone() -> None:
    good = RNG.normal(0, 1, (200, 1, 8, 2)).astype(np.float32)
    good[:, :, 4:] += 50  # the right half is bright
    normality = PatchGaussians.fit(good)
    assert normality.score_images(good).max() < 6
    assert normality.score_images(good[:10, :, ::-1]).min() > 100


def test_positions_that_never_change_do_not_break_it() -> None:
    good = GOOD.copy()
    good[:, :, :2] = 7  # padding
    normality = PatchGaussians.fit(good)
    assert np.allclose(normality.score_positions(good)[:, :, 0], 0, atol=1e-3)
    odd = good.copy()
    odd[0, 0, 0] += 10
    assert normality.score_images(odd).argmax() == 0
    constant = PatchGaussians.fit(np.full((4, 3, 3, 2), 5, np.float32))
    assert np.allclose(constant.score_images(np.full((1, 3, 3, 2), 5, np.float32)), 0)
    assert np.isfinite(constant.score_images(GOOD[:, :, :3, :2])).all()


def test_channels_are_drawn_by_the_seed() -> None:
    first, again, other = (PatchGaussians.fit(GOOD, seed, 3) for seed in (1, 1, 2))
    assert len(set(first.channels)) == 3
    assert np.array_equal(first.channels, again.channels)
    assert np.array_equal(first.score_positions(NEW), again.score_positions(NEW))
    assert not np.array_equal(first.channels, other.channels)
    chosen = PatchGaussians.fit(GOOD[..., first.channels]).score_positions(NEW[..., first.channels])
    assert np.allclose(first.score_positions(NEW), chosen, rtol=1e-4)


def test_no_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_channels must be at least 1. Received: max_channels=0"):
        PatchGaussians.fit(GOOD, max_channels=0)
