"""Heatmaps over photographs: what is usual stays as it is, what is suspicious glows."""

from __future__ import annotations

import numpy as np
import pytest

from mvdefect.core.errors import ConfigError
from mvdefect.evaluation.heatmaps import choose_heat_range
from mvdefect.evaluation.overlays import overlay_heatmap

GREY = np.full((40, 60, 3), 128, np.uint8)


def test_low_values_leave_the_photograph_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    before = image.copy()
    found = overlay_heatmap(image, np.full((4, 6), -3, np.float16), 0.0, 1.0)
    assert np.array_equal(found, image)
    assert np.array_equal(image, before)
    assert found is not image


def test_the_hot_place_glows_and_the_rest_does_not() -> None:
    heatmap = np.zeros((4, 6), np.float16)
    heatmap[1, 4] = 5
    found = overlay_heatmap(GREY, heatmap, 0.0, 1.0)
    assert found.shape == GREY.shape
    assert found.dtype == np.uint8
    changed = (found != GREY).any(axis=2)
    ys, xs = np.nonzero(changed)
    assert (ys.min() + ys.max() + 1) / 2 == pytest.approx(15)  # the centre of row 1 of 4 in 40 pixels
    assert (xs.min() + xs.max() + 1) / 2 == pytest.approx(45)
    assert changed.mean() < 0.2
    expected = 0.4 * 128 + 0.6 * np.array([252, 255, 164])  # the upper end of 'inferno'
    assert np.allclose(found[15, 45], expected, atol=1)


def test_more_heat_is_more_colour() -> None:
    """Each step up the scale lies farther from the photograph than the step before it."""
    ramp = np.linspace(0, 1, 21)
    shades = [overlay_heatmap(GREY, np.full((2, 2), heat), 0.0, 1.0)[0, 0].astype(int) for heat in ramp]
    distances = [np.abs(shade - 128).sum() for shade in shades]
    assert distances[0] == 0
    assert distances[-1] == max(distances)
    assert len({tuple(shade) for shade in shades}) == 21


def test_a_range_leaves_good_photographs_below_its_middle() -> None:
    good = np.random.default_rng(0).normal(-2, 1, (200, 14, 14)).astype(np.float16)
    low, high = choose_heat_range(good)
    assert low == pytest.approx(-2, abs=0.1)
    assert high == pytest.approx(-2 + 2 * 3.09, abs=0.3)
    assert np.mean((good - low) / (high - low) < 0.5) > 0.998
    low, high = choose_heat_range(np.ones((2, 3, 3)))
    assert low < high


def test_what_does_not_fit_is_refused() -> None:
    heatmap = np.zeros((2, 2), np.float32)
    with pytest.raises(ConfigError, match="high must be above low. Received: low=1, high=1"):
        overlay_heatmap(GREY, heatmap, 1, 1)
    with pytest.raises(ConfigError, match="high must be above low"):
        overlay_heatmap(GREY, heatmap, float("nan"), 1)
    for image, given in ((GREY[..., 0], heatmap), (GREY / 255, heatmap), (GREY, heatmap[np.newaxis])):
        with pytest.raises(ConfigError, match="image must be uint8 of shape"):
            overlay_heatmap(image, given, 0, 1)
    for maps in (np.zeros((0, 2, 2)), np.full((1, 2, 2), np.nan)):
        with pytest.raises(ConfigError, match="maps must be finite, one at least"):
            choose_heat_range(maps)
