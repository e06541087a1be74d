"""Heatmaps and suspicious regions drawn over images, for people to look at.

An image of 100 megapixels has 300 MB, so it is drawn on a strip of rows at a time: beside the image itself,
and a copy where one is wanted, memory holds some megabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import ConfigError
from mvdefect.data.images import Pixels
from mvdefect.evaluation.bootstrap import Bools
from mvdefect.evaluation.regions import SuspiciousRegion

COLOURS = "inferno"  # perceptually uniform, and still in order when printed in grey
MAX_OPACITY = 0.6
STRIP_PIXELS = 1_000_000  # that are drawn on at a time
CONTOUR = (0, 200, 255)  # which is none of the colours of heat
SHADE = (0, 0, 0)
LINE_SHARE = 500  # the longer side by the width of a line
FONT, SMALLEST_FONT, FONT_SHARE = cv2.FONT_HERSHEY_SIMPLEX, 0.35, 1600


def overlay_heatmap(
    image: Pixels,
    heatmap: NDArray[np.floating[Any]],
    low: float,
    high: float,
    in_place: bool = False,
    counted: Bools | None = None,
) -> Pixels:
    """Lay a heatmap over an image: the more suspicious, the brighter and the less transparent.

    Args:
        image: uint8 RGB (height, width, 3).
        heatmap: Floats (h, w) of this very image without padding, of any size; spread bilinearly.
        low: At and below this value the image is left as it is.
        high: From this value on the colour is the brightest.
        in_place: Whether the image itself is changed.
        counted: Where the image counts, bool (h, w), of any size; elsewhere it is left as it is. None: all
            of it does.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        ConfigError: `high` is not above `low`, or the arrays are of other types or shapes.
    """
    if not low < high:
        raise ConfigError(f"high must be above low. Received: low={low}, high={high}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or heatmap.ndim != 2:
        raise ConfigError(
            "image must be uint8 of shape (height, width, 3) and heatmap of shape (height, width). "
            f"Received: image {image.dtype} of shape {image.shape}, heatmap of shape {heatmap.shape}"
        )
    drawn = image if in_place else image.copy()
    kept, added = _make_steps()
    heat = (heatmap.astype(np.float32) - low) / (high - low)
    for rows, spread in _spread_strips(heat, image.shape[:2]):
        chosen = np.rint(255 * np.clip(spread, 0, 1)).astype(np.uint8)
        if counted is not None:
            chosen *= _take_rows(counted, rows, image.shape[:2])
        if chosen.any():
            drawn[rows] = np.rint(drawn[rows] * kept[chosen][..., np.newaxis] + added[chosen])
    return drawn


def _take_rows(counted: Bools, rows: slice, shape: tuple[int, ...]) -> Bools:
    """Bring rows of a mask (h, w) to a shape, by the nearest pixel."""
    height, width = shape
    down = (np.arange(rows.start, rows.stop) * len(counted)) // height
    across = (np.arange(width) * counted.shape[1]) // width
    return np.asarray(counted[np.ix_(down, across)])


def _make_steps() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return, for each of 256 steps of heat, what is kept of the image (256,) and what is added (256, 3)."""
    import matplotlib as mpl

    heat = np.linspace(0, 1, 256)
    opacity = MAX_OPACITY * heat
    colours = 255 * mpl.colormaps[COLOURS](heat)[:, :3]
    return (1 - opacity).astype(np.float32), (opacity[:, np.newaxis] * colours).astype(np.float32)


def _spread_strips(
    values: NDArray[np.float32], shape: tuple[int, ...]
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Bring values (h, w) to a shape bilinearly, a strip of rows at a time."""
    height, width = shape
    count = max(1, STRIP_PIXELS // width)
    for start in range(0, height, count):
        rows = slice(start, min(start + count, height))
        places = (np.arange(rows.start, rows.stop) + 0.5) * len(values) / height - 0.5
        places = np.clip(places, 0, len(values) - 1)
        below = np.floor(places).astype(np.int64)
        above = np.minimum(below + 1, len(values) - 1)
        shares = (places - below).astype(np.float32)[:, np.newaxis]
        mixed = values[below] * (1 - shares) + values[above] * shares
        yield rows, np.asarray(cv2.resize(mixed, (width, len(mixed)), interpolation=cv2.INTER_LINEAR))


def draw_regions(
    image: Pixels, outlines: Sequence[NDArray[np.int32]], regions: Sequence[SuspiciousRegion] = ()
) -> None:
    """Draw the outlines of suspicious regions on an image, and their sizes where millimetres are known.

    Args:
        image: uint8 RGB (height, width, 3), which is changed.
        outlines: As `trace_regions` returns them.
        regions: The size of each stands at the upper left corner of its box.
    """
    longest = max(image.shape[:2])
    line = max(1, round(longest / LINE_SHARE))
    if longest >= LINE_SHARE:
        cv2.polylines(image, list(outlines), True, SHADE, 3 * line, cv2.LINE_AA)
    cv2.polylines(image, list(outlines), True, CONTOUR, line, cv2.LINE_AA)
    for region in regions:
        if region.width_mm is not None:
            _write_size(image, region, max(SMALLEST_FONT, longest / FONT_SHARE), line)


def format_size(region: SuspiciousRegion) -> str:
    """Return width and height of a region in millimetres, as in "1.2 x 0.35 mm"; "" where not known."""
    if region.width_mm is None or region.height_mm is None:
        return ""
    return f"{region.width_mm:.3g} x {region.height_mm:.3g} mm"


def _write_size(image: Pixels, region: SuspiciousRegion, scale: float, line: int) -> None:
    """Write the size of a region above its box; below its upper edge where there is no room."""
    text = format_size(region)
    (width, height), base = cv2.getTextSize(text, FONT, scale, line)
    left = max(0, min(region.x, image.shape[1] - width))
    bottom = region.y - base if region.y - base >= height else region.y + height + base
    corners = (left, bottom - height - line), (left + width, bottom + base)
    cv2.rectangle(image, *corners, SHADE, cv2.FILLED)
    cv2.putText(image, text, (left, bottom), FONT, scale, CONTOUR, line, cv2.LINE_AA)
