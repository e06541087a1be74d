"""Predict: photographs stream by, each gets one row, and memory holds a batch of them at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from mvdefect.core.errors import ImageError
from mvdefect.core.locks import hold
from mvdefect.core.progress import logger
from mvdefect.evaluation.operating_point import DEFECTIVE, REVIEW
from mvdefect.inspector.answers import UNREADABLE, UNREADABLE_ANSWER, Answer, Engine
from mvdefect.inspector.photographs import Photograph, PhotographKey
from mvdefect.prediction.rows import VerdictRow, append_rows, format_heading, format_row, make_row, read_done

Seen = Callable[[Photograph, bytes, Answer], None]


@dataclass
class Tally:
    """How many photographs of a call got which label.

    Attributes:
        counts: By label, those with a row from an earlier call included.
        known: How many had one.
        foreign: How many of those that were inspected now are not this product.
    """

    counts: dict[str, int] = field(default_factory=dict)
    known: int = 0
    foreign: int = 0

    def add(self, label: str) -> None:
        """Count one."""
        self.counts[label] = self.counts.get(label, 0) + 1

    @property
    def exit_code(self) -> int:
        """0: all good; 1: one is defective; 2: one is unread, for review or no such product, or none came."""
        if not self.counts or self.foreign or self.counts.get(UNREADABLE) or self.counts.get(REVIEW):
            return 2
        return 1 if self.counts.get(DEFECTIVE) else 0


@dataclass(frozen=True)
class Batch:
    """Photographs that are asked about together.

    Attributes:
        photographs: In their order.
        contents: The bytes of each, none where it cannot be read.
        errors: Why not, "" otherwise.
    """

    photographs: tuple[Photograph, ...]
    contents: tuple[bytes, ...]
    errors: tuple[str, ...]


def inspect_photographs(
    engine: Engine,
    photographs: Iterable[Photograph],
    batch_size: int,
    seen: Seen | None = None,
    inspector: str = "",
    with_regions: bool = False,
) -> Iterator[VerdictRow]:
    """Yield one row a photograph, in their order; what cannot be read costs the others nothing.

    Args:
        engine: What answers.
        photographs: They may be endless.
        batch_size: How many are read and asked about together.
        seen: Called with each photograph that was read, its bytes and what was said of it, with a heatmap.
        inspector: What the engine is called in the rows.
        with_regions: Whether to say where an image looks defective.
    """
    coming = iter(photographs)
    while batch := list(islice(coming, batch_size)):
        yield from answer_batch(engine, read_batch(batch), seen, inspector, with_regions)


def read_batch(photographs: Sequence[Photograph], root: Path | None = None) -> Batch:
    """Read photographs; what cannot be read is noted.

    Args:
        photographs: One at least.
        root: What their paths are relative to; None: the working folder.
    """
    contents, errors = zip(*(_read(photograph, root) for photograph in photographs), strict=True)
    return Batch(tuple(photographs), contents, errors)


def answer_batch(
    engine: Engine,
    batch: Batch,
    seen: Seen | None = None,
    inspector: str = "",
    with_regions: bool = False,
) -> Iterator[VerdictRow]:
    """Yield the rows of a batch, in its order; see `inspect_photographs`."""
    whole = [number for number, content in enumerate(batch.contents) if content]
    with_heatmaps = with_regions or seen is not None
    found = engine([batch.contents[number] for number in whole], with_heatmaps) if whole else []
    answers = dict(zip(whole, found, strict=True))
    for number, photograph in enumerate(batch.photographs):
        answer = answers.get(number, UNREADABLE_ANSWER)
        if seen is not None and number in answers:
            seen(photograph, batch.contents[number], answer)
        row = make_row(photograph, answer, batch.errors[number], inspector)
        yield row if with_regions else replace(row, regions=None)


def _read(photograph: Photograph, root: Path | None) -> tuple[bytes, str]:
    placed = photograph if root is None else replace(photograph, path=root / photograph.path)
    try:
        content = placed.read()
    except (OSError, ImageError) as error:
        return b"", str(error).replace(str(placed.path), str(photograph.path))
    return content, "" if content else "the file is empty"


def write_to_stream(rows: Iterable[VerdictRow], kind: str) -> Tally:
    """Write rows to stdout as they come."""
    tally = Tally()
    sys.stdout.write(format_heading(kind))
    for row in rows:
        tally.add(row.label)
        tally.foreign += bool(row.note)
        sys.stdout.write(format_row(row, kind))
        sys.stdout.flush()
    return tally


def write_to_file(
    inspect: Callable[[Iterable[Photograph]], Iterator[VerdictRow]],
    photographs: Iterable[Photograph],
    path: Path,
    kind: str,
    inspector: str = "",
) -> Tally:
    """Append rows to a file; photographs that have a row in it are left out, so a restart repeats nothing.

    A photograph is known by its name, size and time: a new one under an old name gets a row of its own.

    Args:
        inspect: Returns the rows of photographs.
        photographs: They may be endless.
        path: The file; a row that a kill cut in two is removed first.
        kind: "csv" or "jsonl".
        inspector: What the engine is called in the rows.

    Raises:
        ConfigError: The file holds something else, or rows of another inspector.
        InUseError: Another process is writing it.
    """
    tally = Tally()
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold(path):
        done, length = read_done(path, kind, inspector)
        if done:
            logger.info(
                "%s holds %d rows; photographs of the same name, size and time are not inspected again",
                path,
                len(done),
            )
        with append_rows(path, kind, length) as stream:
            for row in inspect(leave_out(photographs, done, tally)):
                tally.add(row.label)
                tally.foreign += bool(row.note)
                stream.write(format_row(row, kind))
                stream.flush()
    return tally


def leave_out(
    photographs: Iterable[Photograph], done: Mapping[PhotographKey, str], tally: Tally
) -> Iterator[Photograph]:
    """Yield each photograph once that has no row yet, and count the labels of those that have one."""
    met: set[PhotographKey] = set()
    for photograph in photographs:
        if photograph.key in met:
            continue
        met.add(photograph.key)
        if photograph.key in done:
            tally.add(done[photograph.key])
            tally.known += 1
        else:
            yield photograph
