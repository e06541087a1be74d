"""Images that are there more than once, or show one part more than once, and under which labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mvdefect.audit.findings import Finding, Pair, Severity
from mvdefect.data.groups.candidates import Indices
from mvdefect.data.groups.duplicates import Links, connect, link_equal_names
from mvdefect.data.groups.grouping import are_separated, describe_named_groups, suggest_pattern
from mvdefect.data.groups.poses import POSES
from mvdefect.data.parts import describe_parts
from mvdefect.data.records import Record
from mvdefect.data.scan import FirstLook, Scan

MAX_PAIRS = 60
MANY_UNDECIDED = 0.05  # share of the images, above which it is a warning
# Of each kind of finding how bad it is, what was found in how many pairs, what to do about it, and what to
# say of a pair.
PAIR_FAULTS = {
    "contradicting-labels": (
        Severity.ERROR,
        "{} image(s) are there twice under different labels.",
        "Decide which label is right, and remove the other copy.",
        "also {0.second} ({0.relation})",
    ),
    "groups-separate-one-part": (
        Severity.WARNING,
        "Your groups separate {} pair(s) that look like the same part.",
        "Look at them. They are kept together in a split all the same; if they are two parts, "
        "`--near-duplicates none` goes by your groups alone.",
        "like {0.second}",
    ),
    "same-part-under-two-labels": (
        Severity.WARNING,
        "{} pair(s) of images show the same part under different labels.",
        "Look at them: a part before and after damage is fine, a wrong label is not.",
        "same part as {0.second}",
    ),
}


def find_copies(look: FirstLook, scan: Scan, links: Links) -> Iterator[Finding]:
    """Find identical files, images of one part, labels that contradict each other, and what is undecided.

    Args:
        look: The readable files.
        scan: The same, as a split sees them.
        links: Their near-duplicates.
    """
    labels = np.array([record.stratum for record in look.records], dtype=str)
    same_first, same_second = link_equal_names(scan.sha256)
    conflicting = labels[links.first] != labels[links.second]
    against = labels[same_first] != labels[same_second]
    yield from _report_pairs(
        "contradicting-labels",
        [
            *_describe_identical(look.records, same_first[against], same_second[against]),
            *_describe_links(look.records, links, conflicting & links.is_same_image),
        ],
    )
    yield from _report_identical(look, same_first, same_second)
    apart = are_separated(scan, same_first, same_second)
    yield from _report_pairs(
        "groups-separate-one-part",
        [
            *_describe_identical(look.records, same_first[apart], same_second[apart]),
            *_describe_links(look.records, links, are_separated(scan, links.first, links.second)),
        ],
    )
    yield from _report_pairs(
        "same-part-under-two-labels",
        _describe_links(look.records, links, conflicting & ~links.is_same_image),
    )
    yield from _report_near(look, links, (same_first, same_second))
    yield from _report_undecided(look.records, links)
    yield from _report_look_alikes(links)


def report_group_names(scan: Scan, codes: Indices) -> Iterator[Finding]:
    """Report the groups that the user named, or those that the names of the files suggest."""
    for note in describe_named_groups(scan, codes):
        yield Finding("grouping", Severity.NOTE, f"{note}.", "Nothing.")
    for line in describe_parts(scan.records):
        yield Finding("parts", Severity.NOTE, f"{line}.", "Nothing.")
    is_named = any(record.group or record.part_id for record in scan.records)
    suggestion = None if is_named else suggest_pattern(scan.records)
    if suggestion:
        yield Finding(
            "group-names",
            Severity.NOTE,
            f"Names suggest {suggestion.groups} groups of {suggestion.images} images, as in "
            f"{suggestion.example!r}.",
            f"If each is one part, keep them together with --group-pattern {suggestion.pattern!r}.",
        )


def _report_pairs(code: str, pairs: Sequence[Pair]) -> Iterator[Finding]:
    severity, message, advice, remark = PAIR_FAULTS[code]
    if pairs:
        files = tuple((pair.first, remark.format(pair)) for pair in pairs)
        yield Finding(
            code, severity, message.format(len(pairs)), advice, files=files, pairs=tuple(pairs[:MAX_PAIRS])
        )


def _report_identical(look: FirstLook, first: Indices, second: Indices) -> Iterator[Finding]:
    groups = _list_groups(look.records, connect(first, second, len(look.records)))
    if groups:
        yield Finding(
            "identical-files",
            Severity.WARNING,
            f"{len(second)} file(s) are byte for byte the same as another one.",
            "Remove the copies. Left where they are, they stay in one part of every split.",
            files=tuple((name, f"same as {group[0]}") for group in groups for name in group[1:]),
            groups=groups,
        )


def _report_near(look: FirstLook, links: Links, identical: tuple[Indices, Indices]) -> Iterator[Finding]:
    if not len(links.first):
        return
    count = len(look.records)
    first = np.concatenate([links.first, identical[0]])
    second = np.concatenate([links.second, identical[1]])
    codes = connect(first, second, count)
    touched = list(set(codes[links.first]))
    groups = _list_groups(look.records, np.where(np.isin(codes, touched), codes, -1))
    members = sum(map(len, groups))
    copies = int(links.is_same_image.sum())
    yield Finding(
        "near-duplicates",
        Severity.WARNING,
        f"{members} of {count} images ({members / count:.0%}) show the same part as another one: "
        f"{len(groups)} groups, the largest of {len(groups[0])}; {int(codes.max()) + 1} groups in all, "
        "single ones included. "
        f"Of {len(links.first)} pairs, {copies} show the same image, changed.",
        "Keep each group in one part of a split, as mvdefect does: a random split would put images of one "
        "part into training and test, and its figures would be too good.",
        files=tuple((name, f"group of {len(group)}") for group in groups for name in group),
        groups=groups,
        pairs=tuple(_describe_link(look.records, links, index) for index in _pick_one_a_group(codes, links)),
    )


def _report_undecided(records: Sequence[Record], links: Links) -> Iterator[Finding]:
    count = len(links.undecided)
    if count:
        yield Finding(
            "undecided-images",
            Severity.WARNING if count > MANY_UNDECIDED * len(records) else Severity.NOTE,
            f"{count} of {len(records)} images show too little detail, or are too few, to tell whether they "
            "show the same part.",
            "If some of them do, say so: --group-pattern, or a column `group` in a manifest.",
            files=tuple((records[index].id, "") for index in links.undecided),
        )


def _report_look_alikes(links: Links) -> Iterator[Finding]:
    if links.alike:
        yield Finding(
            "look-alikes",
            Severity.NOTE,
            f"{links.alike} pair(s) of images agree in detail, but no more than others of the product do: "
            "they count as two parts that look alike.",
            "Nothing.",
        )


def _list_groups(records: Sequence[Record], codes: Indices) -> tuple[tuple[str, ...], ...]:
    """List the ids of each group of two or more, the largest first; a code of -1 is no group."""
    groups: dict[int, list[str]] = {}
    for record, code in zip(records, codes.tolist(), strict=True):
        if code >= 0:
            groups.setdefault(code, []).append(record.id)
    several = [tuple(group) for group in groups.values() if len(group) > 1]
    return tuple(sorted(several, key=lambda group: (-len(group), group)))


def _pick_one_a_group(codes: Indices, links: Links) -> list[int]:
    """Pick the pair of each group with the least evidence, the most doubtful first."""
    chosen: dict[int, int] = {}
    for index in np.argsort(links.evidence, kind="stable").tolist():
        chosen.setdefault(int(codes[links.first[index]]), index)
    return list(chosen.values())[:MAX_PAIRS]


def _describe_identical(records: Sequence[Record], first: Indices, second: Indices) -> list[Pair]:
    return [_make_pair(records, *pair, "identical files") for pair in zip(first, second, strict=True)]


def _describe_links(records: Sequence[Record], links: Links, chosen: NDArray[np.bool_]) -> list[Pair]:
    return [_describe_link(records, links, index) for index in np.flatnonzero(chosen).tolist()]


def _describe_link(records: Sequence[Record], links: Links, index: int) -> Pair:
    kind = "the same image" if links.is_same_image[index] else "the same part"
    posed = f", {POSES[links.pose[index]]}" if links.pose[index] else ""
    relation = f"{kind}{posed}, evidence {links.evidence[index]:.2f}"
    return _make_pair(records, links.first[index], links.second[index], relation)


def _make_pair(records: Sequence[Record], first: int, second: int, relation: str) -> Pair:
    return Pair(records[first].id, records[second].id, relation)
