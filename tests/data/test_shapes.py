"""Shapes are drawn where they are, clipped to the image, and refused where no image can have them."""

from __future__ import annotations

import base64
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import polygon as fill_polygon

from mvdefect.data.sources.annotations.shapes import (
    Box,
    Line,
    Polygon,
    Scale,
    Shape,
    draw_shapes,
    make_box,
    make_box_of_corners,
    make_circle,
    make_line,
    make_patch,
    make_polygon,
    make_runs,
)

SIZE_PX = (12, 10)
CORNERS = ((2.0, 3.0), (8.0, 3.0), (8.0, 7.0), (2.0, 7.0))


def draw(*shapes: Shape, scale: Scale | None = None) -> np.ndarray:
    mask = draw_shapes(shapes, SIZE_PX, scale or Scale())
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 255}
    return mask == 255


def frame(rows: slice, columns: slice) -> np.ndarray:
    wanted = np.zeros(SIZE_PX, bool)
    wanted[rows, columns] = True
    return wanted


@pytest.mark.parametrize(
    "shape", [make_box(2, 3, 6, 4), make_box_of_corners((8, 3), (2, 7)), make_polygon(CORNERS)]
)
def test_a_rectangle_covers_the_same_pixels_however_it_is_written(shape: Shape) -> None:
    np.testing.assert_array_equal(draw(shape), frame(slice(3, 7), slice(2, 8)))


def test_coordinates_may_be_fractions_of_the_image() -> None:
    found = draw(make_box(0.2, 0.25, 0.6, 0.5), scale=Scale(x=SIZE_PX[1], y=SIZE_PX[0]))
    np.testing.assert_array_equal(found, frame(slice(3, 9), slice(2, 8)))


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [
        (Box(-5, -5, 4, 2), slice(0, 2), slice(0, 4)),
        (Box(8, 10, 900, 900), slice(10, 12), slice(8, 10)),
        (Polygon(((-50, -50), (4, -50), (4, 2), (-50, 2))), slice(0, 2), slice(0, 4)),
        (Box(20, 20, 30, 30), slice(0, 0), slice(0, 0)),
        (Box(-30, -30, -20, -20), slice(0, 0), slice(0, 0)),
        (Box(4, 5, 4, 5), slice(5, 6), slice(4, 5)),  # a click
        (Line(((4.5, 5.5),)), slice(5, 6), slice(4, 5)),
        (Line(((0.5, 5.5), (99.5, 5.5))), slice(5, 6), slice(0, 10)),
        (Polygon(((1.6, 5.6), (8.4, 5.6), (8.4, 5.7))), slice(5, 6), slice(1, 9)),  # holds no pixel's centre
    ],
)
def test_what_lies_outside_is_clipped_and_what_is_thin_is_seen(
    shape: Shape, rows: slice, columns: slice
) -> None:
    np.testing.assert_array_equal(draw(shape), frame(rows, columns))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(-5, 20), st.floats(-5, 20)), min_size=3, max_size=8))
def test_a_polygon_is_filled_as_scikit_image_fills_it(points: list[tuple[float, float]]) -> None:
    jittered = np.array(points) + 0.01234  # no centre of a pixel lies on the outline
    wanted = np.zeros(SIZE_PX, bool)
    wanted[fill_polygon(jittered[:, 1] - 0.5, jittered[:, 0] - 0.5, SIZE_PX)] = True
    if wanted.any():
        found = draw(make_polygon([(x, y) for x, y in jittered.tolist()]))
        assert (found != wanted).sum() <= 1  # a centre that lies on an edge to the last digit


@pytest.mark.parametrize("scale", [1.0, 2.0, 0.5])
def test_a_patch_lies_where_it_belongs_and_is_clipped(scale: float) -> None:
    patch = np.zeros((6, 4), np.uint8)
    patch[2:6, 2:4] = 255
    encoded = base64.b64encode(cv2.imencode(".png", patch)[1].tobytes()).decode()
    found = draw(make_patch((6, 4), encoded), scale=Scale(scale, scale))
    start, end = 6 * scale, 10 * scale
    wanted = frame(slice(int(start), int(end)), slice(int(8 * scale), int(10 * scale)))
    np.testing.assert_array_equal(found, wanted)
    assert not draw(make_patch((-60, 4), encoded), make_patch((60, 4), encoded)).any()


def test_a_circle_has_its_area() -> None:
    mask = draw_shapes([make_circle((50, 50), (50, 80))], (100, 100), Scale())
    assert (mask > 0).sum() == pytest.approx(math.pi * 30**2, rel=0.01)


@pytest.mark.parametrize("counts", [(3, 2, 4, 3), (0, 12), (12,)])
def test_run_lengths_go_column_by_column(counts: tuple[int, ...]) -> None:
    flat = [index % 2 == 1 for index, count in enumerate(counts) for _ in range(count)]
    wanted = np.array(flat).reshape(3, 4).T
    np.testing.assert_array_equal(draw_shapes([make_runs(4, 3, counts)], (4, 3), Scale()) > 0, wanted)


@pytest.mark.parametrize(
    ("packed", "counts"),
    [("061M", (0, 6, 1, 3)), ("0PP1", (0, 1024)), ("011101010", (0, 1, 1, 2, 1, 3, 1, 4, 1))],
)
def test_packed_run_lengths_are_those_of_pycocotools(packed: str, counts: tuple[int, ...]) -> None:
    assert make_runs(1, sum(counts), packed).counts == counts


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: make_box(math.nan, 0, 1, 1), "must be numbers"),
        (lambda: make_box(0, 0, math.inf, 1), "must be numbers"),
        (lambda: make_box(0, 0, 1e9, 1), "must be numbers within 1,000,000"),
        (lambda: make_box(0, 0, -2, 1), "negative side. Received: -2 x 1"),
        (lambda: make_polygon([(0, 0), (1, 1)]), "at least 3 points. Received: 2"),
        (lambda: make_polygon([(0, 0), (1, 1), (math.nan, 0)]), "must be numbers"),
        (lambda: make_line([]), "at least one point"),
        (lambda: make_circle((0, 0), (math.inf, 0)), "must be numbers"),
        (lambda: make_runs(3, 3, (4, 4)), "add up to 3x3"),
        (lambda: make_runs(3, 3, (10, -1)), "0 or more"),
        (lambda: make_runs(-3, -3, (9,)), "a size that an image can have"),
        (lambda: make_runs(10**6, 10**6, (10**12,)), "a size that an image can have"),
        (lambda: make_runs(3, 3, "é"), "no string that pycocotools writes"),
        (lambda: make_runs(3, 3, "o" * 99), "no string that pycocotools writes"),
        (lambda: make_runs(3, 3, "o"), "end too early"),
        (lambda: draw(make_runs(3, 3, (9,))), "3x3 pixels does not fit an image of 10x12"),
    ],
)
def test_what_no_image_has_is_refused(make, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make()


def test_an_outline_that_would_fill_the_memory_is_refused() -> None:
    zigzag = [(float(number % 2), 2000.0 * (number % 2)) for number in range(12_000)]
    with pytest.raises(ValueError, match="too often to be drawn"):
        draw_shapes([make_polygon(zigzag)], (2000, 4), Scale())
