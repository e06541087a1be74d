"""Record: one photograph and what is known of it before it is opened."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from mvdefect.core.errors import LayoutError, describe_unknown_name, list_some
from mvdefect.core.files import escape_name, show_name

GOOD = "good"
# What good images are called, by letters and digits alone: in English, German, French, Spanish, Italian,
# Portuguese, Dutch, Polish, Turkish, Chinese, Japanese and Korean.
GOOD_WORDS = (
    r"goods?|ok(ay|s)?|pass(ed|es)?|normals?|fine|intact|clean|undamaged|unbroken|flawless|perfect|healthy"
    r"|correct|conform(ing|s)?|compliant|accept(ed|able)?|approved|nominal|none"
    r"|(non?|not)(defects?|defectives?|faulty|faults?|anomal(y|ies|ous)|damaged?|broken|errors?)"
    r"|(no|without)(cracks?|scratch(es)?)|without(defects?|faults?|anomal(y|ies)|errors?)"
    r"|(defects?|faults?|anomaly|error|damage)free"
    r"|io|inordnung|gut(e|es)?|fehlerfrei(e|es)?|fehlerlos|einwandfrei|ohne(fehler|defekte?|befund)|keine?fehler"
    r"|bon(s|ne|nes)?|conformes?|sans(d[ée]fauts?|d[ée]faillances?)"
    r"|buen[oa]s?|correct[oa]s?|sin(defectos?|fallas?|fallos?)"
    r"|buon[oiae]|senza(difett[oi])|integr[oie]|bom|bons|boas?|semdefeitos?|goede?|dobr[eya]|iyi|sa[gğ]lam"
    r"|良品|合格品?|正常品?|良好|양품|정상"
)
GOOD_THINGS = (  # "OK parts", "images_good", "ok_front"
    r"images?|imgs?|pics?|pictures?|photos?|parts?|samples?|pieces?|products?|items?|class|units?"
    r"|front|back|top|bottom|side|left|right|teile?|bilder?|fotos?|pi[eè]ces?|piezas?|pezzi|ware"
)
GOOD_NAMES = rf"({GOOD_THINGS})?({GOOD_WORDS})({GOOD_THINGS})?"
COPY_OF_GOOD = rf"({GOOD_NAMES})(copy|kopie|copie|copia|new|neu|old|alt|\d+)+"


class Labelled:
    """What category and defect type tell of an image."""

    category: str
    defect_type: str

    @property
    def label(self) -> int:
        """1 for defective, 0 for good. The positive class is 'defective', everywhere."""
        return int(self.defect_type != GOOD)

    @cached_property
    def stratum(self) -> str:
        """Category and defect type: what a stratified split keeps in proportion."""
        return f"{self.category}/{self.defect_type}"


@dataclass(frozen=True)
class Record(Labelled):
    """One image file.

    Attributes:
        id: POSIX path relative to the data root, Unicode-normalised (NFC), bytes that are not UTF-8
            written as in "caf\\xe9"; unique in a data set.
        path: Where the file is.
        category: The product, as in "bottle".
        defect_type: "good", or the name of the defect, as in "scratch".
        mask_path: The pixel mask of the defect, where there is one.
        group: What else the user knows to belong together, as in a serial number; "" for nothing.
        part: The part that the data itself names: MVTec AD's folder, or a manifest's column `split`.
        confidence: How probably the label is right, 0.5 to 1, where the data says so. A benchmark can weigh
            verdicts by it; nothing is trained with it.
        part_id: The product that the image shows, as in a serial number, where several images show one; "":
            the image is a part of its own. See `mvdefect.data.parts`.
        view: From where it shows it, as in "cam1"; "" where nothing tells.
    """

    id: str
    path: Path
    category: str
    defect_type: str
    mask_path: Path | None = None
    group: str = ""
    part: str = ""
    confidence: float = 1.0
    part_id: str = ""
    view: str = ""


def normalise_name(name: str) -> str:
    """Bring the name of a file or folder to one spelling of its letters (NFC), and to UTF-8."""
    return unicodedata.normalize("NFC", escape_name(name))


def name_defect_type(name: str, good: Iterable[str] = ()) -> str:
    """Return the defect type that a folder is named after: `GOOD` for whatever good images are called.

    Args:
        name: Of the folder, or a word in a table.
        good: What else good images are called; capitals do not matter.
    """
    spelt = normalise_name(name)
    if _fits(GOOD_NAMES, name) or spelt.casefold() in {normalise_name(one).casefold() for one in good}:
        return GOOD
    return spelt


def is_copy_of_good(name: str) -> bool:
    """Whether a folder is called as a second one of good images may be, as in "good_2" or "OK - Copy"."""
    return _fits(COPY_OF_GOOD, name)


def _fits(pattern: str, name: str) -> bool:
    return re.fullmatch(pattern, re.sub(r"[\W_]", "", name), re.IGNORECASE) is not None


def make_id(path: Path, root: Path) -> str:
    """Return the id of the image at `path` in the data set at `root`."""
    return normalise_name(path.relative_to(root).as_posix())


def sort_records(records: Iterable[Record]) -> tuple[Record, ...]:
    """Sort records by id, so that no result depends on the order of a file system.

    Raises:
        LayoutError: Two records share an id, or differ in the suffix of their file alone (masks and
            results go by that name, and could not be told apart).
    """
    ordered = tuple(sorted(records, key=lambda record: record.id))
    counts = Counter(map(_cut_suffix, ordered))
    clashes = [name for name, count in counts.items() if count > 1]
    if clashes:
        shared = set(clashes)
        paths = [show_name(record.path) for record in ordered if _cut_suffix(record) in shared]
        raise LayoutError(
            f"each image needs a name of its own (file suffixes do not count), but {len(clashes)} "
            f"name(s) are shared by two or more files: {list_some(paths)}. Remove one of each, or name "
            "those to use in a table (CSV)"
        )
    return ordered


def _cut_suffix(record: Record) -> str:
    return posixpath.splitext(record.id)[0]


def choose_categories(names: Iterable[str], wanted: Iterable[str], source: str | Path) -> set[str]:
    """Return the categories that are wanted; all, where none is named.

    Args:
        names: The categories that there are.
        wanted: Those to choose.
        source: Where they are, as an error names it.

    Raises:
        LayoutError: There is no category of a name.
    """
    known, chosen = set(names), set(wanted)
    for name in sorted(chosen - known):
        unknown = describe_unknown_name("category", name, map(show_name, known))
        raise LayoutError(f"{unknown} Data: {show_name(source)}")
    return chosen or known


class Stratified(Protocol):
    """Anything with a stratum: a record, or a row of a split plan."""

    @property
    def stratum(self) -> str: ...


def count_by_stratum(items: Iterable[Stratified]) -> dict[str, int]:
    """Count items by category and defect type, in sorted order."""
    counts = Counter(item.stratum for item in items)
    return dict(sorted(counts.items()))
