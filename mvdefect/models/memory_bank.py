"""Nearest-neighbour novelty of patches: PatchCore (Roth et al., 2022).

https://arxiv.org/abs/2106.08265
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import ConfigError
from mvdefect.models.feature_maps import (
    FeatureSource,
    average_neighbourhoods,
    average_tensors,
    check_shape,
    iterate_chunks,
    iterate_several,
)
from mvdefect.models.one_class import Normality

Vectors = NDArray[np.float32]

MAX_CANDIDATES = 40_000
MAX_VECTORS = 4_000
PROJECTED = 64  # dimensions in which the coreset is chosen
PRIOR_PATCHES = 10  # what a position's own figures must outweigh


@dataclass(frozen=True)
class MemoryBank(Normality):
    """Patches of good images; what lies far from all of them is new.

    Patches are compared wherever they lie, so parts may lie in any way. How far good patches usually lie
    from the bank does depend on the position (borders vary more than a plain middle), and scores are
    counted from there, in units of how much that varies.

    Attributes:
        scale: What channels are divided by, float32 of shape (c,).
        vectors: The patches, scaled, float32 of shape (k, c).
        usual: Mean distance of good patches at each position, float32 of shape (h, w).
        spread: Standard deviation of the same, above 0.
    """

    kind: ClassVar = "memory_bank"
    layout: ClassVar = {
        "scale": ("float32", "c"),
        "vectors": ("float32", "kc"),
        "usual": ("float32", "hw"),
        "spread": ("float32", "hw"),
    }

    scale: NDArray[np.float32]
    vectors: Vectors
    usual: NDArray[np.float32]
    spread: NDArray[np.float32]

    @classmethod
    def fit(
        cls,
        features: FeatureSource,
        seed: int = 0,
        max_vectors: int = MAX_VECTORS,
        max_candidates: int = MAX_CANDIDATES,
    ) -> Self:
        """Keep patches that cover all patches of good images.

        One pass over the features draws candidates evenly; a coreset of them is kept. Time and memory for
        the coreset do not grow with the images.

        Args:
            features: Of good images, floats of shape (n, h, w, c), or batches of them; n at least 2.
            seed: Draws candidates and the projection.
            max_vectors: Size of the bank.
            max_candidates: How many patches it is chosen from.

        Raises:
            ConfigError: A size is below 1, or see `iterate_several`.
        """
        if min(max_vectors, max_candidates) < 1:
            raise ConfigError(
                "max_vectors and max_candidates must be at least 1. "
                f"Received: max_vectors={max_vectors}, max_candidates={max_candidates}"
            )
        rng = np.random.default_rng(seed)
        drawn = _draw_candidates(features, rng, max_candidates)
        scale = drawn.vectors.std(axis=0, dtype=np.float64).astype(np.float32)
        scale[scale == 0] = 1
        vectors = drawn.vectors / scale
        chosen = choose_coreset(_project(vectors, rng), max_vectors)
        usual, spread = _measure_usual(vectors, drawn, chosen)
        return cls(scale, vectors[chosen], usual, spread)

    def measure_distances(self, features: FeatureSource) -> NDArray[np.float32]:
        """Return how far each patch lies from the nearest one of the bank, (n, h, w).

        Args:
            features: Floats of shape (n, h, w, c), or batches of them.
        """
        index = _build_index(self.vectors)
        maps = [np.zeros((0, *self.usual.shape), np.float32)]
        for chunk in iterate_chunks(features):
            check_shape(chunk, (*self.usual.shape, len(self.scale)))
            patches = (average_neighbourhoods(chunk) / self.scale).reshape(-1, len(self.scale))
            maps.append(_measure_nearest(index, self.vectors, patches).reshape(chunk.shape[:3]))
        return np.concatenate(maps)

    def score_positions(self, features: FeatureSource) -> NDArray[np.float32]:
        """Return how much farther from the bank each patch lies than is usual there, (n, h, w).

        Args:
            features: Floats of shape (n, h, w, c), or batches of them.
        """
        return (self.measure_distances(features) - self.usual) / self.spread

    def map_tensor(self, features: Any) -> Any:
        """Return what `score_positions` does as tensors of TensorFlow, float32."""
        import tensorflow as tf

        patches, vectors = average_tensors(features) / self.scale, tf.constant(self.vectors)
        products = tf.einsum("nhwc,kc->nhwk", patches, vectors)
        nearest = tf.argmin(tf.reduce_sum(vectors**2, axis=1) - 2 * products, axis=-1)
        distances = tf.norm(patches - tf.gather(vectors, nearest), axis=-1)
        return (distances - self.usual) / self.spread


@dataclass(frozen=True)
class _Candidates:
    """Patches drawn from good images: vectors (m, c), and for each its image and its position."""

    vectors: Vectors
    images: NDArray[np.int64]
    positions: NDArray[np.int64]
    map_shape: tuple[int, int]


def choose_coreset(points: Vectors, size: int) -> NDArray[np.int64]:
    """Choose points so that no other lies far from all of them: greedy k-center (Gonzalez, 1985).

    The first is the one nearest to the mean; each next one is the one farthest from all before it.

    Args:
        points: float32 of shape (n, d).
        size: How many to choose; fewer are chosen where the rest are copies of them.

    Returns:
        Their numbers in the order of choice, int64.
    """
    points = points - points.mean(axis=0)
    lengths = np.einsum("nd,nd->n", points, points)
    chosen = [int(np.argmin(lengths))]
    nearest = np.full(len(points), np.inf, np.float32)
    while len(chosen) < min(size, len(points)):
        last = chosen[-1]
        np.minimum(nearest, lengths + (lengths[last] - 2 * (points @ points[last])), out=nearest)
        nearest[last] = 0  # or rounding could choose it again
        farthest = int(np.argmax(nearest))
        if nearest[farthest] <= 1e-6 * lengths[farthest]:
            break
        chosen.append(farthest)
    return np.array(chosen, np.int64)


def _draw_candidates(features: FeatureSource, rng: np.random.Generator, size: int) -> _Candidates:
    """Draw patches evenly from a stream of unknown length: each gets a random key, the smallest win."""
    keys, places, vectors = np.zeros(0), np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
    map_shape, limit, seen = (0, 0), np.inf, 0
    for chunk in iterate_several(features):
        map_shape, channels = (chunk.shape[1], chunk.shape[2]), chunk.shape[3]
        patches = average_neighbourhoods(chunk).reshape(-1, channels)
        fresh = rng.random(len(patches))
        low = np.flatnonzero(fresh < limit)
        keys, places = np.append(keys, fresh[low]), np.append(places, low + seen)
        vectors = np.concatenate([vectors.reshape(-1, channels), patches[low]])
        seen += len(patches)
        if len(keys) > size:
            kept = np.sort(np.argpartition(keys, size)[:size])
            keys, places, vectors = keys[kept], places[kept], vectors[kept]
            limit = keys.max()
    area = map_shape[0] * map_shape[1]
    return _Candidates(vectors, places // area, places % area, map_shape)


def _project(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    """Bring vectors to fewer dimensions; distances survive nearly (Johnson & Lindenstrauss, 1984)."""
    channels = vectors.shape[1]
    if channels <= PROJECTED:
        return vectors
    axes = rng.standard_normal((channels, PROJECTED)) / np.sqrt(PROJECTED)
    return np.asarray(vectors @ axes.astype(np.float32))


def _measure_usual(
    vectors: Vectors, drawn: _Candidates, chosen: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation, by position, of the distance to patches of other images.

    Odd images are compared with what the bank holds of even ones, and the other way round: an image lies
    nearer to a bank that holds patches of itself.
    """
    odd, area = drawn.images % 2 == 1, drawn.map_shape[0] * drawn.map_shape[1]
    distances = np.full(len(vectors), np.nan, np.float32)
    for side in (odd, ~odd):
        others = vectors[chosen[~side[chosen]]]
        if len(others):
            distances[side] = _measure_nearest(_build_index(others), others, vectors[side])
    known = ~np.isnan(distances)
    if not known.any():  # a bank of one patch
        return np.zeros(drawn.map_shape, np.float32), np.ones(drawn.map_shape, np.float32)
    positions, found = drawn.positions[known], distances[known].astype(np.float64)
    counts = np.bincount(positions, minlength=area) + PRIOR_PATCHES
    usual = (np.bincount(positions, found, area) + PRIOR_PATCHES * found.mean()) / counts
    squares = np.bincount(positions, (found - usual[positions]) ** 2, area)
    spread = np.sqrt((squares + PRIOR_PATCHES * found.var()) / counts)
    spread = np.where(spread > 0, spread, 1)
    return (
        usual.reshape(drawn.map_shape).astype(np.float32),
        spread.reshape(drawn.map_shape).astype(np.float32),
    )


def _build_index(vectors: Vectors) -> Any:
    import faiss

    index = faiss.IndexFlatL2(vectors.shape[1])  # exact: the bank is small
    index.add(np.ascontiguousarray(vectors))
    return index


def _measure_nearest(index: Any, vectors: Vectors, patches: Vectors) -> NDArray[np.float32]:
    """Return the distance of each patch (m, c) to the nearest vector, (m,)."""
    _, nearest = index.search(np.ascontiguousarray(patches), 1)
    # Measured again: the index expands the square, which leaves little of small distances.
    return np.asarray(np.linalg.norm(patches - vectors[nearest[:, 0]], axis=1))
