"""Labels as people write them: the words for good and defective, and those for no defect at all."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mvdefect.core.errors import LayoutError
from mvdefect.data.records import GOOD, name_defect_type, normalise_name

UNNAMED_DEFECT = "defective"
JOIN = "+"  # between the defect types of one image
NO_DEFECT = frozenset({"", "none", "-", "--", "n/a", "na", "nan", "null", "no defect", "nothing"})
DEFECTIVE_WORDS = re.compile(
    r"defect(s|ive|ives|ed)?|ng|n\.?g\.?|nok|not ?ok|ko|n\.?i\.?o\.?|bad|fail(ed|s|ure)?|reject(ed|s)?"
    r"|anomal(y|ies|ous)|abnormal|faulty|fault|damaged?|broken|nonconforming|unacceptable|scrap"
    r"|schlecht|fehler(haft)?|defekt|ausschuss|d[ée]fectueux|mauvais|malo|defectuos[oa]|difettos[oa]|scarto",
    re.IGNORECASE,
)
# What says yes or no to a question, which may be 'is it defective?' or 'is it good?'.
NUMBER_ZERO, NUMBER_ONE = r"0(\.0*)?", r"1(\.0*)?"
NO = re.compile(rf"{NUMBER_ZERO}|false|f|no|n", re.IGNORECASE)
YES = re.compile(rf"{NUMBER_ONE}|true|t|yes|y", re.IGNORECASE)


def read_label(word: str, good: Iterable[str] = (), yes_is_good: bool = False) -> str | None:
    """Return `GOOD` or `UNNAMED_DEFECT` for what people write for the two, or None for any other word.

    Args:
        word: As in "OK", "NG", "anomaly", "1.0" or "False".
        good: What else good images are called. If that is 1 or yes, 0 or no is a defect.
        yes_is_good: Whether 1 and yes are good; otherwise they are defective.
    """
    good = tuple(good)
    spelt = word.strip()
    yes_is_good = yes_is_good or any(map(is_yes, good))
    if YES.fullmatch(spelt) or NO.fullmatch(spelt):
        return GOOD if bool(YES.fullmatch(spelt)) == yes_is_good else UNNAMED_DEFECT
    if name_defect_type(spelt, good) == GOOD:
        return GOOD
    return UNNAMED_DEFECT if DEFECTIVE_WORDS.fullmatch(re.sub(r"[_-]", " ", spelt)) else None


def is_question(word: str) -> bool:
    """Whether a word says yes or no, so that it depends on the question what is good."""
    return is_yes(word) or bool(NO.fullmatch(word.strip()))


def is_yes(word: str) -> bool:
    """Whether a word says yes, as "1" and "true" do."""
    return bool(YES.fullmatch(word.strip()))


def read_defect_type(word: str, good: Iterable[str] = ()) -> str:
    """Return the defect type that a word names: `GOOD` for good images, "" for no defect."""
    spelt = word.strip()
    return "" if spelt.lower() in NO_DEFECT else name_defect_type(spelt, good)


def join_types(types: Iterable[str]) -> str:
    """Return the name of all defects of one image, in alphabetical order, as in "crack+dent"."""
    named = sorted(set(types) - {UNNAMED_DEFECT, GOOD, ""})
    return JOIN.join(named) or UNNAMED_DEFECT


def check_name(kind: str, name: str, has_levels: bool = False) -> str:
    """Return a name in its one spelling.

    Args:
        kind: What it is a name of, as in "category".
        name: The name.
        has_levels: Whether it may be several names with '/' between them.

    Raises:
        LayoutError: It is none.
    """
    spelt = normalise_name(name)
    if not all(spelt.split("/")) or not spelt.isprintable() or ("/" in spelt and not has_levels):
        rule = "" if has_levels else " and without '/'"
        raise LayoutError(f"{kind} must be a name in one line{rule}. Received: {name!r}")
    return spelt
