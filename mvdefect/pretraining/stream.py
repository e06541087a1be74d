"""The stream of batches, drawn ahead by other processes: drawn surfaces, or unlabelled photographs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import ImageError, LayoutError, list_some
from mvdefect.core.parallel import map_in_threads
from mvdefect.data.images import Pixels, decode_image, is_image
from mvdefect.data.sources.folders import MASK_FOLDER, list_files
from mvdefect.drawing.surfaces import Generator, Surface, draw_surface
from mvdefect.pretraining.scenes import MARGIN, draw_scene, measure_layout
from mvdefect.pretraining.settings import PretrainConfig

LEAST_SHARE = 0.35  # of a photograph's shorter side that a cut shows
LARGEST_PX = 1024
KEPT_PHOTOGRAPHS = 256


AHEAD = 4  # batches that wait, a process
QUESTIONS = ("recipe", "defect_type", "position", "rotation")


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


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Attributes:
        pixels: uint8 (b, size, size, 3), the views of a surface next to each other.
        answers: By question, int32 (b,) or (b, rows, columns), see `mvdefect.pretraining.scenes`; for
            "layout", where it is asked for, float32 (b, numbers), see `mvdefect.pretraining.scenes`.
    """

    pixels: NDArray[np.uint8]
    answers: dict[str, NDArray[Any]]


def draw_batch(config: PretrainConfig, photographs: Sequence[Path], step: int) -> Batch:
    """Draw the batch of a step.

    Args:
        config: The settings.
        photographs: The files to cut surfaces out of; none: surfaces are drawn by recipes.
        step: Number of the step, from 0.
    """
    cv2.setNumThreads(1)  # the processes share the cores among them
    scenes, size_px = [], round(config.image_size_px * MARGIN)
    for number in range(config.surfaces):
        place = np.random.default_rng([config.seed, step, number])
        source = int(place.integers(len(photographs) or config.recipes))
        if photographs:
            surface = cut_surface(photographs[source], place, size_px)
        else:
            surface = draw_surface(source, config.seed, place, size_px)
        scenes.append(draw_scene(surface, source, place, config.image_size_px))
    answers: dict[str, NDArray[Any]] = {
        name: np.concatenate([getattr(scene, name) for scene in scenes]) for name in QUESTIONS
    }
    pixels = np.concatenate([scene.pixels for scene in scenes])
    if "layout" in config.list_targets():  # it takes a fifth of the time of a batch
        answers["layout"] = measure_layout(pixels)
    return Batch(pixels, answers)


def iterate_batches(
    config: PretrainConfig, photographs: Sequence[Path], steps: range, workers: int
) -> Iterator[Batch]:
    """Yield the batches of steps in order, drawn ahead by so many processes (1: by this one, not ahead)."""
    parallel = joblib.Parallel(
        n_jobs=workers, return_as="generator", pre_dispatch=AHEAD * workers, max_nbytes=None
    )
    draw: Any = joblib.delayed(draw_batch)
    yield from parallel(draw(config, photographs, step) for step in steps)
