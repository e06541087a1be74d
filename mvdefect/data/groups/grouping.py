"""Groups that must stay whole: near-duplicates, and what the user knows to belong together."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import SplitError
from mvdefect.core.files import UNREADABLE_NPZ, cache_dir, replace_file
from mvdefect.data.groups.candidates import Indices
from mvdefect.data.groups.duplicates import (
    RULE,
    Links,
    connect,
    find_near_duplicates,
    link_equal_names,
    make_no_links,
)
from mvdefect.data.images import Pixels, decode_image
from mvdefect.data.parts import describe_parts, name_part
from mvdefect.data.records import Record
from mvdefect.data.scan import Scan

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


NearDuplicates = Literal["part", "image", "none"]


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


@dataclass(frozen=True)
class Groups:
    """Which images belong together.

    Attributes:
        codes: int64 of shape (n,): the group of each image, numbered from 0 by first appearance.
        notes: What a reader of the split should know about how they were found.
    """

    codes: Indices
    notes: tuple[str, ...] = ()


def group_records(scan: Scan, near_duplicates: NearDuplicates = "part") -> Groups:
    """Put into one group the images of one part and what the user keeps together.

    Images are linked as `find_links` says, when their files are identical, and when their `Record.group`
    is the same (and not empty), in whatever category, or when they show one part (`Record.part_id`); groups
    are the connected components of all links.

    Args:
        scan: The images.
        near_duplicates: "part" links all images of one part, "image" an image and its changed copies
            alone, "none" neither.

    Returns:
        The groups, numbered from 0 by first appearance, and notes on how they were found.
    """
    return join_links(scan, find_links(scan, near_duplicates))


def find_links(scan: Scan, near_duplicates: NearDuplicates = "part") -> Links:
    """Find near-duplicates, or take what was found before among the same files.

    Args:
        scan: The images.
        near_duplicates: As for `group_records`.
    """
    if near_duplicates == "none":
        return make_no_links()
    cached = _cache_file(scan)
    links = _load_links(cached)
    if links is None:
        links = _search(scan)
        with replace_file(cached) as partial, partial.open("wb") as stream:
            np.savez(stream, **vars(links))
    return links if near_duplicates == "part" else links.select(links.is_same_image)


def join_links(scan: Scan, links: Links) -> Groups:
    """Join near-duplicates that were found already, identical files, and what the user keeps together.

    Args:
        scan: The images.
        links: Their near-duplicates.
    """
    named = [record.group for record in scan.records]
    parts = [name_part(record) for record in scan.records]
    found = [(links.first, links.second), link_equal_names(scan.sha256)]
    first, second = (np.concatenate(side) for side in zip(*found, strict=True))
    told = [(first, second), link_equal_names(named), link_equal_names(parts)]
    all_first, all_second = (np.concatenate(side) for side in zip(*told, strict=True))
    codes = connect(all_first, all_second, len(scan.records))
    suggestion = None if any(named) or any(parts) else suggest_pattern(scan.records)
    notes = [
        *describe_named_groups(scan, codes),
        *describe_parts(scan.records),
        *([suggestion.describe()] if suggestion else []),
        *_describe_separated(scan, first, second),
        *_describe_undecided(links),
    ]
    return Groups(codes, tuple(notes))


def describe_named_groups(scan: Scan, codes: Indices) -> tuple[str, ...]:
    """Say what the user's groups came to, where there are any."""
    names = Counter(record.group for record in scan.records if record.group)
    if not names:
        return ()
    return (
        f"{len(names)} groups that the user named ({names.total()} of {len(scan.records)} images) are kept "
        f"whole, as near-duplicates are; all images together form {codes.max() + 1} groups",
    )


def are_separated(scan: Scan, first: Indices, second: Indices) -> NDArray[np.bool_]:
    """Tell which pairs of images the user keeps apart: both have a group, and not the same one."""
    named = np.array([record.group for record in scan.records], dtype=str)
    one, other = named[first], named[second]
    return np.asarray((one != "") & (other != "") & (one != other))


def _describe_separated(scan: Scan, first: Indices, second: Indices) -> tuple[str, ...]:
    separated = np.flatnonzero(are_separated(scan, first, second))
    if not len(separated):
        return ()
    pair = " and ".join(scan.records[side[separated[0]]].id for side in (first, second))
    return (
        f"your groups separate {len(separated)} pairs that look like the same part, as {pair}; they are kept "
        "together all the same",
    )


def _describe_undecided(links: Links) -> tuple[str, ...]:
    if not len(links.undecided):
        return ()
    return (
        f"{len(links.undecided)} images show too little detail, or are too few, to tell whether they show "
        "the same part; they are kept together only if you name their group",
    )


def _search(scan: Scan) -> Links:
    """Search among different files; identical ones would pass for what is usual."""
    names = [f"{record.category}\0{sha256}" for record, sha256 in zip(scan.records, scan.sha256, strict=True)]
    _, chosen = np.unique(np.asarray(names, dtype=str), return_index=True)
    chosen = np.sort(chosen)

    def read_grey(number: int) -> Pixels:
        image = decode_image(scan.records[chosen[number]].path.read_bytes(), scan.decoding)
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)

    categories = [scan.records[index].category for index in chosen]
    looks = (scan.fingerprints[chosen], scan.thumbnails[chosen], scan.sizes_px[chosen])
    links = find_near_duplicates(*looks, categories, read_grey)
    return Links(
        chosen[links.first],
        chosen[links.second],
        links.pose,
        links.evidence,
        links.is_same_image,
        chosen[links.undecided],
        links.alike,
    )


def _cache_file(scan: Scan) -> Path:
    key = hashlib.sha256(f"{RULE} {scan.decoding.used_bits}\n".encode())
    for record, sha256 in zip(scan.records, scan.sha256, strict=True):
        key.update(f"{record.category}\0{sha256}\n".encode())
    return cache_dir("links") / f"{key.hexdigest()[:32]}.npz"


def _load_links(path: Path) -> Links | None:
    try:
        with np.load(path) as stored:
            columns = {name: stored[name] for name in stored.files}
        return Links(**{**columns, "alike": int(columns["alike"])})
    except UNREADABLE_NPZ:
        return None  # absent or damaged
