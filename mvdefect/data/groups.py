"""Groups that must stay whole: near-duplicates, and what the user knows to belong together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from mvdefect.data.duplicates import Groups, Indices, group_near_duplicates
from mvdefect.data.records import Record
from mvdefect.data.scan import Scan
from mvdefect.errors import SplitError

NAMED_GROUP = "group"


def group_records(scan: Scan, min_correlation: float = 0.98) -> Groups:
    """Put into one group what looks nearly alike and what the user keeps together.

    Images are linked as in `group_near_duplicates`, and also when their `Record.group` is the same (and
    not empty), in whatever category; groups are the connected components of all links.

    Args:
        scan: The photographs.
        min_correlation: In (0, 1]; above it two thumbnails are near-duplicates.

    Returns:
        The groups, numbered from 0 by first appearance. A note tells of the user's, where there are any.
    """
    records = scan.records
    categories = [record.category for record in records]
    found = group_near_duplicates(scan.thumbnails, scan.sha256, categories, min_correlation)
    named = np.array([number for number, record in enumerate(records) if record.group], np.int64)
    if not named.size:
        return found
    names = [records[number].group for number in named]
    codes = _join(found.codes, named, names)
    note = (
        f"{len(set(names))} groups that the user named ({named.size} of {len(records)} images) are kept "
        f"whole, as near-duplicates are; all images together form {codes.max() + 1} groups"
    )
    return Groups(codes, (*found.notes, note))


def _join(codes: Indices, named: Indices, names: Sequence[str]) -> Indices:
    """Join the groups `codes` where the images `named` have one of `names` in common."""
    _, name = np.unique(np.asarray(names, dtype=str), return_inverse=True)
    groups = int(codes.max()) + 1
    nodes = groups + int(name.max()) + 1  # one for each group, then one for each name
    links = coo_matrix((np.ones(len(named), np.int8), (codes[named], groups + name)), shape=(nodes, nodes))
    _, component = connected_components(links, directed=False)
    _, first, code = np.unique(component[codes], return_index=True, return_inverse=True)
    rank: Indices = np.argsort(np.argsort(first)).astype(np.int64)
    return rank[code]


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
