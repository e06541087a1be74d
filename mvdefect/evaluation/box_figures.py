"""How well the boxes of suspicious regions find defects: which of them hit, and which lie on good images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvdefect.evaluation.bootstrap import REPLICATES, Bools, Bootstrap, Figure, Floats
from mvdefect.evaluation.regions import Heat, ImagePlace, RegionRule, SuspiciousRegion, find_regions


@dataclass(frozen=True)
class BoxFigures:
    """Where the boxes of suspicious regions lie.

    Attributes:
        defective: Defective images with a mask.
        hits: Share of them whose box with the highest peak holds a defective pixel.
        box_share: Median share of the image that this box takes.
        chance: How often a box of that height and width would hit, wherever it lay in its image.
        good: Good images.
        alarms: Share of them with a suspicious region.
    """

    defective: int
    hits: Figure
    box_share: float
    chance: float
    good: int
    alarms: Figure


def measure_boxes(
    maps: Collection[Heat],
    places: Sequence[ImagePlace],
    masks: Sequence[Bools],
    rule: RegionRule,
    groups: NDArray[np.int64],
    seed: int = 0,
    replicates: int = REPLICATES,
) -> BoxFigures:
    """Measure the boxes of images whose masks are known, with 95% intervals by group bootstrap.

    Args:
        maps: Heatmaps, floats (h, w).
        places: Where each image lies in its map; its height and width are those of its mask.
        masks: bool, true where defective; one without such a pixel is of a good image.
        rule: From where on a position is suspicious.
        groups: Code of the group of each image, (n,).
        seed: Seed of the bootstrap's draws.
        replicates: How many draws.
    """
    is_bad = np.array([bool(mask.any()) for mask in masks], bool)
    found = [
        find_regions(heatmap, place, rule, needs_peak=bool(bad))
        for heatmap, place, bad in zip(maps, places, is_bad, strict=True)
    ]
    caught = [(found[row][0], masks[row]) for row in np.flatnonzero(is_bad).tolist()]
    hits = np.array([holds_defect(region, mask) for region, mask in caught], np.float64)
    alarms = np.array([bool(found[row]) for row in np.flatnonzero(~is_bad)], np.float64)
    shares = [region.width * region.height / mask.size for region, mask in caught]
    chances = [find_chance(region, mask) for region, mask in caught]
    return BoxFigures(
        defective=len(caught),
        hits=_average(hits, groups[is_bad], seed, replicates),
        box_share=float(np.median(shares)) if caught else float("nan"),
        chance=float(np.mean(chances)) if caught else float("nan"),
        good=len(alarms),
        alarms=_average(alarms, groups[~is_bad], seed, replicates),
    )


def holds_defect(region: SuspiciousRegion, mask: Bools) -> bool:
    """Return whether the box of a region has a defective pixel of a mask (height, width) in it."""
    rows, columns = slice(region.y, region.y + region.height), slice(region.x, region.x + region.width)
    return bool(mask[rows, columns].any())


def find_chance(region: SuspiciousRegion, mask: Bools) -> float:
    """Return the share of all places for a box of a region's size in a mask (height, width) that hit."""
    sums = np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    down, across = region.height, region.width
    inside = sums[down:, across:] - sums[:-down, across:] - sums[down:, :-across] + sums[:-down, :-across]
    return float((inside > 0).mean())


def _average(values: Floats, groups: NDArray[np.int64], seed: int, replicates: int) -> Figure:
    if not len(values):
        return Figure(float("nan"), float("nan"), float("nan"), "none")
    draws = Bootstrap(groups, seed, replicates)
    return draws.settle(lambda weights: np.asarray((weights @ values) / weights.sum(axis=1)), is_share=True)
