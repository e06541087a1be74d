"""A fresh look at an export: a process of its own loads an engine of it and inspects photographs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvdefect.core.errors import ExportError
from mvdefect.inspector.answers import PIXELS, Answer, Engine
from mvdefect.inspector.engines import open_engine
from mvdefect.inspector.places import SAVED_MODEL

BATCH_SIZES = (1, 7)
TIMED_BATCH = 32
TIMED_ROUNDS = 3

Said = tuple[str, float | None]  # label, probability


@dataclass(frozen=True)
class Saying:
    """What an engine said.

    Attributes:
        some: Of some photographs, by the way they came in: "1" and "7" at a time, and as "pixels" where the
            engine takes them.
        all: Of all photographs.
        images_per_s: From bytes to verdicts, in batches of 32, on this machine.
    """

    some: dict[str, list[Said]]
    all: list[Said]
    images_per_s: float


def ask_afresh(export: Path, engine: str, some: Sequence[Path], paths: Sequence[Path]) -> Saying:
    """Let a fresh process load an engine and inspect photographs.

    Args:
        export: The folder of the export.
        engine: Name of the engine.
        some: Photographs that come in every way there is.
        paths: Photographs that come in once.

    Raises:
        ExportError: It cannot be loaded or run.
    """
    asked = {
        "export": str(export),
        "engine": engine,
        "some": list(map(str, some)),
        "all": list(map(str, paths)),
    }
    command = [sys.executable, "-m", "mvdefect.exporting.fresh_process"]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ExportError(f"the export cannot be loaded and run by a fresh process: {lines[-1]}")
    tree = json.loads(done.stdout.splitlines()[-1])
    some_said = {way: [(said[0], said[1]) for said in found] for way, found in tree["some"].items()}
    return Saying(some_said, [(said[0], said[1]) for said in tree["all"]], tree["images_per_s"])


def ask(export: Path, name: str, some: Sequence[Path], paths: Sequence[Path]) -> dict[str, Any]:
    """Do so in this process; the result is a tree for JSON."""
    engine = open_engine(export, name)
    found = {str(size): list(_inspect(engine, some, size)) for size in BATCH_SIZES}
    if name == SAVED_MODEL:
        found[PIXELS] = list(_inspect_pixels(export, some))
    every = list(_inspect(engine, paths, TIMED_BATCH))
    return {"some": found, "all": every, "images_per_s": _time(engine, paths[:TIMED_BATCH])}


def _inspect(engine: Engine, paths: Sequence[Path], size: int) -> Iterator[Said]:
    for start in range(0, len(paths), size):
        files = [path.read_bytes() for path in paths[start : start + size]]
        yield from map(_shorten, engine(files))


def _inspect_pixels(export: Path, paths: Sequence[Path]) -> Iterator[Said]:
    import tensorflow as tf

    from mvdefect.data.images import decode_image
    from mvdefect.inspector.tensorflow_engines import read_answers

    model: Any = tf.saved_model.load(str(export))
    for path in paths:
        pixels = tf.constant(decode_image(path.read_bytes())[None])
        yield from map(_shorten, read_answers(model.signatures[PIXELS](pixels=pixels)))


def _shorten(answer: Answer) -> Said:
    return answer.label, answer.probability


def _time(engine: Engine, paths: Sequence[Path]) -> float:
    files = [path.read_bytes() for path in paths]
    engine(files)
    started = time.perf_counter()
    for _ in range(TIMED_ROUNDS):
        engine(files)
    return round(TIMED_ROUNDS * len(files) / (time.perf_counter() - started), 1)


if __name__ == "__main__":
    given = json.load(sys.stdin)
    some_paths, all_paths = ([Path(name) for name in given[which]] for which in ("some", "all"))
    print(json.dumps(ask(Path(given["export"]), given["engine"], some_paths, all_paths)))
