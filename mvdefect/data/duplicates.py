"""Near-duplicate photographs: copies of one photograph, and the same part taken twice.

Thumbnails are compared in eight poses (as they are, mirrored, and turned by quarter turns). The search
goes over a few principal components, which can only bring two thumbnails nearer to each other, never
push them apart; whatever is near there is then compared in full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Indices = NDArray[np.int64]
Vectors = NDArray[np.float32]

POSES = (
    "as it is",
    "turned by 90 degrees",
    "turned by 180 degrees",
    "turned by 270 degrees",
    "mirrored",
    "mirrored and turned by 90 degrees",
    "mirrored and turned by 180 degrees",
    "mirrored and turned by 270 degrees",
)
USUAL_CORRELATION = 0.6  # of two photographs of a category that are no near-duplicates
MIN_IMAGES_FOR_USUAL = 10
SAMPLED_PAIRS = 2000
COMPONENTS = 96
FITTED_IMAGES = 4096
EXACT_SEARCH_IMAGES = 10_000
NEIGHBOURS = 16
MAX_NEIGHBOURS = 256
BLOCK_ROWS = 4096
GRAPH_LINKS, GRAPH_BUILD_BREADTH, GRAPH_SEARCH_BREADTH = 24, 80, 64  # of HNSW


@dataclass(frozen=True)
class Links:
    """Pairs of near-duplicates, each named once, sorted.

    Attributes:
        first: int64 of shape (m,): index of one image.
        second: int64 of shape (m,): index of the other; always larger.
        pose: int64 of shape (m,): how `first` must be laid to look like `second`; index into `POSES`.
        correlation: float32 of shape (m,).
        notes: What a reader of the result should know about how it was found.
    """

    first: Indices
    second: Indices
    pose: Indices
    correlation: Vectors
    notes: tuple[str, ...] = ()


def find_near_duplicates(
    thumbnails: NDArray[np.uint8], categories: Sequence[str], min_correlation: float = 0.98
) -> Links:
    """Find pairs of images of one category whose thumbnails nearly agree, in any of eight poses.

    Two images are linked when the correlation of their mean-removed thumbnails exceeds
    `min_correlation`. Parts that a fixture always holds in one place all look alike at this size; where
    two images of a category usually correlate above 0.6, the limit moves towards 1 in proportion.

    Up to 10,000 images a category are searched exactly; above that, approximate nearest neighbours by
    HNSW (Malkov and Yashunin, 2018) keep the time near n log n. Memory is linear in n.

    Args:
        thumbnails: uint8 of shape (n, size, size).
        categories: Category of each image.
        min_correlation: In (0, 1].
    """
    names = np.asarray(categories, dtype=str)
    found, notes = [], []
    for name in np.unique(names):
        members = np.flatnonzero(names == name)
        vectors = normalise_thumbnails(thumbnails[members])
        usual = _estimate_usual_correlation(thumbnails[members], vectors)
        limit = 1 - (1 - min_correlation) * min(1.0, (1 - usual) / (1 - USUAL_CORRELATION))
        if limit > min_correlation:
            notes.append(
                f"{name}: its photographs look much alike (usual correlation {usual:.3f}), so near-"
                f"duplicates are those above {limit:.4f} instead of {min_correlation:g}"
            )
        first, second, pose, correlation = _search(thumbnails[members], vectors, limit)
        found.append((members[first], members[second], pose, correlation))
    if not found:
        empty = np.zeros(0, np.int64)
        return Links(empty, empty, empty, np.zeros(0, np.float32))
    first, second, pose, correlation = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort([second, first])
    return Links(first[order], second[order], pose[order], correlation[order], tuple(notes))


def normalise_thumbnails(thumbnails: NDArray[np.uint8]) -> Vectors:
    """Flatten thumbnails to vectors of mean 0 and length 1, whose dot product is their correlation.

    A thumbnail of one even grey has no correlation with anything; its vector is all zeros.

    Args:
        thumbnails: uint8 of shape (n, size, size).

    Returns:
        float32 of shape (n, size * size).
    """
    vectors = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, lengths, out=vectors, where=lengths > 0)
    return vectors


def lay_in_pose(thumbnails: NDArray[np.uint8], pose: int) -> NDArray[np.uint8]:
    """Mirror and turn thumbnails.

    Args:
        thumbnails: uint8 of shape (n, size, size).
        pose: Index into `POSES`.
    """
    mirrored = thumbnails[:, :, ::-1] if pose >= 4 else thumbnails
    return np.rot90(mirrored, pose % 4, axes=(1, 2))


def link_equal_names(names: Sequence[str]) -> tuple[Indices, Indices]:
    """Link each item to the first one of the same name; an empty name links nothing."""
    array = np.asarray(names, dtype=str)
    _, first, code = np.unique(array, return_index=True, return_inverse=True)
    linked = np.flatnonzero((first[code] != np.arange(len(array))) & (array != ""))
    return first[code[linked]].astype(np.int64), linked


def connect(first: Indices, second: Indices, count: int) -> Indices:
    """Number the connected components of links, by first appearance.

    Returns:
        int64 of shape (count,).
    """
    links = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(count, count))
    _, labels = connected_components(links, directed=False)
    _, appearance, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank: Indices = np.argsort(np.argsort(appearance)).astype(np.int64)
    return rank[inverse]


def _estimate_usual_correlation(thumbnails: NDArray[np.uint8], vectors: Vectors) -> float:
    """Return the median, over random pairs, of the correlation in their best pose."""
    count = len(vectors)
    if count < MIN_IMAGES_FOR_USUAL:
        return 0.0
    rng = np.random.default_rng(0)
    first = rng.integers(0, count, SAMPLED_PAIRS)
    second = (first + rng.integers(1, count, SAMPLED_PAIRS)) % count
    correlations = [
        (normalise_thumbnails(lay_in_pose(thumbnails[first], pose)) * vectors[second]).sum(axis=1)
        for pose in range(len(POSES))
    ]
    return float(np.clip(np.median(np.max(correlations, axis=0)), 0, 1))


def _search(
    thumbnails: NDArray[np.uint8], vectors: Vectors, min_correlation: float
) -> tuple[Indices, Indices, Indices, Vectors]:
    """Return (first, second, pose, correlation) of the pairs above `min_correlation`, each pair once."""
    projection = _fit_projection(vectors)
    index = _build_index(vectors @ projection)
    firsts, seconds, poses, correlations = [], [], [], []
    for pose, start in ((p, s) for p in range(len(POSES)) for s in range(0, len(vectors), BLOCK_ROWS)):
        queries = normalise_thumbnails(lay_in_pose(thumbnails[start : start + BLOCK_ROWS], pose))
        for rows, others in _find_candidates(index, queries @ projection, 2 * (1 - min_correlation)):
            kept = rows + start != others
            rows, others = rows[kept], others[kept]
            found = np.minimum(np.einsum("ij,ij->i", queries[rows], vectors[others]), 1)
            near = found > min_correlation
            firsts.append(rows[near] + start)
            seconds.append(others[near])
            poses.append(np.full(near.sum(), pose))
            correlations.append(found[near])
    return _name_once(
        np.concatenate(firsts), np.concatenate(seconds), np.concatenate(poses), np.concatenate(correlations)
    )


def _fit_projection(vectors: Vectors) -> Vectors:
    """Return the leading principal axes, float32 of shape (dimensions, components)."""
    sample = vectors[np.linspace(0, len(vectors) - 1, min(len(vectors), FITTED_IMAGES)).astype(np.int64)]
    _, axes = np.linalg.eigh(sample.T @ sample)
    return np.ascontiguousarray(axes[:, ::-1][:, :COMPONENTS], np.float32)


def _build_index(points: Vectors) -> Any:
    import faiss

    if len(points) <= EXACT_SEARCH_IMAGES:
        exact = faiss.IndexFlatL2(points.shape[1])
        exact.add(points)
        return exact
    index = faiss.IndexHNSWFlat(points.shape[1], GRAPH_LINKS)
    index.hnsw.efConstruction = GRAPH_BUILD_BREADTH
    index.hnsw.efSearch = GRAPH_SEARCH_BREADTH
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # several would link the graph in an order of chance
    try:
        index.add(points)
    finally:
        faiss.omp_set_num_threads(threads)
    return index


def _find_candidates(index: Any, queries: Vectors, radius: float) -> Iterator[tuple[Indices, Indices]]:
    """Yield (query, neighbour) pairs within a squared distance.

    A query whose neighbours are all within it may have more: it is asked again for four times as many.
    """
    asked, wanted = np.arange(len(queries)), NEIGHBOURS
    while len(asked):
        wanted = min(wanted, index.ntotal)
        distances, neighbours = index.search(np.ascontiguousarray(queries[asked]), wanted)
        within = (distances <= radius + 1e-5) & (neighbours >= 0)
        more = within.all(axis=1) & (wanted < min(MAX_NEIGHBOURS, index.ntotal))
        rows, columns = np.nonzero(within & ~more[:, np.newaxis])
        yield asked[rows], neighbours[rows, columns]
        asked, wanted = asked[more], min(4 * wanted, MAX_NEIGHBOURS)


def _name_once(
    first: Indices, second: Indices, pose: Indices, correlation: Vectors
) -> tuple[Indices, Indices, Indices, Vectors]:
    """Keep each pair once, in its best pose, the smaller index first."""
    swapped = first > second
    backwards = np.where((pose == 1) | (pose == 3), 4 - pose, pose)  # the other poses undo themselves
    pose = np.where(swapped, backwards, pose)
    first, second = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort((pose, -correlation, second, first))
    first, second = first[order], second[order]
    fresh = np.ones(len(first), bool)
    fresh[1:] = (np.diff(first) != 0) | (np.diff(second) != 0)
    return first[fresh], second[fresh], pose[order][fresh], correlation[order][fresh]
