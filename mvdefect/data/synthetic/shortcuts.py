"""Shortcuts: something that tells good from defective, and has nothing to do with the defects.

Each photograph gets a cue, a normal random number that is 1.5 higher on average where the part is
defective. Whoever sees the cue alone reaches a ROC-AUC of 0.86: P(N(1.5, 1) > N(0, 1)).
"""

from __future__ import annotations

import numpy as np

from mvdefect.data.images import Pixels
from mvdefect.data.synthetic.draw import Region
from mvdefect.data.synthetic.photos import HIGH_QUALITY, Photo

SHORTCUTS = ("border", "brightness", "category", "compression", "size")
CUE_DISTANCE = 1.5

SIZE_STEP = 0.03  # of the size, for a cue of 1
GREY_LEVEL, GREY_STEP = 105.0, 4.0  # the mean of a photograph for a cue of 0, and what a cue of 1 adds
JPEG_QUALITY, JPEG_STEP = 90.0, 7.0
BORDER_SHADE, BORDER_STEP = 60.0, 12.0
BORDER_SHARE = 0.03  # of the size, on each side
RARE_SHARE = 0.18  # what is left of a class in the category where it is rare


def draw_cue(photo: Photo, seed: int) -> float:
    """Return the cue of a photograph."""
    return float(photo.make_rng(seed, "cue").normal() + CUE_DISTANCE * photo.is_defective)


def choose_suffix(shortcut: str) -> str:
    """Return the format of every photograph of a data set."""
    return ".jpg" if shortcut == "compression" else ".png"


def choose_size_px(shortcut: str, size_px: int, cue: float) -> int:
    """Return the height and width at which a photograph is drawn."""
    if shortcut == "size":
        return max(28, round(size_px * (1 + SIZE_STEP * cue)))
    return size_px - 2 * _border_px(size_px) if shortcut == "border" else size_px


def choose_quality(shortcut: str, cue: float) -> int:
    """Return the JPEG quality of a photograph: defective ones are compressed harder."""
    if shortcut != "compression":
        return HIGH_QUALITY
    return int(np.clip(round(JPEG_QUALITY - JPEG_STEP * cue), 30, 100))


def alter_picture(
    shortcut: str, image: Pixels, mask: Region, cue: float, size_px: int
) -> tuple[Pixels, Region]:
    """Expose a drawn photograph, or frame it, as its cue says.

    Args:
        shortcut: One of `SHORTCUTS`, or "".
        image: uint8 RGB (height, width, 3).
        mask: bool (height, width).
        cue: Of this photograph.
        size_px: Height and width that the data set is to have.
    """
    if shortcut == "brightness":
        gain = (GREY_LEVEL + GREY_STEP * cue) / max(image.mean(), 1.0)
        return np.clip(image * gain, 0, 255).round().astype(np.uint8), mask
    if shortcut == "border":
        width = _border_px(size_px)
        shade = int(np.clip(round(BORDER_SHADE + BORDER_STEP * cue), 0, 255))
        framed = np.pad(image, ((width, width), (width, width), (0, 0)), constant_values=shade)
        return framed, np.pad(mask, width)
    return image, mask


def count_images(
    shortcut: str, categories: tuple[str, ...], category: str, good: int, defective_per_type: int
) -> tuple[int, int]:
    """Return how many good images, and how many a defect type, a category gets.

    With the shortcut "category" the last one has few good images, and the others few defective ones.
    """
    if shortcut != "category":
        return good, defective_per_type
    if category == categories[-1]:
        return max(1, round(RARE_SHARE * good)), defective_per_type
    rare = round(RARE_SHARE * defective_per_type / (len(categories) - 1))
    return good, max(min(1, defective_per_type), rare)


def _border_px(size_px: int) -> int:
    return max(2, round(BORDER_SHARE * size_px))
