"""The 95% interval of a figure, by a group bootstrap that is drawn once for all figures of the same images.

Every figure is computed for a matrix of image weights, one row a replicate, so that a thousand replicates
cost about as much as one. Images of one group (near-duplicates) are drawn or left out together: they are
not independent evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

REPLICATES = 2000
CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2
FEW_GROUPS = 20
BLOCK_ELEMENTS = 250_000  # 2 MB, which a processor's cache holds
KEPT_ELEMENTS = 4_000_000

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Figure:
    """A figure and its 95% interval.

    Attributes:
        value: The figure on the images themselves; NaN where it is not defined.
        low: Lower end of the interval.
        high: Upper end of the interval.
        method: How the interval was found.
    """

    value: float
    low: float
    high: float
    method: str = "group bootstrap"


class Bootstrap:
    """The draws of one group bootstrap (Efron, 1979), made once, however many figures use them."""

    def __init__(self, groups: NDArray[np.int64], seed: int = 0, replicates: int = REPLICATES) -> None:
        """Draw nothing yet.

        Args:
            groups: Code of the group of each image, (n,).
            seed: Seed of the draws.
            replicates: How many draws.
        """
        self.groups = groups
        self._seed, self._replicates = seed, replicates
        _, self._code = np.unique(groups, return_inverse=True)
        self._drawn: list[NDArray[np.unsignedinteger]] = []
        self._blocks: list[Floats] = []

    def settle(
        self, compute: Callable[[Floats], Floats], is_share: bool = False, tail: float = TAIL
    ) -> Figure:
        """Return a figure and its 95% percentile interval.

        A share of few groups, or one that every replicate gives alike (all caught, none missed), has Wilson's
        interval (1927) instead, with a group as one observation: the bootstrap would know too little
        uncertainty.

        Args:
            compute: From weights of the images (r, n), one row a replicate, to the figure of each (r,).
            is_share: Whether the figure is a share of just these images.
            tail: Share of the draws beyond each end of the interval.
        """
        value = float(compute(np.ones((1, len(self.groups))))[0])
        if is_share and (figure := find_wilson(value, self.groups)):
            return figure
        found = [compute(block) for block in self._list_weights()]
        draws = np.concatenate(found) if found else np.empty(0)
        draws = draws[np.isfinite(draws)]
        if not np.isfinite(value) or not len(draws):
            return Figure(value, float("nan"), float("nan"))
        low, high = np.quantile(draws, [tail, 1 - tail])
        return Figure(value, float(low), float(high))

    def _list_weights(self) -> Iterator[Floats]:
        """Yield blocks of replicates: how often each image was drawn, (r, n)."""
        if self._blocks:
            yield from self._blocks
            return
        self._drawn = self._drawn or list(self._draw())
        blocks: Iterable[Floats] = (drawn[:, self._code].astype(np.float64) for drawn in self._drawn)
        if self._replicates * len(self.groups) <= KEPT_ELEMENTS:
            blocks = self._blocks = list(blocks)
        yield from blocks

    def _draw(self) -> Iterator[NDArray[np.unsignedinteger]]:
        """Yield how often each group was drawn, (r, groups), in as few bytes as that takes."""
        count = int(self._code.max()) + 1 if len(self._code) else 0
        rng = np.random.default_rng(self._seed)
        rows = max(1, BLOCK_ELEMENTS // max(1, len(self._code)))
        for start in range(0, self._replicates if count else 0, rows):
            size = min(rows, self._replicates - start)
            drawn = rng.multinomial(count, np.full(count, 1 / count), size=size)
            yield drawn.astype(np.min_scalar_type(drawn.max()))


def find_wilson(value: float, groups: NDArray[np.int64]) -> Figure | None:
    """Return a share with Wilson's interval where the bootstrap would know too little; otherwise None."""
    count = len(np.unique(groups))
    if not count or not np.isfinite(value) or (count >= FEW_GROUPS and 0 < value < 1):
        return None
    return Figure(value, *wilson_interval(value, count), "Wilson on groups")


def wilson_interval(share: float, count: float) -> tuple[float, float]:
    """Return Wilson's 95% score interval of a share that was seen in `count` independent trials."""
    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
