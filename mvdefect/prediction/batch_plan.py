"""A plan for many workers: which photographs make which batch, and the rows of each batch when it is done.

It is a folder that all workers see. An engine takes no pipeline of gigabytes, so the names of a million
photographs lie in files; and a batch that has its rows there is not inspected again after an interrupt.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path

from mvdefect.core.errors import ConfigError
from mvdefect.core.files import parse_json, write_text
from mvdefect.inspector.photographs import Photograph, PhotographKey
from mvdefect.prediction.rows import VerdictRow, format_row

SUFFIX = ".parts"
PLAN, LISTS, ROWS = "plan.json", "lists", "rows"
FORMAT = "mvdefect beam plan 2"
BATCHES_PER_LIST = 128


@dataclass(frozen=True)
class Task:
    """One batch.

    Attributes:
        place: Where its rows go.
        root: What the paths of its photographs are relative to.
        photographs: In their order.
    """

    place: Path
    root: Path
    photographs: tuple[Photograph, ...]


@dataclass(frozen=True)
class DoneRow:
    """The row of a photograph.

    Attributes:
        key: Of the photograph.
        label: Its verdict.
        text: The row as one line of the output.
    """

    key: PhotographKey
    label: str
    text: str


@dataclass(frozen=True)
class Plan:
    """A folder of lists and rows.

    Attributes:
        folder: It, absolute.
        kind: Of the rows, "csv" or "jsonl".
        inspector: What it is called in the rows.
    """

    folder: Path
    kind: str
    inspector: str = ""

    @property
    def lists(self) -> list[Path]:
        """The files that list batches, in order."""
        return sorted((self.folder / LISTS).glob("*.json"))

    def list_tasks(self) -> Iterator[Task]:
        """Yield all batches, in order."""
        for path in self.lists:
            yield from read_list(path)

    def has(self, batches: Sequence[Sequence[Photograph]], root: Path) -> bool:
        """Whether it holds these batches and no others."""
        held = iter(self.list_tasks())
        same = all(
            (task := next(held, None)) is not None and task.root == root and task.photographs == tuple(batch)
            for batch in batches
        )
        return same and next(held, None) is None

    def remove(self) -> None:
        """Remove the folder; what says that it is one of ours goes last."""
        for name in (LISTS, ROWS):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def open_plan(out: Path, kind: str, inspector: str = "") -> Plan:
    """Open the plan beside a file of rows, or begin one.

    Raises:
        ConfigError: The folder is something else's, or holds rows of another kind or inspector.
    """
    folder = out.absolute().with_name(out.name + SUFFIX)
    note = folder / PLAN
    expected = {"format": FORMAT, "kind": kind, "inspector": inspector}
    if folder.exists() and any(folder.iterdir()):
        try:
            held = parse_json(note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            held = None
        if held != expected:
            raise ConfigError(
                f"{folder} must be new, or of an interrupted call that wrote {kind} by the same inspector; "
                "remove it or name another --out"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(note, json.dumps(expected))
    return Plan(folder, kind, inspector)


def write_lists(plan: Plan, batches: Sequence[Sequence[Photograph]], root: Path) -> None:
    """Write down which photographs make which batch; what was there is removed."""
    for name in (ROWS, LISTS):  # rows without a list are no harm, a list with the rows of another is
        shutil.rmtree(plan.folder / name, ignore_errors=True)
        (plan.folder / name).mkdir()
    for number in range(0, len(batches), BATCHES_PER_LIST):
        chosen = batches[number : number + BATCHES_PER_LIST]
        tree = {
            "root": str(root),
            "batches": [[astuple(one) for one in batch] for batch in chosen],
        }
        name = f"{number // BATCHES_PER_LIST:06}"
        (plan.folder / ROWS / name).mkdir()
        write_text(plan.folder / LISTS / f"{name}.json", json.dumps(tree, default=str))


def read_list(path: Path) -> list[Task]:
    """Read the batches of a list."""
    tree = parse_json(path.read_text(encoding="utf-8"))
    rows = path.parents[1] / ROWS / path.stem
    return [
        Task(
            rows / f"{number:03}.json",
            Path(tree["root"]),
            tuple(Photograph(name, Path(place), *others) for name, place, *others in batch),
        )
        for number, batch in enumerate(tree["batches"])
    ]


def divide(photographs: Iterable[Photograph], size: int) -> list[list[Photograph]]:
    """Return photographs as batches, those that a local call would make."""
    coming = iter(photographs)
    return list(iter(lambda: list(islice(coming, size)), []))


def store_rows(place: Path, rows: Sequence[VerdictRow], kind: str) -> None:
    """Write the rows of a batch, whole or not at all."""
    write_text(place, json.dumps([[row.key, row.label, format_row(row, kind)] for row in rows]))


def load_rows(task: Task) -> list[DoneRow] | None:
    """Return the rows of a batch; None: it has none yet."""
    try:
        stored = parse_json(task.place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return [DoneRow(tuple(key), label, text) for key, label, text in stored]
