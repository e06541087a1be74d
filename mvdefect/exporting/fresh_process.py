"""A fresh look at an export: a process of its own loads its engines, one after the other, and asks each."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from mvdefect.core.errors import ExportError
from mvdefect.core.progress import show_phase
from mvdefect.inspector.answers import BYTES, PIXELS, Answer, Engine
from mvdefect.inspector.engines import choose_engine, open_engine
from mvdefect.inspector.formats.registry import FORMATS
from mvdefect.inspector.places import MANIFEST, parse_view
from mvdefect.runs import read_json

BATCH_SIZES = (1, 7)
TIMED_BATCH = 32
TIMED_ROUNDS = 3

Said = tuple[str, float | None]  # label, probability


@dataclass(frozen=True)
class Saying:
    """What an engine said.

    Attributes:
        some: Of some photographs, by the way they came in: "1" and "7" at a time; and by the signatures that
            others ask of a SavedModel, as "image_bytes" and "pixels".
        all: Of all photographs.
        images_per_s: From bytes to verdicts, in batches of 32, on this machine.
    """

    some: dict[str, list[Said]]
    all: list[Said]
    images_per_s: float


@contextmanager
def ask_afresh(
    export: Path, engines: Sequence[str], some: Sequence[Path], paths: Sequence[Path]
) -> Iterator[Iterator[Saying]]:
    """Let one fresh process load engines and inspect photographs.

    Args:
        export: The folder of the export.
        engines: Names of engines, in the order in which they are loaded.
        some: Photographs that come in every way there is.
        paths: Photographs that come in once.

    Yields:
        What each engine said, as soon as it has; the process ends with the block.

    Raises:
        ExportError: One cannot be loaded or run.
    """
    asked = {
        "export": str(export),
        "engines": list(engines),
        "some": list(map(str, some)),
        "all": list(map(str, paths)),
    }
    command = [sys.executable, "-m", "mvdefect.exporting.fresh_process"]
    with TemporaryFile("w+") as given, TemporaryFile("w+", errors="replace") as complaints:
        json.dump(asked, given)
        given.seek(0)
        with subprocess.Popen(  # noqa: S603
            command, stdin=given, stdout=subprocess.PIPE, stderr=complaints, text=True
        ) as process:
            try:
                yield _hear(process, complaints, engines)
            finally:
                process.kill()  # where nobody wants to hear the rest


def _hear(process: subprocess.Popen[str], complaints: IO[str], engines: Sequence[str]) -> Iterator[Saying]:
    for name in engines:
        with show_phase(f"Comparing {name} with the run on the test images"):
            line = process.stdout.readline() if process.stdout is not None else ""
        if not line:
            raise _explain_end(process, complaints)
        yield _read_saying(json.loads(line))
    if process.wait():
        raise _explain_end(process, complaints)


def _explain_end(process: subprocess.Popen[str], complaints: IO[str]) -> ExportError:
    code = process.wait()
    complaints.seek(0)
    lines = complaints.read().strip().splitlines() or [f"exit code {code}"]
    return ExportError(f"the export cannot be loaded and run by a fresh process: {lines[-1]}")


def _read_saying(tree: Mapping[str, Any]) -> Saying:
    some_said = {way: [(said[0], said[1]) for said in found] for way, found in tree["some"].items()}
    return Saying(some_said, [(said[0], said[1]) for said in tree["all"]], tree["images_per_s"])


def ask_each(asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Do so in this process, with what `ask_afresh` wrote down; an engine is gone before the next is loaded.

    Its threads and its memory would take their part of the machine, and the rate of the next would be that
    of both.
    """
    some, paths = ([Path(name) for name in asked[which]] for which in ("some", "all"))
    for name in asked["engines"]:
        yield ask(Path(asked["export"]), name, some, paths)
        gc.collect()  # what refers to itself, as graphs of TensorFlow do


def ask(export: Path, name: str, some: Sequence[Path], paths: Sequence[Path]) -> dict[str, Any]:
    """Ask one engine; the result is a tree for JSON."""
    engine = open_engine(export, name)
    found = {str(size): list(_inspect(engine, some, size)) for size in BATCH_SIZES}
    found |= _ask_signatures(export, name, some)
    every = list(_inspect(engine, paths, TIMED_BATCH))
    return {"some": found, "all": every, "images_per_s": _time(engine, paths[:TIMED_BATCH])}


def _inspect(engine: Engine, paths: Sequence[Path], size: int) -> Iterator[Said]:
    for start in range(0, len(paths), size):
        files = [path.read_bytes() for path in paths[start : start + size]]
        yield from map(_shorten, engine(files))


def _ask_signatures(export: Path, name: str, paths: Sequence[Path]) -> dict[str, list[Said]]:
    """Ask as TensorFlow Serving would, where it can; files that it does not read come as PNGs of the same."""
    from mvdefect.data.images import decode_image
    from mvdefect.exporting.servable import make_servable

    manifest = read_json(export / MANIFEST)
    asked = FORMATS[choose_engine(manifest, name)["format"]].open_signatures(export)
    if not asked:
        return {}
    decoding = parse_view(manifest, export / MANIFEST).decoding
    files = [path.read_bytes() for path in paths]
    by_bytes = asked[BYTES]([make_servable(file, decoding) for file in files])
    by_pixels = [asked[PIXELS](decode_image(file, decoding)[None])[0] for file in files]
    return {BYTES: list(map(_shorten, by_bytes)), PIXELS: list(map(_shorten, by_pixels))}


def _shorten(answer: Answer) -> Said:
    return answer.label, answer.probability


def _time(engine: Engine, paths: Sequence[Path]) -> float:
    files = [path.read_bytes() for path in paths]
    engine(files)
    started = time.perf_counter()
    for _ in range(TIMED_ROUNDS):
        engine(files)
    return round(TIMED_ROUNDS * len(files) / (time.perf_counter() - started), 1)


def _tell_each() -> None:
    """Write one line of JSON an engine; what libraries print goes nowhere, so that no line is theirs."""
    asked = json.load(sys.stdin)
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        for tree in ask_each(asked):
            print(json.dumps(tree), file=answers, flush=True)


if __name__ == "__main__":
    _tell_each()
