"""Engines: what answers for a batch of image files, in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.errors import ExportError
from mvdefect.runs import RunFolder, open_run

SAVED_MODEL = "saved_model.pb"


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


Engine = Callable[[Sequence[bytes]], list[Answer]]


def open_engine(place: Path, with_heatmaps: bool = False) -> Engine:
    """Return what inspects photographs, from a run or an export.

    Args:
        place: The folder of a finished run, of an export's version, or of all versions of an export (the
            last one is taken).
        with_heatmaps: Whether answers say where.

    Raises:
        ExportError: The export cannot be loaded.
        RunError: The folder is none of these.
    """
    import tensorflow as tf

    export = find_export(place)
    if export is None:
        from mvdefect.serving.graph import build_graph

        graph = build_graph(
            open_run(place)
        )  # a method of a tf.Module does not keep it alive, a function does
        return _make_engine(
            lambda files: graph.explain_files(files) if with_heatmaps else graph.inspect_files(files)
        )
    try:
        model = tf.saved_model.load(str(export))
        signature = model.signatures["explain" if with_heatmaps else "serving_default"]
    except (OSError, KeyError, ValueError) as error:
        raise ExportError(f"the export {export} cannot be loaded: {error}") from error

    def ask(files: Any) -> dict[str, Any]:
        _ = model  # whose variables must live as long as its signature
        return dict(signature(image_bytes=files))

    return _make_engine(ask)


def find_export(place: Path) -> Path | None:
    """Return the folder of a SavedModel: the place itself, or the last version in it; None: there is none."""
    if (place / SAVED_MODEL).is_file():
        return place
    if RunFolder(place).is_finished or not place.is_dir():
        return None
    versions = [path for path in place.iterdir() if path.name.isdigit() and (path / SAVED_MODEL).is_file()]
    return max(versions, key=lambda path: int(path.name), default=None)


def _make_engine(ask: Callable[[Any], dict[str, Any]]) -> Engine:
    import tensorflow as tf

    def inspect(files: Sequence[bytes]) -> list[Answer]:
        found = {name: value.numpy() for name, value in ask(tf.constant(list(files))).items()}
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
