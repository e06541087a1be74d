"""Engines: what answers for a batch of image files, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import theilslopes

from mvdefect.core.errors import ConfigError, ExportError, ImageError
from mvdefect.core.parallel import count_cores
from mvdefect.core.runtime import load_tensorflow
from mvdefect.data.images import Pixels, decode_at_size
from mvdefect.evaluation.operating_point import OperatingPoint, parse_operating_point
from mvdefect.inspector.answers import UNREADABLE_ANSWER, Answer, Engine
from mvdefect.inspector.formats.format import LOGIT, NOVELTY, Look
from mvdefect.inspector.formats.registry import open_network
from mvdefect.inspector.places import MANIFEST, SAVED_MODEL, View, find_export, parse_view
from mvdefect.runs import open_run, read_json

BATCH = 32
LEVELLED = (LOGIT, NOVELTY)

Levels = Mapping[str, Sequence[float]]  # by output: slope and offset


LARGEST_BATCH = 32  # more at a time cost memory and gain nothing


def find_levels(coarse: Look, exact: Look, images: Pixels) -> dict[str, list[float]]:
    """Fit, for logit and novelty, the line by which a coarser network comes closest to the exact one.

    It is that of Theil and Sen, the median of the slopes of all pairs, which a few photographs that a
    network makes nothing sensible of do not move (Sen, 1968; by SciPy).

    Args:
        coarse: A network of fewer bits.
        exact: The same in float32.
        images: uint8 (n, size, size, 3); none that anything is measured on.

    Returns:
        Slope and offset by the name of the output; a slope of 1 where all images look alike to it.
    """
    found, wanted = _look_at(coarse, images), _look_at(exact, images)
    return {name: _fit(x, y) for name, x, y in zip(LEVELLED, found, wanted, strict=True)}


def _look_at(look: Look, images: Pixels) -> tuple[np.ndarray, ...]:
    parts = [look(batch)[: len(LEVELLED)] for batch in _split(images)]
    return tuple(np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True))


def _split(images: Pixels) -> Iterator[Pixels]:
    return (images[start : start + BATCH] for start in range(0, len(images), BATCH))


def _fit(found: np.ndarray, wanted: np.ndarray) -> list[float]:
    if np.ptp(found) == 0:
        return [1.0, float(np.median(wanted) - found[0])]
    slope, offset = theilslopes(wanted, found)[:2]
    if slope <= 0:  # which would turn the order round
        slope, offset = 1.0, np.median(wanted - found)
    return [float(slope), float(offset)]


def put_level(found: tuple[np.ndarray, ...], levels: Levels) -> tuple[np.ndarray, ...]:
    """Return logits and novelties, float64 (n,) each, put right; without levels as they are."""
    lines = [levels.get(name, (1.0, 0.0)) for name in LEVELLED]
    return tuple(slope * values + offset for values, (slope, offset) in zip(found, lines, strict=True))


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


def open_engine(place: Path, name: str | None = None, verbose: bool = False) -> Engine:
    """Return what inspects photographs, from a run or an export.

    Args:
        place: The folder of a finished run, of an export's version, or of all versions of an export (the
            last one is taken).
        name: Which of an export's engines; None: the fastest that can run here.
        verbose: Let the messages of TensorFlow's native code through, where it is needed.

    Raises:
        ConfigError: There is no such engine.
        ExportError: The export cannot be loaded, or nothing that could run it is installed.
        RunError: The folder is none of these.
    """
    export = find_export(place)
    if export is None:
        folder = open_run(place)
        load_tensorflow(verbose)
        from mvdefect.inspector.tensorflow_engines import open_run_engine

        return open_run_engine(folder)
    manifest = read_json(export / MANIFEST)
    chosen = choose_engine(manifest, name)
    if chosen["format"] == SAVED_MODEL:
        load_tensorflow(verbose)
        from mvdefect.inspector.tensorflow_engines import open_saved_model

        return open_saved_model(export)
    return open_network_engine(export, manifest, chosen)


def choose_engine(manifest: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
    """Choose one of an export's engines.

    Args:
        manifest: The content of its `inspector.json`.
        name: The name of one; None: the fastest, as it was measured at export, of those that can run here.

    Raises:
        ConfigError: None has this name.
        ExportError: It cannot run here, or none can.
    """
    engines: list[dict[str, Any]] = manifest["engines"]
    if name is not None:
        for engine in engines:
            if engine["name"] == name:
                _require(engine)
                return engine
        known = ", ".join(engine["name"] for engine in engines)
        raise ConfigError(f"the export has the engines {known}. Received: {name}")
    able = [engine for engine in engines if _can_run(engine["format"])]
    if not able:
        formats = ", ".join(engine["format"] for engine in engines)
        raise ExportError(f"nothing that runs this export is installed; it holds: {formats}")
    return max(able, key=lambda engine: engine.get("images_per_s") or 0.0)


def _require(engine: Mapping[str, Any]) -> None:
    if not _can_run(engine["format"]):
        extra = "tensorflow" if engine["format"] == SAVED_MODEL else f"mvdefect[{engine['format']}]"
        raise ExportError(f"what runs {engine['name']} is not installed; pip install '{extra}' brings it")


def _can_run(name: str) -> bool:
    from mvdefect.inspector.formats.registry import can_run

    return find_spec("tensorflow") is not None if name == SAVED_MODEL else can_run(name)
