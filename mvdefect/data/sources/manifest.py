"""Reader of a manifest: a CSV file that names each photograph and says what is known of it."""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mvdefect.core.errors import LayoutError, describe_unknown_name
from mvdefect.core.files import escape_name
from mvdefect.data.records import GOOD, Record, make_id, name_defect_type, sort_records
from mvdefect.data.sources.folders import Layout
from mvdefect.data.splits.plan import PARTS

COLUMNS = ("path", "label", "defect_type", "category", "mask", "group", "split")
SEPARATORS = (",", ";")
DEFECTIVE_LABELS = r"1(\.0)?|defect(ive)?|ng|nok|nio|bad|fail(ed)?|reject(ed)?|anomal(y|ous)|abnormal"
GOOD_LABELS = frozenset({"0", "0.0"})  # and what good images are called
UNNAMED_DEFECT = "defective"
MAX_LISTED = 10

EXPECTED = (
    "a manifest is a CSV file (UTF-8, with commas or semicolons) with the columns path and label or "
    "defect_type, and if need be category, mask, group and split"
)

Cells = Mapping[str, str]


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


def read_manifest(path: Path, categories: Iterable[str] = ()) -> Layout:
    """Read the photographs that a CSV file names.

    Its first line names the columns, in any order:

    - `path`: the image, relative to the manifest's folder or absolute.
    - `label` (good or 0, defective or 1), `defect_type` (good or the defect's name), or both, which must
      agree. A defect without a name is of type "defective".
    - `category`: the product; by default the name of the manifest's folder.
    - `mask`: the pixel mask of the defect, found as `path` is.
    - `group`: images with the same name here stay together in any split.
    - `split`: train, val or test; in all rows or in none.

    An id is the image's path relative to the manifest's folder. Where any image lies elsewhere, ids are
    relative to the deepest folder that holds all of the images; this does not depend on `categories`.

    Args:
        path: The CSV file.
        categories: The products to read; empty for all.

    Raises:
        LayoutError: The file cannot be read, a row is wrong (it names up to ten, by their lines), or a
            category is unknown.
    """
    folder = path.parent.resolve()
    header, rows = _read_cells(path)
    _check_header(header, path)
    lines, faults = [], []
    for number, cells in rows:
        try:
            lines.append(_read_line(number, _name_cells(header, cells), folder))
        except LayoutError as error:
            faults.append((number, str(error)))
    faults += [*_find_repeated_paths(lines), *_find_unfilled_splits(lines)]
    if faults:
        told = [f"line {number}: {fault}" for number, fault in sorted(faults)]
        more = f"; and {len(told) - MAX_LISTED} more" if len(told) > MAX_LISTED else ""
        raise LayoutError(
            f"{len(told)} error(s) in the manifest {path}: {'; '.join(told[:MAX_LISTED])}{more}"
        )
    if not lines:
        raise LayoutError(f"the manifest names no image; {EXPECTED}. Received: {path}")
    root = _find_root([line.path for line in lines], folder)
    wanted = _select_categories({line.category for line in lines}, tuple(categories), path)
    return Layout(root, sort_records(_make_record(line, root) for line in lines if line.category in wanted))


