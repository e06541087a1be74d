"""Shapes that mark a defect, and how they are drawn into a mask."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import ImageError
from mvdefect.core.files import show_name
from mvdefect.data.images import decode_image, decode_mask

MAX_COORDINATE = 1_000_000  # pixels; no camera has as many in a row
MAX_RLE_PIXELS = 1_000_000_000
MAX_CROSSINGS = 20_000_000  # of an outline and the rows of an image
CIRCLE_CORNERS = 64
BLACK = (0, 0, 0)

Canvas = NDArray[np.uint8]
Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """Pixels of the image per unit of the coordinates."""

    x: float = 1.0
    y: float = 1.0


class Shape(Protocol):
    """What marks a region of an image."""

    def draw(self, canvas: Canvas, scale: Scale, /) -> None:
        """Set the pixels of the region to 255; what lies outside of the canvas is clipped.

        Raises:
            ValueError: The shape does not fit the canvas.
        """


@dataclass(frozen=True)
class Box:
    """An upright rectangle, by the edges between pixels: from 0 to the width or height of the image."""

    left: float
    top: float
    right: float
    bottom: float

    def draw(self, canvas: Canvas, scale: Scale) -> None:
        """Fill at least one pixel each way, however thin the box is."""
        rows = _round_edges(self.top * scale.y, self.bottom * scale.y)
        columns = _round_edges(self.left * scale.x, self.right * scale.x)
        canvas[rows, columns] = 255


@dataclass(frozen=True)
class Polygon:
    """A closed outline and what it holds."""

    points: tuple[Point, ...]

    def draw(self, canvas: Canvas, scale: Scale) -> None:
        """Fill the pixels whose centre is inside; a sliver that holds none is drawn as its outline."""
        points = _scale_points(self.points, scale)
        inside = _fill_outline(points, canvas.shape)
        canvas[inside] = 255
        if not inside.any():
            _draw_line(canvas, np.vstack([points, points[:1]]))


@dataclass(frozen=True)
class Line:
    """A line, one pixel wide; one point is one pixel."""

    points: tuple[Point, ...]

    def draw(self, canvas: Canvas, scale: Scale) -> None:
        """Draw the line."""
        _draw_line(canvas, _scale_points(self.points, scale))


@dataclass(frozen=True)
class Runs:
    """COCO's run lengths: pixels column by column, alternately outside and inside."""

    height: int
    width: int
    counts: tuple[int, ...]

    def draw(self, canvas: Canvas, _scale: Scale) -> None:
        """Add the runs, which must be of the canvas's size."""
        _require_size((self.height, self.width), canvas)
        inside = np.arange(len(self.counts)) % 2 == 1
        flat = np.repeat(inside, np.array(self.counts, np.int64))
        canvas[flat.reshape(self.width, self.height).T] = 255


@dataclass(frozen=True)
class Patch:
    """A small mask, as the bytes of an image file, and where its first pixel lies."""

    left: float
    top: float
    encoded: bytes

    def draw(self, canvas: Canvas, scale: Scale) -> None:
        """Add the pixels of the patch."""
        try:
            mask = decode_mask(self.encoded)
        except ImageError as error:
            raise ValueError(f"a mask cannot be read: {error}") from error
        height, width = mask.shape
        rows, own_rows = _sample(self.top, height, scale.y, canvas.shape[0])
        columns, own_columns = _sample(self.left, width, scale.x, canvas.shape[1])
        canvas[rows, columns][mask[np.ix_(own_rows, own_columns)]] = 255


@dataclass(frozen=True)
class MaskFile:
    """A mask that is a file already; every pixel that has not the background's colour is defective.

    Attributes:
        path: The file.
        state: What tells that it has changed, see `mvdefect.core.files.describe_state`.
        background: Red, green and blue.
    """

    path: Path
    state: bytes
    background: tuple[int, int, int] = BLACK

    def draw(self, canvas: Canvas, _scale: Scale) -> None:
        """Add the file's pixels, which must be as many as those of the canvas."""
        try:
            pixels = decode_image(self.path.read_bytes())
        except (OSError, ImageError) as error:
            raise ValueError(f"the mask {show_name(self.path)} cannot be read: {error}") from error
        _require_size(pixels.shape[:2], canvas)
        canvas[(pixels != np.array(self.background, np.uint8)).any(axis=2)] = 255


