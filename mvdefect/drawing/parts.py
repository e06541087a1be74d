"""Flawless parts: objects that lie on a ground, and surfaces that fill the picture."""

from __future__ import annotations

import cv2
import numpy as np

from mvdefect.drawing.canvas import (
    Canvas,
    DrawnPart,
    Field,
    Plane,
    Point,
    brush,
    cast_shadow,
    colourise,
    cover,
    local_axes,
    paint,
    smooth_noise,
    stretched_noise,
)

PINS = 8
MARK = (  # the strokes of 'M 7', on 512×256 pixels
    ((132, 192), (132, 64), (185, 150), (238, 64), (238, 192)),
    ((300, 64), (384, 64), (330, 192)),
)


def draw_washer(rng: np.random.Generator, size_px: int) -> DrawnPart:
    """Draw a ring of brushed metal on a dark belt, at a random place, size and angle."""
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    centre = size_px / 2 + rng.uniform(-0.06, 0.06, 2) * size_px
    outer = rng.uniform(0.36, 0.42) * size_px
    inner = outer * rng.uniform(0.35, 0.45)
    radius = np.hypot(x - centre[0], y - centre[1])
    ring = np.clip(outer - radius, 0, 1) * np.clip(radius - inner, 0, 1)
    brushed = brush(rng, size_px)
    bevel = np.exp(-(((outer - radius) / 3) ** 2)) + np.exp(-(((radius - inner) / 3) ** 2))
    metal = colourise(0.62 + 0.05 * brushed + 0.15 * bevel, np.array([1.0, 1.0, 1.03]))
    belt = colourise(0.16 + 0.03 * smooth_noise(rng, size_px, 3), np.array([1.0, 1.0, 1.1]))
    canvas = belt + ring[:, :, np.newaxis] * (metal - belt)
    margin = 0.02 * size_px
    return DrawnPart(canvas.astype(np.float32), (radius < outer - margin) & (radius > inner + margin))


def draw_nut(rng: np.random.Generator, size_px: int) -> DrawnPart:
    """Draw a hexagon nut with a threaded hole, of steel or brass, on a dark belt."""
    u, v = local_axes(size_px, _place(rng, size_px), rng.uniform(0, 2 * np.pi))
    apothem = rng.uniform(0.29, 0.35) * size_px
    bore = apothem * rng.uniform(0.5, 0.56)
    radius = np.hypot(u, v)
    sides = [np.abs(u * np.cos(turn) + v * np.sin(turn)) for turn in np.radians([0, 60, 120])]
    outside = np.maximum.reduce(sides) - apothem
    body = cover(outside) * cover(bore - radius)
    chamfer = cover((apothem - radius) / 2)  # the corners slope away from the round face
    lip = np.exp(-(((radius - bore) / (0.02 * size_px)) ** 2))
    lathe = np.interp(radius, np.arange(size_px), rng.normal(0, 1, size_px))
    grain = smooth_noise(rng, size_px, size_px / 40)
    tint = np.array([1.0, 1.0, 1.02]) + rng.uniform(0, 1) * np.array([0.06, -0.06, -0.32])
    face = colourise(0.62 + 0.03 * lathe + 0.03 * grain - 0.14 * chamfer + 0.15 * lip, tint)
    belt = _draw_ground(rng, size_px, rng.uniform(0.18, 0.3) * np.ones(3))
    beneath = cast_shadow(belt, cover(outside), rng)
    hollow = colourise(_shade_thread(u, v, bore, 0.022 * size_px), tint)
    canvas = paint(paint(beneath, body, face), cover(radius - bore), hollow)

    def break_off(rng: np.random.Generator) -> Plane:
        turn, corner = np.radians(30 + 60 * rng.integers(6)), apothem / np.cos(np.radians(30))
        return _chip(u - corner * np.cos(turn), v - corner * np.sin(turn), 0.1 * size_px, body, rng)

    margin = 0.02 * size_px
    return DrawnPart(
        canvas, (outside < -margin) & (radius > bore + margin), beneath=beneath, break_off=break_off
    )


def draw_pill(rng: np.random.Generator, size_px: int) -> DrawnPart:
    """Draw a long tablet of a pale colour on a tray, with a printed mark."""
    centre, angle = _place(rng, size_px), rng.uniform(0, 2 * np.pi)
    u, v = local_axes(size_px, centre, angle)
    scale = rng.uniform(0.92, 1.08) * size_px
    half_length, radius = 0.19 * scale, 0.2 * scale
    outside = np.hypot(np.maximum(np.abs(u) - half_length, 0), v) - radius
    body = cover(outside)
    dome = np.sqrt(np.clip(-outside / radius, 0, 1))
    grain = smooth_noise(rng, size_px, max(0.7, size_px / 160))
    tablet = colourise(0.72 + 0.2 * dome + 0.012 * grain, np.array([1, 0.97, 0.9]) * rng.uniform(0.9, 1, 3))
    tray = _draw_ground(rng, size_px, np.array([0.2, 0.33, 0.36]))
    beneath = cast_shadow(tray, body, rng)
    unprinted = paint(beneath, body, tablet)
    ink = _print_mark(size_px, centre, angle, 0.13 * scale)
    canvas = paint(unprinted, 0.75 * ink, unprinted * np.array([0.25, 0.3, 0.6], np.float32))

    def break_off(rng: np.random.Generator) -> Plane:
        place, side = rng.uniform(-1, 1) * half_length, rng.choice([-1, 1]) * radius
        return _chip(u - place, v - side, 0.09 * size_px, body, rng)

    surface = outside < -0.02 * size_px
    return DrawnPart(canvas, surface, beneath=beneath, break_off=break_off, unprinted=unprinted)