def _read_cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of the columns, and each row with the line that it begins in."""
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise LayoutError(f"the manifest cannot be read: {error}") from error
    try:
        text = encoded.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = encoded[: error.start].count(b"\n") + 1
        raise LayoutError(
            f"the manifest must be UTF-8 (in a spreadsheet, save as 'CSV UTF-8'), but line {number} is not. "
            f"Received: {path}"
        ) from error
    first = io.StringIO(text, newline=None).readline()
    separator = max(SEPARATORS, key=first.count)  # by the header alone: a cell may hold any sign
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows = []
    number = 1
    try:
        for cells in reader:
            rows.append((number, [cell.strip() for cell in cells]))
            number = reader.line_num + 1
    except csv.Error as error:
        raise LayoutError(f"the manifest {path} is no CSV file from line {number} on: {error}") from error
    if not rows:
        raise LayoutError(f"the manifest is empty; {EXPECTED}. Received: {path}")
    return [name.lower() for name in rows[0][1]], [row for row in rows[1:] if any(row[1])]


def _check_header(header: list[str], path: Path) -> None:
    for name in header:
        if name not in COLUMNS:
            raise LayoutError(
                f"{describe_unknown_name('column', name, COLUMNS)} Line 1 of the manifest {path}"
            )
        if header.count(name) > 1:
            raise LayoutError(f"line 1 of the manifest {path} names the column {name} more than once")
    if "path" not in header or not {"label", "defect_type"} & set(header):
        raise LayoutError(f"{EXPECTED}. Received: {', '.join(header)} in {path}")


def _name_cells(header: list[str], cells: list[str]) -> Cells:
    if len(cells) != len(header):
        raise LayoutError(f"it must have {len(header)} cells, as the header has. Received: {len(cells)}")
    return dict(zip(header, cells, strict=True))


def _read_line(number: int, cells: Cells, folder: Path) -> _Line:
    part = cells.get("split", "").lower()
    if part not in ("", *PARTS):
        raise LayoutError(f"split must be {', '.join(PARTS)}. Received: {part!r}")
    return _Line(
        number=number,
        path=_find_file("path", cells["path"], folder),
        defect_type=_read_defect_type(cells),
        category=_check_name("category", cells.get("category") or escape_name(folder.name)),
        mask_path=_find_file("mask", cells["mask"], folder) if cells.get("mask") else None,
        group=_normalise(cells.get("group", "")),
        part=part,
    )


def _read_defect_type(cells: Cells) -> str:
    label, defect_type = cells.get("label", "").lower(), name_defect_type(cells.get("defect_type", ""))
    is_good = label in GOOD_LABELS or name_defect_type(label) == GOOD
    if label and not is_good and not re.fullmatch(DEFECTIVE_LABELS, label):
        raise LayoutError(
            f"label must be good or 0, or defective or 1, or as OK and NG, pass and fail. Received: {label!r}"
        )
    if not label and not defect_type:
        raise LayoutError("label or defect_type is needed; both are empty")
    if label and defect_type and is_good != (defect_type == GOOD):
        raise LayoutError(
            f"label and defect_type contradict each other. Received: {label!r} and {defect_type!r}"
        )
    return _check_name("defect_type", defect_type or (GOOD if is_good else UNNAMED_DEFECT))


def _normalise(name: str) -> str:
    """Bring a name to one spelling of its letters, as ids are; names of files stay as the disk has them."""
    return unicodedata.normalize("NFC", name)


def _check_name(column: str, name: str) -> str:
    if not name or "/" in name or not name.isprintable():
        raise LayoutError(f"{column} must be a name in one line and without '/'. Received: {name!r}")
    return _normalise(name)


def _find_file(column: str, name: str, folder: Path) -> Path:
    path = Path(os.path.normpath(folder / name))
    try:
        if name and path.is_file():
            return path
    except OSError as error:  # such as a name that no disk allows
        raise LayoutError(f"{column} cannot be read: {error.strerror}. Received: {name!r}") from error
    hint = " (write / between folders)" if "\\" in name else ""
    raise LayoutError(
        f"{column} must name a file, from the manifest's folder or in full. Received: {name!r}{hint}"
    )


def _find_repeated_paths(lines: Iterable[_Line]) -> Iterator[tuple[int, str]]:
    first: dict[Path, int] = {}
    for line in lines:
        earlier = first.setdefault(line.path, line.number)
        if earlier != line.number:
            yield line.number, f"path names the image of line {earlier} again: {str(line.path)!r}"


def _find_unfilled_splits(lines: list[_Line]) -> Iterator[tuple[int, str]]:
    if any(line.part for line in lines):
        for line in lines:
            if not line.part:
                yield line.number, "split is empty, but it must be filled in all rows or in none"


def _find_root(paths: list[Path], folder: Path) -> Path:
    """Return the manifest's folder, or the deepest that holds all images where one lies elsewhere."""
    if all(path.is_relative_to(folder) for path in paths):
        return folder
    return Path(os.path.commonpath([path.parent for path in paths]))


def _select_categories(names: set[str], wanted: tuple[str, ...], path: Path) -> set[str]:
    for name in wanted:
        if name not in names:
            raise LayoutError(f"{describe_unknown_name('category', name, names)} Manifest: {path}")
    return set(wanted) or names


def _make_record(line: _Line, root: Path) -> Record:
    return Record(
        id=make_id(line.path, root),
        path=line.path,
        category=line.category,
        defect_type=line.defect_type,
        mask_path=line.mask_path,
        group=line.group,
        part=line.part,
    )
