"""The catalogue: every category that can be drawn, its defect types, and one photograph by its name.

Every image is a function of (seed, category, defect type, number), so any one can be drawn again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from mvdefect.data.images import Pixels
from mvdefect.data.records import GOOD
from mvdefect.drawing.canvas import Canvas, DrawnPart, Region, photograph
from mvdefect.drawing.defects import (
    AS_DRAWN,
    Severity,
    plant_crack,
    plant_dent,
    plant_hole,
    plant_misprint,
    plant_missing_part,
    plant_scratch,
    plant_stain,
)
from mvdefect.drawing.parts import (
    draw_brushed_metal,
    draw_connector,
    draw_fabric,
    draw_grid,
    draw_nut,
    draw_pill,
    draw_speckle,
    draw_washer,
    draw_wood,
)

PARTS: dict[str, tuple[Callable[[np.random.Generator, int], DrawnPart], tuple[str, ...]]] = {
    "brushed_metal": (draw_brushed_metal, ("dent", "hole", "scratch", "stain")),
    "connector": (draw_connector, ("crack", "missing_part", "scratch")),
    "fabric": (draw_fabric, ("crack", "hole", "scratch", "stain")),
    "grid": (draw_grid, ("missing_part", "scratch", "stain")),
    "nut": (draw_nut, ("dent", "missing_part", "scratch", "stain")),
    "pill": (draw_pill, ("crack", "misprint", "missing_part", "stain")),
    "speckle": (draw_speckle, ("crack", "hole", "scratch", "stain")),
    "washer": (draw_washer, ("dent", "hole", "scratch", "stain")),
    "wood": (draw_wood, ("crack", "hole", "scratch", "stain")),
}
DEFECTS: dict[str, Callable[[DrawnPart, np.random.Generator, Severity], tuple[Canvas, Region]]] = {
    "crack": plant_crack,
    "dent": plant_dent,
    "hole": plant_hole,
    "misprint": plant_misprint,
    "missing_part": plant_missing_part,
    "scratch": plant_scratch,
    "stain": plant_stain,
}

MIN_DEFECT_AREA = 0.001  # of the picture, at size 1
MAX_TRIES = 100
HALF_GREY_LEVEL = 0.5 / 255


def draw_image(
    category: str,
    defect_type: str,
    number: int,
    seed: int,
    size_px: int,
    severity: Severity = AS_DRAWN,
) -> tuple[Pixels, Region]:
    """Draw one photograph.

    Args:
        category: One of `PARTS`.
        defect_type: "good", or one of the category's defect types.
        number: Number of the image within its type.
        seed: Seed of the data set.
        size_px: Height and width.
        severity: Size and contrast of the defect.

    Returns:
        uint8 RGB (size_px, size_px, 3), and the mask of the defect, bool (size_px, size_px).
    """
    key = zlib.crc32(f"{category}/{defect_type}/{number}".encode())
    rng = np.random.default_rng([seed, key])
    draw_part, _ = PARTS[category]
    part = draw_part(rng, size_px)
    canvas, mask = part.canvas, np.zeros((size_px, size_px), bool)
    if defect_type != GOOD:
        canvas, mask = plant_defect(part, defect_type, rng, severity)
    return photograph(canvas, rng), mask


def plant_defect(
    part: DrawnPart, defect_type: str, rng: np.random.Generator, severity: Severity = AS_DRAWN
) -> tuple[Canvas, Region]:
    """Give a flawless part a defect.

    Returns:
        The changed picture, float32 (size_px, size_px, 3), and the exact mask: where the defect lies, with
        its rim and soft edge, that is all that changed by half a grey level of 255 or more.
    """
    enough = MIN_DEFECT_AREA * severity.size**2
    canvas, core = part.canvas, np.zeros(part.surface.shape, bool)
    for _ in range(MAX_TRIES):
        found = DEFECTS[defect_type](part, rng, severity)
        if found[1].sum() > core.sum():
            canvas, core = found
        if core.mean() >= enough:
            break  # else it fell beside the surface: again
    changed = np.abs(canvas - part.canvas).max(axis=2) >= HALF_GREY_LEVEL
    return canvas, core | changed
