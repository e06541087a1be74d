"""Masks that no file holds yet: drawn from shapes, or merged from several files, and kept in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mvdefect.core.files import cache_dir, describe_state, replace_file
from mvdefect.core.parallel import map_in_threads
from mvdefect.core.progress import track
from mvdefect.data.images import EXIF_ORIENTATION
from mvdefect.data.sources.annotations.shapes import Canvas, MaskFile, Scale, Shape, draw_shapes

MASK_VERSION = 1  # of the cache
RELATIVE = (1, 1)
MAX_ASPECT_ERROR = 0.02
FEW = 20  # masks that are drawn without a progress bar
# How a picture that is stored turned by a quarter becomes upright, by its EXIF orientation.
QUARTER_TURNS = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Drawing:
    """What the mask of an image shows.

    Attributes:
        image: The image, whose size the mask gets.
        shapes: The defective regions.
        size_px: Height and width that coordinates refer to; None for the image's own, and (1, 1) for
            fractions of it.
    """

    image: Path
    shapes: tuple[Shape, ...]
    size_px: tuple[int, int] | None = None


@dataclass(frozen=True)
class DrawnMask:
    """The result of a drawing.

    Attributes:
        path: The mask, a PNG of one channel; None where nothing lies within the image, or it is unreadable.
        fault: Why it cannot be drawn; "" where it can.
    """

    path: Path | None
    fault: str = ""


def draw_masks(drawings: Sequence[Drawing]) -> list[DrawnMask]:
    """Draw masks into the cache, in parallel; those that are there already are not drawn again.

    A mask is named by a hash of what it shows, and of the name, size and times of its image.
    """
    work = map_in_threads(partial(_draw_mask, folder=cache_dir("masks")), drawings)
    if len(drawings) <= FEW:
        return list(work)
    return list(track(work, "Drawing masks", len(drawings)))


def merge_mask_files(image: Path, paths: Sequence[Path]) -> Drawing:
    """Return the drawing of one mask that shows what any of some files shows."""
    return Drawing(image, tuple(MaskFile(path, describe_state(path.absolute())) for path in paths))


def _draw_mask(drawing: Drawing, folder: Path) -> DrawnMask:
    try:
        path = folder / f"{_hash_drawing(drawing)}.png"
        if path.exists():
            return DrawnMask(path)
        size_px, orientation = _read_size(drawing.image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return DrawnMask(None)  # the image itself is told to be unreadable when it is read
    try:
        mask = _draw_upright(drawing, size_px, orientation)
    except ValueError as error:
        return DrawnMask(None, str(error))
    if not mask.any():
        return DrawnMask(None)
    with replace_file(path) as unfinished:
        unfinished.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    return DrawnMask(path)


def _hash_drawing(drawing: Drawing) -> str:
    key = hashlib.sha256(f"{MASK_VERSION}\n{drawing.shapes!r}\n{drawing.size_px}\n".encode())
    key.update(describe_state(drawing.image.absolute()))
    return key.hexdigest()[:32]


def _read_size(path: Path) -> tuple[tuple[int, int], int]:
    """Return height and width of an image as it is stored, and its EXIF orientation."""
    with Image.open(path) as image:
        return (image.height, image.width), image.getexif().get(EXIF_ORIENTATION, 1)


def _draw_upright(drawing: Drawing, stored_px: tuple[int, int], orientation: int) -> Canvas:
    """Draw a mask that fits the image as it is seen.

    Raises:
        ValueError: The annotation belongs to an image of another shape.
    """
    turn = QUARTER_TURNS.get(orientation)
    upright_px = stored_px if turn is None else stored_px[::-1]
    annotated_px = drawing.size_px or upright_px
    if annotated_px == RELATIVE:
        return draw_shapes(drawing.shapes, upright_px, Scale(x=upright_px[1], y=upright_px[0]))
    if turn is not None and annotated_px == stored_px != upright_px:
        mask = draw_shapes(drawing.shapes, stored_px, Scale())
        return np.array(Image.fromarray(mask).transpose(turn))
    scale = Scale(x=upright_px[1] / annotated_px[1], y=upright_px[0] / annotated_px[0])
    if abs(scale.x / scale.y - 1) > MAX_ASPECT_ERROR:
        raise ValueError(
            f"it was annotated at {annotated_px[1]}x{annotated_px[0]} pixels, but has "
            f"{upright_px[1]}x{upright_px[0]}"
        )
    return draw_shapes(drawing.shapes, upright_px, scale)
