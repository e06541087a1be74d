"""Candidates for near-duplicates: pairs of images whose fingerprints agree in what tells images apart.

What all images of a product share fills the leading principal components of their fingerprints
(`take_fingerprint`). So the components are brought to a common scale (whitened) before fingerprints are
compared: two photographs of one part then stand out from two parts that only lie alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.data.groups.details import FINGERPRINT_POSES, TURNS, average_poses, pose_fingerprints
from mvdefect.data.groups.poses import MIRRORED, invert_pose, lay_in_pose, turn_by_half

Indices = NDArray[np.int64]
Vectors = NDArray[np.float32]
Embed = Callable[[NDArray[np.float16]], Vectors]  # fingerprints to vectors of length 1
FindNearest = Callable[[Vectors, slice], tuple[Vectors, Indices]]  # of queries, which are these rows

MIN_SIMILARITY = 0.25  # cosine of embedded fingerprints; those of two surfaces scatter by 0.05 about 0
NEIGHBOURS = 10
OPEN_LIKENESS = 0.2  # between the correlations of thumbnails, below which both poses are tried
SAME_PART_SIMILARITY = 0.7  # cosine of fingerprints from which no component is taken
ALL_PAIRS_IMAGES = 40  # up to here every pair is a candidate: too few for principal components
LEADING_COMPONENTS, IMAGES_PER_COMPONENT = 16, 32
FITTED_IMAGES = 4096
EXACT_SEARCH_IMAGES = 10_000
BLOCK_ROWS = 512
NOMINEES = 24
GRAPH_LINKS, GRAPH_BUILD_BREADTH, GRAPH_SEARCH_BREADTH = 16, 40, 64  # of HNSW
MAX_LOG_ASPECT = 0.25  # between two images that may show the same
SQUARE_LOG_ASPECT = 0.15  # up to here an image can be turned by any angle
LIKENESS_POOL = 2048  # images among which look-alikes are sought, fewer where that would take too long
LIKENESS_COMPARISONS = 10_000_000
MIN_POOL = 256
POOL_ROWS = 256


@dataclass(frozen=True)
class Pairs:
    """Pairs of images, each named once, sorted.

    Attributes:
        first: int64 of shape (m,): index of one image.
        second: int64 of shape (m,): index of the other; always larger.
        pose: int64 of shape (m,): how `first` must be laid to look like `second`; index into `POSES`.
    """

    first: Indices
    second: Indices
    pose: Indices

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Yield (first, second, pose)."""
        return zip(self.first.tolist(), self.second.tolist(), self.pose.tolist(), strict=True)

    def select(self, kept: NDArray[Any]) -> Pairs:
        """Return some of the pairs."""
        return Pairs(self.first[kept], self.second[kept], self.pose[kept])

    def renumber(self, numbers: Indices) -> Pairs:
        """Return the pairs by other numbers of their images, which rise as those do."""
        return Pairs(numbers[self.first], numbers[self.second], self.pose)


def join_pairs(parts: Sequence[Pairs]) -> Pairs:
    """Return the pairs of several products as those of one."""
    columns = [
        np.concatenate([np.zeros(0, np.int64), *(getattr(part, name) for part in parts)])
        for name in ("first", "second", "pose")
    ]
    order = np.lexsort((columns[1], columns[0]))
    return Pairs(*(column[order] for column in columns))


def find_candidates(fingerprints: NDArray[np.float16], aspects: Vectors) -> Pairs:
    """Find pairs of images that may show the same, in any pose.

    Up to 10,000 images are compared with one another; above that, with those that `_nominate` names, which
    keeps the time near n log n. Memory is linear in n.

    Args:
        fingerprints: float16 of shape (n, `FINGERPRINT_LENGTH`).
        aspects: float32 of shape (n,): logarithm of height by width of the images themselves.

    Returns:
        Pairs, whose pose may be short of half a turn: a fingerprint does not tell.
    """
    count = len(fingerprints)
    if count <= ALL_PAIRS_IMAGES:
        return _name_once(_search(fingerprints, aspects, _normalise, -np.inf, count), count)
    wanted = NEIGHBOURS + 1
    nominees = None if count <= EXACT_SEARCH_IMAGES else _nominate(fingerprints)
    white, scaled = _fit_whitening(fingerprints), _fit_scaling(fingerprints)
    found = _search(fingerprints, aspects, white, MIN_SIMILARITY, wanted, nominees)
    # Where parts are few and each is there many times, what tells them apart leads, and was shrunk.
    found += _search(fingerprints, aspects, scaled, SAME_PART_SIMILARITY, wanted, nominees)
    return _name_once(found, 2 * wanted)


