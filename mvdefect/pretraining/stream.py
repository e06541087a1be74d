"""The stream of batches: drawn ahead by other processes, each a function of the settings and its number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np
from numpy.typing import NDArray

from mvdefect.pretraining.layout import measure_layout
from mvdefect.pretraining.photos import cut_surface
from mvdefect.pretraining.scenes import MARGIN, draw_scene
from mvdefect.pretraining.settings import PretrainConfig
from mvdefect.pretraining.surfaces import draw_surface

AHEAD = 4  # batches that wait, a process
QUESTIONS = ("recipe", "defect_type", "position", "rotation")


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Attributes:
        pixels: uint8 (b, size, size, 3), the views of a surface next to each other.
        answers: By question, int32 (b,) or (b, rows, columns), see `mvdefect.pretraining.scenes`; for
            "layout", where it is asked for, float32 (b, numbers), see `mvdefect.pretraining.layout`.
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
