"""What two images show alike in detail: fine structure, compared block by block after alignment.

An image is brought to a common area and band-passed: what is left is its fine structure at equal local
contrast, so that neither light nor encoding matters much. Two such pictures are laid over each other
(`alignment.py`), and each block says how well the two agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.data.groups.poses import MIRRORED
from mvdefect.data.images import Pixels

Floats = NDArray[np.float32]

PICTURE_AREA_PX = 128 * 128
MIN_SIDE_PX = 8
MAX_PICTURE_PX, MAX_BLOCKS = PICTURE_AREA_PX + 2048, 128  # with sides rounded to whole pixels and blocks
BLOCK_PX = 20
FINEST_PX, COARSEST_PX = 0.8, 2.7  # Gaussian sigmas that bound the band
CONTRAST_RANGE_PX = 6.7  # sigma of the neighbourhood whose contrast is made equal
CONTRAST_FLOOR = 3.0  # grey values: contrast below it is not raised to that of the rest
MIN_CONTRAST = 0.7  # grey values: a block with less shows nothing
MIN_RELATIVE_CONTRAST = 0.3  # of the image's upper quartile: a block with less is background
STORED_STEPS = 30.0  # of an int8, per unit of equalised contrast
FINAL_SEARCH_PX = 1
REPETITION_SEARCH_PX, REPETITION_STEP_PX = 4, 2
MIN_COVERED = 0.75  # of a block
REPETITION_PX = 32  # how far apart a pattern that repeats itself is sought
TURNS = 24  # steps of a whole turn
WAVES_PX = 128  # waves are counted over this length


def _list_waves() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the waves of a fingerprint by how many there are downwards and across, opposite ones once."""
    down, across = np.mgrid[-20:21, 0:21]
    length = np.hypot(down, across)
    kept = (length >= 4) & (length <= 20) & ((across > 0) | (down > 0))
    return down[kept], across[kept]


WAVES = _list_waves()
FINGERPRINT_LENGTH = len(WAVES[0])
FINGERPRINT_POSES = (0, 1, MIRRORED, MIRRORED + 1)  # half a turn changes no fingerprint


@dataclass(frozen=True)
class Detail:
    """The fine structure of an image.

    Attributes:
        grey: uint8 of shape (height, width): the image at the common area, aspect ratio kept.
        structure: int8 of shape (height, width): its fine structure at equal local contrast.
        is_informative: bool of shape (blocks,): where there is structure at all, row by row.
    """

    grey: Pixels
    structure: NDArray[np.int8]
    is_informative: NDArray[np.bool_]


def make_detail(grey: Pixels) -> Detail:
    """Bring an image to the common area and take its fine structure.

    Args:
        grey: uint8 of shape (height, width).
    """
    height, width = grey.shape
    scale = (PICTURE_AREA_PX / (height * width)) ** 0.5
    longest = PICTURE_AREA_PX // MIN_SIDE_PX
    size = [int(np.clip(round(side * scale), MIN_SIDE_PX, longest)) for side in (width, height)]
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = np.asarray(cv2.resize(grey, size, interpolation=interpolation), np.uint8)
    values = small.astype(np.float32)
    band = _blur(values, FINEST_PX) - _blur(values, COARSEST_PX)
    contrast = np.sqrt(_blur(band * band, CONTRAST_RANGE_PX) + CONTRAST_FLOOR**2)
    structure = np.clip(np.rint(STORED_STEPS * band / contrast), -127, 127).astype(np.int8)
    deviations = np.sqrt(np.maximum(_average_blocks(band * band) - _average_blocks(band) ** 2, 0))
    needed = max(MIN_CONTRAST, MIN_RELATIVE_CONTRAST * float(np.quantile(deviations, 0.75)))
    return Detail(small, structure, deviations >= needed)


