"""Fields: grey patterns drawn from formulas, from which surfaces are made.

A field is float32 (size, size) of mean 0 and deviation 1. Its look is drawn by one generator (the recipe's),
its place by another (the picture's), so two pictures of a recipe show two places of one surface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import cv2
import numpy as np

from mvdefect.data.synthetic.draw import Field, Plane, local_axes

Generator = np.random.Generator
DrawField = Callable[[Generator, Generator, int], Plane]

ESCAPE_STEPS = 20
IFS_WALKERS = 1500
IFS_STEPS = 24


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
