"""Surfaces without an outline: each fills its picture, and no two pictures show the same place."""

from __future__ import annotations

import numpy as np

from mvdefect.data.synthetic.draw import (
    Canvas,
    DrawnPart,
    Field,
    Plane,
    colourise,
    cover,
    local_axes,
    paint,
    smooth_noise,
    stretched_noise,
)


def draw_fabric(rng: np.random.Generator, size_px: int) -> DrawnPart:
    """Draw a plain weave of threads, at a random angle, pitch and colour."""
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    drift = 1.5 * smooth_noise(rng, size_px, size_px / 6)
    pitch = size_px / rng.uniform(16, 22)
    warp = np.sin(2 * np.pi * (u + drift) / pitch + rng.uniform(0, 2 * np.pi))
    weft = np.sin(2 * np.pi * (v + drift) / pitch + rng.uniform(0, 2 * np.pi))
    threads = np.where(warp * weft > 0, np.abs(warp), np.abs(weft))
    colour = np.array([0.55, 0.5, 0.42]) * rng.uniform(0.85, 1.15, 3)
    shade = 0.75 + 0.3 * threads + 0.05 * smooth_noise(rng, size_px, 2)
    return _fill(colourise(shade, colour))


def draw_brushed_metal(rng: np.random.Generator, size_px: int) -> DrawnPart:
    """Draw a sheet of brushed steel, at a random angle and tint, with bands of different gloss."""
    angle = rng.uniform(0, np.pi)
    fine = stretched_noise(rng, size_px, size_px / 4, max(1.0, size_px / 128), angle)
    coarse = stretched_noise(rng, size_px, size_px, size_px / 24, angle)
    colour = rng.uniform(0.5, 0.68) * (1 + rng.uniform(-0.04, 0.04, 3))
    return _fill(colourise(1 + 0.07 * fine + 0.05 * coarse, colour))


def draw_wood(rng: np.random.Generator, size_px: int) -> DrawnPart:
    """Draw a planed board: wavy rings along a random direction, and short dark pores."""
    angle = rng.uniform(0, np.pi)
    centre = np.array([size_px / 2, size_px / 2])
    _, across = local_axes(size_px, centre, angle)
    sway = stretched_noise(rng, size_px, size_px / 2, size_px / 5, angle)
    phase = across / size_px * rng.uniform(5, 8) + 0.5 * sway + rng.uniform()
    rings = (phase % 1) ** 2  # the dark late wood ends each year abruptly
    fibres = stretched_noise(rng, size_px, size_px / 4, max(1.0, size_px / 100), angle)
    pores = stretched_noise(rng, size_px, size_px / 12, max(1.0, size_px / 128), angle) > 2.0
    shade = 1 - 0.22 * rings + 0.05 * fibres - 0.15 * pores
    colour = np.array([0.68, 0.49, 0.31]) * rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)
    return _fill(colourise(shade, colour))


def draw_grid(rng: np.random.Generator, size_px: int) -> DrawnPart:
    """Draw a woven wire mesh before a dark ground, at a random angle, mesh width and gauge."""
    centre = np.array([size_px / 2, size_px / 2])
    along, across = local_axes(size_px, centre, rng.uniform(0, np.pi))
    pitch = size_px / rng.uniform(7, 11)
    bend = 0.12 * smooth_noise(rng, size_px, size_px / 8)
    warp, weft = across / pitch + bend + rng.uniform(), along / pitch + bend + rng.uniform()
    half_width = rng.uniform(0.15, 0.19)
    ground = colourise(0.13 + 0.03 * smooth_noise(rng, size_px, size_px / 20), np.array([1.0, 1.0, 1.05]))
    colour = rng.uniform(0.55, 0.75) * (1 + rng.uniform(-0.06, 0.06, 3))
    wear = 1 + 0.06 * smooth_noise(rng, size_px, size_px / 24)
    over = np.cos(np.pi * np.round(warp)) * np.cos(np.pi * np.round(weft))  # 1 or -1 at each crossing
    warp_wire = _draw_wire(warp, weft, over, half_width, pitch)
    weft_wire = _draw_wire(weft, warp, -over, half_width, pitch)
    warp_paint, weft_paint = colourise(warp_wire[1] * wear, colour), colourise(weft_wire[1] * wear, colour)
    beneath = paint(ground, weft_wire[0], weft_paint)
    on_top = np.where(over > 0, warp_wire[0], warp_wire[0] * (1 - weft_wire[0]))
    canvas = paint(beneath, on_top, warp_paint)
    wires = np.maximum(warp_wire[0], weft_wire[0]) > 0.5

    def break_off(rng: np.random.Generator) -> Plane:
        rows, columns = np.nonzero(on_top >= 0.9 * on_top.max())
        index = rng.integers(len(rows))
        place = rows[index], columns[index]
        same_wire = (np.round(warp) == np.round(warp[place])) & (on_top > 0)
        return np.where(same_wire, np.abs(weft - weft[place]) / 1.2, np.inf).astype(np.float32)

    return DrawnPart(canvas, wires, beneath=beneath, break_off=break_off)


def draw_speckle(rng: np.random.Generator, size_px: int) -> DrawnPart:
    """Draw polished terrazzo: grains of three colours and several sizes in a ground."""
    ground = colourise(
        1 + 0.04 * smooth_noise(rng, size_px, size_px / 16),
        np.array([0.58, 0.57, 0.54]) * rng.uniform(0.95, 1.05, 3),
    )
    for shade, scale, rarity in ((0.3, 1 / 80, 1.2), (0.78, 1 / 60, 1.3), (0.45, 1 / 40, 1.2)):
        grain_px = max(0.8, scale * size_px)
        grains = smooth_noise(rng, size_px, grain_px)
        colour = shade * (1 + rng.uniform(-0.08, 0.08, 3))
        coverage = cover((rarity - grains) * grain_px)
        ground = paint(ground, coverage, np.broadcast_to(colour.astype(np.float32), ground.shape))
    return _fill(ground)


def _draw_wire(own: Field, other: Field, over: Field, half_width: float, pitch: float) -> tuple[Plane, Field]:
    """Return where wires run at whole numbers of `own`, and how bright they are.

    Args:
        own: Coordinate across the wires, in mesh widths.
        other: Coordinate along the wires, in mesh widths.
        over: Positive where the nearest crossing has these wires on top, negative where below.
        half_width: Of a wire, in mesh widths.
        pitch: A mesh width in pixels.
    """
    offset = own - np.round(own)
    coverage = cover((np.abs(offset) - half_width) * pitch)
    round_shade = np.sqrt(np.clip(1 - (offset / half_width) ** 2, 0.15, 1))
    height = np.where(over > 0, 1, -1) * np.cos(np.pi * (other - np.round(other)))
    return coverage, (0.85 + 0.15 * height) * round_shade


def _fill(canvas: Canvas) -> DrawnPart:
    return DrawnPart(canvas, np.ones(canvas.shape[:2], bool))
