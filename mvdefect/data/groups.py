"""Groups that must stay whole: near-duplicates, and what the user knows to belong together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from mvdefect.data.duplicates import Indices, Links, connect, find_near_duplicates, link_equal_names
from mvdefect.data.records import Record
from mvdefect.data.scan import Scan
from mvdefect.errors import SplitError

NAMED_GROUP = "group"


@dataclass(frozen=True)
class Groups:
    """Which images belong together.

    Attributes:
        codes: int64 of shape (n,): the group of each image, numbered from 0 by first appearance.
        notes: What a reader of the split should know about how they were found.
    """

    codes: Indices
    notes: tuple[str, ...] = ()


def group_records(scan: Scan, min_correlation: float = 0.98) -> Groups:
    """Put into one group what looks nearly alike and what the user keeps together.

    Images are linked as in `find_near_duplicates`, when their files are identical, and when their
    `Record.group` is the same (and not empty), in whatever category; groups are the connected components
    of all links.

    Args:
        scan: The photographs.
        min_correlation: In (0, 1]; above it two thumbnails are near-duplicates.

    Returns:
        The groups, numbered from 0 by first appearance. A note tells of the user's, where there are any.
    """
    categories = [record.category for record in scan.records]
    return join_links(scan, find_near_duplicates(scan.thumbnails, categories, min_correlation))


def join_links(scan: Scan, links: Links) -> Groups:
    """Join near-duplicates that were found already, identical files, and what the user keeps together.

    Args:
        scan: The photographs.
        links: Their near-duplicates.
    """
    records = scan.records
    named = [record.group for record in records]
    pairs = [(links.first, links.second), link_equal_names(scan.sha256), link_equal_names(named)]
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    codes = connect(first, second, len(records))
    names = Counter(filter(None, named))
    if not names:
        return Groups(codes, links.notes)
    note = (
        f"{len(names)} groups that the user named ({names.total()} of {len(records)} images) are kept "
        f"whole, as near-duplicates are; all images together form {codes.max() + 1} groups"
    )
    return Groups(codes, (*links.notes, note))


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
