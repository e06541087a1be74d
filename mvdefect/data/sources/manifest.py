"""Manifest: a table that names each image and says what is known of it; its reader and its writer."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mvdefect.core.errors import LayoutError, list_some
from mvdefect.core.files import escape_name, show_name
from mvdefect.data.parts import name_view
from mvdefect.data.records import GOOD, Record, choose_categories, make_id, normalise_name, sort_records
from mvdefect.data.sources.folders import PART_NAMES, Layout, find_part
from mvdefect.data.sources.labels import (
    NO_DEFECT,
    UNNAMED_DEFECT,
    check_name,
    is_question,
    join_types,
    read_defect_type,
    read_label,
)
from mvdefect.data.sources.tables import EXPECTED, YES_IS_GOOD, Table, read_table, simplify
from mvdefect.data.sources.tree import name_root

MAX_LISTED = 10
ESCAPED_BYTE = re.compile(r"\\x([0-9a-f]{2})")
WRITTEN = (
    "path",
    "label",
    "defect_type",
    "category",
    "mask",
    "group",
    "split",
    "part_id",
    "view",
    "record_id",
)
ALWAYS_WRITTEN = frozenset({"path", "label", "defect_type", "category"})
UNKNOWN = ""
NO_PART = "-"  # of an image among others that have one


@dataclass(frozen=True)
class _Line:
    """One row; `path` is absolute, and `number` is the line of the file that it begins in."""

    number: int
    path: Path
    defect_type: str
    category: str
    mask_path: Path | None
    group: str
    part: str
    part_id: str
    view: str
    id: str


def read_manifest(path: Path, categories: Iterable[str] = (), good: Iterable[str] = ()) -> Layout:
    """Read the images that a table names.

    Its first line names the columns, in any order and under these or other usual names:

    - `path`: the image, relative to the table's folder or absolute. If there is no such file, the one below
      that folder whose path ends so.
    - `label` (good or defective, OK or NG, 0 or 1 and the like), `defect_type` (good or the defect's name),
      or both, which must agree. A defect without a name is of type "defective". If `label` holds no word for
      defective, its words are the names of defects.
    - `category`: the product; by default the name of the table's folder.
    - `mask`: the pixel mask of the defect, found as `path` is.
    - `group`: images with the same name here stay together in any split.
    - `part_id`: images with the same name here show one part (cameras, sides, exposures), which is judged as
      a whole and stays together in any split.
    - `view`: from where an image shows its part, as in "cam1"; by default what is left of the file's name
      without the part's.
    - `split`: train, val or test, or "-" for none of them; in all rows or in none.

    Other columns are ignored. An image in several rows has all defects that they name, as "crack+dent". An id
    is the image's path relative to the table's folder. If any image lies elsewhere, ids are relative to the
    deepest folder that holds all of the images; this does not depend on `categories`.

    Args:
        path: The file.
        categories: The products to read; empty for all.
        good: What else good images are called.

    Raises:
        LayoutError: The file cannot be read, a row is wrong (it names up to ten, by their lines), or a
            category is unknown.
    """
    folder = path.parent.resolve()
    table, good = read_table(path), tuple(good)
    table = _settle_columns(table, good)
    reader = _RowReader(table, good, _FileFinder(folder), folder)
    lines, faults = [], []
    for number, cells in table.rows:
        try:
            lines.append(reader.read(number, cells))
        except LayoutError as error:
            faults.append((number, str(error)))
    merged, contradictions = _merge_lines(lines)
    faults += [*contradictions, *_find_unfilled_splits(lines)]
    if faults:
        told = [f"line {number}: {fault}" for number, fault in sorted(faults)]
        listed = list_some(told, MAX_LISTED, "; ")
        raise LayoutError(f"{len(told)} error(s) in the table {show_name(path)}: {listed}")
    if not lines:
        raise LayoutError(f"the table names no image; {EXPECTED}. Received: {show_name(path)}")
    root = _find_root([line.path for line in lines], folder)
    wanted = choose_categories({line.category for line in lines}, categories, path)
    records = sort_records(_make_record(line, root) for line in merged if line.category in wanted)
    notes = (*table.notes, *reader.describe(), *_describe_merged(lines, merged))
    words = {table.get(cells, name) for _, cells in table.rows for name in ("label", "defect_type")}
    return Layout(root, records, (), notes, frozenset(words - {""}))


def list_table_images(path: Path) -> Iterator[Path]:
    """Yield the images that a table names, each once, in its order; it needs no labels.

    Raises:
        LayoutError: The table cannot be read, or has no column `path`.
    """
    table, finder = read_table(path, needs_label=False), _FileFinder(path.parent)
    cells = dict.fromkeys(row[table.columns["path"]] for _, row in table.rows if table.get(row, "path"))
    for cell in cells:
        try:
            yield finder.find("path", cell)
        except LayoutError:  # whoever reads it will say that it is not there
            yield path.parent / cell.strip().replace("\0", "")


def list_table_parts(path: Path) -> Iterator[tuple[Path, str, str]]:
    """Yield the images to which a table gives a part, each with part id and view; it needs no labels."""
    table, finder = read_table(path, needs_label=False), _FileFinder(path.parent)
    for _, cells in table.rows:
        part_id, view = (normalise_name(table.get(cells, column)) for column in ("part_id", "view"))
        cell = cells[table.columns["path"]]
        if part_id and cell.strip():
            with suppress(LayoutError):  # whoever reads the image will say that it is not there
                path = finder.find("path", cell)
                yield path, part_id, view or name_view(path.as_posix(), part_id)


def _settle_columns(table: Table, good: tuple[str, ...]) -> Table:
    """Find out by their words whether columns hold labels or names of defects."""
    columns, names, notes = dict(table.columns), dict(table.names), list(table.notes)
    types = {table.get(cells, "defect_type") for _, cells in table.rows} - {""}
    if "defect_type" in columns and types and all(map(is_question, types)):
        if "label" not in columns:  # a column 'defect' that says 0 or 1
            columns["label"], names["label"] = columns.pop("defect_type"), names.pop("defect_type")
        elif simplify(names["defect_type"]) != "defect type":
            notes.append(f"ignored column: '{show_name(names['defect_type'])}', as it names no defects")
            del columns["defect_type"]
    elif "label" in columns and "defect_type" not in columns:
        words = Counter(table.get(cells, "label") for _, cells in table.rows)
        read = {word: read_label(word, good) for word in words if word.lower() not in NO_DEFECT}
        unknown = sorted(word for word, label in read.items() if label is None)
        if unknown and UNNAMED_DEFECT not in read.values() and GOOD in read.values():
            columns["defect_type"], names["defect_type"] = columns.pop("label"), names.pop("label")
            told = list_some([f"{show_name(word)} ({words[word]})" for word in unknown], MAX_LISTED)
            notes.append(f"the column '{show_name(names['defect_type'])}' names defects: {told}")
    return replace(table, columns=columns, names=names, notes=tuple(notes))


class _FileFinder:
    """Finds the files that a table names.

    Args:
        folder: That of the table.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found_by_name = 0

    def find(self, column: str, cell: str) -> Path:
        """Return the absolute path of a file.

        Raises:
            LayoutError: There is no such file, or several have the name.
        """
        name = cell.strip()
        spellings = [cell, name, name.replace("\\", "/"), _unescape(name)]
        try:
            for spelling in filter(None, dict.fromkeys(spellings)):
                path = Path(os.path.normpath(self.folder / spelling))
                if path.is_file():
                    return path
        except (OSError, ValueError) as error:  # such as a name that no disk allows
            reason = error.strerror if isinstance(error, OSError) else error
            raise LayoutError(f"{column} cannot be read: {reason}. Received: {name!r}") from error
        below = self._find_below(re.split(r"[\\/]", name))
        if len(below) == 1:
            self.found_by_name += 1
            return below[0]
        several = f", of which there are {len(below)} below that folder" if below else ""
        raise LayoutError(
            f"{column} must name a file, from the table's folder or in full. Received: {name!r}{several}"
        )

    def _find_below(self, steps: list[str]) -> list[Path]:
        """Return the files below the folder whose names, and if need be folders, are these."""
        return [
            path
            for path in self._files.get(steps[-1], [])
            if list(path.parts[-2:])[-len(steps) :] == steps[-2:]
        ]

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        """The files below the folder by their names."""
        found: defaultdict[str, list[Path]] = defaultdict(list)
        for place, _, names in os.walk(self.folder):
            for name in names:
                found[name].append(Path(place, name))
        return found


def _unescape(name: str) -> str:
    r"""Return a name with the bytes that `escape_name` wrote as in "caf\xe9"."""
    encoded = name.encode("utf-8", "surrogateescape").decode("latin-1")
    return os.fsdecode(ESCAPED_BYTE.sub(lambda match: chr(int(match[1], 16)), encoded).encode("latin-1"))


class _RowReader:
    """Reads rows, and counts what the user should know of them.

    Args:
        table: The table.
        good: What else good images are called.
        finder: Finds files.
        folder: That of the table.
    """

    def __init__(self, table: Table, good: tuple[str, ...], finder: _FileFinder, folder: Path) -> None:
        self.table, self.good, self.finder = table, good, finder
        self.category = name_root(folder)
        self.yes_is_good = simplify(table.names.get("label", "")) in YES_IS_GOOD
        self.answers: dict[str, str] = {}
        self.nameless = 0

    def read(self, number: int, cells: Sequence[str]) -> _Line:
        """Read a row.

        Raises:
            LayoutError: It says what is wrong with it.
        """
        get = self.table.get
        width = self.table.width
        if len(cells) < width or any(cell.strip() for cell in cells[width:]):
            raise LayoutError(f"it must have {width} cells, as the header has. Received: {len(cells)}")
        part = get(cells, "split")
        if part and not find_part(part) and part != NO_PART:
            raise LayoutError(
                f"split must be {', '.join(dict.fromkeys(PART_NAMES.values()))}. Received: {part!r}"
            )
        mask = cells[self.table.columns["mask"]] if get(cells, "mask").lower() not in NO_DEFECT else ""
        return _Line(
            number=number,
            path=self.finder.find("path", cells[self.table.columns["path"]]),
            defect_type=check_name("defect_type", self._read_defect_type(cells)),
            category=check_name("category", get(cells, "category") or self.category, has_levels=True),
            mask_path=self.finder.find("mask", mask) if mask else None,
            group=normalise_name(get(cells, "group")),
            part=find_part(part) or part,
            part_id=normalise_name(get(cells, "part_id")),
            view=normalise_name(get(cells, "view")),
            id=get(cells, "record_id"),
        )

    def _read_defect_type(self, cells: Sequence[str]) -> str:
        word, cell = self.table.get(cells, "label"), self.table.get(cells, "defect_type")
        type_ = read_defect_type(cell, self.good)
        if word.lower() in NO_DEFECT and read_label(word) is None:
            return type_ or self._settle_nameless(cell)
        label = read_label(word, self.good, self.yes_is_good)
        if label is None:
            raise LayoutError(
                "label must be good or 0, or defective or 1, or as OK and NG, pass and fail (other words for "
                f"good: --good WORD; names of defects: a column defect_type). Received: {word!r}"
            )
        if is_question(word):
            self.answers[word] = label
        if type_ and (label == GOOD) != (type_ == GOOD):
            raise LayoutError(f"label and defect_type contradict each other. Received: {word!r} and {cell!r}")
        return type_ or label

    def _settle_nameless(self, cell: str) -> str:
        """Take a row without a defect for good, unless it should have a label, and has none."""
        if "label" in self.table.columns and not cell:
            raise LayoutError("label or defect_type is needed; both are empty")
        self.nameless += 1
        return GOOD

    def describe(self) -> Iterator[str]:
        """Say what was assumed."""
        if self.answers:
            told = ", ".join(f"{show_name(word)} is {label}" for word, label in sorted(self.answers.items()))
            turned = "0" if self.yes_is_good else "1"
            advice = "" if self.yes_is_good else f"; if {turned} means good: --good {turned}"
            yield f"in the column '{show_name(self.table.names['label'])}' {told}{advice}"
        if self.nameless:
            yield f"{self.nameless} row(s) name no defect and count as good"
        if self.finder.found_by_name:
            yield f"{self.finder.found_by_name} file(s) were found by their names alone"


def _merge_lines(lines: Iterable[_Line]) -> tuple[list[_Line], list[tuple[int, str]]]:
    """Join the rows of each image; return also what contradicts itself, by line."""
    merged: dict[Path, _Line] = {}
    faults = []
    for line in lines:
        first = merged.setdefault(line.path, line)
        if first is line:
            continue
        if differing := _compare(first, line):
            faults.append(
                (line.number, f"path names the image of line {first.number} again, with another {differing}")
            )
        else:
            types = [*first.defect_type.split("+"), line.defect_type]
            joined = GOOD if first.defect_type == GOOD else join_types(types)
            merged[line.path] = replace(
                first, defect_type=joined, mask_path=first.mask_path or line.mask_path
            )
    return list(merged.values()), faults


def _compare(first: _Line, line: _Line) -> str:
    """Return in what two rows of one image contradict each other; "" where they agree."""
    both_masks = {first.mask_path, line.mask_path} - {None}
    pairs = (
        ("label", first.defect_type == GOOD, line.defect_type == GOOD),
        ("category", first.category, line.category),
        ("group", first.group, line.group),
        ("split", first.part, line.part),
        ("part_id", first.part_id, line.part_id),
        ("mask (draw all defects of an image into one)", len(both_masks) > 1, False),
        ("record_id", first.id, line.id),
    )
    return next((name for name, one, other in pairs if one != other), "")


def _describe_merged(lines: Sequence[_Line], merged: Sequence[_Line]) -> tuple[str, ...]:
    if len(lines) == len(merged):
        return ()
    return (f"{len(lines)} rows name {len(merged)} images; the defects of an image are joined by '+'",)


def _find_unfilled_splits(lines: list[_Line]) -> Iterator[tuple[int, str]]:
    if any(line.part for line in lines):
        for line in lines:
            if not line.part:
                yield line.number, "split is empty, but it must be filled in all rows or in none"


def _find_root(paths: list[Path], folder: Path) -> Path:
    """Return the table's folder, or the deepest that holds all images where one lies elsewhere."""
    if all(path.is_relative_to(folder) for path in paths):
        return folder
    return Path(os.path.commonpath([path.parent for path in paths]))


def _make_record(line: _Line, root: Path) -> Record:
    id_ = normalise_name(line.id) if line.id else make_id(line.path, root)
    return Record(
        id=id_,
        path=line.path,
        category=line.category,
        defect_type=line.defect_type,
        mask_path=line.mask_path,
        group=line.group,
        part="" if line.part == NO_PART else line.part,
        part_id=line.part_id,
        view=(line.view or name_view(id_, line.part_id)) if line.part_id else "",
    )


def format_manifest(records: Iterable[Record], folder: Path) -> str:
    """Return the table of records that `read_manifest` reads as the same records.

    Args:
        records: The images; those of defect type "" have no label yet, and their cells are left empty.
        folder: Where the table will lie: paths are relative to it.
    """
    records = tuple(records)
    rows = [_make_row(record, folder.resolve()) for record in records]
    root = _find_root([_make_absolute(record.path) for record in records], folder.resolve())
    if all(_make_plain_id(record, root) == record.id for record in records):
        rows = [{**row, "record_id": ""} for row in rows]
    if any(record.part for record in records):
        rows = [{**row, "split": row["split"] or NO_PART} for row in rows]
    names = [name for name in WRITTEN if name in ALWAYS_WRITTEN or any(row[name] for row in rows)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _make_absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))  # as the reader does it, which follows no links


def _make_plain_id(record: Record, root: Path) -> str:
    path = _make_absolute(record.path)
    return make_id(path, root) if path.is_relative_to(root) else ""


def _make_row(record: Record, folder: Path) -> dict[str, str]:
    label = {GOOD: GOOD, UNKNOWN: ""}.get(record.defect_type, UNNAMED_DEFECT)
    return {
        "path": _relate(record.path, folder),
        "label": label,
        "defect_type": record.defect_type,
        "category": record.category,
        "mask": _relate(record.mask_path, folder) if record.mask_path else "",
        "group": record.group,
        "split": record.part,
        "part_id": record.part_id,
        "view": record.view,
        "record_id": record.id,
    }


def _relate(path: Path, folder: Path) -> str:
    return escape_name(os.path.relpath(path, folder))
