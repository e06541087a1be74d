"""Looks: what a frozen network makes of images, each run once for all that is learned from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from mvdefect.core.progress import show_steps
from mvdefect.data.pipeline import Source
from mvdefect.models.features import Trunk
from mvdefect.training.predictions import NO_FLIP, Flip, iterate_features

BATCH_PIXELS = 32 * 224 * 224  # at once, which bounds memory
KEPT_BYTES = 1 << 30  # of maps; beyond that the network runs again


def find_batch(trunk: Trunk) -> int:
    """Return how many images a backbone sees at once: 32 of 224 by 224 pixels, fewer if they are larger."""
    height, width = trunk.network.input.shape[1:3]
    return max(1, min(32, BATCH_PIXELS // int(height * width)))


class Looks:
    """Maps and vectors of images, as `mvdefect.models.scorer.build_look` makes them.

    Vectors of all images stay in memory, maps as far as there is room.

    Args:
        run: The network, compiled.
        batch_size: Images a batch.
    """

    def __init__(self, run: Callable[[Any], Any], batch_size: int) -> None:
        self.run = run
        self.batch_size = batch_size
        self.room = KEPT_BYTES
        self._maps: dict[str, np.ndarray] = {}
        self._vectors: dict[str, list[np.ndarray]] = {}

    def look_at(self, sources: Iterable[Source], flips: Iterable[Flip] = (NO_FLIP,)) -> None:
        """Run the network on images, in one pose after the other."""
        passes = [(source, flip) for source in sources for flip in flips]
        steps = sum(source.count for source, _ in passes)
        with show_steps("looking at all images", steps) as advance:
            for source, flip in passes:
                for place, (maps, vectors) in self._run(source, flip):
                    for row, one, vector in zip(source.rows[place], maps, vectors, strict=True):
                        self._vectors.setdefault(row.id, []).append(vector)
                        if flip == NO_FLIP and self.room >= one.nbytes:
                            self._maps[row.id] = one.copy()
                            self.room -= one.nbytes
                    advance(len(vectors))

    def iterate_maps(self, source: Source) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield maps of images as they are, with the places of these images; a batch at a time."""
        if any(row.id not in self._maps for row in source.rows):
            yield from ((place, maps) for place, (maps, _) in self._run(source, NO_FLIP))
            return
        for start in range(0, source.count, self.batch_size):
            place = slice(start, min(start + self.batch_size, source.count))
            yield place, np.stack([self._maps[row.id] for row in source.rows[place]])

    def stack(self, source: Source, pose: int = 0) -> np.ndarray:
        """Return the vectors of images in one of the poses that were looked at, float32 (n, d)."""
        return np.stack([self._vectors[row.id][pose] for row in source.rows])

    def _run(self, source: Source, flip: Flip) -> Iterator[tuple[slice, Any]]:
        start = 0
        for labels, found in iterate_features(self.run, source, self.batch_size, flip):
            yield slice(start, start + len(labels)), found
            start += len(labels)
