"""What every drawing shares: the part, noise, paint, and the photograph that is taken at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.data.images import Pixels

Canvas = NDArray[np.float32]  # (size, size, 3), 0 to 1
Plane = NDArray[np.float32]  # (size, size)
Field = NDArray[np.floating]  # (size, size), of any precision
Region = NDArray[np.bool_]  # (size, size)
Point = NDArray[np.float64]  # (x, y) in pixels


@dataclass(frozen=True)
class DrawnPart:
    """A flawless part: its picture, and what the defects need to know of it.

    Attributes:
        canvas: The picture, before light and noise.
        surface: Where a defect may lie.
        beneath: What comes to light where a piece is missing.
        break_off: Picks a piece that can go missing; for each pixel it returns the defect size from which
            on that pixel is gone, infinite where it stays.
        unprinted: The picture without its printed mark.
    """

    canvas: Canvas
    surface: Region
    beneath: Canvas | None = None
    break_off: Callable[[np.random.Generator], Plane] | None = None
    unprinted: Canvas | None = None


def photograph(canvas: Canvas, rng: np.random.Generator) -> Pixels:
    """Light the scene unevenly, add sensor noise, and digitise."""
    size_px = canvas.shape[0]
    y, x = np.mgrid[0 : 1 : size_px * 1j, 0 : 1 : size_px * 1j]
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3)
    light = rng.uniform(0.8, 1.1) * (1 + slope * ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)))
    noisy = canvas * light[:, :, np.newaxis] + rng.normal(0, 0.012, canvas.shape)
    return np.asarray((np.clip(noisy, 0, 1) * 255).round(), np.uint8)


def colourise(shade: Field, colour: NDArray[np.float64]) -> Canvas:
    """Give a grey picture a colour (red, green, blue)."""
    return np.clip(shade[:, :, np.newaxis] * colour, 0, 1).astype(np.float32)


def paint(canvas: Canvas, coverage: Plane, colour: Canvas) -> Canvas:
    """Lay a picture over another one where `coverage` is 1, and mix the two along its edge."""
    return np.asarray(canvas + coverage[:, :, np.newaxis] * (colour - canvas), np.float32)


def cover(distance_px: Field) -> Plane:
    """Turn the distance from an outline (negative inside) into the share of each pixel that is covered."""
    return np.asarray(np.clip(0.5 - distance_px, 0, 1), np.float32)


def local_axes(size_px: int, centre: Point, angle: float) -> tuple[Plane, Plane]:
    """Return how far each pixel lies from `centre`, along the direction `angle` and across it."""
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    right, down = x - np.float32(centre[0]), y - np.float32(centre[1])
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return right * cosine + down * sine, down * cosine - right * sine


def smooth_noise(rng: np.random.Generator, size_px: int, scale_px: float) -> Plane:
    """Noise of mean 0 and deviation 1, smooth over `scale_px`."""
    noise = cv2.GaussianBlur(rng.normal(0, 1, (size_px, size_px)).astype(np.float32), (0, 0), scale_px)
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)


def stretched_noise(
    rng: np.random.Generator, size_px: int, along_px: float, across_px: float, angle: float
) -> Plane:
    """Noise of mean 0 and deviation 1 that is smooth over `along_px` in the direction `angle`."""
    side = int(1.5 * size_px)  # whatever the angle, it covers the picture
    cells = (max(4, round(side / across_px)), max(4, round(side / along_px)))
    coarse = rng.normal(0, 1, cells).astype(np.float32)
    noise = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), -np.degrees(angle), 1.0)
    turn[:, 2] -= (side - size_px) / 2
    turned = cv2.warpAffine(noise, turn, (size_px, size_px))
    return np.asarray((turned - turned.mean()) / turned.std(), np.float32)


def brush(rng: np.random.Generator, size_px: int) -> Plane:
    """Noise that is drawn out along one direction, at a random angle."""
    noise = rng.normal(0, 1, (2 * size_px, 2 * size_px)).astype(np.float32)
    streaks = cv2.GaussianBlur(noise, (0, 0), sigmaX=size_px / 12, sigmaY=0.7)
    turn = cv2.getRotationMatrix2D((size_px, size_px), rng.uniform(0, 180), 1.0)
    turned = cv2.warpAffine(streaks / streaks.std(), turn, (2 * size_px, 2 * size_px))
    start = size_px // 2
    return np.asarray(turned[start : start + size_px, start : start + size_px], np.float32)


def cast_shadow(ground: Canvas, coverage: Plane, rng: np.random.Generator) -> Canvas:
    """Darken the ground beside an object, on a random side; below it the ground keeps its light."""
    size_px = ground.shape[0]
    angle, reach = rng.uniform(0, 2 * np.pi), 0.025 * size_px
    shift = np.array([[1, 0, reach * np.cos(angle)], [0, 1, reach * np.sin(angle)]])
    moved = cv2.warpAffine(coverage, shift, (size_px, size_px))
    shadow = cv2.GaussianBlur(moved, (0, 0), 0.015 * size_px) * (1 - coverage)
    return np.asarray(ground * (1 - 0.45 * shadow[:, :, np.newaxis]), np.float32)
