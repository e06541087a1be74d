"""The working size: how many pixels of an image the network sees, height and width fitted to the images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvdefect.config import AUTO, FULL, STEP_PX, Size
from mvdefect.core.errors import ImageError
from mvdefect.core.parallel import map_in_threads
from mvdefect.data.images import read_size
from mvdefect.data.records import Record

Sizes = NDArray[np.int64]

BASE_PX = 224  # what backbones were trained at: the side of the smallest square that is tried
MAX_RATIO = 1.5  # of sides, up to which images go into a square, which can be turned; likewise of shapes
SPARED_PX = 4  # by so much an image may be shrunk further, so that a side needs no step more
TRIED = 3  # working sizes
CLOSE = 1.3  # ratio of sides below which another size is not worth a trial
SAMPLED = 500  # files whose headers are read


def read_sizes(records: Sequence[Record]) -> Sizes:
    """Read heights and widths of images from their headers, of up to 500 spread over all of them.

    Returns:
        int64 (n, 2), upright. Broken files are left out.
    """
    places = np.unique(np.linspace(0, len(records) - 1, min(SAMPLED, len(records))).round().astype(int))
    found = map_in_threads(_read_size, [records[place].path for place in places])
    sizes = [size for size in found if size is not None]
    return np.array(sizes, np.int64).reshape(-1, 2)


def _read_size(path: Path) -> Size | None:
    try:
        return read_size(path)
    except (ImageError, OSError):
        return None


def fit_frame(sizes: Sizes, longest_px: int) -> Size:
    """Return the working size whose longer side is given, in the shape of the images.

    Its shorter side is the next multiple of 32. It is a square if the images hardly differ from one, or much
    from each other in shape: in a square each fits alike, and it can be turned.

    Args:
        sizes: Heights and widths, int64 (n, 2).
        longest_px: A multiple of 32.
    """
    shape = _measure_shape(sizes)
    shorter_px = _round_up(min(shape, 1 / shape) * longest_px)
    return (longest_px, shorter_px) if shape > 1 else (shorter_px, longest_px)


def _measure_shape(sizes: Sizes) -> float:
    """Return the height of most images divided by their width; 1 where a square suits them."""
    low, middle, high = np.quantile(sizes[:, 0] / sizes[:, 1], (0.05, 0.5, 0.95))
    is_long = max(middle, 1 / middle) > MAX_RATIO
    return float(middle) if is_long and high / low <= MAX_RATIO else 1.0


def _round_up(length_px: float) -> int:
    return max(STEP_PX, STEP_PX * math.ceil((length_px - SPARED_PX) / STEP_PX))


def list_frames(sizes: Sizes) -> tuple[Size, ...]:
    """Return the working sizes that are tried, from the smallest.

    The first one has about as many pixels as a square of 224, each following four times as many, and none
    is larger than the images.

    Args:
        sizes: Heights and widths, int64 (n, 2).
    """
    longest, shape = _measure_longest(sizes), _measure_shape(sizes)
    found = [_round_up(BASE_PX * math.sqrt(max(shape, 1 / shape)))]
    while len(found) < TRIED and found[-1] < longest:
        following = min(2 * found[-1], longest)
        found.append(following if following * CLOSE < longest else longest)
    return tuple(dict.fromkeys(fit_frame(sizes, side) for side in found))


def _measure_longest(sizes: Sizes) -> int:
    """Return the longer side of most images, as a multiple of 32 that hardly enlarges them."""
    longest = float(np.quantile(sizes.max(axis=1), 0.95))
    return max(2 * STEP_PX, STEP_PX * math.floor((longest + SPARED_PX) / STEP_PX))


def settle_resolution(resolution: int | str | Size, sizes: Sizes) -> Size:
    """Return the working size that a setting means for images; `auto` is the smallest that is tried.

    Args:
        resolution: See `FitConfig`.
        sizes: Heights and widths, int64 (n, 2); for none at all it is a square.
    """
    if isinstance(resolution, tuple):
        return resolution
    sizes = sizes if len(sizes) else np.array([(BASE_PX, BASE_PX)])
    if resolution == AUTO:
        return list_frames(sizes)[0]
    return fit_frame(sizes, _measure_longest(sizes) if resolution == FULL else int(resolution))
