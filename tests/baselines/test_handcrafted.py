"""Descriptors of pictures that are simple enough to be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mvdefect.baselines.handcrafted import (
    DESCRIPTORS,
    GLCM_PROPERTIES,
    LBP_RINGS,
    describe_colour,
    describe_glcm,
    describe_gradient,
    describe_hog,
    describe_lbp,
    describe_picture,
)
from tests.conftest import make_texture

FLAT = np.full((64, 64, 3), 100, np.uint8)


def draw_stripes(width: int, size: int = 64) -> np.ndarray:
    """Vertical stripes, black first."""
    row = np.where(np.arange(size) // width % 2, 255, 0).astype(np.uint8)
    return np.broadcast_to(row[np.newaxis, :, np.newaxis], (size, size, 3)).copy()


def test_a_flat_picture_has_no_edges() -> None:
    assert not describe_hog(FLAT).any()
    assert not describe_gradient(FLAT).any()


def test_a_flat_picture_has_one_pattern() -> None:
    """No neighbour is darker than its centre: the pattern of all ones, which comes last but one."""
    start = 0
    found = describe_lbp(FLAT)
    for neighbours, _ in LBP_RINGS:
        expected = np.zeros(neighbours + 2)
        expected[neighbours] = 1
        assert np.array_equal(found[start : start + neighbours + 2], expected)
        start += neighbours + 2
    assert start == len(found)


def test_a_flat_picture_has_one_pair_of_grey_levels() -> None:
    means, ranges = describe_glcm(FLAT).reshape(2, len(GLCM_PROPERTIES), 3)
    expected = {"contrast": 0, "dissimilarity": 0, "homogeneity": 1, "energy": 1, "correlation": 1, "ASM": 1}
    for name, row in zip(GLCM_PROPERTIES, means, strict=True):
        assert np.array_equal(row, [expected[name]] * 3), name
    assert not ranges.any()


def test_neighbours_in_the_finest_stripes_differ_across_and_agree_along() -> None:
    """Black is level 0 and white level 31, so a pair that differs has a contrast of 31² = 961.

    At 1 pixel pairs differ across and on both diagonals, three angles of four. At 2 and 4 pixels they
    agree across too, but diagonals reach 1 and 3 columns far, so two angles of four differ.
    """
    means, ranges = describe_glcm(draw_stripes(1)).reshape(2, len(GLCM_PROPERTIES), 3)
    assert means[0] == pytest.approx([961 * 3 / 4, 961 / 2, 961 / 2])
    assert ranges[0] == pytest.approx([961] * 3)
    correlation = GLCM_PROPERTIES.index("correlation")
    assert means[correlation, 0] == pytest.approx((1 - 3) / 4, abs=1e-3)


@pytest.mark.parametrize(("turned", "direction"), [(False, 0), (True, 4)])
def test_edges_of_stripes_go_one_way(turned: bool, direction: int) -> None:
    """Eight stripes of 8 pixels have 7 edges; each is seen in 2 of 64 columns, with a gradient of 1."""
    stripes = draw_stripes(8)
    found = describe_gradient(stripes.transpose(1, 0, 2) if turned else stripes)
    share = 7 * 2 / 64
    assert found[0] == pytest.approx(share)
    assert found[1] == pytest.approx(np.sqrt(share * (1 - share)))
    assert found[2:8] == pytest.approx([0, 0, 0, 1, 1, 1])  # quantiles 0.25, 0.5, 0.75, 0.9, 0.99, 1
    assert np.array_equal(found[8:17], np.eye(9)[direction])


def test_hog_sees_the_direction_of_stripes() -> None:
    across = describe_hog(draw_stripes(8)).reshape(7, 7, 2, 2, 9)
    along = describe_hog(draw_stripes(8).transpose(1, 0, 2)).reshape(7, 7, 2, 2, 9)
    assert across[..., 0].any()
    assert not across[..., 1:].any()
    assert along[..., 4].any()
    assert not np.delete(along, 4, axis=-1).any()


def test_colours_are_counted_by_channel() -> None:
    """Half of the picture is pure red, half is white."""
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[:32, :, 1:] = 0
    found = describe_colour(picture)
    histograms = found[:48].reshape(3, 16)
    assert np.array_equal(histograms[0], np.eye(16)[15])
    assert np.array_equal(histograms[1], (np.eye(16)[0] + np.eye(16)[15]) / 2)
    assert np.array_equal(histograms[2], histograms[1])
    assert found[48:] == pytest.approx([1, 0.5, 0.5, 0, 0.5, 0.5])


def test_patterns_do_not_depend_on_how_a_picture_is_turned() -> None:
    picture = make_texture(3, 64, 64)
    assert np.allclose(describe_lbp(picture), describe_lbp(np.rot90(picture).copy()), atol=0.01)
    assert not np.allclose(describe_hog(picture), describe_hog(np.rot90(picture).copy()), atol=0.01)


def test_all_are_joined_and_of_a_length_that_no_picture_changes() -> None:
    pictures = [FLAT, draw_stripes(4, 96), make_texture(1, 64, 64)]
    lengths = {len(describe_picture(picture)) for picture in pictures}
    assert lengths == {sum(len(describe(FLAT)) for describe in DESCRIPTORS.values())}
    joined = describe_picture(pictures[2], ("lbp", "hog"))
    assert np.array_equal(joined, np.concatenate([describe_lbp(pictures[2]), describe_hog(pictures[2])]))
    assert joined.dtype == np.float32
    assert np.isfinite(joined).all()
