"""Engines that TensorFlow runs: an exported SavedModel, or a run as it was trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mvdefect.core.errors import ExportError
from mvdefect.data.images import Pixels
from mvdefect.inspector.answers import (
    BYTES,
    DEFAULT,
    EXPLAIN,
    FOREIGN_OUTPUT,
    PIXELS,
    UNREADABLE,
    Answer,
    Engine,
)
from mvdefect.inspector.formats.format import MEAN_NOVELTY
from mvdefect.inspector.graph import build_graph
from mvdefect.inspector.photographs import encode_image
from mvdefect.inspector.places import Preparation, prepare_run
from mvdefect.inspector.reading import make_engine
from mvdefect.runs import RunFolder

Ask = Callable[[Any], dict[str, Any]]


def open_run_engine(
    folder: RunFolder, max_megapixels: float | None = None, mm_per_px: float | None = None
) -> Engine:
    """Return the engine of a finished run; None: images may be as large, and pixels are, as in the run."""
    seen = prepare_run(folder)
    if max_megapixels is not None:
        seen = replace(seen, decoding=replace(seen.decoding, max_megapixels=max_megapixels))
    if mm_per_px is not None:
        seen = replace(seen, mm_per_px=mm_per_px)
    graph = build_graph(folder)
    # A method of a tf.Module does not keep it alive, a function that names it does.
    return _make_engine(
        seen, lambda pixels: graph.inspect_pixels(pixels), lambda pixels: graph.explain_pixels(pixels)
    )


def open_saved_model(export: Path, preparation: Preparation) -> Engine:
    """Return the engine of an export's SavedModel.

    Its signatures for files are for others; here files are read as everywhere, and it is given their pixels.

    Raises:
        ExportError: It cannot be loaded.
    """
    inspect, explain = _load_signatures(export, PIXELS, EXPLAIN)
    look = getattr(explain[0], "explain_pixels", None)
    if look is None:  # an export of before gives heatmaps of files alone

        def look(pixels: Any) -> dict[str, Any]:
            return _ask(explain, BYTES, tf.constant([encode_image(image) for image in pixels.numpy()]))

    return _make_engine(preparation, partial(_ask, inspect, PIXELS), look)


def open_signatures(export: Path) -> dict[str, Callable[[Any], list[Answer]]]:
    """Return what TensorFlow Serving and others ask of an export's SavedModel, by the name of the input.

    Returns:
        "image_bytes" takes image files, and "pixels" RGB pixels of any size, uint8 (n, height, width, 3).

    Raises:
        ExportError: It cannot be loaded.
    """
    files, pixels = _load_signatures(export, DEFAULT, PIXELS)
    return {
        BYTES: lambda given: read_answers(_ask(files, BYTES, tf.constant(list(given)))),
        PIXELS: lambda given: read_answers(_ask(pixels, PIXELS, tf.constant(given))),
    }


def _load_signatures(export: Path, *names: str) -> list[tuple[Any, Any]]:
    """Return signatures, each with the model, whose variables must live as long as it."""
    try:
        model = tf.saved_model.load(str(export))
        return [(model, model.signatures[name]) for name in names]
    except (OSError, KeyError, ValueError) as error:
        raise ExportError(f"the export {export} cannot be loaded: {error}") from error


def _ask(loaded: tuple[Any, Any], name: str, given: Any) -> dict[str, Any]:
    return dict(loaded[1](**{name: given}))


def _make_engine(preparation: Preparation, inspect: Ask, explain: Ask) -> Engine:
    """Return an engine, from what takes pixels and what takes them and returns heatmaps too."""

    def ask(pixels: Pixels, with_heatmaps: bool) -> list[Answer]:
        return read_answers((explain if with_heatmaps else inspect)(tf.constant(pixels)))

    return make_engine(preparation, ask)


def read_answers(found: dict[str, Any]) -> list[Answer]:
    """Read what a signature returned, one answer a photograph."""
    arrays = {name: value.numpy() for name, value in found.items()}
    return [_read_answer(arrays, number) for number in range(len(arrays["status"]))]


def _read_answer(found: dict[str, np.ndarray], number: int) -> Answer:
    if found["status"][number] != b"ok":
        error = found["error"][number].decode() if "error" in found else ""  # 0.1.0 said nothing
        return Answer(UNREADABLE, None, None, error=error)
    return Answer(
        found["label"][number].decode(),
        float(found["probability"][number]),
        float(found["novelty"][number]),
        found["heatmap"][number] if "heatmap" in found else None,
        is_foreign=bool(found[FOREIGN_OUTPUT][number]) if FOREIGN_OUTPUT in found else False,
        mean_novelty=float(found[MEAN_NOVELTY][number]) if MEAN_NOVELTY in found else None,
    )
