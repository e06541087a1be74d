"""Figures of merit and their confidence intervals by group bootstrap.

Every figure is computed for a matrix of image weights, one row a bootstrap replicate, so that a
thousand replicates cost about as much as one. Images of one group (near-duplicates) are drawn or left
out together: they are not independent evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

REPLICATES = 2000
CONFIDENCE = 0.95
FEW_GROUPS = 20
BLOCK_ELEMENTS = 4_000_000

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


@dataclass(frozen=True)
class Sample:
    """What figures are computed from, one entry an image.

    Attributes:
        labels: True for defective.
        scores: Logit or any other score that rises with suspicion.
        verdicts: True where the inspector says 'defective'.
        groups: Code of the group of each image.
        reviewed: True in the grey zone, where a person decides; such an image counts neither as caught
            nor as missed, neither as passed nor as a false alarm. None: there is no grey zone.
    """

    labels: Bools
    scores: Floats
    verdicts: Bools
    groups: NDArray[np.int64]
    reviewed: Bools | None = None

    @property
    def decided(self) -> Bools:
        """True where the inspector itself decides."""
        return np.ones_like(self.labels) if self.reviewed is None else ~self.reviewed

    def select(self, mask: Bools) -> Sample:
        """Return the images where `mask` is true."""
        reviewed = None if self.reviewed is None else self.reviewed[mask]
        return Sample(self.labels[mask], self.scores[mask], self.verdicts[mask], self.groups[mask], reviewed)


Metric = Callable[[Sample, Floats], Floats]  # (sample, weights (r, n)) -> values (r,)


def accuracy(sample: Sample, weights: Floats) -> Floats:
    """Share of images with the right verdict."""
    return _share(sample.verdicts == sample.labels, DENOMINATORS[accuracy](sample), weights)


def recall(sample: Sample, weights: Floats) -> Floats:
    """Share of defective images that are caught."""
    return _share(sample.verdicts, DENOMINATORS[recall](sample), weights)


def specificity(sample: Sample, weights: Floats) -> Floats:
    """Share of good images that pass."""
    return _share(~sample.verdicts, DENOMINATORS[specificity](sample), weights)


def false_alarm_rate(sample: Sample, weights: Floats) -> Floats:
    """Share of good images that are called defective."""
    return _share(sample.verdicts, DENOMINATORS[false_alarm_rate](sample), weights)


def precision(sample: Sample, weights: Floats) -> Floats:
    """Share of images called defective that are; 0 where none is called so."""
    return _share(sample.labels, DENOMINATORS[precision](sample), weights, empty=0.0)


def balanced_accuracy(sample: Sample, weights: Floats) -> Floats:
    """Mean of recall and specificity."""
    return (recall(sample, weights) + specificity(sample, weights)) / 2


def f1_score(sample: Sample, weights: Floats) -> Floats:
    """Harmonic mean of precision and recall; NaN where nothing is defective or called so."""
    hits = true_positives(sample, weights)
    wrong = false_positives(sample, weights) + false_negatives(sample, weights)
    return _divide(2 * hits, 2 * hits + wrong, np.nan)


def matthews_correlation(sample: Sample, weights: Floats) -> Floats:
    """Correlation of verdict and truth (Matthews, 1975), -1 to 1; 0 where one of the two never changes."""
    hits, passed = true_positives(sample, weights), true_negatives(sample, weights)
    alarms, missed = false_positives(sample, weights), false_negatives(sample, weights)
    spread = (hits + alarms) * (hits + missed) * (passed + alarms) * (passed + missed)
    return _divide(hits * passed - alarms * missed, np.sqrt(spread), 0.0)


def majority_rate(sample: Sample, weights: Floats) -> Floats:
    """Accuracy of always naming the class that is more frequent."""
    share = _share(sample.labels, DENOMINATORS[majority_rate](sample), weights)
    return np.maximum(share, 1 - share)


def true_positives(sample: Sample, weights: Floats) -> Floats:
    """Number of defective images that are caught."""
    return np.asarray(weights @ (sample.decided & sample.labels & sample.verdicts))


def false_positives(sample: Sample, weights: Floats) -> Floats:
    """Number of good images that are called defective."""
    return np.asarray(weights @ (sample.decided & ~sample.labels & sample.verdicts))


def true_negatives(sample: Sample, weights: Floats) -> Floats:
    """Number of good images that pass."""
    return np.asarray(weights @ (sample.decided & ~(sample.labels | sample.verdicts)))


def false_negatives(sample: Sample, weights: Floats) -> Floats:
    """Number of defective images that are missed."""
    return np.asarray(weights @ (sample.decided & sample.labels & ~sample.verdicts))


def roc_auc(sample: Sample, weights: Floats) -> Floats:
    """Area under the ROC curve: how often a defective image scores above a good one; ties count half."""
    bad, good = _weigh_scores(sample, weights)
    good_below = np.cumsum(good, axis=1) - good
    wins = (bad * (good_below + good / 2)).sum(axis=1)
    return _divide(wins, bad.sum(axis=1) * good.sum(axis=1), np.nan)


def average_precision(sample: Sample, weights: Floats) -> Floats:
    """Precision averaged over the defective images, each at its own score (no interpolation)."""
    bad, good = _weigh_scores(sample, weights)
    bad, good = bad[:, ::-1], good[:, ::-1]
    hits = np.cumsum(bad, axis=1)
    precisions = _divide(hits, hits + np.cumsum(good, axis=1), 0.0)
    return _divide((precisions * bad).sum(axis=1), bad.sum(axis=1), np.nan)


# What a share is a share of. Where that is few groups, its interval is Wilson's.
DENOMINATORS: dict[Metric, Callable[[Sample], Bools]] = {
    accuracy: lambda sample: sample.decided,
    recall: lambda sample: sample.labels & sample.decided,
    specificity: lambda sample: ~sample.labels & sample.decided,
    false_alarm_rate: lambda sample: ~sample.labels & sample.decided,
    precision: lambda sample: sample.verdicts & sample.decided,
    majority_rate: lambda sample: np.ones_like(sample.labels),
}
METRICS: dict[str, Metric] = {
    "roc_auc": roc_auc,
    "average_precision": average_precision,
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "precision": precision,
    "recall": recall,
    "specificity": specificity,
    "false_alarm_rate": false_alarm_rate,
    "f1": f1_score,
    "mcc": matthews_correlation,
    "majority_rate": majority_rate,
}
COUNTS: dict[str, Metric] = {
    "true_positive": true_positives,
    "false_positive": false_positives,
    "true_negative": true_negatives,
    "false_negative": false_negatives,
}


def measure(sample: Sample, metric: Metric, seed: int = 0, replicates: int = REPLICATES) -> Figure:
    """Compute a figure and its 95% interval; see `bootstrap`.

    Args:
        sample: The images.
        metric: One of this module's functions.
        seed: Seed of the draws.
        replicates: How many draws.
    """
    if metric in DENOMINATORS:
        denominator = DENOMINATORS[metric](sample)
        value = float(metric(sample, np.ones((1, len(sample.labels))))[0])
        if figure := _find_wilson(value, sample.groups[denominator]):
            return figure
    return bootstrap(lambda weights: metric(sample, weights), sample.groups, False, seed, replicates)


def bootstrap(
    compute: Callable[[Floats], Floats],
    groups: NDArray[np.int64],
    is_share: bool,
    seed: int = 0,
    replicates: int = REPLICATES,
    tail: float = (1 - CONFIDENCE) / 2,
) -> Figure:
    """Compute a figure and its 95% percentile interval by group bootstrap (Efron, 1979).

    A share of few groups, or one that every replicate gives alike (all caught, none missed), has Wilson's
    interval (1927) instead, with a group as one observation: the bootstrap would know too little
    uncertainty.

    Args:
        compute: From weights of the images (r, n), one row a replicate, to the figure of each (r,).
        groups: Code of the group of each image.
        is_share: Whether the figure is a share of just these images.
        seed: Seed of the draws.
        replicates: How many draws.
        tail: Share of the draws beyond each end of the interval.
    """
    value = float(compute(np.ones((1, len(groups))))[0])
    if is_share and (figure := _find_wilson(value, groups)):
        return figure
    drawn = [compute(block) for block in _draw_weights(groups, seed, replicates)]
    draws = np.concatenate(drawn) if drawn else np.empty(0)
    draws = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not len(draws):
        return Figure(value, float("nan"), float("nan"))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Figure(value, float(low), float(high))


def _find_wilson(value: float, groups: NDArray[np.int64]) -> Figure | None:
    """Return a share with Wilson's interval where the bootstrap would know too little; otherwise None."""
    count = len(np.unique(groups))
    if not count or not np.isfinite(value) or (count >= FEW_GROUPS and 0 < value < 1):
        return None
    return Figure(value, *wilson_interval(value, count), "Wilson on groups")


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95% score interval of a share that was seen in `count` independent trials."""
    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def _draw_weights(groups: NDArray[np.int64], seed: int, replicates: int) -> Iterator[Floats]:
    """Yield blocks of replicates: how often each image was drawn, (r, n)."""
    _, code = np.unique(groups, return_inverse=True)
    count = int(code.max()) + 1 if len(code) else 0
    rng = np.random.default_rng(seed)
    rows = max(1, BLOCK_ELEMENTS // max(1, len(code)))
    for start in range(0, replicates if count else 0, rows):
        size = min(rows, replicates - start)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=size)
        yield drawn[:, code].astype(np.float64)


def _weigh_scores(sample: Sample, weights: Floats) -> tuple[Floats, Floats]:
    """Sum the weights of defective and of good images at each distinct score, scores rising."""
    order = np.argsort(sample.scores, kind="stable")
    scores, labels = sample.scores[order], sample.labels[order]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores) > 0]))
    ordered = weights[:, order]
    bad = np.add.reduceat(ordered * labels, starts, axis=1)
    good = np.add.reduceat(ordered * ~labels, starts, axis=1)
    return bad, good


def _share(hit: Bools, among: Bools, weights: Floats, empty: float = np.nan) -> Floats:
    return _divide(weights @ (hit & among), weights @ among, empty)


def _divide(numerator: Floats, denominator: Floats, otherwise: float) -> Floats:
    filled = np.full(np.broadcast(numerator, denominator).shape, otherwise)
    np.divide(numerator, denominator, out=filled, where=denominator > 0)
    return filled
