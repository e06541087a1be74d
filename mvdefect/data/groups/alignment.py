"""How pictures are laid over one another: a shift by correlation, then a small rotation and scale.

The latter are fitted to where the blocks of the one are found in the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2

from mvdefect.data.groups.details import BLOCK_PX, Detail, Floats, compare_aligned, list_corners

MAX_SHIFT_PX = 11
SHIFTS = np.arange(-MAX_SHIFT_PX, MAX_SHIFT_PX + 1)
SEARCH_PX = 4  # about where the shift puts a block
TRIED = 2 * SEARCH_PX + 1
MARGIN_PX = MAX_SHIFT_PX + SEARCH_PX
ALIGNING_BLOCKS, MIN_ALIGNING_BLOCKS, MIN_ALIGNING_CORRELATION = 18, 4, 0.3
MAX_TURN_DEGREES, MAX_LOG_SCALE = 10.0, 0.12
RANSAC_TOLERANCE_PX, ALIGNED_PX = 1.0, 1.5
MIN_STEPS = 1.0  # of a stored structure, in the square mean: with less there is nothing to be found

Shift = tuple[int, int]  # down, right


@dataclass(frozen=True)
class Alignment:
    """How a picture is laid over another one.

    Attributes:
        place: float32 of shape (2, 3): where a pixel of the one is in the other.
        share: Of the blocks that were sought, those that are where it puts them, 0 to 1.
    """

    place: Floats
    share: float


class Aligner:
    """Lays other pictures over one image; what depends on the image alone is computed once."""

    def __init__(self, detail: Detail) -> None:
        """Prepare the blocks that are sought in the others: informative ones, evenly spread."""
        self.detail = detail
        self._own = detail.structure.astype(np.float32)
        self._spectra: dict[tuple[int, int], Floats] = {}
        informative = np.flatnonzero(detail.is_informative)
        count = min(ALIGNING_BLOCKS, len(informative))
        numbers = informative[np.linspace(0, len(informative) - 1, count).astype(np.int64)]
        self._rows, self._columns = (corners[numbers] for corners in list_corners(self._own.shape))
        height, width = (min(BLOCK_PX, length) for length in self._own.shape)
        self._reach = (height + TRIED - 1, width + TRIED - 1)
        self._sums = [_make_sums(side) for side in (height, width)]
        blocks = sliding_window_view(self._own, (height, width))[self._rows, self._columns]
        self._blocks = np.conj(rfft2(blocks, s=self._reach))
        self._floor = height * width * MIN_STEPS
        self._energies = np.maximum((blocks * blocks).sum(axis=(1, 2), keepdims=True), self._floor)

    def compare(self, structure: NDArray[np.int8]) -> Floats:
        """Lay another picture over the image, and compare them as `compare_aligned` does.

        Args:
            structure: Of the other one, in the pose of the image.
        """
        return compare_aligned(self.detail, structure, self.align(structure).place)

    def align(self, structure: NDArray[np.int8]) -> Alignment:
        """Find how another picture must be laid over the image.

        Args:
            structure: Of the other one, in the pose of the image.
        """
        other = structure.astype(np.float32)
        shift = self._find_shift(other)
        correlations, shifts = self._match_blocks(other, shift)
        certain = correlations > MIN_ALIGNING_CORRELATION
        source = np.stack([self._columns, self._rows], axis=1)[certain].astype(np.float32) + BLOCK_PX / 2
        target = (source + shifts[certain, ::-1]).astype(np.float32)
        place = _fit_placement(source, target, shift)
        distances = np.abs(source @ place[:, :2].T + place[:, 2] - target).max(axis=1, initial=0)
        return Alignment(place, float((distances <= ALIGNED_PX).sum() / max(1, len(certain))))

    def _find_shift(self, other: Floats) -> Shift:
        """Return the shift at which the two correlate most."""
        sides = [max(lengths) + MAX_SHIFT_PX for lengths in zip(self._own.shape, other.shape, strict=True)]
        shape = (cv2.getOptimalDFTSize(sides[0]), cv2.getOptimalDFTSize(sides[1]))
        if shape not in self._spectra:
            self._spectra[shape] = _take_spectrum(self._own, shape)
        products = cv2.mulSpectrums(_take_spectrum(other, shape), self._spectra[shape], 0, conjB=True)
        correlation = cv2.idft(products)
        near = correlation[SHIFTS[:, np.newaxis], SHIFTS]
        down, right = divmod(int(near.argmax()), len(SHIFTS))
        return down - MAX_SHIFT_PX, right - MAX_SHIFT_PX

    def _match_blocks(self, other: Floats, shift: Shift) -> tuple[Floats, NDArray[np.int64]]:
        """Find the blocks in the other picture, near where a shift puts them.

        Returns:
            float32 of shape (n,), the best correlations; int64 of shape (n, 2): their shifts.
        """
        below, right = (max(0, own - side) for own, side in zip(self._own.shape, other.shape, strict=True))
        margins = (MARGIN_PX, MARGIN_PX + below, MARGIN_PX, MARGIN_PX + right)
        padded = np.asarray(cv2.copyMakeBorder(other, *margins, cv2.BORDER_CONSTANT, value=0.0))
        top, left = (moved - SEARCH_PX + MARGIN_PX for moved in shift)
        windows = sliding_window_view(padded, self._reach)[self._rows + top, self._columns + left]
        products = irfft2(rfft2(windows) * self._blocks, s=self._reach)[:, :TRIED, :TRIED]
        energies = self._sums[0] @ (windows * windows) @ self._sums[1].T
        norms = np.sqrt(np.maximum(energies, self._floor) * self._energies)
        correlations = (products / norms).reshape(len(windows), TRIED * TRIED)
        best = correlations.argmax(axis=1)
        shifts = np.stack(np.divmod(best, TRIED), axis=1) - SEARCH_PX + np.array(shift)
        return np.take_along_axis(correlations, best[:, np.newaxis], axis=1)[:, 0], shifts


def _take_spectrum(values: Floats, shape: tuple[int, int]) -> Floats:
    padded = np.zeros(shape, np.float32)
    padded[: values.shape[0], : values.shape[1]] = values
    return np.asarray(cv2.dft(padded), np.float32)


def _make_sums(side: int) -> Floats:
    """Return the matrix that takes sums over a block's side wherever it is tried."""
    places = np.arange(side + TRIED - 1) - np.arange(TRIED)[:, np.newaxis]
    return ((places >= 0) & (places < side)).astype(np.float32)


def _fit_placement(source: Floats, target: Floats, shift: Shift) -> Floats:
    """Fit shift, small rotation and scale to where blocks were found, as a 2×3 matrix.

    Args:
        source: float32 of shape (n, 2): x and y of the centre of each block.
        target: The same, in the other picture.
        shift: What is left where nothing fits.
    """
    plain = np.array([[1, 0, shift[1]], [0, 1, shift[0]]], np.float32)
    if len(source) < MIN_ALIGNING_BLOCKS:
        return plain
    fitted, _ = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=RANSAC_TOLERANCE_PX
    )
    if fitted is None:
        return plain
    scale, turn = np.hypot(fitted[0, 0], fitted[1, 0]), np.arctan2(fitted[1, 0], fitted[0, 0])
    is_small = abs(np.log(max(scale, 1e-6))) < MAX_LOG_SCALE and abs(np.degrees(turn)) < MAX_TURN_DEGREES
    return np.asarray(fitted, np.float32) if is_small else plain
