"""Rows of parts: a table beside that of images, as CSV or JSON lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from mvdefect.core.errors import ConfigError, list_some
from mvdefect.core.files import escape_name, write_text
from mvdefect.data.sources.manifest import list_table_parts
from mvdefect.data.sources.opening import is_manifest
from mvdefect.evaluation.operating_point import DEFECTIVE, NOT_THIS_PRODUCT
from mvdefect.inspector.answers import Answer
from mvdefect.inspector.parts import PartAnswer, PartJudge
from mvdefect.prediction.rows import VerdictRow, format_line, format_names

MAX_NAMED = 5
JOIN = "; "  # of missing views in a cell


@dataclass(frozen=True)
class PartRow:
    """What is told of a part.

    Attributes:
        part_id: The part; of an image that belongs to none, its name.
        label: good, defective, review, or unreadable.
        defective: Whether it is called defective.
        needs_review: Whether a person has to look, as it is uncertain or passes although it lacks an image.
        probability: That it is defective; None where it is unreadable.
        images: How many images came.
        unreadable: How many of them could not be read.
        missing: What it lacks, as in "cam2; cam3"; "" for nothing.
        suspect: The image with the highest probability; "" where none could be read.
        note: "not this product" where one of its images shows something else, "" otherwise.
        inspector: Which inspector looked.
    """

    part_id: str
    label: str
    defective: bool
    needs_review: bool
    probability: float | None
    images: int
    unreadable: int
    missing: str
    suspect: str
    note: str = ""
    inspector: str = ""


def make_part_row(answer: PartAnswer, inspector: str = "") -> PartRow:
    """Return the row of an answer."""
    return PartRow(
        answer.part_id,
        answer.label,
        answer.label == DEFECTIVE,
        answer.needs_review,
        answer.probability,
        answer.images,
        answer.unreadable,
        JOIN.join(answer.missing),
        answer.suspect,
        NOT_THIS_PRODUCT if answer.is_foreign else "",
        inspector,
    )


@dataclass(frozen=True)
class JudgedParts:
    """The parts of a call.

    Attributes:
        rows: One per part, by first appearance.
        alone: The images that belong to no part, each of which counts as one.
    """

    rows: tuple[PartRow, ...]
    alone: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0: all good; 1: one is defective; 2: one needs a person or is no such product, or none came."""
        if not self.rows or any(row.needs_review or row.note for row in self.rows):
            return 2
        return int(any(row.defective for row in self.rows))

    def describe(self) -> str:
        """Say in one line how many parts got which label, which lack images, and what belongs to none."""
        if not self.rows:
            return "there was no part to judge"
        counts = Counter(row.label for row in self.rows)
        told = ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
        line = f"{len(self.rows)} parts: {told}"
        lacking = [f"{row.part_id} ({row.missing})" for row in self.rows if row.missing]
        if lacking:
            line += f"; {len(lacking)} lack images: {list_some(lacking, MAX_NAMED)}"
        if self.alone:
            line += f"; {len(self.alone)} images belong to no part: {list_some(self.alone, MAX_NAMED)}"
        return line


def judge_rows(
    judge: PartJudge, rows: Iterable[VerdictRow], known: Mapping[str, tuple[str, str]], inspector: str
) -> JudgedParts:
    """Judge the parts whose images have rows.

    Args:
        judge: Reaches the verdicts.
        rows: Of images; the last one counts where a name comes again.
        known: Part id and view by the names of images, as from `find_known_parts`.
        inspector: What it is called in the rows.
    """
    answers = {row.file: _read_answer(row) for row in rows}
    judged = judge.judge_all(answers.items(), known)
    alone = tuple(name for name in answers if not (known.get(name) or judge.find_part(name))[0])
    return JudgedParts(tuple(make_part_row(answer, inspector) for answer in judged), alone)


def _read_answer(row: VerdictRow) -> Answer:
    is_foreign = row.note == NOT_THIS_PRODUCT
    return Answer(row.label, row.probability, row.novelty, is_foreign=is_foreign, error=row.error)


def find_known_parts(sources: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return part id and view that tables among some sources give images, by the names of their rows."""
    tables = (Path(source) for source in sources if is_manifest(source) and Path(source).is_file())
    found = (one for table in tables for one in list_table_parts(table))
    return {escape_name(path): (part_id, view) for path, part_id, view in found}


def check_parts_file(path: Path, kind: str) -> None:
    """Make sure that a table of parts can be written, before any image is inspected.

    Raises:
        ConfigError: The file is something else.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open(encoding="utf-8", errors="replace") as stream:
        first = stream.readline()
    names = [field.name for field in fields(PartRow)]
    expected = format_names(names) if kind == "csv" else f'{{"{names[0]}": '
    if not first.startswith(expected):
        raise ConfigError(f"{path} is no table of parts as {kind}, so it is left alone; name another --parts")


def write_part_rows(rows: Sequence[PartRow], path: Path, kind: str) -> None:
    """Write the table, whole or not at all; an older one is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    heading = format_names([field.name for field in fields(PartRow)]) if kind == "csv" else ""
    write_text(path, heading + "".join(format_line(asdict(row), kind) for row in rows))
