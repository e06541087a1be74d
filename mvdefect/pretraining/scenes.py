"""Scenes: what a network is shown of one surface, and what it is asked about it, the layout included.

Histograms of gradients over a grid (Dalal & Triggs, 2005) are the classic description of a whole picture. A
network that can tell them from its pooled features has kept in these what lies where.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.data.images import Pixels
from mvdefect.drawing.canvas import Canvas, Plane
from mvdefect.drawing.surface_defects import FAULTS, plant_fault
from mvdefect.drawing.surfaces import Generator, Surface, photograph

VIEWS = 3  # two flawless ones, and one with a fault
MARGIN = 1.2  # a surface is drawn larger than a view, which is cut out of it
BARS_SHARE = 0.25
CELL_PX = 16
ENOUGH = 4 / CELL_PX**2  # of a cell has changed: the fault is there; more than nothing: nobody is asked
UNASKED = -1


DIRECTIONS = 8
CHANNELS = DIRECTIONS + 2
BLUR_PX = 1.5
FLOOR = 3e-3  # an edge weaker than that, of full range, is noise
MEANS = np.array([-5.2] * DIRECTIONS + [0.45, -2.9], np.float32)  # over drawn surfaces, as are the deviations
DEVIATIONS = np.array([0.6] * DIRECTIONS + [0.25, 0.95], np.float32)


@dataclass(frozen=True)
class Scene:
    """The views of one surface, (VIEWS, ...).

    Attributes:
        pixels: uint8 (size, size, 3).
        recipe: int32, number of the recipe, the same for all.
        defect_type: int32, 0 for flawless, otherwise 1 + index of `FAULTS`.
        position: int32 (size / 16, size / 16), the defect type in each cell, -1 where a fault only
            touches it.
        rotation: int32, quarter turns.
    """

    pixels: Pixels
    recipe: NDArray[np.int32]
    defect_type: NDArray[np.int32]
    position: NDArray[np.int32]
    rotation: NDArray[np.int32]


def draw_scene(surface: Surface, recipe: int, place: Generator, size_px: int) -> Scene:
    """Show a surface twice as it is and once with a fault, each under a light and in a pose of its own.

    Args:
        surface: At least `size_px` high and wide.
        recipe: Its number.
        place: Draws the fault, and all that differs from view to view.
        size_px: Height and width of a view.
    """
    kind = int(place.integers(len(FAULTS)))
    clean = np.zeros(surface.region.shape, np.float32)
    shown = [(surface.canvas, clean), (surface.canvas, clean), plant_fault(surface, kind, place)]
    turns = place.integers(0, 4, VIEWS).astype(np.int32)
    taken = [
        _take(canvas, mask, int(turn), place, size_px)
        for (canvas, mask), turn in zip(shown, turns, strict=True)
    ]
    shares = np.stack([average_cells(mask) for _, mask in taken])
    position = np.where(shares >= ENOUGH, kind + 1, np.where(shares > 0, UNASKED, 0)).astype(np.int32)
    seen = (position > 0).any(axis=(1, 2))
    return Scene(
        np.stack([pixels for pixels, _ in taken]),
        np.full(VIEWS, recipe, np.int32),
        np.where(seen, kind + 1, 0).astype(np.int32),
        position,
        turns,
    )


def average_cells(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average float32 (height, width, ...) over cells of 16 × 16 pixels; of a mask, the share it covers."""
    height, width, *rest = planes.shape
    cells = planes.reshape(height // CELL_PX, CELL_PX, width // CELL_PX, CELL_PX, *rest)
    return np.asarray(cells.mean(axis=(1, 3)), np.float32)


def _take(canvas: Canvas, mask: Plane, turns: int, place: Generator, size_px: int) -> tuple[Pixels, Plane]:
    """Cut a view out, where a fault is seen if there is one; turn and mirror it, and take the photograph."""
    top, left = _choose_corner(mask, place, size_px)
    window = np.s_[top : top + size_px, left : left + size_px]
    pixels, marked = photograph(canvas[window], place), mask[window].copy()
    if place.random() < BARS_SHARE:
        _lay_bars(pixels, marked, place)
    mirrored = slice(None, None, int(place.choice([-1, 1])))
    return (
        np.ascontiguousarray(np.rot90(pixels[:, mirrored], turns)),
        np.ascontiguousarray(np.rot90(marked[:, mirrored], turns)),
    )


def _choose_corner(mask: Plane, place: Generator, size_px: int) -> tuple[int, int]:
    spare = len(mask) - size_px
    top, left = (int(value) for value in place.integers(0, spare + 1, 2))
    rows, columns = np.nonzero(mask)
    if len(rows):
        middle_row, middle_column = int(np.median(rows)), int(np.median(columns))
        top = int(np.clip(top, middle_row - size_px + 4, middle_row - 4))
        left = int(np.clip(left, middle_column - size_px + 4, middle_column - 4))
    return int(np.clip(top, 0, spare)), int(np.clip(left, 0, spare))


def _lay_bars(pixels: Pixels, mask: Plane, place: Generator) -> None:
    """Black out two opposite borders, as a letterbox does with a photograph that is not square."""
    width = int(place.uniform(0.03, 0.25) * len(mask))
    if width:
        for array in (pixels, mask) if place.random() < 0.5 else (np.swapaxes(pixels, 0, 1), mask.T):
            array[:width] = 0
            array[-width:] = 0


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
