"""Defects of surfaces: local changes, each with the mask of what it changed.

They are drawn to be told apart and to be found, from plain to hardly visible: a fault of light is at least
about as strong as the surface around it varies.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from mvdefect.drawing.canvas import Canvas, Plane, Point
from mvdefect.drawing.surfaces import Generator, Surface, draw_coarse_noise

VISIBLE = 0.02  # of full range: less does not count as changed
LEAST_AREA_PX = 6
MAX_TRIES = 4

PlantFault = Callable[[Surface, Generator], Canvas]


def plant_fault(surface: Surface, kind: int, place: Generator) -> tuple[Canvas, Plane]:
    """Give a surface a fault.

    Args:
        surface: What is flawless.
        kind: Index of `FAULTS`.
        place: Draws where it lies and how grave it is.

    Returns:
        The changed picture, and a mask of 0 and 1, float32 (size, size). It is empty where the surface hid
        the fault, however often it was tried.
    """
    for _ in range(MAX_TRIES):
        canvas = np.clip(FAULTS[kind](surface, place), 0, 1)
        canvas = np.where(surface.region[:, :, np.newaxis], canvas, surface.canvas)
        change = np.abs(canvas - surface.canvas).max(axis=2)
        mask = (change > VISIBLE).astype(np.float32)
        if mask.sum() >= LEAST_AREA_PX:
            return canvas.astype(np.float32), mask
    return surface.canvas, np.zeros(surface.region.shape, np.float32)


def add_spot(surface: Surface, place: Generator) -> Canvas:
    """Add a small dark or bright spot, with or without a rim."""
    radius = place.uniform(0.008, 0.05)
    blob = _draw_blob(surface, place, radius)
    change = _draw_strength(surface, blob, place)
    if place.random() < 0.4:
        rim = cv2.dilate(blob, np.ones((3, 3), np.uint8)) - blob
        return _add(surface, change * (blob - 0.6 * rim))
    return _add(surface, change * blob)


def add_scratch(surface: Surface, place: Generator) -> Canvas:
    """Add a thin line, nearly straight, lighter or darker."""
    line = _draw_path(surface, place, place.uniform(0.1, 0.7), 0.08)
    return _add(surface, _draw_strength(surface, line, place) * line)


def add_crack(surface: Surface, place: Generator) -> Canvas:
    """Add a dark, jagged line, which may branch."""
    line = _draw_path(surface, place, place.uniform(0.15, 0.6), 0.7)
    if place.random() < 0.3:
        line = np.maximum(line, _draw_path(surface, place, place.uniform(0.1, 0.3), 0.9, line))
    return _add(surface, -abs(_draw_strength(surface, line, place)) * line)


def add_stain(surface: Surface, place: Generator) -> Canvas:
    """Tint or shade a large soft region."""
    blob = _draw_blob(surface, place, place.uniform(0.06, 0.22))
    soft = cv2.GaussianBlur(blob, (0, 0), place.uniform(1, 5))
    tint = np.ones(3) if place.random() < 0.5 else place.uniform(0.4, 1.6, 3)
    change = 0.7 * _draw_strength(surface, blob, place)
    return np.asarray(
        surface.canvas + soft[:, :, np.newaxis] * (change * tint).astype(np.float32), np.float32
    )


def add_dent(surface: Surface, place: Generator) -> Canvas:
    """Shade a hollow: one flank in the light, the other in the dark."""
    blob = _draw_blob(surface, place, place.uniform(0.03, 0.12))
    height = cv2.GaussianBlur(blob, (0, 0), place.uniform(1, 4))
    across, down = cv2.Sobel(height, cv2.CV_32F, 1, 0), cv2.Sobel(height, cv2.CV_32F, 0, 1)
    angle = place.uniform(0, 2 * np.pi)
    slope = across * np.cos(angle) + down * np.sin(angle)
    slope *= abs(_draw_strength(surface, blob, place)) / (np.abs(slope).max() + 1e-6)
    return _add(surface, slope)


def paste_patch(surface: Surface, place: Generator) -> Canvas:
    """Paste a turned patch from elsewhere (CutPaste; Li et al., 2021)."""
    size_px = surface.canvas.shape[0]
    turn = cv2.getRotationMatrix2D(
        (size_px / 2, size_px / 2), place.uniform(30, 330), place.uniform(0.7, 1.5)
    )
    moved = cv2.warpAffine(surface.canvas, turn, (size_px, size_px), borderMode=cv2.BORDER_REFLECT)
    moved = np.roll(moved, place.integers(0, size_px, 2), (0, 1))
    return _mix(surface.canvas, moved, _draw_blob(surface, place, place.uniform(0.04, 0.14)))


def smear(surface: Surface, place: Generator) -> Canvas:
    """Blur a region, or add grain to it."""
    blob = cv2.GaussianBlur(_draw_blob(surface, place, place.uniform(0.05, 0.15)), (0, 0), 1.5)
    if place.random() < 0.6:
        changed = cv2.GaussianBlur(surface.canvas, (0, 0), place.uniform(2, 5))
    else:
        grain = draw_coarse_noise(place, len(blob), *place.uniform(1, 4, 2))
        changed = surface.canvas + (place.uniform(0.06, 0.2) * grain)[:, :, np.newaxis]
    return _mix(surface.canvas, changed, blob)


def warp(surface: Surface, place: Generator) -> Canvas:
    """Push or twist the texture of a region."""
    size_px = surface.canvas.shape[0]
    radius = place.uniform(0.06, 0.16)
    centre = _pick_point(surface, place)
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    right, down = x - np.float32(centre[0]), y - np.float32(centre[1])
    near = np.exp(-(right**2 + down**2) / (2 * (radius * size_px) ** 2))
    angle = near * np.float32(place.choice([-1, 1]) * place.uniform(0.5, 1.8))
    push_x, push_y = place.uniform(-8, 8, 2).astype(np.float32)
    map_x = centre[0] + right * np.cos(angle) - down * np.sin(angle) + push_x * near
    map_y = centre[1] + right * np.sin(angle) + down * np.cos(angle) + push_y * near
    return np.asarray(
        cv2.remap(
            surface.canvas,
            map_x.astype(np.float32),
            map_y.astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
    )


def add_foreign(surface: Surface, place: Generator) -> Canvas:
    """Lay something of another colour on the surface, in ragged flakes (DRAEM; Zavrtanik et al., 2021)."""
    size_px = surface.canvas.shape[0]
    ragged = draw_coarse_noise(place, size_px, *place.uniform(4, 24, 2))
    near = cv2.GaussianBlur(_draw_blob(surface, place, place.uniform(0.06, 0.16)), (0, 0), 2)
    grain = draw_coarse_noise(place, size_px, *place.uniform(1, 8, 2))
    other = place.uniform(0, 1, 3 if place.random() < 0.5 else 1) + 0.1 * grain[:, :, np.newaxis]
    return _mix(surface.canvas, other, np.clip(4 * near * (ragged > 0), 0, 1) * place.uniform(0.4, 1))


def break_off(surface: Surface, place: Generator) -> Canvas:
    """Take a splinter from the edge of the piece, or from the border of the picture."""
    size_px = surface.canvas.shape[0]
    edge = cv2.morphologyEx(
        np.pad(surface.region, 1).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)
    )
    rows, columns = np.nonzero(edge[1:-1, 1:-1])
    index = place.integers(len(rows))
    blob = _fill_blob(
        size_px, np.array([columns[index], rows[index]], float), place.uniform(0.03, 0.12), place, 0.35
    )
    beneath = place.uniform(0, 1) * np.ones_like(surface.canvas) if surface.ground is None else surface.ground
    return _mix(surface.canvas, beneath, blob)


def abrade(surface: Surface, place: Generator) -> Canvas:
    """Scrape a region: many short lines side by side."""
    size_px = surface.canvas.shape[0]
    centre, heading = _pick_point(surface, place), place.uniform(0, np.pi)
    canvas = np.zeros((size_px, size_px), np.float32)
    for _ in range(int(place.integers(6, 24))):
        start = centre + place.normal(0, 0.05 * size_px, 2)
        angle = heading + place.normal(0, 0.08)
        end = start + place.uniform(0.04, 0.16) * size_px * np.array([np.cos(angle), np.sin(angle)])
        ends = np.round(np.array([start, end]) * 8).astype(np.int32)
        cv2.polylines(canvas, [ends.reshape(-1, 1, 2)], False, place.uniform(0.3, 1), 1, cv2.LINE_8, 3)
    soft = cv2.GaussianBlur(canvas, (0, 0), 0.6)
    return _add(surface, _draw_strength(surface, soft, place) * soft)


FAULTS: tuple[PlantFault, ...] = (
    add_spot,
    add_scratch,
    add_crack,
    add_stain,
    add_dent,
    paste_patch,
    smear,
    warp,
    add_foreign,
    break_off,
    abrade,
)


def _add(surface: Surface, change: Plane) -> Canvas:
    return np.asarray(surface.canvas + change[:, :, np.newaxis], np.float32)


def _mix(canvas: Canvas, other: np.ndarray, share: Plane) -> Canvas:
    return np.asarray(canvas + share[:, :, np.newaxis] * (other - canvas), np.float32)


def _draw_strength(surface: Surface, where: Plane, place: Generator) -> float:
    """Draw a change of intensity that can be seen before what surrounds it, and whose sign has room."""
    inside = surface.canvas[where > 0.3]
    if not len(inside):
        return 0.0
    around = cv2.dilate(where, np.ones((9, 9), np.uint8)) > 0.3
    varies, level = float(surface.canvas[around].std()), float(inside.mean())
    strength = place.uniform(1, 4) * varies + place.uniform(0.05, 0.35)
    sign = -1 if level > 0.75 else 1 if level < 0.2 else place.choice([-1, 1], p=[0.65, 0.35])
    return float(sign * min(strength, 0.8))


def _pick_point(surface: Surface, place: Generator) -> Point:
    """Pick a pixel of the surface, as (x, y)."""
    rows, columns = np.nonzero(surface.region)
    if not len(rows):
        return np.asarray(place.uniform(0, len(surface.region), 2))
    index = place.integers(len(rows))
    return np.array([columns[index], rows[index]], np.float64)


def _draw_blob(surface: Surface, place: Generator, radius: float) -> Plane:
    return _fill_blob(len(surface.region), _pick_point(surface, place), radius, place, 0.3)


def _fill_blob(size_px: int, centre: Point, radius: float, place: Generator, uneven: float) -> Plane:
    """Fill a roundish or stretched region, 1 inside and 0 outside; its radius is a share of the size."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    phases, ratio, turn = place.uniform(0, 2 * np.pi, 3), place.uniform(0.45, 1), place.uniform(0, np.pi)
    radii = (
        1
        + uneven
        * (np.sin(2 * angles + phases[0]) + np.sin(3 * angles + phases[1]) + np.sin(5 * angles + phases[2]))
        / 2
    )
    u, v = radii * np.cos(angles), ratio * radii * np.sin(angles)
    turned = np.stack([u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)], axis=1)
    outline = np.round((centre + max(radius * size_px, 1.2) * turned) * 16).astype(np.int32)
    canvas = np.zeros((size_px, size_px), np.float32)
    cv2.fillPoly(canvas, [outline.reshape(-1, 1, 2)], 1.0, cv2.LINE_8, 4)
    return canvas


def _draw_path(
    surface: Surface, place: Generator, length: float, bend: float, start_on: Plane | None = None
) -> Plane:
    """Draw a line of a length (share of the size) from a point of the surface, or of `start_on`."""
    size_px = len(surface.region)
    points = [_pick_point(surface if start_on is None else Surface(surface.canvas, start_on > 0), place)]
    heading = place.uniform(0, 2 * np.pi)
    for _ in range(8):
        heading += place.normal(0, bend)
        points.append(points[-1] + length * size_px / 8 * np.array([np.cos(heading), np.sin(heading)]))
    canvas = np.zeros((size_px, size_px), np.float32)
    path = np.round(np.array(points) * 16).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(canvas, [path], False, 1.0, int(place.choice([1, 1, 1, 2, 3])), cv2.LINE_8, 4)
    return cv2.GaussianBlur(canvas, (0, 0), place.uniform(0.4, 0.9)) if place.random() < 0.7 else canvas
