"""The layout of a picture: how bright, how contrasty and how strongly edged it is, and where.

Histograms of gradients over a grid (Dalal & Triggs, 2005) are the classic description of a whole picture. A
network that can tell them from its pooled features has kept in these what lies where.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.data.images import Pixels
from mvdefect.pretraining.scenes import CELL_PX, average_cells

DIRECTIONS = 8
CHANNELS = DIRECTIONS + 2
BLUR_PX = 1.5
FLOOR = 3e-3  # an edge weaker than that, of full range, is noise
MEANS = np.array([-5.2] * DIRECTIONS + [0.45, -2.9], np.float32)  # over drawn surfaces, as are the deviations
DEVIATIONS = np.array([0.6] * DIRECTIONS + [0.25, 0.95], np.float32)


def count_numbers(size_px: int) -> int:
    """Return how many numbers the layout of a square picture has."""
    return (size_px // CELL_PX) ** 2 * CHANNELS


def measure_layout(pixels: Pixels) -> NDArray[np.float32]:
    """Measure the layout of pictures.

    Args:
        pixels: uint8 (b, size, size, 3), `size` a multiple of 16.

    Returns:
        float32 (b, (size / 16)² × 10): in each cell the logarithm of the mean strength of edges in each of
        eight directions, the brightness, and the logarithm of the standard deviation; all of them with
        mean 0 and deviation 1, about, over drawn surfaces.
    """
    return np.stack([_measure(one) for one in pixels])


def _measure(pixels: Pixels) -> NDArray[np.float32]:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    smooth = cv2.GaussianBlur(grey, (0, 0), BLUR_PX)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *axis, scale=0.25) for axis in ((1, 0), (0, 1)))
    strength = np.hypot(across, down)
    direction = np.arctan2(down, across) % np.pi * (DIRECTIONS / np.pi)
    apart = np.abs(direction[..., np.newaxis] - np.arange(DIRECTIONS, dtype=np.float32))
    share = np.clip(1 - np.minimum(apart, DIRECTIONS - apart), 0, 1)  # to the two nearest directions
    edges = np.log(average_cells(strength[..., np.newaxis] * share) + FLOOR)
    level = average_cells(grey[..., np.newaxis])
    varies = np.sqrt(np.maximum(average_cells(grey[..., np.newaxis] ** 2) - level**2, 0))
    found = np.concatenate([edges, level, np.log(varies + FLOOR)], axis=-1)
    return np.asarray(((found - MEANS) / DEVIATIONS).reshape(-1), np.float32)
