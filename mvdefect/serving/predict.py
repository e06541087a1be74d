"""Predict: photographs stream by, each gets one row, and memory holds a batch of them at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile

from mvdefect.serving.engines import Answer, Engine
from mvdefect.serving.photographs import Photograph
from mvdefect.serving.rows import VerdictRow, append_rows, format_heading, format_row, make_row, read_done

UNREADABLE = Answer("unreadable", None, None)
Seen = Callable[[Photograph, bytes, Answer], None]


@dataclass
class Tally:
    """How many photographs got which label in this call."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, label: str) -> None:
        """Count one."""
        self.counts[label] = self.counts.get(label, 0) + 1

    @property
    def exit_code(self) -> int:
        """0: all good; 1: something is defective; 2: something needs a person or could not be read."""
        if self.counts.get("unreadable") or self.counts.get("review"):
            return 2
        return 1 if self.counts.get("defective") else 0


def inspect_photographs(
    engine: Engine, photographs: Iterable[Photograph], batch_size: int, seen: Seen | None = None
) -> Iterator[VerdictRow]:
    """Yield one row a photograph, in their order; what cannot be read costs the others nothing.

    Args:
        engine: What answers.
        photographs: They may be endless.
        batch_size: How many are read and asked about together.
        seen: Called with each photograph that was read, its bytes and what was said of it, with a heatmap.
    """
    coming = iter(photographs)
    while batch := list(islice(coming, batch_size)):
        contents, errors = zip(*map(_read, batch), strict=True)
        whole = [number for number, content in enumerate(contents) if content]
        answers = dict(
            zip(whole, engine([contents[n] for n in whole], seen is not None) if whole else [], strict=True)
        )
        for number, photograph in enumerate(batch):
            answer = answers.get(number, UNREADABLE)
            if seen is not None and number in answers:
                seen(photograph, contents[number], answer)
            yield make_row(photograph.name, answer, errors[number])


def _read(photograph: Photograph) -> tuple[bytes, str]:
    try:
        content = photograph.read()
    except (OSError, BadZipFile, KeyError) as error:
        return b"", str(error)
    return content, "" if content else "the file is empty"


def write_to_stream(rows: Iterable[VerdictRow], kind: str) -> Tally:
    """Write rows to stdout as they come."""
    tally = Tally()
    sys.stdout.write(format_heading(kind))
    for row in rows:
        tally.add(row.label)
        sys.stdout.write(format_row(row, kind))
        sys.stdout.flush()
    return tally


def write_to_file(
    inspect: Callable[[Iterable[Photograph]], Iterator[VerdictRow]],
    photographs: Iterable[Photograph],
    path: Path,
    kind: str,
) -> Tally:
    """Append rows to a file; photographs that have a row in it are left out, so a restart repeats nothing.

    Args:
        inspect: Returns the rows of photographs.
        photographs: They may be endless.
        path: The file; a row that a kill cut in two is removed first.
        kind: "csv" or "jsonl".

    Raises:
        ConfigError: The file holds something else.
    """
    done, length = read_done(path, kind)
    tally = Tally()
    with append_rows(path, kind, length) as stream:
        for row in inspect(_leave_out(photographs, done)):
            tally.add(row.label)
            stream.write(format_row(row, kind))
            stream.flush()
    return tally


def _leave_out(photographs: Iterable[Photograph], done: set[str]) -> Iterator[Photograph]:
    """Yield each photograph once that is not done."""
    for photograph in photographs:
        if photograph.name not in done:
            done.add(photograph.name)
            yield photograph
