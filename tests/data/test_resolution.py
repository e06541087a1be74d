"""The working size: fitted to the shape of images, in sides and scales that a backbone can take."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mvdefect.config import FitConfig, Size
from mvdefect.core.errors import ConfigError
from mvdefect.data.records import Record
from mvdefect.data.resolution import (
    bound_batch,
    count_megapixels,
    describe_size,
    find_network_shrink,
    fit_frame,
    list_scales,
    read_defects,
    read_sizes,
    settle_resolution,
)


def sizes(*pairs: Size) -> np.ndarray:
    return np.array(pairs, np.int64).reshape(-1, 2)


@pytest.mark.parametrize(
    ("image", "resolution", "expected"),
    [
        ((256, 4096), "auto", (128, 1792)),  # a strip: 224 times 224 pixels are 56 times 896, and twice that
        ((1260, 500), "auto", (704, 320)),
        ((1024, 1024), "auto", (448, 448)),
        ((300, 300), "auto", (448, 448)),
        ((224, 224), "auto", (224, 224)),  # nothing more is to be seen
        ((480, 640), "auto", (448, 448)),  # near enough to a square, which can be turned
        ((1024, 1024), "full", (1024, 1024)),
        ((1024, 1024), 320, (320, 320)),
        ((256, 4096), 1024, (64, 1024)),
        ((256, 4096), (96, 512), (96, 512)),
    ],
)
def test_the_size_follows_the_images(image: Size, resolution: int | str | Size, expected: Size) -> None:
    assert settle_resolution(resolution, sizes(image)) == expected


@pytest.mark.parametrize(
    ("image", "defect_px", "expected"),
    [
        ((2048, 2048), 60, (448, 448)),
        ((2048, 2048), 12, (896, 896)),  # which are 2.6 pixels of 448
        ((500, 500), 2, (448, 448)),  # there is nothing more to be seen
    ],
)
def test_small_defects_make_it_larger(image: Size, defect_px: int, expected: Size, tmp_path: Path) -> None:
    records = []
    for number in range(5):
        mask = np.zeros(image, np.uint8)
        mask[10 : 10 + defect_px, 20 : 20 + defect_px] = 255
        mask[100:102, 200:202] = 255  # the largest one counts
        cv2.imwrite(str(tmp_path / f"{number}.png"), mask)
        records.append(Record(f"{number}", tmp_path / "x.png", "nut", "hole", tmp_path / f"{number}.png"))
    defects = read_defects(records)
    assert defects == pytest.approx(np.full(5, defect_px / image[0]))
    assert settle_resolution("auto", sizes(image), defects) == expected


@pytest.mark.parametrize(
    ("resolution", "megapixels", "expected"),
    [
        ("auto", 0.26, (448, 448)),  # with the coarse scale 0.251
        ("auto", 0.25, (224, 224)),
        ("auto", 0.02, (128, 128)),
        ("full", 0.5, (576, 576)),  # 0.415; 640 has 0.512
        (448, 0.3, (448, 448)),
    ],
)
def test_a_budget_is_kept(resolution: int | str, megapixels: float, expected: Size) -> None:
    frame = settle_resolution(resolution, sizes((1000, 1000)), megapixels=megapixels)
    assert frame == expected
    assert count_megapixels(frame) <= megapixels


@pytest.mark.parametrize(("resolution", "least"), [("auto", "64×64"), (448, "448×448"), ((96, 64), "64×96")])
def test_a_budget_that_no_size_keeps_is_told(resolution: int | str | Size, least: str) -> None:
    with pytest.raises(ConfigError, match=f"{least} pixels, .* megapixels. Received: megapixels=0.001"):
        settle_resolution(resolution, sizes((1000, 1000)), megapixels=0.001)


def test_images_of_mixed_shapes_go_into_a_square() -> None:
    assert fit_frame(sizes((400, 1000), (1000, 400), (400, 1000)), 448) == (448, 448)
    assert fit_frame(sizes((400, 1000), (410, 1000), (400, 990)), 448) == (192, 448)
    assert settle_resolution("auto", sizes()) == (224, 224)


@given(
    height=st.integers(16, 9000),
    width=st.integers(16, 9000),
    resolution=st.sampled_from(["auto", "full", 64, 224, 448, 1024]),
)
def test_any_images_get_sides_and_scales_that_backbones_take(
    height: int, width: int, resolution: int | str
) -> None:
    frame = settle_resolution(resolution, sizes((height, width)))
    scales = list_scales(frame)
    assert scales[-1] == 1
    assert list(scales) == sorted(scales, reverse=True)
    assert all(side % (32 * scale) == 0 for side in frame for scale in scales)
    if not isinstance(resolution, str):
        assert max(frame) == resolution


def test_scales_reach_down_to_what_backbones_were_trained_at() -> None:
    assert list_scales((224, 224)) == list_scales((320, 320)) == (1,)
    assert list_scales((448, 448)) == list_scales((128, 1792)) == (2, 1)
    assert list_scales((1024, 1024)) == (4, 1)
    assert list_scales((480, 448)) == (1,)  # 480 halved is no multiple of 32


def test_one_line_says_what_is_seen_and_what_it_costs() -> None:
    said = describe_size((128, 1792), sizes((256, 4096)))
    start = "images of about 4096×256 pixels are seen at 896×64 and 1792×128: "
    assert said.startswith(start + "5.7 times the work of 224×224")


def test_batches_of_large_images_are_smaller() -> None:
    assert bound_batch((224, 224), 32) == 32
    assert bound_batch((448, 448), 32) == 16
    assert bound_batch((4000, 4000), 32) == 1


def test_sizes_are_read_upright_and_broken_files_left_out(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (60, 40)).save(tmp_path / "a.jpg", exif=exif)
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((30, 50), np.uint8))
    (tmp_path / "c.png").write_bytes(b"no image")
    names = ("a.jpg", "b.png", "c.png", "d.png")
    records = [Record(name, tmp_path / name, "parts", "good") for name in names]
    assert read_sizes(records).tolist() == [[60, 40], [30, 50]]


def test_the_network_sees_the_coarsest_scale_unless_told() -> None:
    config = FitConfig(resolution=(448, 448))
    assert find_network_shrink(config) == 2
    assert find_network_shrink(config.model_copy(update={"network_shrink": 1})) == 1
    with pytest.raises(ConfigError, match="Received: network_shrink=4"):
        find_network_shrink(config.model_copy(update={"network_shrink": 4}))
    with pytest.raises(ConfigError, match="not settled yet. Received: resolution=auto"):
        find_network_shrink(FitConfig())
