"""Rows of verdicts: CSV or JSON lines, on a stream or in a file that a restart goes on with."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TextIO

from mvdefect.core.errors import ConfigError
from mvdefect.core.files import name_in_errors, parse_json
from mvdefect.evaluation.operating_point import DEFECTIVE, NOT_THIS_PRODUCT, REVIEW
from mvdefect.evaluation.regions import SuspiciousRegion, describe_regions, parse_regions
from mvdefect.inspector.answers import REGIONS, UNKNOWN_FILE, UNREADABLE, Answer
from mvdefect.inspector.photographs import Photograph, PhotographKey


@dataclass(frozen=True)
class VerdictRow:
    """What is told of a photograph.

    Attributes:
        file: Its name.
        label: good, defective, review, or unreadable.
        defective: Whether it is called defective.
        needs_review: Whether a person has to look.
        probability: That it is defective; None where it is unreadable.
        novelty: How unlike good photographs it is; None where it is unreadable.
        mean_novelty: The same as a mean over the image; None also with an export of version 0.1.0.
        error: Why it is unreadable, or what is wrong with it although it was inspected; "" otherwise.
        note: "not this product" where it shows something else, "" otherwise; the label does not depend on it.
        inspector: Which inspector looked; see `mvdefect.prediction.inspectors.name_inspector`.
        size_bytes: Of the photograph.
        modified: When it was last written; see `Photograph`.
        regions: Where it looks defective, the most suspicious first; None where nobody looked for regions.
    """

    file: str
    label: str
    defective: bool
    needs_review: bool
    probability: float | None
    novelty: float | None
    mean_novelty: float | None
    error: str = ""
    note: str = ""
    inspector: str = ""
    size_bytes: int = 0
    modified: str = ""
    regions: tuple[SuspiciousRegion, ...] | None = None

    @property
    def key(self) -> PhotographKey:
        """That of the photograph."""
        return self.file, self.size_bytes, self.modified


FIELDS = fields(VerdictRow)


def make_row(photograph: Photograph, answer: Answer, error: str = "", inspector: str = "") -> VerdictRow:
    """Return the row of an answer."""
    unknown = "" if answer.is_readable else UNKNOWN_FILE
    reason = error or answer.error or unknown
    return VerdictRow(
        photograph.name,
        answer.label,
        answer.label == DEFECTIVE,
        answer.label in (REVIEW, UNREADABLE),
        answer.probability,
        answer.novelty,
        answer.mean_novelty,
        reason,
        NOT_THIS_PRODUCT if answer.is_foreign else "",
        inspector,
        photograph.size_bytes,
        photograph.modified,
        answer.regions,
    )


def format_row(row: VerdictRow, kind: str) -> str:
    """Return a row as one line, its end included."""
    regions = None if row.regions is None else describe_regions(row.regions)
    return format_line({**asdict(row), REGIONS: regions}, kind)


def format_line(tree: Mapping[str, Any], kind: str) -> str:
    """Return the values of a row as one line, its end included."""
    if kind == "jsonl":
        return json.dumps(tree) + "\n"
    cells = [json.dumps(value) if isinstance(value, list) else value for value in tree.values()]
    return format_names(["" if value is None else value for value in cells])


def format_heading(kind: str) -> str:
    """Return what stands above all rows."""
    return format_names([field.name for field in FIELDS]) if kind == "csv" else ""


def format_names(values: Sequence[object]) -> str:
    """Return one line of CSV."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(
        [str(value).lower() if isinstance(value, bool) else value for value in values]
    )
    return stream.getvalue()


def read_verdict_rows(path: Path, kind: str) -> Iterator[VerdictRow]:
    """Yield the rows of a file that `format_row` wrote."""
    with path.open(encoding="utf-8", newline="") as stream:
        for tree in csv.DictReader(stream) if kind == "csv" else map(parse_json, stream):
            yield VerdictRow(**{field.name: _parse(tree[field.name], str(field.type)) for field in FIELDS})


def _parse(value: Any, kind: str) -> Any:
    """Return a value as the field of a row has it; CSV holds text alone."""
    if "SuspiciousRegion" in kind:
        tree = parse_json(value) if isinstance(value, str) and value else value
        return None if tree in (None, "") else parse_regions(tree)
    if not isinstance(value, str) or kind == "str":
        return value
    if kind == "bool":
        return value == "true"
    if kind == "int":
        return int(value)
    return float(value) if value else None


def read_done(path: Path, kind: str, inspector: str = "") -> tuple[dict[PhotographKey, str], int]:
    """Return the labels in a file by the keys of photographs, and the length in bytes of its whole rows.

    A line that a kill cut in two is not among them.

    Raises:
        ConfigError: The file holds something else, or rows of another inspector.
    """
    if not path.is_file():
        return {}, 0
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    try:
        lines = whole.decode("utf-8")
        if kind == "jsonl":
            rows = [parse_json(line) for line in lines.splitlines()]
        elif lines and not lines.startswith(format_heading(kind)):
            raise ValueError("its heading is another one")
        else:
            rows = list(csv.DictReader(io.StringIO(lines, newline="")))
        labels = {(row["file"], int(row["size_bytes"]), row["modified"]): row["label"] for row in rows}
        looked = {row["inspector"] for row in rows}
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise ConfigError(
            f"{path} holds no rows of verdicts as {kind}, so nothing is added to it: {error}"
        ) from error
    if others := sorted(looked - {inspector}):
        raise ConfigError(
            f"{path} holds rows of the inspector {others[0]}, not of {inspector}; name another --out"
        )
    return labels, len(whole)


@contextmanager
def append_rows(path: Path, kind: str, length: int) -> Iterator[TextIO]:
    """Yield a stream at the end of the whole rows of a file; a new one gets its heading."""
    with name_in_errors(path), path.open("a+", encoding="utf-8", newline="") as stream:
        stream.truncate(length)
        if not length:
            stream.write(format_heading(kind))
        yield stream
