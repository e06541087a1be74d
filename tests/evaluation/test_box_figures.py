"""Figures of boxes, by images whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from mvdefect.evaluation.box_figures import find_chance, holds_defect, measure_boxes
from mvdefect.evaluation.regions import ImagePlace, RegionRule, SuspiciousRegion

RULE = RegionRule(level=2.0, usual=0.0)


def make_heat(row: int, column: int, height: float) -> np.ndarray:
    heat = np.zeros((8, 8), np.float32)
    heat[row : row + 2, column : column + 2] = height
    return heat


def test_boxes_hit_and_miss() -> None:
    """Two of three defects are hit, the second by a peak below the level; a good image has a box."""
    masks = np.zeros((5, 80, 80), bool)
    masks[0, 12:18, 12:18] = masks[1, 62:66, 62:66] = masks[2, 5:8, 70:75] = True
    maps = [
        make_heat(1, 1, 9),
        make_heat(6, 6, 1),
        make_heat(5, 0, 9),
        make_heat(3, 3, 1),
        make_heat(3, 3, 5),
    ]
    found = measure_boxes(maps, [ImagePlace(80, 80)] * 5, list(masks), RULE, np.arange(5), replicates=10)
    assert (found.defective, found.good) == (3, 2)
    assert found.hits.value == pytest.approx(2 / 3)
    assert found.alarms.value == 0.5
    assert found.box_share == pytest.approx(400 / 6400, rel=0.2)
    assert 0 < found.chance < 0.3


def test_chance_counts_every_place_of_a_box() -> None:
    region = SuspiciousRegion(0, 0, 3, 2, 6, 1.0, 0, 0)
    mask = np.zeros((5, 7), bool)
    mask[4, 6] = True
    hits = [
        holds_defect(SuspiciousRegion(x, y, 3, 2, 6, 1.0, x, y), mask) for y in range(4) for x in range(5)
    ]
    assert find_chance(region, mask) == pytest.approx(np.mean(hits))
    assert sum(hits) == 1


def test_without_defects_there_is_nothing_to_hit() -> None:
    found = measure_boxes(
        [make_heat(1, 1, 9)], [ImagePlace(80, 80)], [np.zeros((80, 80), bool)], RULE, np.arange(1)
    )
    assert np.isnan(found.hits.value)
    assert found.alarms.value == 1
