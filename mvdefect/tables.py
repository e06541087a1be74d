"""Tables as CSV: rows that are frozen dataclasses of numbers and text, or plain sequences."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, TypeVar

from mvdefect.errors import RunError
from mvdefect.paths import replace_file

Row = TypeVar("Row")
KINDS: dict[str, type] = {"int": int, "float": float, "str": str}


def write_rows(path: Path, row_type: type[Any], rows: Iterable[Any]) -> None:
    """Write rows under the names of their fields, whole or not at all.

    Args:
        path: Where the table goes.
        row_type: The dataclass of the rows.
        rows: Any number of them.
    """
    write_table(path, [field.name for field in fields(row_type)], map(astuple, rows))


def write_table(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, whole or not at all.

    Args:
        path: Where it goes.
        names: Of the columns.
        rows: One value a column each.
    """
    with replace_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)


def read_rows(path: Path, row_type: type[Row]) -> tuple[Row, ...]:
    """Read what `write_rows` wrote.

    Raises:
        RunError: The file is missing or damaged.
    """
    kinds = {field.name: KINDS[str(field.type)] for field in fields(row_type)}  # type: ignore[arg-type]
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return tuple(
                row_type(**{name: kinds[name](value) for name, value in row.items()})
                for row in csv.DictReader(stream)
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
