"""Suspicious regions: from a heatmap to boxes in pixels of the image's own size, and in millimetres.

A heatmap covers all that the inspector sees, padding included. Here it is cut to the image before anything is
looked for, so padding is never a region, a peak, or part of a maximum.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mvdefect.config import ResizeMethod, Size
from mvdefect.core.errors import ConfigError
from mvdefect.data.resizing import place_image
from mvdefect.evaluation.bootstrap import Bools

GOOD_SHARE = 0.05  # of good images that may have a region
STEPS_PER_CELL = 5  # of the finer grid on which regions are cut out; odd, so that centres of cells are on it
FEWEST_CELLS = 2  # a smaller area is a speck, unless it is the peak
MOST_REGIONS = 10
HALF = 0.5  # of the way from a usual value to a peak, where its region ends

Heat = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ImagePlace:
    """Where an image lies in what the inspector sees.

    Attributes:
        height: Of the image itself, in pixels.
        width: Of the image itself, in pixels.
        rows: First and last edge in what is seen, as shares of its height; (0, 1) without padding.
        columns: The same along its width.
    """

    height: int
    width: int
    rows: tuple[float, float] = (0.0, 1.0)
    columns: tuple[float, float] = (0.0, 1.0)


def find_place(height: int, width: int, size_px: Size, method: ResizeMethod) -> ImagePlace:
    """Return where an image of a height and width lies once it has the working size."""
    rows, columns = place_image(height, width, size_px, method)
    return ImagePlace(
        height,
        width,
        (rows.start / size_px[0], rows.stop / size_px[0]),
        (columns.start / size_px[1], columns.stop / size_px[1]),
    )


@dataclass(frozen=True)
class RegionRule:
    """From where on a position is suspicious.

    Attributes:
        level: No more than one good image in twenty has a position above it.
        usual: The median of the positions of good images.
    """

    level: float
    usual: float


@dataclass(frozen=True)
class SuspiciousRegion:
    """A connected area of an image that looks defective, in pixels of the image's own size.

    Attributes:
        x: Left edge of its box.
        y: Upper edge of its box.
        width: Of its box.
        height: Of its box.
        area: Of the region itself, at least 1.
        peak: The highest value of the heatmap in it.
        peak_x: Where that is, from the left.
        peak_y: Where that is, from above.
        width_mm: Of its box, in millimetres; None: nobody said how large a pixel is.
        height_mm: Of its box, likewise.
        area_mm2: Of the region itself, in square millimetres, likewise.
    """

    x: int
    y: int
    width: int
    height: int
    area: int
    peak: float
    peak_x: int
    peak_y: int
    width_mm: float | None = None
    height_mm: float | None = None
    area_mm2: float | None = None

    def scale(self, mm_per_px: float | None) -> SuspiciousRegion:
        """Return the same with its size in millimetres; None: without."""
        if mm_per_px is None:
            return replace(self, width_mm=None, height_mm=None, area_mm2=None)
        return replace(
            self,
            width_mm=round(self.width * mm_per_px, 4),
            height_mm=round(self.height * mm_per_px, 4),
            area_mm2=round(self.area * mm_per_px**2, 4),
        )


def check_mm_per_px(mm_per_px: float | None) -> None:
    """Make sure that a pixel has a size, if any is said.

    Raises:
        ConfigError: It has none.
    """
    if mm_per_px is not None and not 0 < mm_per_px < math.inf:
        raise ConfigError(f"mm_per_px must be above 0. Received: mm_per_px={mm_per_px}")


def describe_regions(regions: Sequence[SuspiciousRegion]) -> list[dict[str, Any]]:
    """Return regions as a tree for JSON; sizes in millimetres are left out where they are not known."""
    return [{name: value for name, value in asdict(one).items() if value is not None} for one in regions]


def parse_regions(tree: Any) -> tuple[SuspiciousRegion, ...]:
    """Read what `describe_regions` returned.

    Raises:
        TypeError: It is something else.
        ValueError: A number is none that a region can have.
    """
    if not isinstance(tree, list) or not all(isinstance(one, dict) for one in tree):
        raise TypeError("regions are a list of objects")
    found = tuple(SuspiciousRegion(**one) for one in tree)
    for one in found:
        values = [value for value in asdict(one).values() if value is not None]
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
            raise TypeError(f"the numbers of a region are no numbers: {one}")
        if not all(map(math.isfinite, values)) or min(one.x, one.y, one.width - 1, one.height - 1) < 0:
            raise ValueError(f"a region lies outside of its image: {one}")
    return found


def cut_heat(heatmap: Heat, place: ImagePlace) -> NDArray[np.float32]:
    """Cut a heatmap to the image and bring it to a finer grid, bilinearly.

    A cell whose centre lies in the padding has no part in it: at the edge of the image the last cell inside
    goes on. Where no centre lies in a very narrow image, the cell in its middle stands for all.

    Args:
        heatmap: Floats (h, w), over all that the inspector sees.
        place: Where the image lies in it.

    Returns:
        float32 (rows, columns), five times as fine as the cells.
    """
    rows = _spread_edges(place.rows, heatmap.shape[0])
    columns = _spread_edges(place.columns, heatmap.shape[1])
    return _interpolate(_interpolate(heatmap.astype(np.float32), 0, rows), 1, columns)


def _spread_edges(edges: tuple[float, float], cells: int) -> NDArray[np.float64]:
    """Return the places of the finer grid between two edges, in cells from the centre of the first."""
    first, last = edges[0] * cells, edges[1] * cells
    count = max(1, math.ceil(STEPS_PER_CELL * (last - first) - 1e-6))
    low, high = _find_cells(edges, cells)
    places = first + (np.arange(count) + 0.5) * (last - first) / count - 0.5
    return np.asarray(np.clip(places, low, high))


def _find_cells(edges: tuple[float, float], cells: int) -> tuple[int, int]:
    """Return the first and the last cell whose centre lies between two edges; where none does, the middle."""
    first, last = edges[0] * cells, edges[1] * cells
    low, high = math.ceil(first - 0.5 - 1e-9), math.ceil(last - 0.5 - 1e-9) - 1
    middle = min(math.floor((first + last) / 2), cells - 1)
    return (low, high) if low <= high else (middle, middle)


def _interpolate(values: NDArray[np.float32], axis: int, places: NDArray[np.float64]) -> NDArray[np.float32]:
    below = np.minimum(np.floor(places + 1e-9).astype(np.int64), values.shape[axis] - 1)
    above = np.minimum(below + 1, values.shape[axis] - 1)
    shares = np.clip(places - below, 0, 1).astype(np.float32)
    shares = shares[:, np.newaxis] if axis == 0 else shares
    return np.asarray(np.take(values, below, axis) * (1 - shares) + np.take(values, above, axis) * shares)


def cut_cells(heatmap: NDArray[Any], place: ImagePlace) -> NDArray[Any]:
    """Return the cells (rows, columns) of a heatmap (h, w) whose centres lie in the image."""
    rows, columns = (
        _find_cells(edges, count)
        for edges, count in zip((place.rows, place.columns), heatmap.shape, strict=True)
    )
    return heatmap[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1]


def take_cells(
    maps: Collection[Heat], places: Sequence[ImagePlace], counted: Bools | None = None
) -> NDArray[np.float64]:
    """Return the values of cells that lie in the images, and in the region that counts if there is one.

    Args:
        maps: Heatmaps, floats (h, w).
        places: Where each image lies in its map.
        counted: Cells of the region that counts, bool (h, w); None: all count.
    """
    found = []
    for heatmap, place in zip(maps, places, strict=True):
        cells = cut_cells(heatmap, place)
        found.append(cells.ravel() if counted is None else cells[cut_cells(counted, place)])
    return np.concatenate(found).astype(np.float64)


def choose_region_rule(
    maps: Collection[Heat], places: Sequence[ImagePlace], counted: Bools | None = None
) -> RegionRule:
    """Choose from where on a position is suspicious, by good images that nothing was learned from.

    No mask is needed: of the highest positions of the good images, one in twenty at most is above the level.
    With fewer than twenty images none is.

    Args:
        maps: Heatmaps of good images, one at least.
        places: Where each image lies in its map.
        counted: See `take_cells`.

    Raises:
        ConfigError: There is none, or values are no numbers.
    """
    highest = [cut_heat(heatmap, place).max() for heatmap, place in zip(maps, places, strict=True)]
    if not highest or not np.isfinite(highest).all():
        raise ConfigError(f"maps must be finite, one at least. Received: {len(highest)} maps")
    level = np.quantile(np.array(highest, np.float32), 1 - GOOD_SHARE, method="higher")
    usual = float(np.median(take_cells(maps, places, counted)))
    return RegionRule(float(np.nextafter(level, np.float32(np.inf))), min(usual, float(level)))


def find_regions(
    heatmap: Heat,
    place: ImagePlace,
    rule: RegionRule,
    needs_peak: bool = False,
    mm_per_px: float | None = None,
    most: int = MOST_REGIONS,
) -> tuple[SuspiciousRegion, ...]:
    """Find the areas of an image that look defective.

    Each is above the level, and ends at half the height of its peak over what is usual.

    Args:
        heatmap: Floats (h, w), over all that the inspector sees.
        place: Where the image lies in it.
        rule: From where on a position is suspicious.
        needs_peak: Whether there must be a region, as where the verdict is 'defective': where no position
            reaches the level, it is that of the highest one.
        mm_per_px: Millimetres of a pixel of the image's own size; None: not known.
        most: The largest number of regions.

    Returns:
        Those with the highest peaks, the highest first.
    """
    values = cut_heat(heatmap, place)
    codes, count = _label(values, rule, needs_peak)
    if not count:
        return ()
    numbers = np.arange(1, count + 1)
    peaks = ndimage.maximum(values, codes, numbers)
    order = sorted(zip(-np.asarray(peaks, np.float64), numbers.tolist(), strict=True))[:most]
    boxes, spots = ndimage.find_objects(codes), ndimage.maximum_position(values, codes, numbers)
    shape = values.shape
    sizes = np.bincount(codes.ravel(), minlength=count + 1)
    return tuple(
        _measure(boxes[code - 1], spots[code - 1], int(sizes[code]), shape, place, float(-height)).scale(
            mm_per_px
        )
        for height, code in order
    )


def _label(values: NDArray[np.float32], rule: RegionRule, needs_peak: bool) -> tuple[NDArray[np.int32], int]:
    """Number the suspicious areas, without specks; 0 is what is not suspicious.

    An area is above the level, and ends at half the height of its peak over what is usual: around a strong
    defect, positions that only see it from the side are above the level too.
    """
    top = np.unravel_index(int(values.argmax()), values.shape)
    is_below = float(values[top]) < rule.level
    if is_below and not needs_peak:
        return np.zeros(values.shape, np.int32), 0
    lowest = min(rule.level, _find_half(values[top], rule)) if is_below else rule.level
    codes, count = _number(values >= lowest)
    kept = _find_large(codes, count)
    kept[codes[top]] = True
    if is_below:
        kept[:] = np.arange(count + 1) == codes[top]
    peaks = np.full(count + 1, np.inf)
    peaks[1:] = ndimage.maximum(values, codes, np.arange(1, count + 1))
    ends = _find_half(peaks, rule)
    spots = ndimage.maximum_position(values, codes, np.flatnonzero(kept))
    codes, count = _number((codes > 0) & kept[codes] & (values >= ends[codes]))
    kept = _find_large(codes, count)
    kept[[codes[spot] for spot in spots]] = True
    return np.where(kept, np.cumsum(kept), 0).astype(np.int32)[codes], int(kept.sum())


def _find_half(peaks: Any, rule: RegionRule) -> Any:
    """Return half the height of peaks over what is usual; of a peak below that, the peak."""
    return np.minimum(peaks, rule.usual + HALF * (peaks - rule.usual))


def _number(marked: Bools) -> tuple[NDArray[np.int32], int]:
    """Number connected areas from 1; those that touch at a corner are one."""
    count, codes = cv2.connectedComponents(marked.astype(np.uint8), connectivity=8)
    return np.asarray(codes, np.int32), count - 1


def _find_large(codes: NDArray[np.int32], count: int) -> Bools:
    """Return which areas are no specks, (count + 1,); the first is what is no area."""
    large = np.bincount(codes.ravel(), minlength=count + 1) >= FEWEST_CELLS * STEPS_PER_CELL**2
    large[0] = False
    return np.asarray(large, bool)


def _measure(
    box: tuple[slice, slice],
    spot: tuple[int, int],
    size: int,
    shape: tuple[int, ...],
    place: ImagePlace,
    peak: float,
) -> SuspiciousRegion:
    """Bring a region from the finer grid to the pixels of the image; its box loses nothing of it."""
    down, across = place.height / shape[0], place.width / shape[1]
    top, bottom = _scale_edges(box[0], down, place.height)
    left, right = _scale_edges(box[1], across, place.width)
    return SuspiciousRegion(
        x=left,
        y=top,
        width=right - left,
        height=bottom - top,
        area=max(1, round(size * down * across)),
        peak=peak,
        peak_x=min(int((spot[1] + 0.5) * across), place.width - 1),
        peak_y=min(int((spot[0] + 0.5) * down), place.height - 1),
    )


def _scale_edges(edges: slice, factor: float, length: int) -> tuple[int, int]:
    first = min(math.floor(edges.start * factor + 1e-6), length - 1)
    return first, min(max(math.ceil(edges.stop * factor - 1e-6), first + 1), length)


def trace_regions(
    heatmap: Heat, place: ImagePlace, rule: RegionRule, needs_peak: bool = False
) -> list[NDArray[np.int32]]:
    """Return the outlines of the regions, for drawing.

    Returns:
        Closed polygons (n, 1, 2) of x and y in pixels of the image's own size, as OpenCV has them.
    """
    codes, count = _label(values := cut_heat(heatmap, place), rule, needs_peak)
    factors = np.array([place.width / values.shape[1], place.height / values.shape[0]])
    limits = np.array([place.width - 1, place.height - 1])
    found = []
    for code in range(1, count + 1):
        outlines, _ = cv2.findContours(
            (codes == code).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        for outline in outlines:
            places = np.rint((outline + 0.5) * factors - 0.5)
            found.append(np.clip(places, 0, limits).astype(np.int32))
    return found


def parse_rule(tree: Mapping[str, Any] | None) -> RegionRule | None:
    """Read what `dataclasses.asdict` made of a rule; None: there is none.

    Raises:
        KeyError: A number is missing.
        TypeError: It is something else, or one of them is no number.
    """
    if tree is None:
        return None
    return RegionRule(float(tree["level"]), float(tree["usual"]))