def take_fingerprint(detail: Detail) -> NDArray[np.float16]:
    """Take what is left of a picture's structure when its place is forgotten: how strong each wave is.

    The magnitudes of a Fourier transform do not change when a picture is shifted, and little when it is
    turned or scaled a little; those of two surfaces have nothing in common but what all share.

    Returns:
        float16 of shape (`FINGERPRINT_LENGTH`,): logarithms, of waves from 6 to 32 pixels long.
    """
    values = detail.structure.astype(np.float32)
    values *= np.outer(*(np.hanning(length + 2)[1:-1] for length in values.shape)).astype(np.float32)
    down, across = (-length % WAVES_PX for length in values.shape)
    tiles = np.pad(values, ((0, down), (0, across))) if down or across else values
    shape = (tiles.shape[0] // WAVES_PX, WAVES_PX, tiles.shape[1] // WAVES_PX, WAVES_PX)
    spectrum = np.abs(np.fft.rfft2(tiles.reshape(shape).sum(axis=(0, 2))))
    return np.log1p(spectrum[WAVES[0] % WAVES_PX, WAVES[1]]).astype(np.float16)


def pose_fingerprints(fingerprints: NDArray[np.float16], pose: int) -> NDArray[np.float16]:
    """Return what fingerprints become when their images are laid in a pose.

    Args:
        fingerprints: float16 of shape (n, `FINGERPRINT_LENGTH`).
        pose: Index into `POSES`; one that is turned by half a turn more has the same.
    """
    return fingerprints[:, _order_waves(pose % 2 == 1, pose >= MIRRORED)]


def average_poses(fingerprints: NDArray[np.float16]) -> NDArray[np.float16]:
    """Return what fingerprints have in common in all poses.

    Args:
        fingerprints: float16 of shape (n, `FINGERPRINT_LENGTH`).

    Returns:
        float16 of shape (n, m), m about a quarter of `FINGERPRINT_LENGTH`; the same in whatever pose.
    """
    orders = np.stack([_order_waves(pose % 2 == 1, pose >= MIRRORED) for pose in FINGERPRINT_POSES])
    kept = np.unique(orders.min(axis=0))
    mean = np.mean([fingerprints[:, order[kept]] for order in orders], axis=0, dtype=np.float32)
    return np.asarray(mean, np.float16)


def compare_aligned(first: Detail, structure: NDArray[np.int8], place: Floats) -> Floats:
    """Say for each block of an image how well another one agrees with it once it is laid over it.

    Args:
        first: The image.
        structure: Of the other one, in the pose of the first.
        place: float32 of shape (2, 3): where a pixel of the image is in the other one.

    Returns:
        float32 of shape (blocks,): correlations; NaN where the other one has no such place.
    """
    own, other = first.structure.astype(np.float32), structure.astype(np.float32)
    size = (own.shape[1], own.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = np.asarray(cv2.warpAffine(other, place, size, flags=flags), np.float32)
    covered = cv2.warpAffine(np.ones_like(other), place, size, flags=flags)
    agreement = _correlate_blocks(own, laid, FINAL_SEARCH_PX)
    agreement[_average_blocks(np.asarray(covered, np.float32)) < MIN_COVERED] = np.nan
    return agreement


def measure_repetition(detail: Detail) -> Floats:
    """Say for each block of an image how well it agrees with other places of the same image.

    A weave or a grid agrees with itself wherever it is laid, so that agreement proves nothing there. The
    median over eight directions leaves out stripes, which repeat themselves along one line alone.

    Returns:
        float32 of shape (blocks,): correlations; NaN where there are no such places.
    """
    own = detail.structure.astype(np.float32)
    steps = (-REPETITION_PX, 0, REPETITION_PX)
    rows = [
        _hide_uncovered(
            _correlate_blocks(own, own, REPETITION_SEARCH_PX, (down, right), REPETITION_STEP_PX),
            own.shape,
            (down, right),
        )
        for down in steps
        for right in steps
        if down or right
    ]
    found = np.array(rows, np.float32)
    nothing = np.isnan(found).all(axis=0)
    found[:, nothing] = 0
    median = np.nanmedian(found, axis=0).astype(np.float32)
    median[nothing] = np.nan
    return median


def list_corners(shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the upper left corners of all blocks: rows, and columns."""
    rows, columns, top, left = _place_blocks(shape)
    y, x = np.divmod(np.arange(rows * columns), columns)
    return top + y * BLOCK_PX, left + x * BLOCK_PX


def turn_structure(structure: NDArray[np.int8], turn: int) -> NDArray[np.int8]:
    """Mirror and turn a picture in steps of 15 degrees; what comes in from outside is 0.

    Args:
        structure: int8 of shape (height, width).
        turn: Steps anticlockwise; `TURNS` more: mirrored left and right before.
    """
    mirrored = structure[:, ::-1] if turn >= TURNS else structure
    quarters, rest = divmod(turn % TURNS, TURNS // 4)
    if rest == 0:
        return np.ascontiguousarray(np.rot90(mirrored, quarters))
    height, width = structure.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 360 * (turn % TURNS) / TURNS, 1)
    turned = cv2.warpAffine(np.ascontiguousarray(mirrored).astype(np.float32), matrix, (width, height))
    return np.asarray(turned).astype(np.int8)


@cache
def _order_waves(is_turned: bool, is_mirrored: bool) -> NDArray[np.int64]:
    """Return for each wave of a posed picture where it stands in the fingerprint of the picture itself."""
    down, across = WAVES
    if is_turned:  # by a quarter turn anticlockwise
        down, across = across, -down
    if is_mirrored:  # before it was turned
        across = -across
    flipped = (across < 0) | ((across == 0) & (down < 0))
    down, across = np.where(flipped, -down, down), np.where(flipped, -across, across)
    places = {wave: place for place, wave in enumerate(zip(*(axis.tolist() for axis in WAVES), strict=True))}
    return np.array([places[wave] for wave in zip(down.tolist(), across.tolist(), strict=True)], np.int64)


def _blur(values: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float32)


def _place_blocks(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return rows and columns of blocks, and the margin above and to the left of them."""
    rows, columns = (max(1, length // BLOCK_PX) for length in shape[:2])
    top, left = (max(0, shape[0] - rows * BLOCK_PX) // 2, max(0, shape[1] - columns * BLOCK_PX) // 2)
    return rows, columns, top, left


def _cut_to_blocks(values: Floats) -> Floats:
    rows, columns, top, left = _place_blocks(values.shape)
    return values[top : top + rows * BLOCK_PX, left : left + columns * BLOCK_PX]


def _average_blocks(values: Floats) -> Floats:
    rows, columns, _, _ = _place_blocks(values.shape)
    means = cv2.resize(_cut_to_blocks(values), (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float32).ravel()


def _correlate_blocks(
    own: Floats, laid: Floats, search_px: int, shift: tuple[int, int] = (0, 0), step_px: int = 1
) -> Floats:
    """Return the best correlation of each block with what lies under it, or a few pixels beside it.

    The mean of a block is not taken off: in a band-passed picture it is next to nothing.
    """
    margin = search_px + max(abs(shift[0]), abs(shift[1]))
    padded = cv2.copyMakeBorder(laid, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0.0)
    rows, columns, top, left = _place_blocks(own.shape)
    inner = np.ascontiguousarray(_cut_to_blocks(own))
    height, width = inner.shape
    block = (width // columns, height // rows)
    squares = np.asarray(padded * padded, np.float32)
    boxed = cv2.blur(squares, block, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    products, energies = [], []
    for y in range(margin + shift[0] - search_px, margin + shift[0] + search_px + 1, step_px):
        for x in range(margin + shift[1] - search_px, margin + shift[1] + search_px + 1, step_px):
            here = (slice(y + top, y + top + height), slice(x + left, x + left + width))
            product = cv2.multiply(inner, padded[here])
            products.append(cv2.resize(product, (columns, rows), interpolation=cv2.INTER_AREA))
            energies.append(boxed[here][:: block[1], :: block[0]])
    energy = np.array(energies) * cv2.resize(inner * inner, (columns, rows), interpolation=cv2.INTER_AREA)
    best = (np.array(products) / np.sqrt(np.maximum(energy, 1.0))).max(axis=0)
    return np.asarray(best, np.float32).ravel()


def _hide_uncovered(found: Floats, shape: tuple[int, ...], shift: tuple[int, int]) -> Floats:
    """Set to NaN what lies outside of the picture after a shift."""
    spare = (1 - MIN_COVERED) * BLOCK_PX
    for corner, moved, length in zip(list_corners(shape), shift, shape, strict=True):
        place = corner + moved
        found[(place < -spare) | (place + BLOCK_PX > length + spare)] = np.nan
    return found
