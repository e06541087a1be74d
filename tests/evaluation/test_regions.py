"""Suspicious regions: where they lie in the image itself, and what is none."""

from __future__ import annotations

import numpy as np
import pytest

from mvdefect.core.errors import ConfigError
from mvdefect.data.resizing import mark_photograph
from mvdefect.evaluation.regions import (
    MOST_REGIONS,
    ImagePlace,
    RegionRule,
    choose_region_rule,
    cut_cells,
    cut_heat,
    describe_regions,
    find_place,
    find_regions,
    parse_regions,
    trace_regions,
)

RULE = RegionRule(level=2.0, usual=0.0)
WIDE = find_place(400, 800, (80, 80), "letterbox")  # in rows 20 to 60 of what is seen


def draw_heat(*spots: tuple[int, int, float], shape: tuple[int, int] = (16, 16)) -> np.ndarray:
    """Return a map of zeros with blocks of two by two cells of a height."""
    heat = np.zeros(shape, np.float32)
    for row, column, height in spots:
        heat[row : row + 2, column : column + 2] = height
    return heat


def test_a_box_lies_where_the_heat_is_in_pixels_of_the_image() -> None:
    """Cells 6 and 7 of rows and 10 and 11 of columns, a cell being 50 pixels, and 4 rows of padding above."""
    (found,) = find_regions(draw_heat((6, 10, 10.0)), WIDE, RULE)
    # half of 10 is reached half a cell from the centre of the last hot cell: at its edge
    assert (found.x, found.y) == pytest.approx((500, 100), abs=10)
    assert (found.width, found.height) == pytest.approx((100, 100), abs=15)
    assert found.area == pytest.approx(100 * 100, rel=0.25)
    assert found.peak == 10
    assert 500 <= found.peak_x < 600
    assert 100 <= found.peak_y < 200
    assert found.width_mm is None


def test_sizes_are_in_millimetres_where_pixels_are_known() -> None:
    (found,) = find_regions(draw_heat((6, 10, 10.0)), WIDE, RULE, mm_per_px=0.02)
    assert found.width_mm == pytest.approx(0.02 * found.width)
    assert found.height_mm == pytest.approx(0.02 * found.height)
    assert found.area_mm2 == pytest.approx(0.0004 * found.area)
    assert found.scale(None).area_mm2 is None


@pytest.mark.parametrize(("height", "width"), [(400, 800), (800, 400), (100, 1000), (37, 53)])
@pytest.mark.parametrize("cells", [(16, 16), (7, 7), (80, 80), (10, 20)])
def test_padding_is_no_peak_no_region_and_no_part_of_a_maximum(
    height: int, width: int, cells: tuple[int, int]
) -> None:
    size_px = (160, 160)
    place = find_place(height, width, size_px, "letterbox")
    inside = mark_photograph(height, width, size_px)
    centres = [((np.arange(count) + 0.5) * 160 / count).astype(int) for count in cells]
    is_image = inside[np.ix_(*centres)]
    heat = np.where(is_image, 1.0, 1000.0).astype(np.float32)
    assert is_image.any()
    assert cut_heat(heat, place).max() == 1
    assert cut_cells(heat, place).size == is_image.sum()
    assert choose_region_rule([heat], [place]).level == pytest.approx(1)
    assert find_regions(heat, place, RULE) == ()
    (peak,) = find_regions(heat, place, RULE, needs_peak=True)
    assert peak.peak == 1


def test_a_strip_between_centres_has_the_cell_in_its_middle() -> None:
    heat = np.arange(16, dtype=np.float32).reshape(4, 4)
    place = ImagePlace(10, 1000, rows=(0.51, 0.6))
    assert cut_cells(heat, place).tolist() == [[8, 9, 10, 11]]
    assert cut_heat(heat, place).max() == 11


def test_good_images_have_no_region_and_a_defective_one_has_its_peak() -> None:
    heat = draw_heat((6, 10, 1.5), (9, 3, 1.0))
    assert find_regions(heat, WIDE, RULE) == ()
    (found,) = find_regions(heat, WIDE, RULE, needs_peak=True)
    assert found.peak == 1.5
    assert found.x <= 500 < 600 <= found.x + found.width
    assert found.x > 350, "the other spot, and what lies between them, is no part of it"
    flat = find_regions(np.zeros((4, 4)), ImagePlace(40, 40), RULE, needs_peak=True)
    assert [(one.x, one.y, one.width, one.height) for one in flat] == [(0, 0, 40, 40)]


