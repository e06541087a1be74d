"""Figures of merit: what each is called, how it is computed, where it is shown; a new one is added here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from mvdefect.evaluation.bootstrap import Bools, Bootstrap, Figure, Floats, find_wilson, wilson_interval

TINY = np.finfo(np.float64).tiny
UNKNOWN = Figure(np.nan, np.nan, np.nan, "no image is defective")
LOW_RATE = 0.02  # of false alarms
BINS = 10  # of probability, for the calibration error


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
    return _share(sample.verdicts == sample.labels, _list_decided(sample), weights)


def recall(sample: Sample, weights: Floats) -> Floats:
    """Share of defective images that are caught."""
    return _share(sample.verdicts, _list_defective(sample), weights)


def specificity(sample: Sample, weights: Floats) -> Floats:
    """Share of good images that pass."""
    return _share(~sample.verdicts, _list_good(sample), weights)


def false_alarm_rate(sample: Sample, weights: Floats) -> Floats:
    """Share of good images that are called defective."""
    return _share(sample.verdicts, _list_good(sample), weights)


def precision(sample: Sample, weights: Floats) -> Floats:
    """Share of images called defective that are; 0 where none is called so."""
    return _share(sample.labels, _list_called(sample), weights, empty=0.0)


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
    share = _share(sample.labels, _list_all(sample), weights)
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
    bad, good = np.flatnonzero(sample.labels), np.flatnonzero(~sample.labels)
    good = good[np.argsort(sample.scores[good], kind="stable")]
    below, up_to = (
        np.searchsorted(sample.scores[good], sample.scores[bad], side) for side in ("left", "right")
    )
    good_below = np.zeros((len(weights), len(good) + 1))
    np.cumsum(weights[:, good], axis=1, out=good_below[:, 1:])
    bad_weights = weights[:, bad]
    wins = np.einsum("ij,ij->i", bad_weights, good_below[:, below] + good_below[:, up_to]) / 2
    return _divide(wins, bad_weights.sum(axis=1) * good_below[:, -1], np.nan)


def recall_at_2_percent(sample: Sample, weights: Floats) -> Floats:
    """Share of defective images above the lowest threshold that at most 2% of the good ones reach."""
    bad, good = _weigh_scores(sample, weights)
    caught, alarms = np.cumsum(bad[:, ::-1], axis=1), np.cumsum(good[:, ::-1], axis=1)
    allowed = LOW_RATE * good.sum(axis=1, keepdims=True) + 1e-9
    return _divide(np.where(alarms <= allowed, caught, 0.0).max(axis=1), bad.sum(axis=1), np.nan)


def average_precision(sample: Sample, weights: Floats) -> Floats:
    """Precision averaged over the defective images, each at its own score (no interpolation)."""
    bad, good = _weigh_scores(sample, weights)
    bad, good = bad[:, ::-1], good[:, ::-1]
    hits = np.cumsum(bad, axis=1)
    precisions = np.empty(hits.shape)
    np.divide(hits, np.maximum(hits + np.cumsum(good, axis=1), TINY), out=precisions)
    return _divide((precisions * bad).sum(axis=1), bad.sum(axis=1), np.nan)


def brier(sample: Sample, weights: Floats) -> Floats:
    """Mean squared difference of probability and truth (Brier, 1950); 0 is perfect."""
    errors = (expit(sample.scores) - sample.labels) ** 2
    return np.asarray(weights @ errors / weights.sum(axis=1))


def expected_calibration_error(sample: Sample, weights: Floats) -> Floats:
    """Mean distance of what was said and what came over ten bins of probability (Naeini et al., 2015)."""
    probabilities = expit(sample.scores)
    inside = find_bins(probabilities)[:, np.newaxis] == np.arange(BINS)
    gaps = weights @ (inside * (probabilities - sample.labels)[:, np.newaxis])
    return np.asarray(np.abs(gaps).sum(axis=1) / weights.sum(axis=1))


def find_bins(probabilities: Floats) -> NDArray[np.int64]:
    """Return the number of the bin of each probability, 0 to 9."""
    return np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)


def _list_all(sample: Sample) -> Bools:
    return np.ones_like(sample.labels)


def _list_decided(sample: Sample) -> Bools:
    return sample.decided


def _list_defective(sample: Sample) -> Bools:
    return sample.labels & sample.decided


def _list_labelled(sample: Sample) -> Bools:
    return sample.labels


def _list_good(sample: Sample) -> Bools:
    return ~sample.labels & sample.decided


def _list_called(sample: Sample) -> Bools:
    return sample.verdicts & sample.decided


def _weigh_scores(sample: Sample, weights: Floats) -> tuple[Floats, Floats]:
    """Sum the weights of defective and of good images at each distinct score, scores rising."""
    order = np.argsort(sample.scores, kind="stable")
    scores, labels = sample.scores[order], sample.labels[order]
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores) > 0]))
    ordered = weights[:, order]
    bad, good = ordered * labels, ordered * ~labels
    if len(starts) == len(order):
        return bad, good
    return np.add.reduceat(bad, starts, axis=1), np.add.reduceat(good, starts, axis=1)


def _share(hit: Bools, among: Bools, weights: Floats, empty: float = np.nan) -> Floats:
    return _divide(weights @ (hit & among), weights @ among, empty)


def _divide(numerator: Floats, denominator: Floats, otherwise: float) -> Floats:
    filled = np.full(np.broadcast(numerator, denominator).shape, otherwise)
    np.divide(numerator, denominator, out=filled, where=denominator > 0)
    return filled


@dataclass(frozen=True)
class FigureKind:
    """A figure of merit.

    Attributes:
        name: In files.
        label: For people.
        compute: The function.
        among: Which images a share is a share of; None: it is no share. Where they are few groups, its
            interval is Wilson's.
        lower_is_better: Whether less of it is better.
        in_comparison: Whether runs are compared by it.
        in_grid: Whether `mvdefect benchmark` lists it.
        meaning: What a model card says of it; "" for nothing.
        of_good: Whether it is defined by good images alone; no other figure is where no image is defective.
    """

    name: str
    label: str
    compute: Metric
    among: Callable[[Sample], Bools] | None = None
    lower_is_better: bool = False
    in_comparison: bool = False
    in_grid: bool = False
    meaning: str = ""
    of_good: bool = False


FIGURES = {
    kind.name: kind
    for kind in (
        FigureKind("roc_auc", "ROC-AUC", roc_auc, in_comparison=True, in_grid=True, meaning="ROC-AUC"),
        FigureKind(
            "average_precision", "average precision", average_precision, in_comparison=True, in_grid=True
        ),
        FigureKind("accuracy", "accuracy", accuracy, _list_decided, in_grid=True, meaning="accuracy"),
        FigureKind("balanced_accuracy", "balanced accuracy", balanced_accuracy),
        FigureKind(
            "precision",
            "precision",
            precision,
            _list_called,
            in_grid=True,
            meaning="precision: share of alarms that are right",
        ),
        FigureKind(
            "recall",
            "recall",
            recall,
            _list_defective,
            in_comparison=True,
            in_grid=True,
            meaning="recall: share of defective products that are caught",
        ),
        FigureKind("specificity", "specificity", specificity, _list_good, of_good=True),
        FigureKind(
            "false_alarm_rate",
            "false-alarm rate",
            false_alarm_rate,
            _list_good,
            lower_is_better=True,
            in_comparison=True,
            in_grid=True,
            meaning="false-alarm rate: share of good products that are rejected",
            of_good=True,
        ),
        FigureKind("f1", "F1", f1_score, in_comparison=True, in_grid=True, meaning="F1"),
        FigureKind("mcc", "Matthews correlation", matthews_correlation),
        FigureKind(
            "majority_rate",
            "always naming the larger class (accuracy)",
            majority_rate,
            _list_all,
            meaning="accuracy of always naming the larger class",
        ),
        FigureKind("brier", "Brier score", brier, lower_is_better=True, in_comparison=True),
        FigureKind("ece", "calibration error", expected_calibration_error, lower_is_better=True),
    )
}
COUNTS = {
    kind.name: kind
    for kind in (
        FigureKind("true_positive", "defective, caught", true_positives),
        FigureKind("false_negative", "defective, missed", false_negatives),
        FigureKind("true_negative", "good, passed", true_negatives),
        FigureKind("false_positive", "good, false alarm", false_positives),
    )
}
PART_FIGURES = {  # by which ways of judging parts are compared
    **{name: FIGURES[name] for name in ("roc_auc", "recall", "false_alarm_rate")},
    "recall_at_2_percent": FigureKind(
        "recall_at_2_percent", "recall at 2% false alarms", recall_at_2_percent, _list_labelled
    ),
}
KINDS = {**FIGURES, **PART_FIGURES}.values()
NEED_DEFECTS = {kind.compute for kind in KINDS if not kind.of_good}
PERFECT_AT_1 = {average_precision, balanced_accuracy, f1_score, matthews_correlation}
DENOMINATORS = {kind.compute: kind.among for kind in KINDS if kind.among is not None}


def measure(sample: Sample, metric: Metric, draws: Bootstrap | None = None) -> Figure:
    """Compute a figure and its 95% interval.

    Args:
        sample: The images.
        metric: One of this module's functions.
        draws: Of the groups of just these images, where other figures use them too; None: they are drawn.
    """
    if metric in NEED_DEFECTS and not sample.labels.any():
        return UNKNOWN
    among = DENOMINATORS.get(metric)
    if among is not None:
        value = float(metric(sample, np.ones((1, len(sample.labels))))[0])
        if figure := find_wilson(value, sample.groups[among(sample)]):
            return figure
    found = (draws or Bootstrap(sample.groups)).settle(lambda weights: metric(sample, weights))
    return _admit_doubt(found, sample, metric) if found.low == found.high else found


def _admit_doubt(found: Figure, sample: Sample, metric: Metric) -> Figure:
    """Widen the interval of a figure at its limit: replicates of images without an error have none either.

    A ROC-AUC of 0 or 1 has Wilson's interval (1927) of a share, with as many observations as the smaller of
    the two classes has groups. For the largest variance of a Mann-Whitney statistic, whatever the scores'
    distributions, is that of a share of so many (van Dantzig, 1951; Birnbaum and Klose, 1957,
    https://doi.org/10.1214/aoms/1177706794). Other figures of 1 than shares have no interval.
    """
    if metric is roc_auc and found.value in {0, 1}:
        count = min(len(np.unique(sample.groups[sample.labels == label])) for label in (True, False))
        return Figure(found.value, *wilson_interval(found.value, count), "Wilson on groups of one class")
    if metric in PERFECT_AT_1 and found.value == 1:
        return Figure(found.value, np.nan, np.nan, "no error in any replicate")
    return found
