"""Engines of networks: pixels at working size go in, and the numbers that come out become verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import theilslopes

from mvdefect.data.images import Pixels
from mvdefect.evaluation.operating_point import OperatingPoint, parse_operating_point
from mvdefect.inspector.answers import Answer, Engine
from mvdefect.inspector.formats.format import HEATMAP, LOGIT, MEAN_NOVELTY, NOVELTY, Look
from mvdefect.inspector.places import parse_view
from mvdefect.inspector.reading import LARGEST_BATCH, make_engine

LEVELLED = (LOGIT, NOVELTY, MEAN_NOVELTY)

Levels = Mapping[str, Sequence[float]]  # by output: slope and offset


def find_levels(coarse: Look, exact: Look, images: Pixels) -> dict[str, list[float]]:
    """Fit the lines by which logit, novelty and mean novelty of a coarser network come closest to exact ones.

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
    return {name: _fit(found[name], wanted[name]) for name in LEVELLED}


def _look_at(look: Look, images: Pixels) -> dict[str, np.ndarray]:
    parts = [look(batch) for batch in _split(images)]
    return {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in LEVELLED}


def _split(images: Pixels) -> Iterator[Pixels]:
    return (images[start : start + LARGEST_BATCH] for start in range(0, len(images), LARGEST_BATCH))


def _fit(found: np.ndarray, wanted: np.ndarray) -> list[float]:
    if np.ptp(found) == 0:
        return [1.0, float(np.median(wanted) - found[0])]
    slope, offset = theilslopes(wanted, found)[:2]
    if slope <= 0:  # which would turn the order round
        slope, offset = 1.0, np.median(wanted - found)
    return [float(slope), float(offset)]


def put_level(found: Mapping[str, np.ndarray], levels: Levels) -> dict[str, np.ndarray]:
    """Return all outputs, those of LEVELLED as float64 (n,) and put right; without levels as they are."""
    level = dict(found)
    for name in LEVELLED:
        if name in found:
            slope, offset = levels.get(name, (1.0, 0.0))
            level[name] = slope * found[name].astype(np.float64) + offset
    return level


def make_network_engine(
    network: Look, manifest: Mapping[str, Any], path: Path, levels: Levels | None = None
) -> Engine:
    """Return the engine of a network in an export.

    Args:
        network: It.
        manifest: The content of the export's `inspector.json`.
        path: Where that lies.
        levels: What puts its numbers right; see `find_levels`.

    Raises:
        RunError: `inspector.json` is damaged.
    """
    point = parse_operating_point(manifest["operating_point"])
    view = parse_view(manifest, path)

    def ask(pixels: Pixels, with_heatmaps: bool) -> Iterator[Answer]:
        return decide(put_level(network(pixels), levels or {}), point, with_heatmaps)

    return make_engine(view, ask)


def decide(found: Mapping[str, np.ndarray], point: OperatingPoint, with_heatmaps: bool) -> Iterator[Answer]:
    """Reach the verdicts of what a network gave; exports of version 0.1.0 give no mean novelty."""
    logits, novelty, means = found[LOGIT], found[NOVELTY], found.get(MEAN_NOVELTY)
    labels = point.decide(logits, novelty)
    probabilities = expit(point.find_scores(logits, novelty))
    foreign = point.find_foreign(novelty, means)
    for number, label in enumerate(labels):
        yield Answer(
            str(label),
            float(probabilities[number]),
            float(novelty[number]),
            found[HEATMAP][number] if with_heatmaps else None,
            is_foreign=bool(foreign[number]),
            mean_novelty=None if means is None else float(means[number]),
        )
