"""The region that counts: read from masks and polygons, brought to working size, and kept with its colour."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mvdefect.core.errors import ConfigError, RunError
from mvdefect.data.counted_region import (
    CountedRegion,
    choose_region,
    find_common_size,
    fit_to_working_size,
    read_drawing,
    read_region,
    write_region,
)
from mvdefect.data.resizing import resize_image

SQUARE = [[10, 5], [30, 5], [30, 25], [10, 25]]
EXPECTED = np.zeros((40, 60), bool)
EXPECTED[5:25, 10:30] = True


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_mask(path: Path, mask: NDArray[np.bool_]) -> Path:
    cv2.imwrite(str(path), mask.astype(np.uint8) * 255)
    return path


@pytest.mark.parametrize(
    "content",
    [
        SQUARE,
        [SQUARE],
        [[[10, 5], [20, 5], [20, 25], [10, 25]], [[20, 5], [30, 5], [30, 25], [20, 25]]],
        [[x / 60, y / 40] for x, y in SQUARE],
        {"imageHeight": 40, "imageWidth": 60, "shapes": [{"label": "part", "points": SQUARE}]},
    ],
    ids=["one", "list", "two", "fractions", "labelme"],
)
def test_polygons_are_read_in_every_way_they_are_written(tmp_path: Path, content: object) -> None:
    assert (read_drawing(write(tmp_path / "part.json", content)).draw((40, 60)) == EXPECTED).all()


def test_a_drawing_fits_images_of_the_same_shape_at_another_scale(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.png", EXPECTED)
    large = read_drawing(mask).draw((400, 600))
    assert (large == np.kron(EXPECTED, np.ones((10, 10), bool))).all()
    odd = read_drawing(mask).draw((401, 600))  # 40.1 rows are 40
    assert abs(odd.mean() - EXPECTED.mean()) < 0.01


@pytest.mark.parametrize(
    ("make", "size_px", "words"),
    [
        (lambda path: path / "nothing.png", (40, 60), "No such file"),
        (lambda path: write_mask(path / "m.png", np.zeros((40, 60), bool)), (40, 60), "make white"),
        (lambda path: write_mask(path / "m.png", EXPECTED), (60, 60), "60x40 pixels and images have 60x60"),
        (lambda path: write(path / "m.json", SQUARE[:2]), (40, 60), "three or more corners"),
        (lambda path: write(path / "m.json", {"a": 1}), (40, 60), "three or more corners"),
        (lambda path: write(path / "m.json", [["a", "b"]] * 3), (40, 60), "three or more corners"),
        (lambda path: write(path / "m.json", [[0, 0], [90, 0], [9, 9]]), (40, 60), "corner at (90, 0)"),
        (lambda path: write(path / "m.json", []), (40, 60), "three or more corners"),
    ],
)
def test_a_bad_file_is_told_in_one_line(tmp_path: Path, make, size_px, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError) as caught:
        read_drawing(make(tmp_path)).draw(size_px)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_text_that_is_called_as_an_image_is_no_mask(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_text("white", encoding="utf-8")
    with pytest.raises(ConfigError, match="must be a mask image"):
        read_drawing(tmp_path / "mask.png")


def test_products_have_regions_of_their_own_but_an_inspector_has_one(tmp_path: Path) -> None:
    regions = {"bottle": "mask.png", "cable": "none"}
    assert choose_region("auto", ["bottle", "cable"]) == "auto"
    assert choose_region(regions, ["bottle"]) == "mask.png"
    assert choose_region({"bottle": "auto", "cable": "auto"}, ["bottle", "cable"]) == "auto"
    with pytest.raises(ConfigError, match="--category bottle"):
        choose_region(regions, ["bottle", "cable"])
    with pytest.raises(ConfigError, match="says nothing of screw"):
        choose_region(regions, ["screw"])
    write(tmp_path / "cable.json", SQUARE)
    assert choose_region(str(tmp_path), ["cable"]) == str(tmp_path / "cable.json")
    with pytest.raises(ConfigError, match=r"screw\.png or screw\.json"):
        choose_region(str(tmp_path), ["screw"])


def test_images_of_several_shapes_have_no_common_region() -> None:
    names = ["a", "b", "c"]
    alike = np.array([(40, 60), (80, 120), (40, 60)])
    assert find_common_size(alike, names, "mask.png") == (40, 60)
    with pytest.raises(ConfigError, match="1 of 3 have another shape: b with 120x90"):
        find_common_size(np.array([(40, 60), (90, 120), (40, 60)]), names, "mask.png")


@pytest.mark.parametrize("size_px", [(32, 32), (96, 128), (64, 160)])
def test_no_pixel_counts_into_which_anything_from_outside_comes(size_px: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    other = np.where(EXPECTED[..., np.newaxis], image, 255 - image)
    mask = fit_to_working_size(EXPECTED, size_px, "letterbox", "mask.png")
    region = CountedRegion(mask, (90, 80, 70), (40, 60))
    covered = region.cover(resize_image(image, size_px))
    assert (covered == region.cover(resize_image(other, size_px))).all()
    assert (covered[~mask] == (90, 80, 70)).all()
    assert (covered[mask] == resize_image(image, size_px)[mask]).all()


def test_a_region_that_vanishes_at_working_size_is_refused() -> None:
    thin = np.zeros((640, 640), bool)
    thin[:, 300] = True
    with pytest.raises(ConfigError, match="too thin"):
        fit_to_working_size(thin, (64, 64), "letterbox", "mask.png")


def test_a_cell_of_a_map_counts_where_any_pixel_of_it_does() -> None:
    mask = np.zeros((8, 12), bool)
    mask[3, 5] = True
    cells = CountedRegion(mask, (0, 0, 0), (8, 12)).mark_cells((2, 3))
    assert cells.tolist() == [[False, True, False], [False, False, False]]


def test_a_region_comes_back_as_it_was_written(tmp_path: Path) -> None:
    region = CountedRegion(EXPECTED, (1, 2, 250), (400, 600))
    write_region(region, tmp_path / "region.png")
    again = read_region(tmp_path / "region.png")
    assert again is not None
    assert (again.mask == EXPECTED).all()
    assert (again.fill, again.image_px, again.digest) == ((1, 2, 250), (400, 600), region.digest)
    assert CountedRegion(EXPECTED, (1, 2, 251), (400, 600)).digest != region.digest
    assert (cv2.imread(str(tmp_path / "region.png"), cv2.IMREAD_GRAYSCALE) == 255 * EXPECTED).all()
    assert read_region(tmp_path / "none.png") is None


@pytest.mark.parametrize("content", [b"", b"no image", cv2.imencode(".png", np.ones((4, 4)))[1].tobytes()])
def test_a_damaged_region_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "region.png").write_bytes(content)
    with pytest.raises(RunError, match=r"region\.png"):
        read_region(tmp_path / "region.png")
