"""Gaussians of the whole image and of each position, against SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import OAS, LedoitWolf

from mvdefect.core.errors import ConfigError
from mvdefect.models.feature_maps import average_neighbourhoods
from mvdefect.models.gaussians import (
    fit_gaussian,
    fit_patch_gaussians,
    fit_pooled_gaussian,
    shrink_covariances,
)

RNG = np.random.default_rng(0)
MIX = RNG.normal(0, 1, (6, 6))
GOOD = (RNG.normal(0, 1, (60, 3, 4, 6)) @ MIX + 20).astype(np.float32)
NEW = (RNG.normal(0, 2, (5, 3, 4, 6)) @ MIX + 20).astype(np.float32)


def test_pooled_distances_are_those_of_scikit_learn() -> None:
    fitted = LedoitWolf().fit(GOOD.mean(axis=(1, 2)).astype(np.float64))
    expected = np.sqrt(fitted.mahalanobis(NEW.mean(axis=(1, 2)).astype(np.float64)))
    normality = fit_pooled_gaussian(GOOD)
    assert np.allclose(normality.score_images(NEW), expected)
    assert np.allclose(fit_gaussian(GOOD.mean(axis=(1, 2))).score(NEW.mean(axis=(1, 2))), expected)


def test_each_position_has_the_mahalanobis_distance_of_scipy() -> None:
    found = fit_patch_gaussians(GOOD).score_positions(NEW)
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
    normality = fit_patch_gaussians(good)
    assert normality.score_images(good).max() < 6
    assert normality.score_images(good[:10, :, ::-1]).min() > 100


def test_positions_that_never_change_do_not_break_it() -> None:
    good = GOOD.copy()
    good[:, :, :2] = 7  # padding
    normality = fit_patch_gaussians(good)
    assert np.allclose(normality.score_positions(good)[:, :, 0], 0, atol=1e-3)
    odd = good.copy()
    odd[0, 0, 0] += 10
    assert normality.score_images(odd).argmax() == 0
    constant = fit_patch_gaussians(np.full((4, 3, 3, 2), 5, np.float32))
    assert np.allclose(constant.score_images(np.full((1, 3, 3, 2), 5, np.float32)), 0)
    assert np.isfinite(constant.score_images(GOOD[:, :, :3, :2])).all()


def test_channels_are_drawn_by_the_seed() -> None:
    first, again, other = (fit_patch_gaussians(GOOD, seed, 3) for seed in (1, 1, 2))
    assert len(set(first.channels)) == 3
    assert np.array_equal(first.channels, again.channels)
    assert np.array_equal(first.score_positions(NEW), again.score_positions(NEW))
    assert not np.array_equal(first.channels, other.channels)
    chosen = fit_patch_gaussians(GOOD[..., first.channels]).score_positions(NEW[..., first.channels])
    assert np.allclose(first.score_positions(NEW), chosen, rtol=1e-4)


def test_no_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_channels must be at least 1. Received: max_channels=0"):
        fit_patch_gaussians(GOOD, max_channels=0)