def _search(
    fingerprints: NDArray[np.float16],
    aspects: Vectors,
    embed: Embed,
    least: float,
    wanted: int,
    nominees: Indices | None = None,
) -> list[tuple[Indices, Indices, Vectors, int]]:
    """Return (first, second, similarity, pose) of the nearest neighbours of all images in all poses.

    They are sought among the nominees of each image, int64 of shape (n, k); where there are none, among all.
    """
    points = _embed_all(embed, fingerprints)
    find_nearest = (
        _search_exactly(points, wanted) if nominees is None else _search_among(points, wanted, nominees)
    )
    found = []
    for start in range(0, len(fingerprints), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        for pose in FINGERPRINT_POSES:
            queries = embed(pose_fingerprints(fingerprints[rows], pose))
            similarity, neighbour = find_nearest(queries, rows)
            places, columns = np.nonzero(similarity >= least)
            first, second = places + start, neighbour[places, columns]
            kept = (first != second) & _have_one_aspect(aspects, first, second, pose)
            found.append((first[kept], second[kept], similarity[places, columns][kept], pose))
    return found


def _search_exactly(points: Vectors, wanted: int) -> FindNearest:
    import faiss

    index = faiss.IndexFlatIP(points.shape[1])
    index.add(points)

    def find(queries: Vectors, _: slice) -> tuple[Vectors, Indices]:
        similarity, neighbour = index.search(queries, wanted)
        return np.where(neighbour < 0, -np.inf, similarity), neighbour

    return find


def _search_among(points: Vectors, wanted: int, nominees: Indices) -> FindNearest:
    def find(queries: Vectors, rows: slice) -> tuple[Vectors, Indices]:
        similarity = (points[nominees[rows]] @ queries[:, :, np.newaxis])[..., 0]
        similarity[nominees[rows] < 0] = -np.inf
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :wanted]
        return np.take_along_axis(similarity, order, 1), np.take_along_axis(nominees[rows], order, 1)

    return find


def _nominate(fingerprints: NDArray[np.float16]) -> Indices:
    """Find for each image those that may be near it in any pose, by what no pose changes.

    Averaged over the poses, a fingerprint has a quarter of its values, and each image is looked up once.
    Approximate nearest neighbours by HNSW (Malkov and Yashunin, 2018), by surface and by the whole picture.

    Returns:
        int64 of shape (n, 2 `NOMINEES`); -1 for one that would be there twice.
    """
    fixed = average_poses(fingerprints)
    looks = [_embed_all(fit(fixed), fixed) for fit in (_fit_whitening, _fit_scaling)]
    with ThreadPoolExecutor(len(looks)) as pool:
        indexes = list(pool.map(_build_graph, looks))
    surface, whole = (index.search(look, NOMINEES)[1] for index, look in zip(indexes, looks, strict=True))
    is_known = (whole[:, :, np.newaxis] == surface[:, np.newaxis]).any(axis=2)
    return np.hstack([surface, np.where(is_known, -1, whole)])


def settle_half_turns(thumbnails: NDArray[np.uint8], pairs: Pairs) -> tuple[Pairs, Indices]:
    """Pose pairs as their thumbnails say, or both ways where these leave it open.

    Args:
        thumbnails: uint8 of shape (n, height, width).
        pairs: What `find_candidates` found.

    Returns:
        The pairs, some of them twice; and int64 of shape (m,): which pair each of them is.
    """
    turned = Pairs(pairs.first, pairs.second, turn_by_half(pairs.pose))
    likeness = [_measure_likeness(thumbnails, posed) for posed in (pairs, turned)]
    kept = [likeness[0] > likeness[1] - OPEN_LIKENESS, likeness[1] > likeness[0] - OPEN_LIKENESS]
    owner = np.concatenate([np.flatnonzero(mask) for mask in kept])
    pose = np.concatenate([posed.pose[mask] for posed, mask in zip((pairs, turned), kept, strict=True)])
    return Pairs(pairs.first[owner], pairs.second[owner], pose), owner


