"""Groups that must stay whole: near-duplicates, and what the user knows to belong together."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.data.candidates import Indices
from mvdefect.data.duplicates import (
    RULE,
    Links,
    connect,
    find_near_duplicates,
    link_equal_names,
    make_no_links,
)
from mvdefect.data.group_names import suggest_pattern
from mvdefect.data.images import Pixels, decode_image
from mvdefect.data.scan import Scan
from mvdefect.paths import UNREADABLE_NPZ, cache_dir, replace_file

NearDuplicates = Literal["part", "image", "none"]


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
    is the same (and not empty), in whatever category; groups are the connected components of all links.

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
    found = [(links.first, links.second), link_equal_names(scan.sha256)]
    first, second = (np.concatenate(side) for side in zip(*found, strict=True))
    named_first, named_second = link_equal_names(named)
    joined = np.concatenate([first, named_first]), np.concatenate([second, named_second])
    codes = connect(*joined, len(scan.records))
    suggestion = None if any(named) else suggest_pattern(scan.records)
    notes = [
        *describe_named_groups(scan, codes),
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
        image = decode_image(scan.records[chosen[number]].path.read_bytes())
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
    key = hashlib.sha256(f"{RULE}\n".encode())
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
