"""Groups by name: what a regular expression finds in the names of files, and which one would find some."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from mvdefect.data.records import Record
from mvdefect.errors import SplitError

NAMED_GROUP = "group"
MIN_GROUPS = 5
MIN_SHARE_IN_GROUPS = 0.6  # of the images, with another of the group in the same folder
MAX_SHARE_OF_ONE = 0.125  # more is a camera, a light or a lot
TIME_STAMPS = (  # from the second to the minute: images of one moment are a burst
    r"(?:19|20)[0-9]{6}[-_ tT]?[0-9]{6}",
    r"(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}[-_ tT][0-9]{2}[-_:][0-9]{2}[-_:][0-9]{2}",
    r"(?:19|20)[0-9]{6}[-_ tT]?[0-9]{4}",
    r"(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}[-_ tT][0-9]{2}[-_:][0-9]{2}",
)
WORD = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True)
class Suggestion:
    """Groups that the names of files suggest.

    Attributes:
        pattern: The regular expression that finds them, as in "kos[0-9]+".
        groups: How many there are.
        images: How many images belong to one.
        example: The name of one of them.
    """

    pattern: str
    groups: int
    images: int
    example: str

    def describe(self) -> str:
        """Say what was found and how to use it."""
        return (
            f"names suggest {self.groups} groups of {self.images} images, as in {self.example!r}; if each is "
            f"one part, use --group-pattern {self.pattern!r}"
        )


def name_groups(records: Iterable[Record], pattern: str) -> tuple[Record, ...]:
    r"""Name each record's group by a regular expression on its id, as in `r"_(?P<group>SN\d+)_"`.

    The name is what the group `(?P<group>...)` of the expression matches, or else its first group, or
    else the whole match. Where nothing matches, the record keeps the group that it had. A record with a
    group of its own (from a manifest) belongs to both: all that hangs together by either name gets one
    name, the first in alphabetical order.

    Args:
        records: The records.
        pattern: Python's syntax; it is searched anywhere in the id.

    Raises:
        SplitError: The expression is not valid, or finds no group in any id.
    """
    records = tuple(records)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SplitError(
            f"the group pattern is no regular expression: {error}. Received: {pattern!r}"
        ) from error
    found = [_find_name(compiled, record.id) for record in records]
    if not any(found):
        example = repr(records[0].id) if records else "none"
        raise SplitError(f"the group pattern {pattern!r} finds nothing in any id, as in {example}")
    joined = _join_names((record.group, name) for record, name in zip(records, found, strict=True))
    return tuple(
        replace(record, group=joined[record.group or name]) if record.group or name else record
        for record, name in zip(records, found, strict=True)
    )


def suggest_pattern(records: Sequence[Record]) -> Suggestion | None:
    r"""Look for a part of the names that groups images: a serial number, a time stamp, a prefix.

    What is sought comes back in several images of one folder, in most of them, and has many values, none
    of which holds more than an eighth of the images: a running number never comes back within a folder, a
    class or a camera has few values. Of several, the one with the most groups is suggested.

    Args:
        records: The images.
    """
    patterns = dict.fromkeys([*TIME_STAMPS, *_list_patterns(records)])
    found = [suggestion for pattern in patterns if (suggestion := _try_pattern(records, pattern))]
    return max(found, key=lambda suggestion: suggestion.groups, default=None)


def _list_patterns(records: Sequence[Record]) -> list[str]:
    """List patterns for the words of the most usual kind of name, letters as they are."""
    stems = [PurePosixPath(record.id).stem for record in records]
    shapes = Counter(re.sub(r"[0-9]+", "0", stem) for stem in stems)
    if not shapes:
        return []
    (usual, _), *_ = shapes.most_common(1)
    patterns = []
    words = list(WORD.finditer(usual))
    for number, word in enumerate(words):
        text = re.sub("0", "[0-9]+", word.group())
        if word.group() == "0" or text == word.group():  # a number or a word alone: by its place in the name
            skipped = "[A-Za-z0-9]+[^A-Za-z0-9/]+" * number
            patterns.append(f"(?:^|/){skipped}([A-Za-z0-9]+)[^/]*$")
        else:
            patterns.append(text)
    return patterns


def _try_pattern(records: Sequence[Record], pattern: str) -> Suggestion | None:
    compiled = re.compile(pattern)
    members: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if name := _find_name(compiled, record.id):
            members[name].append(str(PurePosixPath(record.id).parent))
    several = {name: folders for name, folders in members.items() if len(folders) > 1}
    companions = sum(
        count for folders in several.values() for count in Counter(folders).values() if count > 1
    )
    images = sum(map(len, members.values()))
    largest = max(map(len, members.values()), default=0)
    if (
        len(several) < MIN_GROUPS
        or companions < MIN_SHARE_IN_GROUPS * len(records)
        or largest > MAX_SHARE_OF_ONE * len(records)
    ):
        return None
    return Suggestion(pattern, len(members), images, min(several))


def _find_name(compiled: re.Pattern[str], id_: str) -> str:
    match = compiled.search(id_)
    if not match:
        return ""
    if NAMED_GROUP in compiled.groupindex:
        return match[NAMED_GROUP] or ""
    return match[1 if compiled.groups else 0] or ""


def _join_names(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Map every name to the first of those that hang together with it."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            leader[name] = name = leader[leader[name]]
        return name

    for pair in pairs:
        first, *others = sorted(find(name) for name in pair if name) or [""]
        for other in others:
            leader[other] = first
    return {name: find(name) for name in list(leader)}