def rank_look_alikes(
    fingerprints: NDArray[np.float16],
    thumbnails: NDArray[np.uint8],
    aspects: Vectors,
    queries: Indices,
    wanted: int,
) -> tuple[Indices, Indices]:
    """Find, for some images, the others that look most like them as a whole, turned by any angle.

    They are sought among at most 2,048 images, evenly spaced, and among fewer for very many queries. Where
    most of them would be the part itself again, by their fingerprints, they are sought among the others.

    Args:
        fingerprints: float16 of shape (n, `FINGERPRINT_LENGTH`).
        thumbnails: uint8 of shape (n, height, width).
        aspects: float32 of shape (n,): logarithm of height by width of the images themselves.
        queries: int64 of shape (m,): the images.
        wanted: How many others.

    Returns:
        int64 of shape (m, k): indices of the others, the most alike first; and how each query must be
        turned to look like them, as `turn_structure` counts.
    """
    count = len(thumbnails)
    affordable = max(MIN_POOL, LIKENESS_COMPARISONS // max(1, len(queries)))
    pool = np.linspace(0, count - 1, min(count, LIKENESS_POOL, affordable)).astype(np.int64)
    seen = _mark_disc(thumbnails.shape[1])
    targets = _normalise(thumbnails[pool][:, seen])
    wanted = min(wanted, len(pool) - 1)
    embed = _embed_nothing if count <= ALL_PAIRS_IMAGES else _fit_scaling(fingerprints)
    embedded = embed(fingerprints[pool]).T
    others, turns = [], []
    for start in range(0, len(queries), POOL_ROWS):
        part = queries[start : start + POOL_ROWS]
        best = np.full((len(part), len(pool)), -2, np.float32)
        turn_of = np.zeros(best.shape, np.int64)
        for turn in range(2 * TURNS):
            allowed = _allow_turn(aspects[part], aspects[pool], turn)
            if not allowed.any():
                continue
            likeness = _normalise(_turn_thumbnails(thumbnails[part], turn)[:, seen]) @ targets.T
            better = allowed & (likeness > best + 1e-6)
            best[better], turn_of[better] = likeness[better], turn
        best[part[:, np.newaxis] == pool] = -3
        is_same_part = embed(fingerprints[part]) @ embedded >= SAME_PART_SIMILARITY
        order = _rank_others(best, is_same_part, wanted)
        others.append(pool[order])
        turns.append(np.take_along_axis(turn_of, order, axis=1))
    empty = np.zeros((0, wanted), np.int64)
    return np.concatenate([empty, *others]), np.concatenate([empty, *turns])


def _rank_others(likeness: Vectors, is_same_part: NDArray[np.bool_], wanted: int) -> Indices:
    """Rank by likeness, without the same part in rows that it would fill by half."""
    order = np.argsort(-likeness, axis=1, kind="stable")[:, :wanted]
    filled = np.take_along_axis(is_same_part, order, axis=1).mean(axis=1) > 0.5
    likeness = np.where(is_same_part & filled[:, np.newaxis], -2.5, likeness)
    return np.argsort(-likeness, axis=1, kind="stable")[:, :wanted]


def _embed_nothing(fingerprints: NDArray[np.float16]) -> Vectors:
    return np.zeros((len(fingerprints), 1), np.float32)


def _fit_scaling(fingerprints: NDArray[np.float16]) -> Embed:
    """Return a function that embeds fingerprints by how they differ from the mean, wave by wave."""
    scale = _fit_scale(fingerprints)
    return lambda posed: _normalise(scale(posed))


def _fit_scale(fingerprints: NDArray[np.float16]) -> Embed:
    """Return a function that brings each value to mean 0 and deviation 1; fingerprints of zeros stay so."""
    sample = _take_sample(fingerprints).astype(np.float32)
    mean, spread = sample.mean(axis=0), sample.std(axis=0) + 1e-6

    def scale(posed: NDArray[np.float16]) -> Vectors:
        scaled = (posed.astype(np.float32) - mean) / spread
        scaled[~posed.any(axis=1)] = 0
        return np.asarray(scaled, np.float32)

    return scale


def _take_sample(fingerprints: NDArray[np.float16]) -> NDArray[np.float16]:
    count = len(fingerprints)
    return fingerprints[np.linspace(0, count - 1, min(count, FITTED_IMAGES)).astype(np.int64)]


def _embed_all(embed: Embed, fingerprints: NDArray[np.float16]) -> Vectors:
    """Embed block by block, so that no more than the result is held."""
    first = embed(fingerprints[:BLOCK_ROWS])
    points = np.empty((len(fingerprints), first.shape[1]), np.float32)
    for start in range(0, len(fingerprints), BLOCK_ROWS):
        points[start : start + BLOCK_ROWS] = embed(fingerprints[start : start + BLOCK_ROWS])
    return points


def _normalise(values: NDArray[Any]) -> Vectors:
    """Flatten to vectors of mean 0 and length 1, whose dot product is their correlation; even ones are 0."""
    vectors = values.reshape(len(values), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, lengths, out=vectors, where=lengths > 0)
    return vectors


def _fit_whitening(fingerprints: NDArray[np.float16]) -> Embed:
    """Return a function that embeds fingerprints as vectors of length 1; those that are all 0 stay so.

    The leading components are shrunk to the usual spread of the others. They are few: with as many as there
    are images, all images would lie equally far apart, copies too.
    """
    scale = _fit_scale(fingerprints)
    sample = scale(_take_sample(fingerprints))
    variances, axes = np.linalg.eigh(sample.T @ sample / len(sample))
    leading = min(LEADING_COMPONENTS, len(fingerprints) // IMAGES_PER_COMPONENT)
    usual = max(float(variances[:-leading].mean()), 1e-6)
    kept = np.sqrt(usual / np.maximum(variances[-leading:], usual))
    taken_off = ((axes[:, -leading:] * (1 - kept)) @ axes[:, -leading:].T).astype(np.float32)

    def embed(posed: NDArray[np.float16]) -> Vectors:
        scaled = scale(posed)
        white = scaled - scaled @ taken_off
        lengths = np.linalg.norm(white, axis=1, keepdims=True)
        return np.ascontiguousarray(np.divide(white, lengths, out=white, where=lengths > 0), np.float32)

    return embed


def _build_graph(points: Vectors) -> Any:
    import faiss

    faiss.omp_set_num_threads(1)  # of this thread; several would link the graph in an order of chance
    index = faiss.IndexHNSWFlat(points.shape[1], GRAPH_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = GRAPH_BUILD_BREADTH
    index.hnsw.efSearch = GRAPH_SEARCH_BREADTH
    index.add(points)
    return index


def _measure_likeness(thumbnails: NDArray[np.uint8], pairs: Pairs) -> Vectors:
    """Return the correlation of the thumbnails of each pair."""
    likeness = np.zeros(len(pairs.first), np.float32)
    for pose in np.unique(pairs.pose).tolist():
        places = np.flatnonzero(pairs.pose == pose)
        laid = _normalise(lay_in_pose(thumbnails[pairs.first[places]], pose))
        likeness[places] = np.einsum("ij,ij->i", laid, _normalise(thumbnails[pairs.second[places]]))
    return likeness


def _have_one_aspect(aspects: Vectors, first: Indices, second: Indices, pose: int) -> NDArray[np.bool_]:
    turned = -aspects[first] if pose % 2 else aspects[first]
    return np.asarray(np.abs(turned - aspects[second]) < MAX_LOG_ASPECT)


def _name_once(found: Sequence[tuple[Indices, Indices, Vectors, int]], wanted: int) -> Pairs:
    """Keep the nearest of each image, then each pair once, in its best pose, the smaller index first."""
    first = np.concatenate([part[0] for part in found]).astype(np.int64)
    second = np.concatenate([part[1] for part in found]).astype(np.int64)
    similarity = np.concatenate([part[2] for part in found])
    pose = np.concatenate([np.full(len(part[0]), part[3], np.int64) for part in found])
    kept = _pick_best(first, second, similarity, pose)
    kept = kept[np.lexsort((second[kept], -similarity[kept], first[kept]))]
    kept = kept[np.arange(len(kept)) - np.searchsorted(first[kept], first[kept]) < wanted]
    first, second, pose, similarity = first[kept], second[kept], pose[kept], similarity[kept]
    pose = np.where(first > second, invert_pose(pose), pose)
    first, second = np.minimum(first, second), np.maximum(first, second)
    kept = _pick_best(first, second, similarity, pose)
    return Pairs(first[kept], second[kept], pose[kept])


def _pick_best(first: Indices, second: Indices, similarity: Vectors, pose: Indices) -> Indices:
    """Return where each pair is most alike, in the order of the pairs."""
    order = np.lexsort((pose, -similarity, second, first))
    fresh = np.ones(len(order), bool)
    fresh[1:] = (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)
    return order[fresh]


def _mark_disc(size: int) -> NDArray[np.bool_]:
    """Mark the pixels that stay in the picture however it is turned."""
    places = np.linspace(-1, 1, size)
    return np.asarray(places[:, np.newaxis] ** 2 + places**2 <= 1)


def _allow_turn(own: Vectors, others: Vectors, turn: int) -> NDArray[np.bool_]:
    """Tell by aspect which images can be turned to lie like which others, bool of shape (own, others)."""
    quarters, rest = divmod(turn % TURNS, TURNS // 4)
    column = own[:, np.newaxis]
    if rest:
        return np.asarray((np.abs(column) < SQUARE_LOG_ASPECT) & (np.abs(others) < SQUARE_LOG_ASPECT))
    return np.asarray(np.abs((-column if quarters % 2 else column) - others) < MAX_LOG_ASPECT)


def _turn_thumbnails(thumbnails: NDArray[np.uint8], turn: int) -> NDArray[Any]:
    """Mirror and turn thumbnails as `turn_structure` does; at the edge they are continued."""
    quarters, rest = divmod(turn % TURNS, TURNS // 4)
    mirrored = turn // TURNS * MIRRORED
    if rest == 0:
        return lay_in_pose(thumbnails, mirrored + quarters)
    size = thumbnails.shape[1]
    matrix = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), 360 * (turn % TURNS) / TURNS, 1)
    upright = np.ascontiguousarray(lay_in_pose(thumbnails, mirrored))
    return np.array(
        [cv2.warpAffine(one, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE) for one in upright]
    )
