"""ELPV: electroluminescence images of solar cells, which the package `elpv-dataset` installs.

2,624 cells of 44 modules, 300 x 300 pixels, each with the probability that it is defective (0, 1/3, 2/3 or
1) and its type (mono- or polycrystalline). Images: CC BY-NC-SA 4.0. Deitsch et al. (2019), Automatic
classification of defective photovoltaic module cells in electroluminescence images,
https://doi.org/10.1016/j.solener.2019.02.067
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from mvdefect.core.errors import LayoutError, list_some
from mvdefect.core.files import escape_name, show_name
from mvdefect.data.records import GOOD, Record, choose_categories, make_id, sort_records
from mvdefect.data.sources.folders import Layout

ELPV, ALL = "elpv", "all"
PACKAGE, LABELS, PRODUCT = "elpv_dataset", "labels.csv", "solar_cell"
LICENCE_NOTE = "ELPV: CC BY-NC-SA 4.0, non-commercial use only; cite Deitsch et al. (2019)"
TYPES = ("mono", "poly")
DEFECTIVE_FROM = 0.5  # of the probability, where uncertain cells are used
TOLERANCE = 0.01


@dataclass(frozen=True)
class Cell:
    """A line of the table: a cell, how probably it is defective (0 to 1), and its type."""

    path: str
    probability: float
    kind: str

    @property
    def is_certain(self) -> bool:
        """Whether the probability is 0 or 1."""
        return min(self.probability, 1 - self.probability) < TOLERANCE


def find_elpv() -> Path | None:
    """Return the data folder of the installed package, which is not imported; None where there is none."""
    try:
        spec = find_spec(PACKAGE)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) / "data" if places else None


def read_elpv(choice: str = "", categories: Iterable[str] = (), folder: Path | None = None) -> Layout:
    """Read the solar cells; the defect type of a defective one is the type of the cell.

    Args:
        choice: "": cells of probability 0 (good) and 1 (defective). "all": the uncertain ones as well; above
            one half is defective, and `Record.confidence` is the probability of the label.
        categories: As for any source; there is one product.
        folder: Where the images and `labels.csv` are; None: in the installed package.

    Raises:
        LayoutError: The package is not installed, its table or an image is missing or damaged, or `choice` is
            neither of the two.
    """
    if choice not in ("", ALL):
        raise LayoutError(f"the source {ELPV} is '{ELPV}' or '{ELPV}:{ALL}'. Received: '{ELPV}:{choice}'")
    root = folder or find_elpv()
    if root is None:
        raise LayoutError(
            f"the source {ELPV} needs the package elpv-dataset (91 MB): pip install 'mvdefect[elpv]'. "
            f"{LICENCE_NOTE}"
        )
    choose_categories((PRODUCT,), categories, root)
    cells = _read_cells(root)
    used = cells if choice == ALL else [cell for cell in cells if cell.is_certain]
    records = sort_records(_make_record(cell, root) for cell in used)
    return Layout(root, records, (), (LICENCE_NOTE, _count(cells, used)), frozenset(TYPES), ELPV)


def _read_cells(root: Path) -> list[Cell]:
    table = root / LABELS
    try:
        lines = table.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise LayoutError(f"the table {show_name(table)} cannot be read: {error}") from error
    cells = [_parse(line, table) for line in lines if line.strip()]
    missing = [escape_name(cell.path) for cell in cells if not (root / cell.path).is_file()]
    if missing or not cells:
        raise LayoutError(
            f"{len(missing)} of {len(cells)} images of the table {show_name(table)} are missing; install "
            f"elpv-dataset again. Missing: {list_some(missing, 5) or 'all lines'}"
        )
    return cells


def _parse(line: str, table: Path) -> Cell:
    try:
        path, probability, kind = line.split()
        cell = Cell(path, float(probability), kind)
    except ValueError:
        cell = Cell("", -1.0, "")
    place = PurePosixPath(cell.path)
    is_inside = not place.is_absolute() and ".." not in place.parts and "\\" not in cell.path
    if not (0 <= cell.probability <= 1 and cell.kind in TYPES and cell.path and is_inside):
        raise LayoutError(
            f"each line of {show_name(table)} must be an image's path in that folder, a probability from 0 "
            f"to 1, and {' or '.join(TYPES)}. Received: {escape_name(line)[:100]!r}"
        )
    return cell


def _make_record(cell: Cell, root: Path) -> Record:
    path, is_defective = root / cell.path, cell.probability > DEFECTIVE_FROM
    confidence = cell.probability if is_defective else 1 - cell.probability
    return Record(
        make_id(path, root),
        path,
        PRODUCT,
        cell.kind if is_defective else GOOD,
        confidence=round(confidence, 4),
    )


def _count(cells: list[Cell], used: list[Cell]) -> str:
    uncertain = sum(not cell.is_certain for cell in cells)
    if len(used) < len(cells):
        return (
            f"ELPV: {len(used)} cells; left out {uncertain} of uncertain label (probability between 0 and "
            f"1), which the source '{ELPV}:{ALL}' uses"
        )
    return f"ELPV: {len(used)} cells, {uncertain} of them of uncertain label (above one half: defective)"
