"""Tables as people have them: encodings, separators, and columns under the names that are usual for them."""

from __future__ import annotations

import codecs
import csv
import difflib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mvdefect.core.errors import LayoutError, list_some
from mvdefect.core.files import show_name
from mvdefect.data.records import normalise_name

SEPARATORS = (",", ";", "\t")
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# The names of columns, in the order in which they are preferred; signs between words do not count.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "path": (
        *(
            "path",
            "image",
            "image path",
            "img path",
            "file path",
            "filepath",
            "filename",
            "file name",
            "file",
        ),
        *("img", "image name", "img name", "image file", "photo", "picture", "bild", "datei", "fichier"),
    ),
    "label": (
        *("label", "class", "target", "y", "result", "status", "verdict", "judgement", "judgment", "ok ng"),
        *(
            "defective",
            "is defective",
            "is defect",
            "has defect",
            "anomaly",
            "is anomaly",
            "anomalous",
            "faulty",
        ),
        *(
            "good",
            "is good",
            "ok",
            "is ok",
            "pass",
            "passed",
            "class name",
            "class label",
            "quality",
            "ergebnis",
        ),
    ),
    "defect_type": (
        *("defect type", "defecttype", "type", "defect", "defects", "defect class", "defect name", "fault"),
        *("anomaly type", "fehler", "fehlertyp", "fehlerart"),
    ),
    "category": ("category", "product", "object", "item", "produkt"),
    "mask": ("mask", "mask path", "ground truth", "segmentation", "maske"),
    "group": ("group", "group id"),
    "split": ("split", "set", "subset", "partition", "phase"),
    "part_id": ("part id",),
    "view": ("view",),
    "record_id": ("record id",),
}
YES_IS_GOOD = frozenset({"good", "is good", "ok", "is ok", "pass", "passed"})
MAX_NAMED = 8

EXPECTED = (
    "a table is a CSV file (with commas, semicolons or tabs), whose first line names the columns: path (or "
    "image, filename, file) and label or defect_type, and if need be category, mask, group, part_id and split"
)


@dataclass(frozen=True)
class Table:
    """A table that was read.

    Attributes:
        columns: What each column in use is, as in "path", and the number of the column.
        names: What the file calls each of them.
        width: How many cells a row must have: as many as there are columns, but for nameless ones at the end.
        rows: The cells of each row that is not empty, and the line that it begins in.
        notes: What was ignored or assumed.
    """

    columns: Mapping[str, int]
    names: Mapping[str, str]
    width: int
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    notes: tuple[str, ...]

    def get(self, cells: Sequence[str], column: str) -> str:
        """Return the cell of a row in a column, without the spaces around it; "" if there is none."""
        place = self.columns.get(column, len(cells))
        return cells[place].strip() if place < len(cells) else ""


def read_table(path: Path, needs_label: bool = True) -> Table:
    """Read a table.

    Args:
        path: The file.
        needs_label: Whether it must have a column `label` or `defect_type` beside `path`.

    Raises:
        LayoutError: It cannot be read, is damaged, or lacks a column.
    """
    text, encoding = _decode(path)
    number, text = (2, text.partition("\n")[2]) if text[:4].lower() == "sep=" else (1, text)
    separator = max(SEPARATORS, key=io.StringIO(text, newline=None).readline().count)
    rows = _split_rows(text, separator, number, path)
    if not rows:
        raise LayoutError(f"the table is empty; {EXPECTED}. Received: {show_name(path)}")
    (_, header), *others = rows
    columns = _find_columns(header, path, needs_label)
    kept = [(line, cells) for line, cells in others if any(cell.strip() for cell in cells)]
    named = {column: header[place].strip() for column, place in columns.items()}
    notes = (
        *([f"the table {show_name(path)} is no UTF-8; it was read as {encoding}"] if encoding else []),
        *_describe_ignored(header, columns, path),
        *(
            f"the column '{show_name(name)}' is read as {column}"
            for column, name in named.items()
            if _differs(name, column)
        ),
    )
    width = max(place for place, name in enumerate(header, 1) if name.strip())
    return Table(columns, named, width, tuple(kept), notes)


def _decode(path: Path) -> tuple[str, str]:
    """Return the text of a file, and its encoding if that is not UTF-8."""
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise LayoutError(f"the table cannot be read: {error}") from error
    try:
        if encoded.startswith(UTF_16):
            return encoded.decode("utf-16"), ""
        try:
            return encoded.decode("utf-8-sig"), ""
        except UnicodeDecodeError:
            return encoded.decode("cp1252"), "cp1252 (Windows)"
    except UnicodeDecodeError as error:
        line = encoded[: error.start].count(b"\n") + 1
        raise LayoutError(
            f"the table must be UTF-8 or cp1252 (in a spreadsheet, save as 'CSV UTF-8'), but line {line} is "
            f"neither. Received: {show_name(path)}"
        ) from error


def _split_rows(text: str, separator: str, number: int, path: Path) -> list[tuple[int, tuple[str, ...]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    first, rows = number, []
    try:
        for cells in reader:
            rows.append((number, tuple(cells)))
            number = first + reader.line_num
    except csv.Error as error:
        raise LayoutError(
            f"the table {show_name(path)} is no CSV file from line {number} on: {error}"
        ) from error
    return rows


def simplify(name: str) -> str:
    """Return the name of a column as it is compared: capitals and signs between words do not count."""
    return " ".join(normalise_name(name).casefold().replace("_", " ").replace("-", " ").split())


def _differs(name: str, column: str) -> bool:
    return simplify(name) != simplify(column)


def _find_columns(header: Sequence[str], path: Path, needs_label: bool) -> dict[str, int]:
    """Return the number of each column that is in use."""
    names = [simplify(name) for name in header]
    found = {}
    for column, synonyms in COLUMNS.items():
        name = next((name for name in synonyms if name in names), None)
        if name is None:
            continue
        if names.count(name) > 1:
            raise LayoutError(
                f"the header of the table {show_name(path)} names the column {name} more than once"
            )
        found[column] = names.index(name)
    if "path" not in found or (needs_label and not {"label", "defect_type"} & set(found)):
        received = ", ".join(show_name(name.strip()) for name in header)[:300]
        wanted = EXPECTED if needs_label else "expected a table with a column path"
        raise LayoutError(f"{wanted}. Received: {received} in {show_name(path)}{_guess(names)}")
    return found


def _guess(names: Sequence[str]) -> str:
    """Say which column may be misspelt."""
    for wanted in ("path", "label", "defect type"):
        near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.7)
        if near and near[0] != wanted:
            return f". Did you mean '{wanted.replace(' ', '_')}' by '{show_name(near[0])}'?"
    return ""


def _describe_ignored(header: Sequence[str], columns: Mapping[str, int], path: Path) -> list[str]:
    ignored = [name.strip() for place, name in enumerate(header) if place not in columns.values()]
    named = [f"'{show_name(name)}'" for name in ignored if name]
    nameless = [f"{len(ignored) - len(named)} without a name"] if len(named) < len(ignored) else []
    if not ignored:
        return []
    return [f"the table {show_name(path)}: ignored column(s): {list_some([*named, *nameless], MAX_NAMED)}"]