def make_box(left: float, top: float, width: float, height: float) -> Box:
    """Return a box.

    Raises:
        ValueError: A number is none, is absurdly large, or a side is negative.
    """
    check_numbers((left, top, width, height))
    if width < 0 or height < 0:
        raise ValueError(f"a box must not have a negative side. Received: {width:g} x {height:g}")
    return Box(left, top, left + width, top + height)


def make_box_of_corners(first: Point, second: Point) -> Box:
    """Return the box between two opposite corners, in any order.

    Raises:
        ValueError: A number is none, or is absurdly large.
    """
    check_numbers((*first, *second))
    (left, right), (top, bottom) = (sorted(pair) for pair in zip(first, second, strict=True))
    return Box(left, top, right, bottom)


def make_polygon(points: Sequence[Point]) -> Polygon:
    """Return a polygon.

    Raises:
        ValueError: There are fewer than three points, or a number is none or absurdly large.
    """
    if len(points) < 3:
        raise ValueError(f"a polygon needs at least 3 points. Received: {len(points)}")
    check_numbers(number for point in points for number in point)
    return Polygon(tuple(points))


def make_line(points: Sequence[Point]) -> Line:
    """Return a line.

    Raises:
        ValueError: There is no point, or a number is none or absurdly large.
    """
    if not points:
        raise ValueError("a line needs at least one point")
    check_numbers(number for point in points for number in point)
    return Line(tuple(points))


def make_patch(corner: Point, encoded: str) -> Patch:
    """Return a mask that is written in base64.

    Raises:
        ValueError: It is not base64, or the place is none.
    """
    check_numbers(corner)
    try:
        return Patch(*corner, base64.b64decode(encoded, validate=True))
    except binascii.Error as error:
        raise ValueError(f"a mask must be base64: {error}") from error


def make_circle(centre: Point, edge: Point) -> Polygon:
    """Return the circle about a point through another, as a polygon.

    Raises:
        ValueError: A number is none, or is absurdly large.
    """
    check_numbers((*centre, *edge))
    radius = math.dist(centre, edge)
    angles = [2 * math.pi * corner / CIRCLE_CORNERS for corner in range(CIRCLE_CORNERS)]
    return Polygon(
        tuple(
            (centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)) for angle in angles
        )
    )


def make_runs(height: int, width: int, counts: Sequence[int] | str) -> Runs:
    """Return COCO's run lengths, as numbers or packed as a string.

    Raises:
        ValueError: They do not fill the image exactly.
    """
    if height <= 0 or width <= 0 or height * width > MAX_RLE_PIXELS:
        raise ValueError(f"RLE must have a size that an image can have. Received: {width}x{height}")
    numbers = _unpack_counts(counts) if isinstance(counts, str) else tuple(counts)
    if any(number < 0 for number in numbers) or sum(numbers) != height * width:
        raise ValueError(f"the counts of RLE must add up to {width}x{height} pixels, and be 0 or more")
    return Runs(height, width, numbers)


def draw_shapes(shapes: Iterable[Shape], size_px: tuple[int, int], scale: Scale) -> Canvas:
    """Draw shapes into one mask.

    Args:
        shapes: What to draw; they may overlap.
        size_px: Height and width of the mask.
        scale: Pixels of the mask per unit of the shapes' coordinates.

    Returns:
        uint8 of shape (height, width): 255 inside of any shape, 0 elsewhere.

    Raises:
        ValueError: A mask or run lengths are of another size.
    """
    canvas = np.zeros(size_px, np.uint8)
    for shape in shapes:
        shape.draw(canvas, scale)
    return canvas


