"""Defects: each changes the picture of a flawless part, and says where it lies."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mvdefect.core.errors import ConfigError
from mvdefect.drawing.canvas import Canvas, DrawnPart, Plane, Point, Region

SIZES = (0.25, 3.0)
CONTRASTS = (0.05, 2.0)


@dataclass(frozen=True)
class Severity:
    """How grave a defect is, compared with what the catalogue draws.

    Attributes:
        size: Factor of lengths and radii, 0.25 to 3. Of a connector, 0.5 breaks off half a pin, 2 takes two.
        contrast: Factor of the change of intensity, 0.05 to 2; black and white are the end of it.

    Raises:
        ConfigError: A factor is out of its range.
    """

    size: float = 1.0
    contrast: float = 1.0

    def __post_init__(self) -> None:
        for name, value, (least, most) in (
            ("size", self.size, SIZES),
            ("contrast", self.contrast, CONTRASTS),
        ):
            if not least <= value <= most:
                raise ConfigError(f"the {name} of defects must be {least} to {most}. Received: {value}")


AS_DRAWN = Severity()


def plant_scratch(part: DrawnPart, rng: np.random.Generator, severity: Severity) -> tuple[Canvas, Region]:
    """Draw a thin, slightly bent line that is lighter or darker than the surface."""
    length, width = severity.size * rng.uniform(0.15, 0.35), severity.size * rng.uniform(0.008, 0.016)
    line = _draw_path(part, rng, length=length, bend=0.15, width=width)
    change = rng.choice([-1, 1]) * rng.uniform(0.25, 0.4)
    return _shift(part, line, severity.contrast * change)


def plant_crack(part: DrawnPart, rng: np.random.Generator, severity: Severity) -> tuple[Canvas, Region]:
    """Draw a dark, jagged line."""
    length, width = severity.size * rng.uniform(0.2, 0.4), severity.size * rng.uniform(0.01, 0.018)
    line = _draw_path(part, rng, length=length, bend=0.9, width=width)
    return _shift(part, line, -severity.contrast * rng.uniform(0.3, 0.45))


def plant_stain(part: DrawnPart, rng: np.random.Generator, severity: Severity) -> tuple[Canvas, Region]:
    """Tint a soft-edged blob."""
    blob = _draw_blob(part, rng, severity.size * rng.uniform(0.05, 0.1))
    soft = cv2.GaussianBlur(blob, (0, 0), blob.shape[0] * 0.006)
    tint = np.array([0.75, 0.6, 0.4]) * rng.uniform(0.8, 1.0)
    strength = np.where(part.surface, soft, 0)[:, :, np.newaxis]
    kept = np.maximum(1 - strength * (1 - tint) * severity.contrast, 0)
    return part.canvas * kept.astype(np.float32), (soft > 0.3) & part.surface


def plant_hole(part: DrawnPart, rng: np.random.Generator, severity: Severity) -> tuple[Canvas, Region]:
    """Punch a hole with a dark inside and a bright rim."""
    blob = _draw_blob(part, rng, severity.size * rng.uniform(0.03, 0.06))
    inside = (blob > 0.5) & part.surface
    rim = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~inside & part.surface
    canvas = part.canvas.copy()
    canvas[inside] *= max(1 - 0.8 * severity.contrast, 0)
    canvas[rim] = np.minimum(canvas[rim] * (1 + 0.25 * severity.contrast), 1)
    return canvas, inside


def plant_dent(part: DrawnPart, rng: np.random.Generator, severity: Severity) -> tuple[Canvas, Region]:
    """Shade a hollow: one flank in the light, the other in the dark."""
    blob = _draw_blob(part, rng, severity.size * rng.uniform(0.06, 0.09))
    height = cv2.GaussianBlur(blob, (0, 0), blob.shape[0] * 0.02)
    gradient_y, gradient_x = np.gradient(height)
    angle = rng.uniform(0, 2 * np.pi)
    slope = gradient_x * np.cos(angle) + gradient_y * np.sin(angle)
    slope *= severity.contrast * rng.uniform(0.3, 0.45) / (np.abs(slope).max() + 1e-6)
    hollow = (height > 0.2) & part.surface
    return np.clip(part.canvas + np.where(hollow, slope, 0)[:, :, np.newaxis], 0, 1), hollow


def plant_missing_part(
    part: DrawnPart, rng: np.random.Generator, severity: Severity
) -> tuple[Canvas, Region]:
    """Take a piece away: what lies beneath comes to light."""
    if part.break_off is None or part.beneath is None:
        raise ConfigError("only a part with something to lose can have the defect 'missing_part'")
    gone = part.break_off(rng) <= severity.size
    return _blend(part, np.where(gone[:, :, np.newaxis], part.beneath, part.canvas), severity), gone


def plant_misprint(part: DrawnPart, rng: np.random.Generator, severity: Severity) -> tuple[Canvas, Region]:
    """Print the mark displaced and askew, twice, or with a patch left out."""
    if part.unprinted is None:
        raise ConfigError("only a part with a printed mark can have the defect 'misprint'")
    # The share of light that the ink lets through.
    printed = np.asarray(part.canvas / np.maximum(part.unprinted, 1e-3), np.float32)
    kind = rng.choice(["displaced", "doubled", "worn"])
    if kind == "worn":
        inked = DrawnPart(part.canvas, (printed.min(axis=2) < 0.7) & part.surface)
        worn = _draw_blob(inked, rng, severity.size * rng.uniform(0.05, 0.08))
        wrong = np.where(worn[:, :, np.newaxis] > 0.5, np.float32(1), printed)
    else:
        shifted = _displace(printed, rng, severity)
        wrong = shifted if kind == "displaced" else printed * shifted
    canvas = _blend(
        part, np.where(part.surface[:, :, np.newaxis], part.unprinted * wrong, part.canvas), severity
    )
    return canvas, np.asarray(np.abs(canvas - part.canvas).max(axis=2) > 0.05 * severity.contrast)


def _displace(printed: Canvas, rng: np.random.Generator, severity: Severity) -> Canvas:
    """Move a print by a few hundredths of the picture and turn it a little."""
    size_px = printed.shape[0]
    direction, reach = rng.uniform(0, 2 * np.pi), severity.size * rng.uniform(0.035, 0.055) * size_px
    askew = severity.size * rng.uniform(-10, 10)
    move = cv2.getRotationMatrix2D((size_px / 2, size_px / 2), askew, 1.0)
    move[:, 2] += reach * np.array([np.cos(direction), np.sin(direction)])
    moved = cv2.warpAffine(printed, move, (size_px, size_px), borderValue=(1.0, 1.0, 1.0))
    return np.asarray(moved, np.float32)


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


def _draw_blob(part: DrawnPart, rng: np.random.Generator, radius: float) -> Plane:
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


def _pick_point(part: DrawnPart, rng: np.random.Generator) -> Point:
    """Pick a pixel of the surface, as (x, y)."""
    rows, columns = np.nonzero(part.surface)
    index = rng.integers(len(rows))
    return np.array([columns[index], rows[index]], np.float64)


def _shift(part: DrawnPart, region: Region, change: float) -> tuple[Canvas, Region]:
    canvas = part.canvas.copy()
    canvas[region] = np.clip(canvas[region] + change, 0, 1)
    return canvas, region


def _blend(part: DrawnPart, changed: Canvas, severity: Severity) -> Canvas:
    """Go from the flawless picture towards the changed one, as far as the contrast says."""
    return np.clip(part.canvas + severity.contrast * (changed - part.canvas), 0, 1).astype(np.float32)
