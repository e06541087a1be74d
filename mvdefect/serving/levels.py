"""Levels: what coarser numbers shift and stretch in logit and novelty, put right by validation images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy.stats import theilslopes

from mvdefect.serving.formats.kinds import LOGIT, NOVELTY, Look, Pixels

BATCH = 32
LEVELLED = (LOGIT, NOVELTY)

Levels = Mapping[str, Sequence[float]]  # by output: slope and offset


def find_levels(coarse: Look, exact: Look, images: Pixels) -> dict[str, list[float]]:
    """Fit, for logit and novelty, the line by which a coarser network comes closest to the exact one.

    It is that of Theil and Sen, the median of the slopes of all pairs, which a few photographs that a
    network makes nothing sensible of do not move (Sen, 1968; by SciPy).

    Args:
        coarse: A network of fewer bits.
        exact: The same in float32.
        images: uint8 (n, size, size, 3); none that anything is measured on.

    Returns:
        Slope and offset by the name of the output; a slope of 1 where all images look alike to it.
    """
    found, wanted = _look_at(coarse, images), _look_at(exact, images)
    return {name: _fit(x, y) for name, x, y in zip(LEVELLED, found, wanted, strict=True)}


def _look_at(look: Look, images: Pixels) -> tuple[np.ndarray, ...]:
    parts = [look(batch)[: len(LEVELLED)] for batch in _split(images)]
    return tuple(np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True))


def _split(images: Pixels) -> Iterator[Pixels]:
    return (images[start : start + BATCH] for start in range(0, len(images), BATCH))


def _fit(found: np.ndarray, wanted: np.ndarray) -> list[float]:
    if np.ptp(found) == 0:
        return [1.0, float(np.median(wanted) - found[0])]
    slope, offset = theilslopes(wanted, found)[:2]
    if slope <= 0:  # which would turn the order round
        slope, offset = 1.0, np.median(wanted - found)
    return [float(slope), float(offset)]


def put_level(found: tuple[np.ndarray, ...], levels: Levels) -> tuple[np.ndarray, ...]:
    """Return logits and novelties, float64 (n,) each, put right; without levels as they are."""
    lines = [levels.get(name, (1.0, 0.0)) for name in LEVELLED]
    return tuple(slope * values + offset for values, (slope, offset) in zip(found, lines, strict=True))
