"""A fresh look at an export: it is loaded in a process of its own and has to say what the run said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.errors import ExportError

BATCH_SIZES = (1, 7)
LARGEST_DIFFERENCE = 1e-4
FILES = 28  # test photographs that are compared


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes:
        photographs: How many were compared.
        largest_difference: Of a probability, over all ways in and batch sizes.
        flips: Verdicts that differ, over all ways in and batch sizes.
    """

    photographs: int
    largest_difference: float
    flips: int

    @property
    def holds(self) -> bool:
        """Whether the export says what the run said."""
        return self.flips == 0 and self.largest_difference <= LARGEST_DIFFERENCE


def check_export(
    export: Path, paths: Sequence[Path], probabilities: Sequence[float], labels: Sequence[str]
) -> Comparison:
    """Compare an export with what a run said of photographs, in a fresh process.

    Args:
        export: The SavedModel.
        paths: The photographs.
        probabilities: The run's, one a photograph.
        labels: The run's verdicts.

    Raises:
        ExportError: The export cannot be loaded or run.
    """
    asked: dict[str, Any] = {"export": str(export), "paths": [str(path) for path in paths]}
    asked |= {"probabilities": list(probabilities), "labels": list(labels)}
    command = [sys.executable, "-m", "mvdefect.serving.check"]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ExportError(f"the export cannot be loaded and run by a fresh process: {lines[-1]}")
    return Comparison(**json.loads(done.stdout.splitlines()[-1]))


def compare(
    export: Path, paths: Sequence[Path], probabilities: Sequence[float], labels: Sequence[str]
) -> Comparison:
    """Do so in this process; bytes and pixels, one at a time and by seven."""
    import tensorflow as tf

    model: Any = tf.saved_model.load(str(export))
    gaps, flips = [0.0], 0
    for found, numbers in _ask(model, paths):
        expected = np.array([probabilities[number] for number in numbers])
        gaps.append(float(np.abs(found["probability"].numpy() - expected).max()))
        said = [label.decode() for label in found["label"].numpy()]
        flips += sum(label != labels[number] for label, number in zip(said, numbers, strict=True))
    return Comparison(len(paths), max(gaps), flips)


def _ask(model: Any, paths: Sequence[Path]) -> Iterator[tuple[dict[str, Any], list[int]]]:
    import tensorflow as tf

    from mvdefect.data.images import decode_image

    files = [path.read_bytes() for path in paths]
    for size in BATCH_SIZES:
        for start in range(0, len(files), size):
            numbers = list(range(start, min(start + size, len(files))))
            chosen = tf.constant([files[number] for number in numbers])
            yield model.signatures["serving_default"](image_bytes=chosen), numbers
    for number, encoded in enumerate(files):
        pixels = tf.constant(decode_image(encoded)[np.newaxis])
        yield model.signatures["pixels"](pixels=pixels), [number]


if __name__ == "__main__":
    from mvdefect.backend import load_tensorflow

    load_tensorflow()
    given = json.load(sys.stdin)
    outcome = compare(
        Path(given["export"]),
        [Path(path) for path in given["paths"]],
        given["probabilities"],
        given["labels"],
    )
    print(json.dumps(asdict(outcome)))