def test_a_strong_defect_ends_at_half_its_height_and_a_weak_one_at_the_level() -> None:
    """Cones of a height of 20 and of 3, which fall by 1 a cell and by 0.25."""
    far = np.hypot(*np.mgrid[-20:21, -20:21])
    strong, weak = (find_regions(heat, ImagePlace(410, 410), RULE) for heat in (20 - far, 3 - far / 4))
    assert [one.width for one in strong] == pytest.approx([10 * 2 * 10], abs=12)
    assert [one.width for one in weak] == pytest.approx([10 * 2 * 4], abs=12)
    both = np.concatenate([20 - far, np.maximum(9 - far, 3)], axis=1)  # joined above the level
    found = find_regions(both, ImagePlace(410, 820), RULE)
    assert found[0].x + found[0].width < 410


def test_the_highest_comes_first_and_specks_are_left_out() -> None:
    heat = draw_heat((5, 1, 5.0), (9, 6, 9.0), (5, 12, 7.0))
    heat[10, 1] = 2.3  # a tip of a single cell
    found = find_regions(heat, WIDE, RULE)
    assert [one.peak for one in found] == [9, 7, 5]
    heat[10, 1] = 20
    assert find_regions(heat, WIDE, RegionRule(19.0, 0.0))[0].peak == 20, "a speck that is the peak stays"
    many = np.zeros((40, 40))
    many[::4, ::4] = many[1::4, ::4] = 50
    assert len(find_regions(many, ImagePlace(400, 400), RULE)) == MOST_REGIONS


def test_boxes_stay_within_the_image() -> None:
    for size in ((1, 1), (3, 1000), (11_000, 9000)):
        place = find_place(*size, (64, 64), "letterbox")
        heat = np.full((8, 8), 5.0)
        (found,) = find_regions(heat, place, RULE)
        assert (found.x, found.y, found.height, found.width) == (0, 0, *size)
        assert found.area == size[0] * size[1]
        for outline in trace_regions(heat, place, RULE):
            assert outline.min() >= 0
            assert (outline.reshape(-1, 2).max(axis=0) < (size[1], size[0])).all()


def test_an_outline_goes_round_its_region() -> None:
    heat = draw_heat((6, 10, 10.0))
    (region,) = find_regions(heat, WIDE, RULE)
    (outline,) = trace_regions(heat, WIDE, RULE)
    x, y = outline.reshape(-1, 2).T
    assert (x.min(), y.min()) == pytest.approx((region.x, region.y), abs=6)
    assert (x.max(), y.max()) == pytest.approx((region.x + region.width, region.y + region.height), abs=6)


def test_one_good_image_in_twenty_may_have_a_region() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(12, 12)).astype(np.float32) for _ in range(100)]
    places = [ImagePlace(120, 120)] * 100
    rule = choose_region_rule(maps, places)
    alarms = sum(cut_heat(heat, place).max() >= rule.level for heat, place in zip(maps, places, strict=True))
    assert 4 <= alarms <= 5
    assert rule.usual == pytest.approx(0, abs=0.05)
    few = choose_region_rule(maps[:10], places[:10])
    assert not any(find_regions(heat, place, few) for heat, place in zip(maps[:10], places, strict=False))
    for bad in ([], [np.full((2, 2), np.nan)]):
        with pytest.raises(ConfigError, match="maps must be finite, one at least"):
            choose_region_rule(bad, places[: len(bad)])


def test_regions_survive_json() -> None:
    found = find_regions(draw_heat((6, 10, 10.0)), WIDE, RULE, mm_per_px=0.5)
    assert parse_regions(describe_regions(found)) == found
    bare = describe_regions([found[0].scale(None)])
    assert "width_mm" not in bare[0]
    for tree, error in (
        ({}, TypeError),
        ([{"x": 1}], TypeError),
        ([{**bare[0], "x": "1"}], TypeError),
        ([{**bare[0], "x": -1}], ValueError),
        ([{**bare[0], "peak": float("nan")}], ValueError),
    ):
        with pytest.raises(error):
            parse_regions(tree)
