"""Procedurally drawn parts and defects, with exact masks, written in MVTec AD's layout.

Every image is a function of (seed, category, defect type, number), so any one can be drawn again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.data.images import Pixels
from mvdefect.data.layouts import MASK_SUFFIX
from mvdefect.data.records import GOOD
from mvdefect.errors import LayoutError
from mvdefect.parallel import map_in_threads
from mvdefect.progress import track

Canvas = NDArray[np.float32]  # (size, size, 3), 0 to 1
Region = NDArray[np.bool_]  # (size, size)

TEST_SHARE_OF_GOOD = 0.25
MIN_DEFECT_AREA = 0.001  # of the picture


@dataclass(frozen=True)
class DrawnPart:
    """A flawless part: its picture, and where a defect may lie."""

    canvas: Canvas
    surface: Region


def draw_image(
    category: str, defect_type: str, number: int, seed: int, size_px: int
) -> tuple[Pixels, Region]:
    """Draw one photograph.

    Args:
        category: One of `PARTS`.
        defect_type: "good", or one of the category's defect types.
        number: Number of the image within its type.
        seed: Seed of the data set.
        size_px: Height and width.

    Returns:
        uint8 RGB (size_px, size_px, 3), and the mask of the defect, bool (size_px, size_px).
    """
    key = zlib.crc32(f"{category}/{defect_type}/{number}".encode())
    rng = np.random.default_rng([seed, key])
    draw_part, _ = PARTS[category]
    part = draw_part(rng, size_px)
    mask = np.zeros((size_px, size_px), bool)
    canvas = part.canvas
    while defect_type != GOOD and mask.mean() < MIN_DEFECT_AREA:  # it fell beside the surface: again
        canvas, mask = DEFECTS[defect_type](part, rng)
    return _photograph(canvas, rng), mask


def write_parts(
    root: Path, seed: int = 0, good: int = 120, defective_per_type: int = 30, size_px: int = 128
) -> Path:
    """Write a data set of every category.

    Args:
        root: A folder that does not exist or is empty, or holds this very data set.
        seed: Another seed, another data set.
        good: Good images a category, a quarter of them in MVTec AD's test folder.
        defective_per_type: Images a defect type.
        size_px: Height and width.

    Returns:
        `root`.

    Raises:
        LayoutError: `root` holds something else.
    """
    stamp = root / "synthetic.txt"
    recipe = f"drawn by mvdefect: seed {seed}, {good} good, {defective_per_type} a type, {size_px} pixels\n"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == recipe:
        return root
    if root.exists() and any(root.iterdir()):
        raise LayoutError(f"drawn images go into a new or empty folder. Received: {root}")
    jobs = list(_list_images(good, defective_per_type))
    written = map_in_threads(lambda job: _write_image(root, *job, seed=seed, size_px=size_px), jobs)
    for _ in track(written, "Drawing parts", len(jobs)):
        pass
    stamp.write_text(recipe, encoding="utf-8")
    return root


def _list_images(good: int, defective_per_type: int) -> list[tuple[str, str, str, int]]:
    jobs = []
    for category, (_, defect_types) in PARTS.items():
        in_test = round(good * TEST_SHARE_OF_GOOD)
        jobs += [(category, "test" if number < in_test else "train", GOOD, number) for number in range(good)]
        for defect_type in defect_types:
            jobs += [(category, "test", defect_type, number) for number in range(defective_per_type)]
    return jobs


def _write_image(
    root: Path, category: str, part: str, defect_type: str, number: int, seed: int, size_px: int
) -> None:
    image, mask = draw_image(category, defect_type, number, seed, size_px)
    _write_png(root / category / part / defect_type / f"{number:03}.png", image[:, :, ::-1])
    if mask.any():
        name = f"{number:03}{MASK_SUFFIX}.png"
        _write_png(root / category / "ground_truth" / defect_type / name, mask.astype(np.uint8) * 255)


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


def _photograph(canvas: Canvas, rng: np.random.Generator) -> Pixels:
    """Light the scene unevenly, add sensor noise, and digitise."""
    size_px = canvas.shape[0]
    y, x = np.mgrid[0 : 1 : size_px * 1j, 0 : 1 : size_px * 1j]
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3)
    light = rng.uniform(0.8, 1.1) * (1 + slope * ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)))
    noisy = canvas * light[:, :, np.newaxis] + rng.normal(0, 0.012, canvas.shape)
    return np.asarray((np.clip(noisy, 0, 1) * 255).round(), np.uint8)


def draw_fabric(rng: np.random.Generator, size_px: int) -> DrawnPart:
    """Draw a plain weave of threads, at a random angle, pitch and colour."""
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    drift = 1.5 * _smooth_noise(rng, size_px, size_px / 6)
    pitch = size_px / rng.uniform(16, 22)
    warp = np.sin(2 * np.pi * (u + drift) / pitch + rng.uniform(0, 2 * np.pi))
    weft = np.sin(2 * np.pi * (v + drift) / pitch + rng.uniform(0, 2 * np.pi))
    threads = np.where(warp * weft > 0, np.abs(warp), np.abs(weft))
    colour = np.array([0.55, 0.5, 0.42]) * rng.uniform(0.85, 1.15, 3)
    shade = 0.75 + 0.3 * threads + 0.05 * _smooth_noise(rng, size_px, 2)
    return DrawnPart(_colourise(shade, colour), np.ones((size_px, size_px), bool))


def draw_washer(rng: np.random.Generator, size_px: int) -> DrawnPart:
    """Draw a ring of brushed metal on a dark belt, at a random place, size and angle."""
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    centre = size_px / 2 + rng.uniform(-0.06, 0.06, 2) * size_px
    outer = rng.uniform(0.36, 0.42) * size_px
    inner = outer * rng.uniform(0.35, 0.45)
    radius = np.hypot(x - centre[0], y - centre[1])
    ring = np.clip(outer - radius, 0, 1) * np.clip(radius - inner, 0, 1)
    brushed = _brush(rng, size_px)
    bevel = np.exp(-(((outer - radius) / 3) ** 2)) + np.exp(-(((radius - inner) / 3) ** 2))
    metal = _colourise(0.62 + 0.05 * brushed + 0.15 * bevel, np.array([1.0, 1.0, 1.03]))
    belt = _colourise(0.16 + 0.03 * _smooth_noise(rng, size_px, 3), np.array([1.0, 1.0, 1.1]))
    canvas = belt + ring[:, :, np.newaxis] * (metal - belt)
    margin = 0.02 * size_px
    return DrawnPart(canvas.astype(np.float32), (radius < outer - margin) & (radius > inner + margin))


def _brush(rng: np.random.Generator, size_px: int) -> Canvas:
    """Noise that is drawn out along one direction."""
    noise = rng.normal(0, 1, (2 * size_px, 2 * size_px)).astype(np.float32)
    streaks = cv2.GaussianBlur(noise, (0, 0), sigmaX=size_px / 12, sigmaY=0.7)
    turn = cv2.getRotationMatrix2D((size_px, size_px), rng.uniform(0, 180), 1.0)
    turned = cv2.warpAffine(streaks / streaks.std(), turn, (2 * size_px, 2 * size_px))
    start = size_px // 2
    return np.asarray(turned[start : start + size_px, start : start + size_px], np.float32)


def plant_scratch(part: DrawnPart, rng: np.random.Generator) -> tuple[Canvas, Region]:
    """Draw a thin, slightly bent line that is lighter or darker than the surface."""
    line = _draw_path(part, rng, length=rng.uniform(0.15, 0.35), bend=0.15, width=rng.uniform(0.008, 0.016))
    change = rng.choice([-1, 1]) * rng.uniform(0.25, 0.4)
    return _shift(part, line, change)


def plant_crack(part: DrawnPart, rng: np.random.Generator) -> tuple[Canvas, Region]:
    """Draw a dark, jagged line."""
    line = _draw_path(part, rng, length=rng.uniform(0.2, 0.4), bend=0.9, width=rng.uniform(0.01, 0.018))
    return _shift(part, line, -rng.uniform(0.3, 0.45))


def plant_stain(part: DrawnPart, rng: np.random.Generator) -> tuple[Canvas, Region]:
    """Tint a soft-edged blob."""
    blob = _draw_blob(part, rng, rng.uniform(0.05, 0.1))
    soft = cv2.GaussianBlur(blob, (0, 0), blob.shape[0] * 0.006)
    tint = np.array([0.75, 0.6, 0.4]) * rng.uniform(0.8, 1.0)
    mask = (soft > 0.3) & part.surface
    strength = np.where(part.surface, soft, 0)[:, :, np.newaxis]
    return part.canvas * (1 - strength * (1 - tint)).astype(np.float32), mask


def plant_hole(part: DrawnPart, rng: np.random.Generator) -> tuple[Canvas, Region]:
    """Punch a hole with a dark inside and a bright rim."""
    blob = _draw_blob(part, rng, rng.uniform(0.03, 0.06))
    mask = (blob > 0.5) & part.surface
    rim = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~mask & part.surface
    canvas = part.canvas.copy()
    canvas[mask] *= 0.2
    canvas[rim] = np.minimum(canvas[rim] * 1.25, 1)
    return canvas, mask


def plant_dent(part: DrawnPart, rng: np.random.Generator) -> tuple[Canvas, Region]:
    """Shade a hollow: one flank in the light, the other in the dark."""
    blob = _draw_blob(part, rng, rng.uniform(0.06, 0.09))
    height = cv2.GaussianBlur(blob, (0, 0), blob.shape[0] * 0.02)
    gradient_y, gradient_x = np.gradient(height)
    angle = rng.uniform(0, 2 * np.pi)
    slope = gradient_x * np.cos(angle) + gradient_y * np.sin(angle)
    slope *= rng.uniform(0.3, 0.45) / (np.abs(slope).max() + 1e-6)
    mask = (height > 0.2) & part.surface
    return np.clip(part.canvas + np.where(mask, slope, 0)[:, :, np.newaxis], 0, 1), mask


def _draw_path(part: DrawnPart, rng: np.random.Generator, length: float, bend: float, width: float) -> Region:
    """Draw a line from a random point of the surface; lengths and width are shares of the size."""
    size_px = part.surface.shape[0]
    point = _pick_point(part, rng)
    heading = rng.uniform(0, 2 * np.pi)
    points = [point]
    for _ in range(8):
        heading += rng.normal(0, bend)
        point = point + length * size_px / 8 * np.array([np.cos(heading), np.sin(heading)])
        points.append(point)
    canvas = np.zeros((size_px, size_px), np.uint8)
    shifted = np.round(np.array(points) * 16).astype(np.int32)
    thickness = max(1, round(width * size_px))
    cv2.polylines(canvas, [shifted.reshape(-1, 1, 2)], False, 255, thickness, cv2.LINE_8, 4)
    return (canvas > 0) & part.surface


def _draw_blob(part: DrawnPart, rng: np.random.Generator, radius: float) -> Canvas:
    """Draw a roundish region, 1 inside and 0 outside; its radius is a share of the size."""
    size_px = part.surface.shape[0]
    centre = _pick_point(part, rng)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    phases = rng.uniform(0, 2 * np.pi, 2)
    radii = (
        radius * size_px * (1 + 0.25 * np.sin(2 * angles + phases[0]) + 0.15 * np.sin(3 * angles + phases[1]))
    )
    outline = centre + radii[:, np.newaxis] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    canvas = np.zeros((size_px, size_px), np.float32)
    cv2.fillPoly(canvas, [np.round(outline * 16).astype(np.int32).reshape(-1, 1, 2)], 1.0, cv2.LINE_8, 4)
    return canvas


def _pick_point(part: DrawnPart, rng: np.random.Generator) -> NDArray[np.float64]:
    """Pick a pixel of the surface, as (x, y)."""
    rows, columns = np.nonzero(part.surface)
    index = rng.integers(len(rows))
    return np.array([columns[index], rows[index]], np.float64)


def _shift(part: DrawnPart, region: Region, change: float) -> tuple[Canvas, Region]:
    canvas = part.canvas.copy()
    canvas[region] = np.clip(canvas[region] + change, 0, 1)
    return canvas, region


def _smooth_noise(rng: np.random.Generator, size_px: int, scale_px: float) -> Canvas:
    """Noise of mean 0 and deviation 1, smooth over `scale_px`."""
    noise = cv2.GaussianBlur(rng.normal(0, 1, (size_px, size_px)).astype(np.float32), (0, 0), scale_px)
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)


def _colourise(shade: NDArray[np.floating], colour: NDArray[np.float64]) -> Canvas:
    return np.clip(shade[:, :, np.newaxis] * colour, 0, 1).astype(np.float32)


PARTS: dict[str, tuple[Callable[[np.random.Generator, int], DrawnPart], tuple[str, ...]]] = {
    "fabric": (draw_fabric, ("crack", "hole", "scratch", "stain")),
    "washer": (draw_washer, ("dent", "hole", "scratch", "stain")),
}
DEFECTS: dict[str, Callable[[DrawnPart, np.random.Generator], tuple[Canvas, Region]]] = {
    "crack": plant_crack,
    "dent": plant_dent,
    "hole": plant_hole,
    "scratch": plant_scratch,
    "stain": plant_stain,
}
