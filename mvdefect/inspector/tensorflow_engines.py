"""Engines that TensorFlow runs: an exported SavedModel, or a run as it was trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mvdefect.core.errors import ExportError
from mvdefect.inspector.answers import (
    BYTES,
    DEFAULT,
    EXPLAIN,
    FOREIGN_OUTPUT,
    PIXELS,
    UNREADABLE_ANSWER,
    Answer,
    Engine,
)
from mvdefect.inspector.formats.format import LookAtPixels, Pixels
from mvdefect.inspector.graph import build_graph
from mvdefect.runs import RunFolder

Ask = Callable[[Any], dict[str, Any]]


def open_run_engine(folder: RunFolder) -> Engine:
    """Return the engine of a finished run."""
    graph = build_graph(folder)
    # A method of a tf.Module does not keep it alive, a function that names it does.
    return _make_engine(lambda files: graph.inspect_files(files), lambda files: graph.explain_files(files))


def open_saved_model(export: Path) -> Engine:
    """Return the engine of an export's SavedModel.

    Raises:
        ExportError: It cannot be loaded.
    """
    inspect, explain = _load_signatures(export, DEFAULT, EXPLAIN)
    return _make_engine(partial(_ask, inspect, BYTES), partial(_ask, explain, BYTES))


def open_saved_pixels(export: Path) -> LookAtPixels:
    """Return what takes RGB pixels of any size, uint8 (n, height, width, 3), from an export's SavedModel.

    Raises:
        ExportError: It cannot be loaded.
    """
    (inspect,) = _load_signatures(export, PIXELS)

    def look(pixels: Pixels) -> list[Answer]:
        return read_answers(_ask(inspect, PIXELS, tf.constant(pixels)))

    return look


def _load_signatures(export: Path, *names: str) -> list[tuple[Any, Any]]:
    """Return signatures, each with the model, whose variables must live as long as it."""
    try:
        model = tf.saved_model.load(str(export))
        return [(model, model.signatures[name]) for name in names]
    except (OSError, KeyError, ValueError) as error:
        raise ExportError(f"the export {export} cannot be loaded: {error}") from error


def _ask(loaded: tuple[Any, Any], name: str, given: Any) -> dict[str, Any]:
    return dict(loaded[1](**{name: given}))


def _make_engine(ask: Ask, ask_with_heatmaps: Ask) -> Engine:
    def inspect(files: Sequence[bytes], with_heatmaps: bool = False) -> list[Answer]:
        chosen = ask_with_heatmaps if with_heatmaps else ask
        return read_answers(chosen(tf.constant(list(files))))

    return inspect


def read_answers(found: dict[str, Any]) -> list[Answer]:
    """Read what a signature returned, one answer a photograph."""
    arrays = {name: value.numpy() for name, value in found.items()}
    return [_read_answer(arrays, number) for number in range(len(arrays["status"]))]


def _read_answer(found: dict[str, np.ndarray], number: int) -> Answer:
    if found["status"][number] != b"ok":
        return UNREADABLE_ANSWER
    return Answer(
        found["label"][number].decode(),
        float(found["probability"][number]),
        float(found["novelty"][number]),
        found["heatmap"][number] if "heatmap" in found else None,
        is_foreign=bool(found[FOREIGN_OUTPUT][number]) if FOREIGN_OUTPUT in found else False,
    )