def check_numbers(numbers: Iterable[float], limit: float = MAX_COORDINATE) -> None:
    """Refuse coordinates that no image has.

    Raises:
        ValueError: A number is NaN, infinite or beyond the limit.
    """
    for number in numbers:
        if not abs(number) <= limit:  # NaN compares as false
            raise ValueError(f"coordinates must be numbers within {limit:,.0f}. Received: {number}")


def _round_edges(first: float, last: float) -> slice:
    start = round(first)
    end = max(round(last), start + 1)
    return slice(max(start, 0), max(end, 0))


def _sample(start: float, length: int, scale: float, limit: int) -> tuple[slice, NDArray[np.int64]]:
    """Return the pixels of the canvas that a stretch covers, and for each the nearest pixel of its own."""
    first, last = (min(max(round(edge * scale), 0), limit) for edge in (start, start + length))
    own = np.floor((np.arange(first, last) + 0.5) / scale - start).astype(np.int64)
    return slice(first, last), own.clip(0, length - 1)


def _scale_points(points: Sequence[Point], scale: Scale) -> NDArray[np.float64]:
    scaled = np.array(points, np.float64) * (scale.x, scale.y)
    return scaled.clip(-MAX_COORDINATE, MAX_COORDINATE)


def _draw_line(canvas: Canvas, points: NDArray[np.float64]) -> None:
    pixels = np.floor(points).astype(np.int32)
    if len(pixels) == 1:
        pixels = np.vstack([pixels, pixels])
    cv2.polylines(canvas, [pixels.reshape(-1, 1, 2)], False, 255)


def _fill_outline(points: NDArray[np.float64], size_px: tuple[int, ...]) -> NDArray[np.bool_]:
    """Tell for each pixel whether its centre is inside: whether the outline crosses its row to the left an
    odd number of times."""
    height, width = size_px
    edges = np.stack([points, np.roll(points, -1, axis=0)], axis=1)
    edges = np.where((edges[:, 0, 1] > edges[:, 1, 1])[:, None, None], edges[:, ::-1], edges)  # downwards
    first, last = (np.ceil(edges[:, end, 1] - 0.5).clip(0, height).astype(np.int64) for end in (0, 1))
    crossed = last - first
    if crossed.sum() > MAX_CROSSINGS:
        raise ValueError(f"a polygon of {len(points)} points crosses the image's rows too often to be drawn")
    edge = np.repeat(np.arange(len(edges)), crossed)
    row = np.arange(len(edge)) - np.repeat(crossed.cumsum() - crossed, crossed) + first[edge]
    (x, y), (end_x, end_y) = edges[edge, 0].T, edges[edge, 1].T
    column = np.ceil(x + (row + 0.5 - y) * (end_x - x) / (end_y - y) - 0.5).clip(0, width).astype(np.int64)
    crossings = np.zeros((height, width + 1), np.uint8)
    np.add.at(crossings, (row, column), 1)
    return np.asarray(np.bitwise_xor.accumulate(crossings & 1, axis=1)[:, :width] == 1)


def _require_size(size_px: tuple[int, ...], canvas: Canvas) -> None:
    if tuple(size_px) != canvas.shape:
        (height, width), (wanted_height, wanted_width) = size_px, canvas.shape
        raise ValueError(
            f"a mask of {width}x{height} pixels does not fit an image of {wanted_width}x{wanted_height}"
        )


def _unpack_counts(packed: str) -> tuple[int, ...]:
    """Unpack pycocotools' string: groups of 5 bits and one that says 'more', from '0' on; the numbers from
    the fourth on are differences to the one before the last."""
    counts: list[int] = []
    value = shift = 0
    for sign in packed:
        code = ord(sign) - 48
        if not 0 <= code < 64 or shift > 60:
            raise ValueError("the counts of RLE are no string that pycocotools writes")
        value |= (code & 0x1F) << shift
        shift += 5
        if not code & 0x20:
            if code & 0x10:  # the last group is negative
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("the counts of RLE end too early")
    return tuple(counts)
