"""Surfaces that are cut out of photographs of a product, which need no labels."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from mvdefect.data.images import Pixels, decode_image, is_image
from mvdefect.data.layouts import MASK_FOLDER, list_files
from mvdefect.errors import ImageError, LayoutError, list_some
from mvdefect.parallel import map_in_threads
from mvdefect.pretraining.fields import Generator
from mvdefect.pretraining.surfaces import Surface

LEAST_SHARE = 0.35  # of a photograph's shorter side that a cut shows
LARGEST_PX = 1024
KEPT_PHOTOGRAPHS = 256


def list_photographs(source: str | None) -> tuple[Path, ...]:
    """Return every image file below a folder, by its suffix, sorted; masks (`ground_truth`) stay out.

    Args:
        source: The folder; None: there are no photographs, and surfaces are drawn.

    Raises:
        ImageError: Some cannot be read.
        LayoutError: There are none.
    """
    if source is None:
        return ()
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise LayoutError(f"photographs must name a folder. Received: {folder}")
    found = tuple(
        path
        for path in list_files(folder)
        if is_image(path.name) and MASK_FOLDER not in path.relative_to(folder).parts
    )
    if not found:
        raise LayoutError(f"there are no photographs below {folder}")
    faults = [fault for fault in map_in_threads(_find_fault, found) if fault]
    if faults:
        raise ImageError(f"{len(faults)} of {len(found)} files cannot be read: {list_some(faults)}")
    return found


def _find_fault(path: Path) -> str:
    try:
        decode_image(path.read_bytes())
    except (ImageError, OSError) as error:
        return f"{path}: {error}"
    return ""


def cut_surface(path: Path, place: Generator, size_px: int) -> Surface:
    """Cut a square out of a photograph, anywhere and of any size, and bring it to a size.

    Raises:
        ImageError: The photograph cannot be read.
    """
    image = _read(path)
    side = max(8, round(min(image.shape[:2]) * place.uniform(LEAST_SHARE, 1)))
    top, left = (int(place.integers(0, length - side + 1)) for length in image.shape[:2])
    cut = image[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > size_px else cv2.INTER_LINEAR
    canvas = cv2.resize(cut, (size_px, size_px), interpolation=method).astype(np.float32) / 255
    return Surface(canvas, np.ones((size_px, size_px), bool))


@lru_cache(KEPT_PHOTOGRAPHS)
def _read(path: Path) -> Pixels:
    """Read a photograph, shrunk to what a cut needs at most; the latest ones stay in memory."""
    image = decode_image(path.read_bytes())
    scale = LARGEST_PX / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(8, round(image.shape[1] * scale)), max(8, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