def draw_connector(rng: np.random.Generator, size_px: int) -> DrawnPart:
    """Draw a dark housing with a row of metal pins, on a light mat."""
    u, v = local_axes(size_px, _place(rng, size_px), rng.normal(0, 0.25))
    scale = rng.uniform(0.92, 1.08) * size_px
    pitch, length, edge = 0.085 * scale, 0.24 * scale, 0.04 * scale  # the pins leave the housing at v = edge
    nearest = np.clip(np.round(u / pitch + (PINS - 1) / 2), 0, PINS - 1)
    offset = u - (nearest - (PINS - 1) / 2) * pitch
    outside = _box(u, v + 0.1 * scale, 0.38 * scale, 0.14 * scale, 0.02 * scale)
    housing = cover(outside)
    pins = cover(np.abs(offset) - 0.2 * pitch) * cover(np.abs(v - edge - length / 2) - length / 2)
    pins *= 1 - housing
    mat = cast_shadow(_draw_ground(rng, size_px, np.array([0.5, 0.53, 0.55])), housing, rng)
    shade = _shade_housing(u, v + 0.1 * scale, outside, offset, scale)
    grain = 0.03 * smooth_noise(rng, size_px, max(0.8, size_px / 128))
    colour = rng.uniform(0.2, 0.27) * (1 + rng.uniform(-0.15, 0.15, 3))
    beneath = paint(mat, housing, colourise(shade + grain, colour))
    shine = 0.8 + 0.25 * np.exp(-((offset / (0.1 * pitch) + 0.5) ** 2)) + 0.02 * smooth_noise(rng, size_px, 1)
    metal = colourise(shine, np.array([0.86, 0.76, 0.5]) + rng.uniform(0, 1) * np.array([-0.1, 0, 0.25]))

    def break_off(rng: np.random.Generator) -> Plane:
        first, step = rng.integers(PINS), rng.choice([-1, 1])
        earlier = (nearest - first) * step % PINS  # from the last pin it goes on at the other end
        from_tip = np.clip((edge + length - v) / length, 0.01, 1)
        return np.where(pins > 0, earlier + from_tip, np.inf).astype(np.float32)

    surface = outside < -0.02 * size_px
    return DrawnPart(paint(beneath, pins, metal), surface, beneath=beneath, break_off=break_off)


def _place(rng: np.random.Generator, size_px: int) -> Point:
    """Pick the centre of an object near the middle of the picture."""
    return np.asarray(size_px / 2 + rng.uniform(-0.08, 0.08, 2) * size_px, np.float64)


def _draw_ground(rng: np.random.Generator, size_px: int, colour: Point) -> Canvas:
    """Draw what an object lies on, of about the colour (red, green, blue)."""
    cloudy = 1 + 0.06 * smooth_noise(rng, size_px, size_px / 45)
    return colourise(cloudy, colour * rng.uniform(0.88, 1.12, 3))


def _shade_thread(u: Plane, v: Plane, bore: float, pitch_px: float) -> Field:
    """Shade a hole: its thread, which winds into the dark."""
    radius = np.hypot(u, v)
    winding = 0.5 + 0.5 * np.sin(2 * np.pi * radius / pitch_px + np.arctan2(v, u))
    return np.where(radius > 0.78 * bore, 0.14 + 0.34 * winding, 0.06)


def _box(u: Field, v: Field, half_width: float, half_height: float, corner_px: float) -> Field:
    """Return the distance from a rectangle with rounded corners, negative inside."""
    right, down = np.abs(u) - half_width + corner_px, np.abs(v) - half_height + corner_px
    beyond = np.hypot(np.maximum(right, 0), np.maximum(down, 0))
    return np.asarray(beyond + np.minimum(np.maximum(right, down), 0) - corner_px)


def _shade_housing(u: Field, v: Field, outside: Field, offset: Field, scale: float) -> Field:
    """Shade the plastic: a bevel, a latch in the middle, and a slot above each pin."""
    bevel = 0.5 * np.exp(-((outside / (0.015 * scale)) ** 2))
    latch = _box(u, v + 0.06 * scale, 0.12 * scale, 0.045 * scale, 0.01 * scale)
    rim = 0.35 * np.exp(-((latch / (0.01 * scale)) ** 2))
    slots = cover(np.abs(offset) - 0.014 * scale) * cover(np.abs(v - 0.085 * scale) - 0.03 * scale)
    return np.asarray(1 + bevel + rim + 0.15 * cover(latch) - 0.6 * slots)


def _chip(u: Plane, v: Plane, reach_px: float, body: Plane, rng: np.random.Generator) -> Plane:
    """Return from which size on each pixel breaks away with a splinter around the origin of u and v."""
    angle = np.arctan2(v, u)
    ragged = 1 + 0.15 * np.sin(3 * angle + rng.uniform(0, 6)) + 0.08 * np.sin(7 * angle + rng.uniform(0, 6))
    return np.where(body > 0, np.hypot(u, v) / (reach_px * ragged), np.inf).astype(np.float32)


def _print_mark(size_px: int, centre: Point, angle: float, height_px: float) -> Plane:
    """Draw the mark 'M 7' around `centre`, 1 where there is ink."""
    stamp = np.zeros((256, 512), np.uint8)
    for stroke in MARK:
        cv2.polylines(stamp, [np.array(stroke, np.int32).reshape(-1, 1, 2)], False, 255, 22)
    ratio = height_px / 128
    soft = cv2.GaussianBlur(stamp.astype(np.float32) / 255, (0, 0), 0.35 / ratio)  # or it would alias
    turn = cv2.getRotationMatrix2D((256, 128), -np.degrees(angle), ratio)
    turn[:, 2] += centre - np.array([256, 128])
    return np.asarray(cv2.warpAffine(soft, turn, (size_px, size_px)), np.float32)


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
