"""The difference between two inspectors on the same photographs, with its paired interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from mvdefect.core.errors import RunError
from mvdefect.evaluation.bootstrap import CONFIDENCE, FEW_GROUPS, REPLICATES, Bootstrap, Figure, Floats
from mvdefect.evaluation.figures import DENOMINATORS, NEED_DEFECTS, UNKNOWN, Metric, Sample, measure, roc_auc


def compare_samples(sample: Sample, other: Sample, metric: Metric, draws: Bootstrap | None = None) -> Figure:
    """Compute by how much a figure of one inspector is above that of another.

    Both are measured in every replicate of one group bootstrap (Efron, 1979), so that what makes a replicate
    hard for both does not count. Where the bootstrap knows too little uncertainty (a share of few groups, or
    replicates that all agree), Wilson's intervals of the two shares or ROC-AUCs are joined as by Newcombe
    (1998), with a group as one observation.

    Args:
        sample: The images as one inspector judges them.
        other: The same images, in the same order, as the other judges them.
        metric: One of those in `mvdefect.evaluation.figures`.
        draws: Of the groups of these images, where other figures use them too; None: they are drawn.

    Returns:
        Figure of `sample` less that of `other`.

    Raises:
        RunError: The two are not of the same images.
    """
    _check_pair(sample, other)
    if metric in NEED_DEFECTS and not sample.labels.any():
        return UNKNOWN

    def subtract(_: Sample, weights: Floats) -> Floats:
        return metric(sample, weights) - metric(other, weights)

    draws = draws or Bootstrap(sample.groups)
    difference = measure(sample, subtract, draws)
    if _is_too_sure(sample, other, metric, difference):
        return _join(measure(sample, metric, draws), measure(other, metric, draws))
    return difference


def compare_repeats(
    folds: Sequence[Sequence[tuple[Sample, Sample]]],
    metric: Metric,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Figure:
    """Compute by how much a figure is above another's, on average over repeated trainings and folds.

    In every replicate of one group bootstrap all trainings are measured on the images drawn, each on those of
    its fold, and their differences are averaged. So the interval tells what other photographs would change;
    by how much trainings differ is told by their spread. Folds of several draws may share groups: a group
    counts as often in each of them, and once as evidence.

    The percentiles are expanded for few groups (Hesterberg, 2015): by Student's t and the bias of a standard
    deviation, for the class that has fewer. With one group a fold of a class nothing can be said, and the
    interval goes from -1 to 1.

    Args:
        folds: For each fold, for each training, the images as one inspector judges them and as the other
            does. A group has one code in all of them.
        metric: One of those in `mvdefect.evaluation.figures`.
        seed: Seed of the draws.
        replicates: How many draws.

    Returns:
        Mean of the first less that of the second.

    Raises:
        RunError: Samples of one fold are not of the same images.
    """
    for pairs in folds:
        for pair in pairs:
            _check_pair(pairs[0][0], pair[0])
            _check_pair(*pair)
    firsts = [pairs[0][0] for pairs in folds]
    ends = np.cumsum([len(sample.labels) for sample in firsts])
    groups = np.concatenate([sample.groups for sample in firsts])

    def subtract(weights: Floats) -> Floats:
        parts = np.split(weights, ends[:-1], axis=1)
        differences = [
            metric(sample, part) - metric(other, part)
            for pairs, part in zip(folds, parts, strict=True)
            for sample, other in pairs
        ]
        return np.asarray(np.mean(differences, axis=0))

    labels = np.concatenate([sample.labels for sample in firsts])
    draws = sum(len(np.unique(sample.groups)) for sample in firsts) / len(np.unique(groups))
    fewest = min(len(np.unique(groups[labels == label])) for label in (True, False))
    count = fewest - round(len(folds) / draws) + 1
    if count < 2:
        return Figure(float(subtract(np.ones((1, len(groups))))[0]), -1.0, 1.0, "unknown: too few groups")
    return Bootstrap(groups, seed, replicates).settle(subtract, tail=_expand_tail(count))


def _expand_tail(count: int) -> float:
    """Return the share beyond each end of a 95% percentile interval of so many independent observations."""
    half = math.sqrt(count / (count - 1)) * float(student.ppf((1 + CONFIDENCE) / 2, count - 1))
    return float(norm.cdf(-half))


def _check_pair(sample: Sample, other: Sample) -> None:
    alike = len(sample.labels) == len(other.labels)
    if not (
        alike and np.array_equal(sample.labels, other.labels) and np.array_equal(sample.groups, other.groups)
    ):
        raise RunError(
            "two inspectors can be compared on the same images in the same order alone. "
            f"Received: {len(sample.labels)} and {len(other.labels)} images"
            + (", with other labels or groups" if alike else "")
        )


def _is_too_sure(sample: Sample, other: Sample, metric: Metric, difference: Figure) -> bool:
    if metric not in DENOMINATORS:
        return metric is roc_auc and difference.low == difference.high
    if difference.low == difference.high:
        return True
    groups = [np.unique(one.groups[DENOMINATORS[metric](one)]) for one in (sample, other)]
    return min(len(found) for found in groups) < FEW_GROUPS


def _join(first: Figure, second: Figure) -> Figure:
    """Subtract two shares and join their intervals by the root of squares, as if they were independent."""
    difference = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    low, high = max(-1.0, difference - below), min(1.0, difference + above)
    return Figure(difference, low, high, "Newcombe on groups")
