"""Pooling: the scores of the images of a part become one score of the part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mvdefect.evaluation.bootstrap import CONFIDENCE, Bools, Bootstrap, Floats
from mvdefect.evaluation.calibration import Calibration, fit_line
from mvdefect.evaluation.comparison import compare_samples
from mvdefect.evaluation.figures import Sample, roc_auc

Kind = Literal["maximum", "soft maximum", "mean"]
Codes = NDArray[np.int64]

LOWEST_SCORE, HIGHEST_SCORE = (
    -80.0,
    10.0,
)  # a probability in float32, as engines give it, tells no others apart
NOVEL_SCORE = 20.0  # of a part with an image that is rejected for its novelty alone
TEMPERATURES = (0.25, 0.5, 1.0, 2.0, 4.0)
MIN_GOOD = 20  # independent good images that the scale of a view rests on
WITHIN_ONE_DEVIATION = (0.16, 0.84)
ANY_OTHER = "*"  # view


@dataclass(frozen=True)
class PartScores:
    """What the images of some parts came to, one entry per image.

    Attributes:
        scores: Those that image verdicts are reached on, (n,).
        views: From where each shows its part, (n,).
        codes: Number of the part of each, from 0, none left out, (n,).
        novel: True where an image is rejected for its novelty whatever its score, (n,).
    """

    scores: Floats
    views: NDArray[np.str_]
    codes: Codes
    novel: Bools


@dataclass(frozen=True)
class Pooling:
    """How a part's score is made of those of its images.

    Attributes:
        kind: "maximum" of the images, "soft maximum" (the logarithm of their mean exponential), or "mean".
        temperature: Of the soft maximum: near 0 it is the maximum, far above the spread of scores the mean.
        scales: Weight and offset that put the scores of each view on one scale, by view, and "*" for any
            other one; empty: scores stay as they are.
        calibration: Makes the pooled score a logit of the part.
        roc_auc: Of held-out parts; None where they lack one of the classes.
        maximum_roc_auc: The same by the maximum.
    """

    kind: Kind = "maximum"
    temperature: float = 0.0
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    calibration: Calibration = field(default_factory=Calibration)
    roc_auc: float | None = None
    maximum_roc_auc: float | None = None

    def find_scores(self, images: PartScores) -> Floats:
        """Return the score of each part, in the order of the codes, (parts,)."""
        scores = self.calibration.score(self.pool(images))
        novel = np.maximum.reduceat(*_sort(images.novel, images.codes))
        return np.where(novel, np.maximum(scores, NOVEL_SCORE), scores)

    def pool(self, images: PartScores) -> Floats:
        """Return the pooled score of each part before it is made a logit, (parts,)."""
        levelled = self._level(np.clip(images.scores, LOWEST_SCORE, HIGHEST_SCORE), images.views)
        scores, starts = _sort(levelled, images.codes)
        counts = np.diff(np.append(starts, len(scores)))
        if self.kind == "mean":
            return np.asarray(np.add.reduceat(scores, starts) / counts)
        highest = np.maximum.reduceat(scores, starts)
        if self.kind == "maximum":
            return np.asarray(highest)
        below = np.exp((scores - np.repeat(highest, counts)) / self.temperature)
        means = np.add.reduceat(below, starts) / counts
        return np.asarray(highest + self.temperature * np.log(means))

    def _level(self, scores: Floats, views: NDArray[np.str_]) -> Floats:
        if not self.scales:
            return scores
        other = self.scales[ANY_OTHER]
        lines = np.array([self.scales.get(str(view), other) for view in views], np.float64)
        return lines[:, 0] * scores + lines[:, 1]


def choose_pooling(images: PartScores, defective: Bools, groups: Codes) -> Pooling:
    """Choose how scores are pooled, on parts that nothing was trained on.

    It is the maximum unless the best of all others has a ROC-AUC of parts that is higher by more than the
    standard error of the difference (the rule of one standard error; Breiman et al., 1984): with few parts
    the winner among many is mostly luck. Of parts of one class nothing can be learned, so it is the maximum.

    Args:
        images: Their scores.
        defective: Which parts are defective, (parts,).
        groups: Code of the group of each part, (parts,).
    """
    maximum = Pooling()
    if defective.all() or not defective.any():
        return maximum
    ones = np.ones((1, len(defective)))

    def measure(pooling: Pooling) -> tuple[Sample, float]:
        sample = Sample(defective, pooling.pool(images), np.zeros_like(defective), groups)
        return sample, float(roc_auc(sample, ones)[0])

    simplest, reached = measure(maximum)
    found = [(pooling, *measure(pooling)) for pooling in _list_poolings(images, defective, groups)]
    best, sample, higher = max(found, key=lambda one: one[2])
    chosen = maximum
    if higher > reached:
        gain = compare_samples(sample, simplest, roc_auc, Bootstrap(groups))
        if gain.value > (gain.high - gain.low) / (2 * float(norm.ppf((1 + CONFIDENCE) / 2))):
            chosen = best
    area = higher if chosen is best else reached
    calibration = fit_line(defective, chosen.pool(images))
    return replace(chosen, calibration=calibration, roc_auc=area, maximum_roc_auc=reached)


def _list_poolings(images: PartScores, defective: Bools, groups: Codes) -> Iterator[Pooling]:
    """Yield all ways of pooling, the simple ones first."""
    scales = find_scales(images, defective, groups)
    for scaled in ({}, scales) if scales else ({},):
        yield Pooling(scales=scaled)
        yield from (Pooling("soft maximum", degree, scaled) for degree in TEMPERATURES)
        yield Pooling("mean", scales=scaled)


def find_scales(images: PartScores, defective: Bools, groups: Codes) -> dict[str, tuple[float, float]]:
    """Find what puts each view on one scale, by the images of good parts.

    Each view gets the median and the spread that good images of all views have together.

    Returns:
        Weight and offset by view; empty where there is one view, or a view has too few good images, or all of
        them have one score.
    """
    scores = np.clip(images.scores, LOWEST_SCORE, HIGHEST_SCORE)
    good = ~defective[images.codes]
    names = np.unique(images.views)
    middle, spread = _describe(scores[good])
    lines: dict[str, tuple[float, float]] = {}
    for name in names:
        chosen = good & (images.views == name)
        if len(np.unique(groups[images.codes[chosen]])) < MIN_GOOD:
            return {}
        own_middle, own_spread = _describe(scores[chosen])
        if not own_spread > 0:
            return {}
        weight = spread / own_spread
        lines[str(name)] = (weight, middle - weight * own_middle)
    if len(lines) < 2:
        return {}
    weights, offsets = np.median(list(lines.values()), axis=0)
    return {**lines, ANY_OTHER: (float(weights), float(offsets))}


def _describe(scores: Floats) -> tuple[float, float]:
    """Return the median of scores, and half of what two thirds of them lie within."""
    low, middle, high = np.quantile(scores, [WITHIN_ONE_DEVIATION[0], 0.5, WITHIN_ONE_DEVIATION[1]])
    return float(middle), float(high - low) / 2


def number_parts(names: Sequence[str]) -> Codes:
    """Number names from 0, by first appearance."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)


def _sort(values: NDArray[np.generic], codes: Codes) -> tuple[NDArray[np.generic], Codes]:
    """Return values by their part, and where each part begins."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return values[order], starts
