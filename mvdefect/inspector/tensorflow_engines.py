"""Engines that TensorFlow runs: an exported SavedModel, or a run as it was trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mvdefect.core.errors import ExportError
from mvdefect.inspector.answers import DEFAULT, EXPLAIN, UNREADABLE_ANSWER, Answer, Engine
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
    try:
        model = tf.saved_model.load(str(export))
        inspect, explain = model.signatures[DEFAULT], model.signatures[EXPLAIN]
    except (OSError, KeyError, ValueError) as error:
        raise ExportError(f"the export {export} cannot be loaded: {error}") from error

    def ask(signature: Any, files: Any) -> dict[str, Any]:
        _ = model  # whose variables must live as long as its signatures
        return dict(signature(image_bytes=files))

    return _make_engine(partial(ask, inspect), partial(ask, explain))


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
    )
