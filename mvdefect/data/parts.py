"""Parts: which images show one piece, from which view each, and which views a part lacks.

A part is one product, shown by one or several images (cameras, sides, exposures). It has a `part_id`; the
word `part` alone means train, val or test.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Protocol, TypeVar

from mvdefect.core.errors import SplitError, list_some
from mvdefect.data.records import Record

NAMED_PART, NAMED_VIEW = "part", "view"
SEPARATORS = " _-.,+"
MANY_IMAGES = 20
MAX_NAMED = 5


class PartImage(Protocol):
    """Anything that is an image of a part: a record, a row of a split plan, or a prediction."""

    @property
    def id(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def part_id(self) -> str: ...
    @property
    def view(self) -> str: ...


Image = TypeVar("Image", bound=PartImage)


@dataclass(frozen=True)
class Usual:
    """What most parts show.

    Attributes:
        views: The views that more than half of the parts show; empty where names tell no such views.
        images: How many images more than half of the parts have; 0: no number is usual.
    """

    views: tuple[str, ...] = ()
    images: int = 0

    def list_missing(self, views: Sequence[str]) -> tuple[str, ...]:
        """Return what a part lacks: names of views, or how many images where no views are known."""
        if self.views:
            return tuple(view for view in self.views if view not in views)
        lacking = self.images - len(views)
        return (f"{lacking} of {self.images} images",) if lacking > 0 else ()


def compile_part_pattern(pattern: str) -> re.Pattern[str]:
    """Compile the setting `part_pattern`.

    Raises:
        SplitError: It is no regular expression.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SplitError(
            f"the part pattern is no regular expression: {error}. Received: {pattern!r}"
        ) from error


def find_part(compiled: re.Pattern[str], name: str) -> tuple[str, str]:
    r"""Return part id and view of an image by its name, as in `r"(?P<part>SN\d+)_(?P<view>cam\d)"`.

    The part id is what the group `part` matches, or else the first other group than `view`, or else the whole
    match. The view is what the group `view` matches, or else what is left of the file's name.

    Args:
        compiled: The pattern; it is searched anywhere in the name.
        name: Id or path of the image, with / between folders.

    Returns:
        Two empty texts where nothing matches.
    """
    match = compiled.search(name)
    if match is None:
        return "", ""
    named = compiled.groupindex
    others = (number for number in range(1, compiled.groups + 1) if number != named.get(NAMED_VIEW))
    group = named.get(NAMED_PART) or next(others, 0)
    part_id = match[group] or ""
    if not part_id:
        return "", ""
    if NAMED_VIEW in named:
        return part_id, match[NAMED_VIEW] or ""
    return part_id, _name_rest(name, *match.span(group))


def name_view(name: str, part_id: str) -> str:
    """Return the view of an image whose part id is known: what is left of the file's name without it."""
    first = name.rfind("/") + 1
    start = name.find(part_id, first)
    return _name_rest(name, *((start, start + len(part_id)) if start >= 0 else (0, 0)))


def _name_rest(name: str, start: int, end: int) -> str:
    """Return the stem of a file's name without what lies between two places of the whole name."""
    first = name.rfind("/") + 1
    last = first + len(PurePosixPath(name).stem)
    return (name[first : max(first, min(start, last))] + name[max(first, min(end, last)) : last]).strip(
        SEPARATORS
    )


def name_parts(records: Iterable[Record], pattern: str) -> tuple[Record, ...]:
    """Name each record's part and view by a regular expression on its id; see `find_part`.

    Where nothing matches, a record keeps the part that it had, as from a manifest.

    Args:
        records: The records.
        pattern: Python's syntax.

    Raises:
        SplitError: The expression is not valid, or finds no part in any id.
    """
    records, compiled = tuple(records), compile_part_pattern(pattern)
    found = [find_part(compiled, record.id) for record in records]
    if not any(part_id for part_id, _ in found):
        example = repr(records[0].id) if records else "none"
        raise SplitError(f"the part pattern {pattern!r} finds nothing in any id, as in {example}")
    return tuple(
        replace(record, part_id=part_id, view=view) if part_id else record
        for record, (part_id, view) in zip(records, found, strict=True)
    )


def name_part(image: PartImage) -> str:
    """Return one name for all images of a part; "" for an image that belongs to none.

    Equal part ids of two categories are two parts.
    """
    return f"{image.category}\0{image.part_id}" if image.part_id else ""


def find_usual(images: Iterable[PartImage]) -> Usual:
    """Find out what most parts show; images that belong to no part do not count."""
    views = [[image.view for image in members] for members in _gather(images).values()]
    shown = Counter(view for found in views for view in set(found))
    usual = sorted(view for view, count in shown.items() if 2 * count > len(views))
    number, parts = max(Counter(map(len, views)).items(), key=lambda item: item[1], default=(0, 0))
    return Usual(tuple(usual) if len(usual) > 1 else (), number if 2 * parts > len(views) else 0)


def describe_parts(images: Sequence[PartImage]) -> tuple[str, ...]:
    """Say how many parts there are, which lack an image, which have many, and which images have no part.

    Returns:
        One line each; none where no image belongs to a part.
    """
    parts = _gather(images)
    if not parts:
        return ()
    usual, shown = find_usual(images), sum(map(len, parts.values()))
    lines = [f"{len(parts)} parts ({shown} of {len(images)} images) are kept whole{_describe_usual(usual)}"]
    lacking = [
        f"{members[0].part_id} ({', '.join(missing)})"
        for members in parts.values()
        if (missing := usual.list_missing([image.view for image in members]))
    ]
    if lacking:
        lines.append(f"{len(lacking)} of {len(parts)} parts lack images: {list_some(lacking, MAX_NAMED)}")
    large = [
        f"{members[0].part_id} ({len(members)})"
        for members in parts.values()
        if len(members) >= max(MANY_IMAGES, usual.images + 1)
    ]
    if large:
        lines.append(f"{len(large)} part(s) have {MANY_IMAGES} images or more: {list_some(large, MAX_NAMED)}")
    if alone := len(images) - shown:
        lines.append(f"{alone} of {len(images)} images belong to no part; each counts as a part of its own")
    return tuple(lines)


def _describe_usual(usual: Usual) -> str:
    if usual.views:
        return f"; most show {', '.join(usual.views)}"
    return f"; most have {usual.images} images" if usual.images > 1 else ""


def _gather(images: Iterable[Image]) -> dict[str, list[Image]]:
    parts: defaultdict[str, list[Image]] = defaultdict(list)
    for image in images:
        if name := name_part(image):
            parts[name].append(image)
    return dict(parts)
