"""Looks: what a frozen network makes of images, each run once for all that is learned from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import numpy as np

from mvdefect.core.progress import show_steps
from mvdefect.data.pipeline import Source
from mvdefect.training.predictions import NO_FLIP, Flip, iterate_features

BATCH_SIZE = 32
KEPT_BYTES = 1 << 30  # of maps; beyond that the network runs again


class Looks:
    """Maps and vectors of images, as `mvdefect.models.scorer.build_look` makes them.

    Vectors of all images stay in memory, maps as far as there is room.

    Args:
        run: The network, compiled.
        flips: The poses whose maps are needed.
        reserved: Ids of images whose maps, as they are, stay in memory whether there is room or not.
    """

    def __init__(
        self,
        run: Callable[[Any], Any],
        flips: Collection[Flip] = (NO_FLIP,),
        reserved: Collection[str] = frozenset(),
    ) -> None:
        self.run = run
        self.flips = flips
        self.reserved = reserved
        self.room = KEPT_BYTES
        self._maps: dict[tuple[str, Flip], np.ndarray] = {}
        self._vectors: dict[tuple[str, Flip], np.ndarray] = {}

    def look_at(self, sources: Iterable[Source], flips: Iterable[Flip] = (NO_FLIP,)) -> None:
        """Run the network on images, in one pose after the other; not again in one that it has seen."""
        passes = [(source, flip) for source in sources for flip in flips]
        passes = [one for one in passes if any((row.id, one[1]) not in self._vectors for row in one[0].rows)]
        steps = sum(source.count for source, _ in passes)
        with show_steps("looking at all images", steps) as advance:
            for source, flip in passes:
                for place, (maps, vectors) in self._run(source, flip):
                    for row, one, vector in zip(source.rows[place], maps, vectors, strict=True):
                        self._vectors[row.id, flip] = vector
                        self._keep(row.id, flip, one)
                    advance(len(vectors))

    def _keep(self, key: str, flip: Flip, maps: np.ndarray) -> None:
        is_reserved = flip == NO_FLIP and key in self.reserved
        if flip in self.flips and (is_reserved or self.room >= maps.nbytes):
            self._maps[key, flip] = maps.copy()
            self.room -= maps.nbytes

    def iterate_maps(self, source: Source, flip: Flip = NO_FLIP) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield maps of images in a pose, with the places of these images; a batch at a time."""
        if any((row.id, flip) not in self._maps for row in source.rows):
            yield from ((place, maps) for place, (maps, _) in self._run(source, flip))
            return
        for start in range(0, source.count, BATCH_SIZE):
            place = slice(start, min(start + BATCH_SIZE, source.count))
            yield place, np.stack([self._maps[row.id, flip] for row in source.rows[place]])

    def stack_maps(self, ids: Iterable[str]) -> np.ndarray:
        """Return the maps of images that are reserved, float32 (n, h, w, c)."""
        return np.stack([self._maps[key, NO_FLIP] for key in ids])

    def stack(self, source: Source, flip: Flip = NO_FLIP) -> np.ndarray:
        """Return the vectors of images in one of the poses that were looked at, float32 (n, d)."""
        return np.stack([self._vectors[row.id, flip] for row in source.rows])

    def _run(self, source: Source, flip: Flip) -> Iterator[tuple[slice, Any]]:
        start = 0
        for labels, found in iterate_features(self.run, source, BATCH_SIZE, flip):
            yield slice(start, start + len(labels)), found
            start += len(labels)
