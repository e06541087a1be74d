"""Surfaces: recipes that combine fields and colours, and the flawless pictures that they give."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.data.synthetic.draw import Canvas, Plane, Region, cover, local_axes
from mvdefect.pretraining.fields import FIELDS, Generator, draw_coarse_noise, normalise

FIELD_SHARES = np.array([3, 2, 3, 3, 2, 2, 2, 1, 1, 1], float)  # how often each of FIELDS is taken
GREY_SHARE = 0.45
OBJECT_SHARE = 0.4
Colour = NDArray[np.float32]


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
