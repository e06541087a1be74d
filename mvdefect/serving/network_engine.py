"""The engine of a network without TensorFlow: files are decoded on all cores, verdicts reached in NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from mvdefect.data.images import Pixels, decode_at_size
from mvdefect.errors import ImageError
from mvdefect.evaluation.operating_point import OperatingPoint, parse_operating_point
from mvdefect.parallel import count_cores
from mvdefect.serving.answers import UNREADABLE_ANSWER, Answer, Engine
from mvdefect.serving.formats.kinds import Look
from mvdefect.serving.formats.table import open_network
from mvdefect.serving.levels import put_level
from mvdefect.serving.places import MANIFEST, View, parse_view

LARGEST_BATCH = 32  # more at a time cost memory and gain nothing


def open_network_engine(export: Path, manifest: Mapping[str, Any], chosen: Mapping[str, Any]) -> Engine:
    """Return the engine of a network in an export.

    Args:
        export: The folder of its version.
        manifest: The content of its `inspector.json`.
        chosen: The entry of the engine there.

    Raises:
        ExportError: The network cannot be loaded.
        RunError: The operating point is damaged.
    """
    network = open_network(chosen["format"], export / chosen["file"], chosen["precision"])
    levels = chosen.get("levels", {})
    point = parse_operating_point(manifest["operating_point"])
    view = parse_view(manifest, export / MANIFEST)

    def look(pixels: Pixels) -> tuple[np.ndarray, ...]:
        logits, novelty, heatmaps = network(pixels)
        return (*put_level((logits.astype(np.float64), novelty.astype(np.float64)), levels), heatmaps)

    readers = ThreadPoolExecutor(count_cores(), thread_name_prefix="decode")

    def inspect(files: Sequence[bytes], with_heatmaps: bool = False) -> list[Answer]:
        images = readers.map(lambda file: read_photograph(file, view), files)
        return list(_answer(images, len(files), look, point, with_heatmaps))

    return inspect


def read_photograph(encoded: bytes, view: View) -> Pixels | None:
    """Decode an image file and bring it to the working size, as training does; None: it cannot be read."""
    try:
        return decode_at_size(encoded, view.size_px, view.resize)
    except ImageError:
        return None


def _answer(
    images: Iterator[Pixels | None], count: int, look: Look, point: OperatingPoint, with_heatmaps: bool
) -> Iterator[Answer]:
    """Look at images while those of the next batch are decoded."""
    for start in range(0, count, LARGEST_BATCH):
        batch = [next(images) for _ in range(min(LARGEST_BATCH, count - start))]
        readable = [image for image in batch if image is not None]
        answers = iter(decide(look(np.stack(readable)), point, with_heatmaps) if readable else ())
        yield from (UNREADABLE_ANSWER if image is None else next(answers) for image in batch)


def decide(found: tuple[np.ndarray, ...], point: OperatingPoint, with_heatmaps: bool) -> Iterator[Answer]:
    """Reach the verdicts of what a network gave."""
    logits, novelty, heatmaps = found
    labels = point.decide(logits, novelty)
    probabilities = expit(point.find_scores(logits, novelty))
    for number, label in enumerate(labels):
        heatmap = heatmaps[number] if with_heatmaps else None
        yield Answer(str(label), float(probabilities[number]), float(novelty[number]), heatmap)
