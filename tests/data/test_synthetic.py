"""Drawn parts: deterministic, with exact masks, in MVTec AD's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mvdefect.data.layouts import read_records
from mvdefect.data.records import count_by_stratum
from mvdefect.data.synthetic import DEFECTS, MIN_DEFECT_AREA, PARTS, draw_image, write_parts
from mvdefect.errors import LayoutError

EVERY_DEFECT = [(category, defect) for category, (_, defects) in PARTS.items() for defect in defects]


@pytest.mark.parametrize(("category", "defect_type"), EVERY_DEFECT)
def test_a_defect_changes_the_picture_where_its_mask_says(category: str, defect_type: str) -> None:
    for number in range(3):
        image, mask = draw_image(category, defect_type, number, seed=0, size_px=96)
        assert image.shape == (96, 96, 3)
        assert image.dtype == np.uint8
        assert MIN_DEFECT_AREA <= mask.mean() < 0.2


@pytest.mark.parametrize(("category", "defect_type"), EVERY_DEFECT)
def test_outside_its_mask_a_part_stays_flawless(category: str, defect_type: str) -> None:
    for seed in range(5):
        part = PARTS[category][0](np.random.default_rng(seed), 96)
        canvas, mask = DEFECTS[defect_type](part, np.random.default_rng(seed))
        change = np.abs(canvas - part.canvas).max(axis=2)
        outside = change[~mask]
        assert np.percentile(outside, 99) < 0.1
        if mask.any():
            assert change[mask].mean() > outside.mean()
        assert not (mask & ~part.surface).any()


def test_good_images_have_no_mask() -> None:
    assert not draw_image("fabric", "good", 0, seed=0, size_px=64)[1].any()


def test_an_image_is_a_function_of_its_name_and_seed() -> None:
    first, _ = draw_image("washer", "dent", 3, seed=1, size_px=64)
    again, _ = draw_image("washer", "dent", 3, seed=1, size_px=64)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, draw_image("washer", "dent", 4, seed=1, size_px=64)[0])
    assert not np.array_equal(first, draw_image("washer", "dent", 3, seed=2, size_px=64)[0])


def test_the_folder_is_that_of_mvtec_ad(parts_root: Path) -> None:
    records = read_records(parts_root)
    expected = {f"{category}/{defect}": 5 for category, defect in EVERY_DEFECT}
    assert count_by_stratum(records) == {**expected, "fabric/good": 20, "washer/good": 20}
    assert all((record.mask_path is not None) == bool(record.label) for record in records)


def test_drawing_again_changes_nothing(tmp_path: Path) -> None:
    root = write_parts(tmp_path / "parts", good=2, defective_per_type=1, size_px=64)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    write_parts(root, good=2, defective_per_type=1, size_px=64)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(LayoutError, match="new or empty folder"):
        write_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
