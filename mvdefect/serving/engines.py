"""Engines: what answers for a batch of image files, in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mvdefect.errors import ExportError
from mvdefect.runs import RunFolder, open_run

SAVED_MODEL = "saved_model.pb"
Ask = Callable[[Any], dict[str, Any]]


@dataclass(frozen=True)
class Answer:
    """What an inspector says of a photograph.

    Attributes:
        label: good, defective, review, or unreadable.
        probability: That it is defective; None where it is unreadable.
        novelty: How unlike good photographs it is; None where it is unreadable.
        heatmap: Where a defect is seen, float32 (height, width) over the photograph at working size with its
            padding; None unless it was asked for.
    """

    label: str
    probability: float | None
    novelty: float | None
    heatmap: np.ndarray | None = None

    @property
    def is_readable(self) -> bool:
        """Whether it could be inspected."""
        return self.probability is not None


class Engine(Protocol):
    """What answers for photographs."""

    def __call__(self, files: Sequence[bytes], with_heatmaps: bool = False) -> list[Answer]:
        """Inspect image files, as they are; with heatmaps it takes longer."""


def open_engine(place: Path) -> Engine:
    """Return what inspects photographs, from a run or an export.

    Args:
        place: The folder of a finished run, of an export's version, or of all versions of an export (the
            last one is taken).

    Raises:
        ExportError: The export cannot be loaded.
        RunError: The folder is none of these.
    """
    import tensorflow as tf

    export = find_export(place)
    if export is None:
        from mvdefect.serving.graph import build_graph

        graph = build_graph(open_run(place))
        # A method of a tf.Module does not keep it alive, a function that names it does.
        return _make_engine(
            lambda files: graph.inspect_files(files), lambda files: graph.explain_files(files)
        )
    try:
        model = tf.saved_model.load(str(export))
        inspect, explain = model.signatures["serving_default"], model.signatures["explain"]
    except (OSError, KeyError, ValueError) as error:
        raise ExportError(f"the export {export} cannot be loaded: {error}") from error
    keep = model  # its variables must live as long as its signatures

    def ask(signature: Any, files: Any) -> dict[str, Any]:
        _ = keep
        return dict(signature(image_bytes=files))

    return _make_engine(partial(ask, inspect), partial(ask, explain))


def find_export(place: Path) -> Path | None:
    """Return the folder of a SavedModel: the place itself, or the last version in it; None: there is none."""
    if (place / SAVED_MODEL).is_file():
        return place
    if RunFolder(place).is_finished or not place.is_dir():
        return None
    versions = [path for path in place.iterdir() if path.name.isdigit() and (path / SAVED_MODEL).is_file()]
    return max(versions, key=lambda path: int(path.name), default=None)


def _make_engine(ask: Ask, ask_with_heatmaps: Ask) -> Engine:
    import tensorflow as tf

    def inspect(files: Sequence[bytes], with_heatmaps: bool = False) -> list[Answer]:
        chosen = ask_with_heatmaps if with_heatmaps else ask
        found = {name: value.numpy() for name, value in chosen(tf.constant(list(files))).items()}
        return [_read_answer(found, number) for number in range(len(files))]

    return inspect


def _read_answer(found: dict[str, np.ndarray], number: int) -> Answer:
    if found["status"][number] != b"ok":
        return Answer("unreadable", None, None)
    heatmap = found["heatmap"][number] if "heatmap" in found else None
    return Answer(
        found["label"][number].decode(),
        float(found["probability"][number]),
        float(found["novelty"][number]),
        heatmap,
    )
