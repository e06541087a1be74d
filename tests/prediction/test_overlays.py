"""Overlays: of the image's own size, with heat and outline where the defect is, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from mvdefect.data.images import DEFAULT_DECODING
from mvdefect.evaluation.overlays import CONTOUR, draw_regions, format_size, overlay_heatmap
from mvdefect.evaluation.regions import RegionRule, SuspiciousRegion
from mvdefect.inspector.answers import Answer
from mvdefect.inspector.photographs import Photograph, encode_image
from mvdefect.inspector.places import View
from mvdefect.inspector.reading import find_answer_regions
from mvdefect.prediction.overlays import draw_overlay, write_overlay

VIEW = View((64, 64), "letterbox", DEFAULT_DECODING, (0.0, 10.0), rule=RegionRule(4.0, 0.0))
BARE = Answer("defective", 0.9, 1.0)
GREY = 100

MEASURE = """
import resource
import numpy as np
from mvdefect.evaluation.overlays import draw_regions, overlay_heatmap
from mvdefect.evaluation.regions import ImagePlace, RegionRule, trace_regions

heat = np.random.default_rng(0).random((320, 320)).astype(np.float32)
overlay_heatmap(np.zeros((20, 20, 3), np.uint8), heat, 0, 1)  # what is loaded once
image = np.full((10_000, 10_000, 3), 99, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
shown = overlay_heatmap(image, heat, 0, 1, in_place=True)
draw_regions(shown, trace_regions(heat, ImagePlace(10_000, 10_000), RegionRule(0.9, 0.5)))
assert shown is image and (image[::50, ::50] != 99).mean() > 0.5
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def draw(height: int, width: int, spot: tuple[int, int]) -> tuple[np.ndarray, Answer]:
    """Return a grey image's overlay, where one cell of 16 by 16 is hot, and the answer with its regions."""
    heat = np.zeros((16, 16), np.float32)
    heat[spot] = 10
    answer = find_answer_regions(replace(BARE, heatmap=heat), (height, width), VIEW)
    return draw_overlay(np.full((height, width, 3), GREY, np.uint8), VIEW, answer, heat), answer


def test_an_overlay_has_the_size_of_the_image_and_its_outline_is_the_region() -> None:
    shown, answer = draw(600, 1200, (7, 12))  # the image lies in rows 4 to 11 of the map
    assert shown.shape == (600, 1200, 3)
    (region,) = answer.regions
    assert region.x <= 12.5 * 75 <= region.x + region.width
    assert region.y <= 3.5 * 75 <= region.y + region.height
    ys, xs = np.nonzero((shown == CONTOUR).all(axis=2))
    assert abs(xs.min() - region.x) <= 10 and abs(xs.max() - region.x - region.width) <= 10  # noqa: PT018
    assert abs(ys.min() - region.y) <= 10 and abs(ys.max() - region.y - region.height) <= 10  # noqa: PT018
    assert (shown[:, :600] == GREY).all(), "nothing is drawn where nothing is suspicious"


def test_heat_of_the_padding_does_not_colour_the_image() -> None:
    shown, answer = draw(600, 1200, (3, 12))  # a row of the map that is padding
    assert (shown == GREY).all() or answer.regions[0].peak == 0


def test_sizes_are_written_where_millimetres_are_known() -> None:
    region = SuspiciousRegion(400, 300, 100, 40, 3000, 5.0, 450, 320)
    image = np.full((800, 800, 3), GREY, np.uint8)
    draw_regions(image, [], [region])
    assert (image == GREY).all()
    assert format_size(region.scale(0.0123)) == "1.23 x 0.492 mm"
    draw_regions(image, [], [region.scale(0.0123)])
    ys, xs = np.nonzero((image != GREY).any(axis=2))
    assert 380 < xs.min() < 410
    assert ys.max() < 305, "above the box"
    top = replace(region, y=0, x=790, width=10).scale(0.0123)
    corner = np.full((800, 800, 3), GREY, np.uint8)
    draw_regions(corner, [], [top])
    assert (corner[:40] != GREY).any(axis=2).sum() > 0.9 * (image != GREY).any(axis=2).sum(), (
        "within the image"
    )


def test_files_are_written_in_full_size_and_colour(tmp_path: Path) -> None:
    image = np.zeros((300, 500, 3), np.uint8)
    image[...] = (200, 50, 10)
    heat = np.zeros((16, 16), np.float32)
    photograph = Photograph("line/a.png", Path("a.png"))
    write_overlay(
        tmp_path / "o", VIEW, photograph, encode_image(image), replace(BARE, label="good", heatmap=heat)
    )
    (path,) = (tmp_path / "o").iterdir()
    assert path.suffix == ".png"
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], image)


def test_a_strip_at_a_time_is_the_whole(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    image, heat = rng.integers(0, 256, (97, 61, 3), np.uint8), rng.random((9, 7))
    whole = overlay_heatmap(image, heat, 0, 1)
    monkeypatch.setattr("mvdefect.evaluation.overlays.STRIP_PIXELS", 5 * 61)
    assert np.array_equal(overlay_heatmap(image, heat, 0, 1), whole)


def test_a_hundred_megapixels_are_drawn_in_place() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150, "megabytes beside the 300 of the image"
