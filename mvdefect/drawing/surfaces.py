"""Surfaces: recipes that combine fields and colours, and the flawless pictures that they give.

A field is float32 (size, size) of mean 0 and deviation 1. Its look is drawn by one generator (the recipe's),
its place by another (the picture's), so two pictures of a recipe show two places of one surface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.drawing.canvas import Canvas, Field, Plane, Region, cover, local_axes

Generator = np.random.Generator
DrawField = Callable[[Generator, Generator, int], Plane]

ESCAPE_STEPS = 20
IFS_WALKERS = 1500
IFS_STEPS = 24


FIELD_SHARES = np.array([3, 2, 3, 3, 2, 2, 2, 1, 1, 1], float)  # how often each of FIELDS is taken
GREY_SHARE = 0.45
OBJECT_SHARE = 0.4
Colour = NDArray[np.float32]


def normalise(field: Field) -> Plane:
    """Bring a field to mean 0 and deviation 1; a flat one becomes 0."""
    centred = field - field.mean()
    return np.asarray(centred / (centred.std() + 1e-6), np.float32)


def draw_coarse_noise(place: Generator, size_px: int, across_px: float, down_px: float) -> Plane:
    """Draw smooth noise with grains of a width and a height in pixels, from a small grid that is enlarged."""
    columns, rows = (max(3, round(size_px / extent)) for extent in (across_px, down_px))
    grid = place.standard_normal((min(rows, size_px), min(columns, size_px)), np.float32)
    return np.asarray(cv2.resize(grid, (size_px, size_px), interpolation=cv2.INTER_CUBIC))


def draw_octaves(look: Generator, place: Generator, size_px: int) -> Plane:
    """Draw clouds: noise of several scales, whose strength falls with the scale (fractional noise)."""
    persistence, finest = look.uniform(0.35, 1.1), look.integers(1, 4)
    scales = [2.0**power for power in range(finest, 7)]
    return sum_fields(
        draw_coarse_noise(place, size_px, scale, scale) * scale**persistence for scale in scales
    )


def sum_fields(fields: Iterable[Plane]) -> Plane:
    """Add fields up."""
    total: Plane | float = 0.0
    for field in fields:
        total = total + field
    return normalise(np.asarray(total))


def draw_band(look: Generator, place: Generator, size_px: int) -> Plane:
    """Draw noise of one scale alone: a difference of two blurs, as pores, pebbles and coral have it."""
    inner = look.uniform(0.6, 6.0)
    noise = place.standard_normal((size_px, size_px), np.float32)
    fine = cv2.GaussianBlur(noise, (0, 0), inner)
    return normalise(fine - cv2.GaussianBlur(fine, (0, 0), 1.5 * inner))


def draw_streaks(look: Generator, place: Generator, size_px: int) -> Plane:
    """Draw noise stretched along one direction, as brushing, grinding and rolling leave it."""
    side = int(1.5 * size_px)
    angle, long_px, fine_px = look.uniform(0, 180), look.uniform(12, 120), look.uniform(1, 5)
    noise = draw_coarse_noise(place, side, long_px, fine_px)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), angle + place.normal(0, 1), 1.0)
    turn[:, 2] -= (side - size_px) / 2
    return normalise(cv2.warpAffine(noise, turn, (size_px, size_px)))


def draw_waves(look: Generator, place: Generator, size_px: int) -> Plane:
    """Draw one to three gratings, added or multiplied, with straight or wavering lines: weaves and ribs."""
    drift = look.uniform(0, 2.5) * draw_coarse_noise(place, size_px, size_px / 3, size_px / 3)
    count, pitch = look.integers(1, 4), look.uniform(4, 28)
    first, spread = look.uniform(0, np.pi), look.choice([np.pi / 2, np.pi / 3, look.uniform(0.2, 1.5)])
    shape, multiplies = int(look.integers(4)), look.random() < 0.4
    found = []
    for number in range(count):
        _, across = local_axes(size_px, np.array([size_px / 2, size_px / 2]), first + number * spread)
        found.append(_shape_wave((across + drift) / pitch + place.random(), shape))
    return normalise(np.prod(found, axis=0) if multiplies else np.sum(found, axis=0))


def _shape_wave(turns: Field, shape: int) -> Field:
    if shape == 0:
        return np.asarray(np.sin(2 * np.pi * turns))
    if shape == 1:
        return np.asarray(np.abs(np.sin(np.pi * turns)))
    if shape == 2:
        return np.asarray(turns % 1)
    return np.asarray(np.tanh(4 * np.sin(2 * np.pi * turns)))


def draw_cells(look: Generator, place: Generator, size_px: int) -> Plane:
    """Draw the cells around scattered or ordered seeds (Worley, 1996): grains, scales, tiles and joints."""
    pitch, disorder, kind = look.uniform(7, 40), look.choice([0.0, 0.15, 0.5, 1.0]), look.integers(3)
    steps = np.arange(-pitch, size_px + pitch, pitch)
    points = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2) + place.uniform(0, pitch, 2)
    points += disorder * pitch * place.uniform(-0.5, 0.5, points.shape)
    seeds = np.full((size_px, size_px), 255, np.uint8)
    inside = points[((points >= 0) & (points < size_px - 1)).all(axis=1)].round().astype(int)
    seeds[inside[:, 1], inside[:, 0]] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    if kind == 0:
        return normalise(distance)
    shades = place.standard_normal(int(labels.max()) + 1)[labels].astype(np.float32)
    joints = (cv2.morphologyEx(shades, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0) * np.float32(-2)
    return normalise(shades if kind == 1 else cv2.GaussianBlur(joints, (0, 0), 0.7) + 0.3 * shades)


def draw_leaves(look: Generator, place: Generator, size_px: int) -> Plane:
    """Draw shapes that cover each other, of all sizes (dead leaves; Baradad et al., 2021)."""
    corners, least = int(look.integers(2, 7)), look.uniform(1.5, 6)
    canvas = np.zeros((size_px, size_px), np.float32)
    for _ in range(int(look.integers(40, 160))):
        radius = min(least / max(1e-3, place.random()) ** 0.7, size_px / 3)
        centre, shade = place.uniform(0, size_px, 2), float(place.standard_normal())
        _fill_shape(canvas, place, centre, radius, corners, shade)
    return normalise(canvas)


def _fill_shape(
    canvas: Plane, place: Generator, centre: np.ndarray, radius: float, corners: int, shade: float
) -> None:
    """Fill an ellipse (of two 'corners') or a polygon."""
    if corners == 2:
        axes = (max(1, round(radius)), max(1, round(radius * place.uniform(0.4, 1))))
        middle = (int(centre[0]), int(centre[1]))
        cv2.ellipse(canvas, middle, axes, place.uniform(0, 180), 0, 360, shade, cv2.FILLED)
        return
    angles = np.sort(place.uniform(0, 2 * np.pi, corners))
    outline = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cv2.fillPoly(canvas, [np.round(outline * 16).astype(np.int32).reshape(-1, 1, 2)], shade, cv2.LINE_8, 4)


def draw_fibres(look: Generator, place: Generator, size_px: int) -> Plane:
    """Draw many lines, straight or curled, in one direction or in all: felt, paper and scratched ground."""
    count, length = int(look.integers(30, 200)), look.uniform(0.1, 0.9) * size_px
    heading, scatter, curl = look.uniform(0, np.pi), look.choice([0.05, 0.4, 3.0]), look.choice([0, 0.1, 0.4])
    canvas = np.zeros((size_px, size_px), np.float32)
    headings = heading + scatter * place.standard_normal((count, 1))
    headings = headings + np.cumsum(curl * place.standard_normal((count, 5)), axis=1)
    steps = length / 5 * np.stack([np.cos(headings), np.sin(headings)], axis=-1)
    paths = place.uniform(-0.2, 1.2, (count, 1, 2)) * size_px + np.cumsum(steps, axis=1)
    shades = place.standard_normal(count)
    for path, shade in zip(np.round(paths * 8).astype(np.int32), shades.tolist(), strict=True):
        cv2.polylines(canvas, [path.reshape(-1, 1, 2)], False, shade, 1, cv2.LINE_8, 3)
    return normalise(cv2.GaussianBlur(canvas, (0, 0), look.uniform(0.4, 1.5)))


def draw_lathe(look: Generator, place: Generator, size_px: int) -> Plane:
    """Draw rings around a point, each with its own shade, as turning leaves them."""
    centre = size_px * (0.5 + look.uniform(-1, 1, 2) + 0.05 * place.standard_normal(2))
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    radius = np.hypot(x - centre[0], y - centre[1]) / look.uniform(0.8, 6)
    profile = place.standard_normal(int(radius.max()) + 2)
    return normalise(np.interp(radius, np.arange(len(profile)), profile))


def draw_julia(look: Generator, place: Generator, size_px: int) -> Plane:
    """Draw how fast points escape under z² + c, near the border of the Mandelbrot set."""
    turn = look.uniform(0, 2 * np.pi)
    constant = np.complex64(0.5 * np.exp(1j * turn) - 0.25 * np.exp(2j * turn)) * np.complex64(1.03)
    extent, corner = place.uniform(0.8, 1.6), place.uniform(-0.6, 0.6, 2)
    side = np.linspace(-extent, extent, size_px // 2, dtype=np.float32)
    z = (side[np.newaxis, :] + corner[0] + 1j * (side[:, np.newaxis] + corner[1])).astype(np.complex64)
    survived = np.zeros(z.shape, np.float32)
    for _ in range(ESCAPE_STEPS):
        z = z * z + constant
        inside = z.real**2 + z.imag**2 < 16
        survived += inside
        z[~inside] = 4
    return normalise(cv2.resize(survived, (size_px, size_px), interpolation=cv2.INTER_LINEAR))


def draw_ifs(look: Generator, place: Generator, size_px: int) -> Plane:
    """Draw the attractor of two to four random affine maps (FractalDB; Kataoka et al., 2020)."""
    count = int(look.integers(2, 5))
    matrices, shifts = look.uniform(-1, 1, (count, 2, 2)), look.uniform(-1, 1, (count, 2))
    matrices *= look.uniform(0.5, 0.9) / np.linalg.norm(matrices, 2, axis=(1, 2))[:, np.newaxis, np.newaxis]
    points, found = place.uniform(-1, 1, (IFS_WALKERS, 2)), []
    for step in range(IFS_STEPS):
        chosen = place.integers(count, size=IFS_WALKERS)
        points = np.einsum("nij,nj->ni", matrices[chosen], points) + shifts[chosen]
        if step > IFS_STEPS // 3:
            found.append(points)
    visited = np.concatenate(found)
    low, high = visited.min(axis=0), visited.max(axis=0)
    cells = ((visited - low) / (high - low + 1e-6) * (size_px - 1)).astype(int)
    counts = np.bincount(cells[:, 1] * size_px + cells[:, 0], minlength=size_px**2).reshape(size_px, size_px)
    return normalise(cv2.GaussianBlur(np.log1p(counts).astype(np.float32), (0, 0), look.uniform(0.6, 1.5)))


FIELDS: tuple[DrawField, ...] = (
    draw_octaves,
    draw_band,
    draw_streaks,
    draw_waves,
    draw_cells,
    draw_leaves,
    draw_fibres,
    draw_lathe,
    draw_julia,
    draw_ifs,
)


@dataclass(frozen=True)
class Surface:
    """A flawless picture before light and noise.

    Attributes:
        canvas: float32 (size, size, 3), 0 to 1.
        region: Where a fault may lie.
        ground: What lies beneath the piece, of the same shape as the canvas; None where it fills the picture.
    """

    canvas: Canvas
    region: Region
    ground: Canvas | None = None


def draw_surface(recipe: int, seed: int, place: Generator, size_px: int) -> Surface:
    """Draw one picture of a recipe.

    Args:
        recipe: Number of the recipe; with the seed it decides the look.
        seed: Seed of all recipes.
        place: Draws what differs from picture to picture.
        size_px: Height and width.
    """
    look = np.random.default_rng([seed, recipe])
    canvas = _draw_material(look, place, size_px)
    if look.random() >= OBJECT_SHARE:
        return Surface(canvas, np.ones((size_px, size_px), bool))
    ground = _draw_material(look, place, size_px)
    ground = np.asarray(ground * look.uniform(0.2, 1.1), np.float32).clip(0, 1)
    outside = _draw_outline(look, place, size_px)
    share = cover(outside)[:, :, np.newaxis]
    bevel = np.exp(-((outside / look.uniform(1.5, 5)) ** 2))[:, :, np.newaxis] * look.uniform(-0.25, 0.25)
    piece = np.clip(canvas + bevel, 0, 1)
    return Surface(np.asarray(ground + share * (piece - ground), np.float32), outside < -1, ground)


def _draw_material(look: Generator, place: Generator, size_px: int) -> Canvas:
    """Combine one to three fields, and colour what comes out."""
    shares = FIELD_SHARES / FIELD_SHARES.sum()
    chosen = look.choice(len(FIELDS), size=int(look.choice([1, 2, 3], p=[0.35, 0.45, 0.2])), p=shares)
    height = FIELDS[chosen[0]](look, place, size_px)
    for number in chosen[1:]:
        height = _join(height, FIELDS[number](look, place, size_px), look)
    if look.random() < 0.3:
        height = normalise(np.tanh(look.uniform(1, 4) * (height - look.uniform(-0.7, 0.7))))
    return _colour(height, look, place)


def _join(first: Plane, second: Plane, look: Generator) -> Plane:
    kind = look.integers(4)
    if kind == 0:
        return normalise(first + look.uniform(0.2, 1) * second)
    if kind == 1:
        return normalise(first * (1 + look.uniform(0.3, 1) * second))
    if kind == 2:
        return normalise(np.maximum(first, second + look.uniform(-1, 1)))
    size_px, reach = len(first), look.uniform(1, 6)
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    bent = cv2.remap(
        first, x + reach * second, y + reach * second, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return normalise(bent)


def _colour(height: Plane, look: Generator, place: Generator) -> Canvas:
    """Map heights to a ramp between two colours around a mean; a part of all recipes is grey."""
    contrast, mean = 0.2 * look.uniform(0.25, 1) ** 2, look.uniform(0.15, 0.8)
    is_grey = look.random() < GREY_SHARE
    tint: Colour = (1 + (0 if is_grey else 1) * look.uniform(-0.3, 0.3, 3)).astype(np.float32)
    slope: Colour = (1 + (0 if is_grey else 1) * look.uniform(-0.6, 0.6, 3)).astype(np.float32)
    level = mean * place.uniform(0.85, 1.15)
    canvas = level * tint + contrast * place.uniform(0.8, 1.2) * height[:, :, np.newaxis] * slope
    return np.asarray(np.clip(canvas, 0, 1), np.float32)


def _draw_outline(look: Generator, place: Generator, size_px: int) -> Plane:
    """Return the distance from the outline of a piece: round, boxed, cornered or pierced; negative inside."""
    kind, size, flat = look.integers(4), look.uniform(0.28, 0.5) * size_px, look.uniform(0.5, 1)
    centre = size_px * (0.5 + place.uniform(-0.1, 0.1, 2))
    u, v = local_axes(size_px, centre, place.uniform(0, 2 * np.pi))
    if kind == 0:
        return np.asarray((np.hypot(u, v / flat) - size) * flat, np.float32)
    if kind == 1:
        return np.asarray(np.maximum(np.abs(u) - size, np.abs(v) - flat * size), np.float32)
    if kind == 2:
        sides = int(look.integers(3, 9))
        turns = 2 * np.pi * np.arange(sides) / sides
        return np.asarray(
            np.max([u * np.cos(turn) + v * np.sin(turn) for turn in turns], axis=0) - 0.8 * size, np.float32
        )
    radius = np.hypot(u, v)
    return np.asarray(np.maximum(radius - size, size * look.uniform(0.2, 0.5) - radius), np.float32)


def photograph(canvas: Canvas, place: Generator) -> NDArray[np.uint8]:
    """Light a scene, lay it before a camera, and digitise it: uint8 of the same shape.

    Uneven light, contrast and brightness, a little blur, noise, now and then JPEG's blocks and the black
    bars of a photograph that is not square.
    """
    size_px = canvas.shape[0]
    ramp = np.linspace(-0.5, 0.5, size_px, dtype=np.float32)
    across, down = place.uniform(-0.35, 0.35, 2).astype(np.float32)
    light = 1 + across * ramp[np.newaxis, :] + down * ramp[:, np.newaxis]
    if place.random() < 0.3:
        light = light + 0.06 * draw_coarse_noise(place, size_px, size_px / 2, size_px / 2)
    gain, offset = place.uniform(0.8, 1.25), place.uniform(-0.08, 0.08)
    lit = canvas * (gain * light)[:, :, np.newaxis] + offset
    if place.random() < 0.35:
        lit = cv2.GaussianBlur(lit, (0, 0), place.uniform(0.4, 1.1))
    noise = place.standard_normal((size_px, size_px, 1), np.float32) * place.uniform(0, 0.02)
    pixels = (np.clip(lit + noise, 0, 1) * 255).round().astype(np.uint8)
    if place.random() < 0.25:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(place.integers(45, 95))]
        pixels = cv2.imdecode(cv2.imencode(".jpg", pixels, quality)[1], cv2.IMREAD_COLOR)
    return np.asarray(pixels, np.uint8)
