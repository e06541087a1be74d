"""Groups of near-duplicate photographs: the same part taken twice must not be in train and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Indices = NDArray[np.int64]

BLOCK_ROWS = 1024
MAX_GROUP_SHARE = 0.2
MIN_GIANT_GROUP = 12


@dataclass(frozen=True)
class Groups:
    """Which images belong together.

    Attributes:
        codes: int64 of shape (n,): the group of each image, numbered from 0 by first appearance.
        notes: What a reader of the split should know about how they were found.
    """

    codes: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def group_near_duplicates(
    thumbnails: NDArray[np.uint8],
    sha256: Sequence[str],
    categories: Sequence[str],
    min_correlation: float = 0.98,
) -> Groups:
    """Put images that look nearly alike into one group.

    Two images of one category are linked when the correlation of their mean-removed thumbnails
    exceeds `min_correlation`, and any two images when their files are identical; groups are the
    connected components of these links. Links are searched block by block, so memory grows with the
    number of links and never with the square of the number of images.

    Parts that a fixture always holds in one place all look alike at this scale, and would end in one
    huge group. Where a group would take more than a fifth of its category, what differs from the
    category's average picture is compared instead; where that does not help either, identical files
    alone are linked. A note says so.

    Args:
        thumbnails: uint8 of shape (n, height, width).
        sha256: Hash of each file, in the same order.
        categories: Category of each image, in the same order.
        min_correlation: In (0, 1].
    """
    count = len(thumbnails)
    names = np.asarray(categories, dtype=str)
    links = [_link_identical_files(sha256)]
    notes = []
    for name in np.unique(names):
        members = np.flatnonzero(names == name)
        first, second, note = _link_category(thumbnails[members], min_correlation)
        links.append((members[first], members[second]))
        notes += [f"{name}: {note}"] if note else []
    rows = np.concatenate([first for first, _ in links])
    columns = np.concatenate([second for _, second in links])
    return Groups(_connect(rows, columns, count), tuple(notes))


def _link_category(thumbnails: NDArray[np.uint8], min_correlation: float) -> tuple[Indices, Indices, str]:
    first, second = _find_links(normalise_thumbnails(thumbnails), min_correlation)
    if not _has_giant_group(first, second, len(thumbnails)):
        return first, second, ""
    residuals = thumbnails.astype(np.float32) - thumbnails.mean(axis=0, dtype=np.float32)
    first, second = _find_links(normalise_thumbnails(residuals), min_correlation)
    if not _has_giant_group(first, second, len(thumbnails)):
        return (
            first,
            second,
            "its photographs all look alike (parts held in one place?), so near-duplicates were "
            "sought in what differs from its average picture",
        )
    none = np.zeros(0, np.int64)
    return (
        none,
        none,
        "its photographs cannot be told apart at thumbnail size, so only identical files were kept "
        "together; if one part was photographed more than once, the figures may be too good",
    )


def _has_giant_group(first: Indices, second: Indices, count: int) -> bool:
    sizes = np.bincount(_connect(first, second, count), minlength=1)
    return bool(sizes.max() > max(MAX_GROUP_SHARE * count, MIN_GIANT_GROUP))


def _link_identical_files(sha256: Sequence[str]) -> tuple[Indices, Indices]:
    _, first, code = np.unique(np.asarray(sha256, dtype=str), return_index=True, return_inverse=True)
    return np.arange(len(code)), first[code]


def _connect(rows: Indices, columns: Indices, count: int) -> Indices:
    links = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(count, count))
    _, group = connected_components(links, directed=False)
    return _number_by_first_appearance(group)


def normalise_thumbnails(
    thumbnails: NDArray[np.uint8] | NDArray[np.float32],
) -> NDArray[np.float32]:
    """Flatten thumbnails to vectors of mean 0 and length 1, whose dot product is their correlation.

    A thumbnail of one even grey has no correlation with anything; its vector is all zeros.

    Args:
        thumbnails: uint8 or float32 of shape (n, height, width).

    Returns:
        float32 of shape (n, height * width).
    """
    vectors = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, lengths, out=vectors, where=lengths > 0)
    return vectors


def _find_links(vectors: NDArray[np.float32], min_correlation: float) -> tuple[Indices, Indices]:
    """Return index pairs (i < j) whose correlation exceeds `min_correlation`."""
    firsts, seconds = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS]
        for other in range(start, len(vectors), BLOCK_ROWS):
            near = block @ vectors[other : other + BLOCK_ROWS].T > min_correlation
            first, second = np.nonzero(np.triu(near, 1) if other == start else near)
            firsts.append(first + start)
            seconds.append(second + other)
    return np.concatenate(firsts), np.concatenate(seconds)


def _number_by_first_appearance(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank: NDArray[np.int64] = np.argsort(np.argsort(first)).astype(np.int64)
    return rank[inverse]
