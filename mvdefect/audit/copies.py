"""Photographs that are there more than once, as they are or changed, and under which labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.audit.findings import Finding, Pair, Severity
from mvdefect.data.duplicates import POSES, Indices, Links, connect, lay_in_pose, link_equal_names
from mvdefect.data.images import decode_image
from mvdefect.data.records import Record
from mvdefect.data.scan import FirstLook

MAX_PAIRS = 60
COMPARED_SIZE_PX = 128
BLOCK_PX = 4
MAX_BLOCK_DIFFERENCE = 8.0  # grey values: above the noise of a strong JPEG, below a faint scratch


def find_copies(look: FirstLook, links: Links) -> Iterator[Finding]:
    """Find identical files and near-duplicates, as groups, and copies whose labels contradict each other.

    Args:
        look: The readable files.
        links: Their near-duplicates.
    """
    hashes = np.array([facts.sha256 for facts in look.facts], dtype=str)
    labels = np.array([record.stratum for record in look.records], dtype=str)
    same_first, same_second = link_equal_names(hashes.tolist())
    near = np.flatnonzero(hashes[links.first] != hashes[links.second]) if len(links.first) else links.first
    conflicting = [index for index in near if labels[links.first[index]] != labels[links.second[index]]]
    proven = [index for index in conflicting if _show_one_photograph(look.records, links, index)]
    doubtful = sorted(set(conflicting) - set(proven))

    against = labels[same_first] != labels[same_second]
    pairs = [
        _make_pair(look.records, first, second, "identical files")
        for first, second in zip(same_first[against], same_second[against], strict=True)
    ] + [_describe_link(look.records, links, index) for index in proven]
    yield from _report_contradictions(pairs)
    yield from _report_identical(look, same_first, same_second)
    yield from _report_near(look, links, near, (same_first, same_second))
    yield from _report_similar_under_two_labels([_describe_link(look.records, links, i) for i in doubtful])


def _report_contradictions(pairs: Sequence[Pair]) -> Iterator[Finding]:
    if pairs:
        yield Finding(
            "contradicting-labels",
            Severity.ERROR,
            f"{len(pairs)} photograph(s) are there twice under different labels.",
            "Decide which label is right, and remove the other copy.",
            files=tuple((pair.first, f"also {pair.second} ({pair.relation})") for pair in pairs),
            pairs=tuple(pairs[:MAX_PAIRS]),
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


def _report_near(
    look: FirstLook, links: Links, near: Indices, identical: tuple[Indices, Indices]
) -> Iterator[Finding]:
    if not len(near):
        return
    count = len(look.records)
    first = np.concatenate([links.first[near], identical[0]])
    second = np.concatenate([links.second[near], identical[1]])
    codes = connect(first, second, count)
    touched = set(codes[links.first[near]])
    groups = _list_groups(look.records, np.where(np.isin(codes, list(touched)), codes, -1))
    members = sum(map(len, groups))
    in_all = int(codes.max()) + 1
    most_doubtful = _pick_one_a_group(codes, links, near)
    yield Finding(
        "near-duplicates",
        Severity.WARNING,
        f"{members} of {count} photographs ({members / count:.0%}) have a near-duplicate: {len(groups)} "
        f"groups, the largest of {len(groups[0])}; {in_all} groups in all, single ones included.",
        "Nothing, if mvdefect splits them: it keeps groups whole. A random split would put copies of one "
        "photograph into training and test, and its figures would be too good.",
        files=tuple((name, f"group of {len(group)}") for group in groups for name in group),
        groups=groups,
        pairs=tuple(_describe_link(look.records, links, index) for index in most_doubtful),
    )


def _report_similar_under_two_labels(pairs: Sequence[Pair]) -> Iterator[Finding]:
    if pairs:
        yield Finding(
            "near-duplicates-under-two-labels",
            Severity.WARNING,
            f"{len(pairs)} pair(s) of near-duplicates have different labels.",
            "Look at them: the same part before and after damage is fine, a wrong label is not.",
            files=tuple((pair.first, f"like {pair.second} ({pair.relation})") for pair in pairs),
            pairs=tuple(pairs[:MAX_PAIRS]),
        )


def _list_groups(records: Sequence[Record], codes: Indices) -> tuple[tuple[str, ...], ...]:
    """List the ids of each group of two or more, the largest first; a code of -1 is no group."""
    groups: dict[int, list[str]] = {}
    for record, code in zip(records, codes.tolist(), strict=True):
        if code >= 0:
            groups.setdefault(code, []).append(record.id)
    several = [tuple(group) for group in groups.values() if len(group) > 1]
    return tuple(sorted(several, key=lambda group: (-len(group), group)))


def _pick_one_a_group(codes: Indices, links: Links, near: Indices) -> list[int]:
    """Pick the least alike pair of each group, the most doubtful first."""
    chosen: dict[int, int] = {}
    for index in near[np.argsort(links.correlation[near], kind="stable")].tolist():
        chosen.setdefault(int(codes[links.first[index]]), index)
    return list(chosen.values())[:MAX_PAIRS]


def _describe_link(records: Sequence[Record], links: Links, index: int) -> Pair:
    relation = f"correlation {links.correlation[index]:.4f}"
    if links.pose[index]:
        relation = f"{POSES[links.pose[index]]}, {relation}"
    return _make_pair(records, links.first[index], links.second[index], relation)


def _make_pair(records: Sequence[Record], first: int, second: int, relation: str) -> Pair:
    return Pair(records[first].id, records[second].id, relation)


def _show_one_photograph(records: Sequence[Record], links: Links, index: int) -> bool:
    """Whether two near-duplicates are one photograph, changed at most in pose, size, light and encoding.

    A thumbnail would not show a scratch; so both are compared at 128 pixels, after the light of one has
    been fitted to that of the other, block by block.
    """
    first, second = (_read_grey(records[side[index]]) for side in (links.first, links.second))
    first = lay_in_pose(first[np.newaxis], int(links.pose[index]))[0]
    gain, offset = np.polyfit(first.ravel().astype(float), second.ravel().astype(float), 1)
    difference = (gain * first + offset - second).astype(np.float32)
    blocks = cv2.blur(difference, (BLOCK_PX, BLOCK_PX))
    return bool(np.abs(blocks).max() <= MAX_BLOCK_DIFFERENCE)


def _read_grey(record: Record) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(decode_image(record.path.read_bytes()), cv2.COLOR_RGB2GRAY)
    size = (COMPARED_SIZE_PX, COMPARED_SIZE_PX)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
