"""The working size: how many pixels of an image the network sees, height and width fitted to the images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.config import AUTO, STEP_PX, FitConfig, Size
from mvdefect.core.errors import ConfigError, ImageError
from mvdefect.core.parallel import map_in_threads
from mvdefect.data.images import decode_mask, read_size
from mvdefect.data.records import Record

Sizes = NDArray[np.int64]
Shares = NDArray[np.float64]
Item = TypeVar("Item")

BASE_PX = 224  # what backbones were trained at: the side of the smallest square that is tried
MAX_RATIO = 1.5  # of sides, up to which images go into a square, which can be turned; likewise of shapes
SPARED_PX = 4  # by so much an image may be shrunk further, so that a side needs no step more
WORTH_IT = 1.25  # ratio of sides from which on a second look at twice the size is taken
SPARED_OCTAVES = 0.2  # so that 448 counts as twice 224, and a little less too
SEEN_PX = 4.0  # side of a defect that a backbone still sees
BATCH_PIXELS = 64 * BASE_PX**2  # that pass through a network at once
SAMPLED = 500  # files whose headers are read
MASKS = 100  # that are read

NO_DEFECTS: Shares = np.zeros(0)


def spread_over(items: Sequence[Item], count: int) -> list[Item]:
    """Return up to so many items at even distances, the first and the last among them."""
    numbers = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[number] for number in numbers]


def read_sizes(records: Sequence[Record]) -> Sizes:
    """Read heights and widths of images from their headers; of up to 500 files spread over all.

    Returns:
        int64 (n, 2), upright. Broken files are left out.
    """
    found = map_in_threads(_read_size, [record.path for record in spread_over(records, SAMPLED)])
    sizes = [size for size in found if size is not None]
    return np.array(sizes, np.int64).reshape(-1, 2)


def _read_size(path: Path) -> Size | None:
    try:
        return read_size(path)
    except (ImageError, OSError):
        return None


def read_defects(records: Sequence[Record]) -> Shares:
    """Read how large defects are by their masks, of up to 100 of them spread over all.

    Returns:
        Of each mask `measure_defect`, divided by the longer side of the image, float64 (n,). Masks that
        cannot be read, or mark nothing, are left out.
    """
    marked = [record.mask_path for record in records if record.mask_path is not None]
    shares = np.array(list(map_in_threads(_read_defect, spread_over(marked, MASKS))), np.float64)
    return shares[shares > 0]


def _read_defect(path: Path) -> float:
    try:
        mask = decode_mask(path.read_bytes())
    except (ImageError, OSError):
        return 0.0
    return float(measure_defect(mask) / max(mask.shape))


def measure_defect(mask: NDArray[np.bool_]) -> float:
    """Return the side of a square that is as large as the largest connected defect of a mask, in pixels."""
    _, _, found, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = found[1:, cv2.CC_STAT_AREA]
    return math.sqrt(int(areas.max())) if len(areas) else 0.0


def fit_frame(sizes: Sizes, longest_px: int) -> Size:
    """Return the working size whose longer side is given, in the shape of the images.

    Its shorter side is rounded up, so that sides of each scale of `list_scales` are multiples of 32. It is
    a square if the images hardly differ from one, or much from each other in shape: in a square each fits
    alike, and it can be turned.

    Args:
        sizes: Heights and widths, int64 (n, 2).
        longest_px: A multiple of 32.
    """
    shape = _measure_shape(sizes)
    shorter_px = min(shape, 1 / shape) * longest_px
    step_px = STEP_PX * _count_halvings(longest_px * shorter_px, longest_px)
    shorter = step_px * max(1, math.ceil((shorter_px - SPARED_PX) / step_px))
    return (longest_px, shorter) if shape > 1 else (shorter, longest_px)


def _measure_shape(sizes: Sizes) -> float:
    """Return the height of most images divided by their width; 1 where a square suits them."""
    low, middle, high = np.quantile(sizes[:, 0] / sizes[:, 1], (0.05, 0.5, 0.95))
    is_long = max(middle, 1 / middle) > MAX_RATIO
    return float(middle) if is_long and high / low <= MAX_RATIO else 1.0


def _list_longest(sizes: Sizes, defects: Shares) -> list[int]:
    """Return the longer sides that `auto` takes, the best first.

    They are those of a square of 224 in the shape of the images, and of twice that if images are so large; or
    even four times, if one of ten defects would have too few pixels.
    """
    shape = _measure_shape(sizes)
    coarse = STEP_PX * math.ceil((BASE_PX * math.sqrt(max(shape, 1 / shape)) - SPARED_PX) / STEP_PX)
    longest = _measure_longest(sizes)
    if longest < WORTH_IT * coarse:
        return [coarse]
    small = float(np.quantile(defects, 0.1)) * 2 * coarse if len(defects) else math.inf
    is_too_small = small < SEEN_PX and longest >= WORTH_IT * 2 * coarse
    return [4 * coarse, 2 * coarse, coarse] if is_too_small else [2 * coarse, coarse]


def _measure_longest(sizes: Sizes) -> int:
    """Return the longer side of most images, as a multiple of 32 that hardly enlarges them."""
    longest, shape = float(np.quantile(sizes.max(axis=1), 0.95)), _measure_shape(sizes)
    step_px = STEP_PX * _count_halvings(longest**2 * min(shape, 1 / shape))
    return max(2 * STEP_PX, step_px * math.floor((longest + SPARED_PX) / step_px))


def list_scales(size_px: Size) -> tuple[int, ...]:
    """Return at which scales members see an image: by how much it is shrunk, the coarsest first, the last 1.

    The coarsest has about as many pixels as a square of 224, with which backbones were trained.
    """
    shrink = _count_halvings(size_px[0] * size_px[1], math.gcd(*size_px))
    return (shrink, 1) if shrink > 1 else (1,)


def describe_size(size_px: Size, sizes: Sizes, defects: Shares = NO_DEFECTS) -> str:
    """Return in one line how large images and defects are seen, and what that costs.

    Args:
        size_px: The working size.
        sizes: Heights and widths of the images, int64 (n, 2).
        defects: What `read_defects` returns.
    """
    scales = list_scales(size_px)
    seen = " and ".join(f"{size_px[1] // scale}×{size_px[0] // scale}" for scale in scales)
    height, width = np.median(sizes, axis=0).astype(int) if len(sizes) else (0, 0)
    cost = f"{1e6 * count_megapixels(size_px) / BASE_PX**2:.1f} times the work of {BASE_PX}×{BASE_PX}"
    side = float(np.quantile(defects, 0.1)) * max(size_px) if len(defects) else 0
    known = f", nine of ten defects at {side:.0f}×{side:.0f} or more" if side else ""
    size = f"images of about {width}×{height} pixels"
    return f"{size} are seen at {seen}{known}: {cost} (--resolution sets another size)"


def bound_batch(size_px: Size, batch_size: int) -> int:
    """Return how many images of a size may pass through a network at once, so that memory stays bounded."""
    return max(1, min(batch_size, BATCH_PIXELS // (size_px[0] * size_px[1])))


def find_network_shrink(config: FitConfig) -> int:
    """Return by how much the image is shrunk for the network that is trained.

    Raises:
        ConfigError: The setting does not divide the working size.
    """
    shrink = config.network_shrink or list_scales(config.size_px)[0]
    if any(side % (STEP_PX * shrink) for side in config.size_px):
        raise ConfigError(
            f"network_shrink must divide the sides of the working size, {config.size_px[1]} and "
            f"{config.size_px[0]} pixels, into multiples of {STEP_PX}. Received: network_shrink={shrink}"
        )
    return shrink


def _count_halvings(pixels: float, divided_px: int = 0) -> int:
    """Return the power of two by which to shrink towards a square of 224; a length stays a multiple of 32."""
    shrink = 2 ** max(0, math.floor(math.log2(math.sqrt(pixels) / BASE_PX) + SPARED_OCTAVES))
    while divided_px % (STEP_PX * shrink):
        shrink //= 2
    return int(max(1, shrink))


def settle_resolution(
    resolution: int | str | Size, sizes: Sizes, defects: Shares = NO_DEFECTS, megapixels: float | None = None
) -> Size:
    """Return the working size that a setting means for images; see `_list_longest` for `auto`.

    Args:
        resolution: See `FitConfig`.
        sizes: Heights and widths, int64 (n, 2); for none at all it is a square.
        defects: What `read_defects` returns.
        megapixels: What all scales together may have at most, in millions of pixels; None: any number.

    Raises:
        ConfigError: Not even the smallest size keeps within that, or the size that is set does not.
    """
    sizes = sizes if len(sizes) else np.array([(BASE_PX, BASE_PX)])
    if isinstance(resolution, str):
        best = _list_longest(sizes, defects) if resolution == AUTO else [_measure_longest(sizes)]
        frames = [fit_frame(sizes, side) for side in (*best, *_list_smaller(min(best)))]
    else:
        frames = [resolution if isinstance(resolution, tuple) else fit_frame(sizes, resolution)]
    for frame in frames:
        if megapixels is None or count_megapixels(frame) <= megapixels:
            return frame
    height, width = frames[-1]
    least = f"{width}×{height} pixels, {count_megapixels(frames[-1]):.3g} megapixels"
    name = "the smallest size" if len(frames) > 1 else "this resolution"
    raise ConfigError(
        f"megapixels allows less than {name} needs, {least}. Received: megapixels={megapixels:g}"
    )


def _list_smaller(longest_px: int) -> Iterator[int]:
    """Yield smaller and smaller sides; of large images those that leave a coarser scale."""
    while longest_px > 2 * STEP_PX:
        step_px = STEP_PX * (2 if longest_px > 2 * BASE_PX else 1)
        longest_px = (longest_px - 1) // step_px * step_px
        yield longest_px


def count_megapixels(size_px: Size) -> float:
    """Return how many millions of pixels all scales of an image have together."""
    return sum(size_px[0] * size_px[1] / scale**2 for scale in list_scales(size_px)) / 1e6
