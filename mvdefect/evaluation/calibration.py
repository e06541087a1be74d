"""From logit and novelty to one score whose sigmoid is a probability, fitted on the validation part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from scipy.stats import norm, spearmanr

from mvdefect.evaluation.bootstrap import Bools, Floats
from mvdefect.evaluation.figures import BINS, Sample, find_bins

LOG_TEMPERATURE_BOUNDS = (-3.0, 3.0)
SMALLEST_NOVELTY = 1e-12
SMALLEST_SPREAD = 0.05  # of the logarithm of novelty; less would magnify rounding
WITHIN_ONE_DEVIATION = (0.16, 0.84)  # quantiles that no outlier moves
LEAST_SHARE = 0.2  # of the weight that a score has alone
MOST_ALIKE = 0.9  # correlation of two scores, beyond which their difference is noise
PENALTY = 1.0  # of the weight, as against the sum of log-losses


@dataclass(frozen=True)
class Calibration:
    """How a score is made: logit_weight × logit + novelty_weight × log(novelty) + bias."""

    logit_weight: float = 1.0
    novelty_weight: float = 0.0
    bias: float = 0.0

    def score(self, logits: Floats | None, novelty: Floats | None = None) -> Floats:
        """Return the calibrated logit of each image, float64 (n,).

        Args:
            logits: The classifier's, (n,); needed where they have a weight.
            novelty: Positive, (n,); needed where it has a weight.
        """
        scores: Floats = np.asarray(self.bias, np.float64)
        if self.logit_weight and logits is not None:
            scores = self.logit_weight * np.asarray(logits, np.float64) + scores
        if self.novelty_weight and novelty is not None:
            scores = scores + self.novelty_weight * _log(novelty)
        return scores


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose probability lies in one tenth: what was said and what came.

    Attributes:
        low: Lower end of the bin.
        high: Upper end of the bin.
        count: Images in it.
        mean_probability: What the inspector said on average.
        defective_share: What was true.
    """

    low: float
    high: float
    count: int
    mean_probability: float
    defective_share: float


def fit_temperature(labels: Bools, logits: Floats) -> Calibration:
    """Divide logits by the temperature with the least log-loss (Guo et al., 2017); ranks stay as they are.

    Args:
        labels: True for defective, (n,).
        logits: (n,).
    """
    if labels.all() or not labels.any():
        return Calibration()
    signed = np.where(labels, logits, -logits).astype(np.float64)

    def find_loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signed * np.exp(-log_temperature)).mean())

    found = minimize_scalar(find_loss, bounds=LOG_TEMPERATURE_BOUNDS, method="bounded")
    return Calibration(logit_weight=float(np.exp(-found.x)))


def fit_combination(labels: Bools, logits: Floats, novelty: Floats) -> Calibration | None:
    """Weigh logit and novelty as Fisher's discriminant of two scores does, by measures that no outlier moves.

    How far a score tells the classes apart is its ROC-AUC as a distance of two Gaussians. How much both say
    the same is their rank correlation within the classes. Each keeps a fifth of the weight that it would have
    alone: novelty that adds nothing on these images still notices defects of other types. A logistic
    regression makes a probability of the weighted sum. docs/experiments.md compares other rules.

    Args:
        labels: True for defective, (n,).
        logits: (n,).
        novelty: Positive, (n,).

    Returns:
        How the score is made; None where the novelty is no better than chance, or nothing can be weighed.
    """
    if labels.all() or not labels.any():
        return None
    columns = np.stack([np.asarray(logits, np.float64), _log(novelty)], axis=1)
    low, high = np.quantile(columns, WITHIN_ONE_DEVIATION, axis=0)
    if not (high > low).all():
        return None
    distances = np.array([_measure_distance(labels, column) for column in columns.T])
    if distances[1] <= 0:
        return None
    own = np.maximum(distances, 0)
    weights = np.maximum(own - _correlate(labels, columns) * own[::-1], LEAST_SHARE * own)
    shares = weights / (high - low)
    weight, bias = _regress(labels, columns @ shares)
    return Calibration(float(weight * shares[0]), float(weight * shares[1]), bias)


def _measure_distance(labels: Bools, scores: Floats) -> float:
    """Return how far apart two Gaussians of variance 1 are that have the ROC-AUC of these scores."""
    from sklearn.metrics import roc_auc_score

    least = 0.5 / len(labels)
    return float(np.sqrt(2) * norm.ppf(np.clip(roc_auc_score(labels, scores), least, 1 - least)))


def _correlate(labels: Bools, columns: Floats) -> float:
    """Return the rank correlation of two scores within the classes, from 0 to 0.9."""
    inside = [columns[labels == label] for label in (False, True)]
    found = [spearmanr(one).statistic for one in inside if len(one) > 2 and np.ptp(one, axis=0).all()]
    return float(np.clip(np.mean(found), 0, MOST_ALIKE)) if found else 0.0


def fit_line(labels: Bools, scores: Floats) -> Calibration:
    """Make a score a logit by a logistic regression, which keeps the order.

    Args:
        labels: True for defective, (n,).
        scores: (n,).

    Returns:
        How; the score as it is where labels are of one class, or where it does not rise with them.
    """
    if labels.all() or not labels.any() or not np.ptp(scores):
        return Calibration()
    weight, bias = _regress(labels, scores)
    return Calibration(weight, 0.0, bias) if weight > 0 else Calibration()


def _regress(labels: Bools, scores: Floats) -> tuple[float, float]:
    """Return weight and bias of a logistic regression on one score."""
    from sklearn.linear_model import LogisticRegression

    middle, spread = scores.mean(), scores.std()
    model = LogisticRegression(C=PENALTY).fit((scores - middle)[:, np.newaxis] / spread, labels)
    weight = float(model.coef_[0, 0] / spread)
    return weight, float(model.intercept_[0] - weight * middle)


def fit_distance(good: Floats, threshold: float) -> Calibration:
    """Put a threshold of the novelty at 0, and count from there in steps of how much good images vary.

    From what is usual for good images to what one in twenty exceeds is a rise of 2.94, the distance from the
    probability 0.05 to 0.5. No defect takes part, so the sigmoid is no calibrated probability.

    Args:
        good: Novelty of good images that nothing was fitted on, positive, (n,), n at least 1.
        threshold: A novelty.
    """
    usual, unusual = np.quantile(_log(good), [0.5, 0.95])
    weight = float(logit(0.95) / max(unusual - usual, SMALLEST_SPREAD))
    return Calibration(0.0, weight, -weight * float(_log(np.array(threshold))))


def list_reliability(sample: Sample) -> tuple[ReliabilityBin, ...]:
    """Return the bins of a reliability diagram that hold images, from low to high."""
    probabilities = expit(sample.scores)
    bins = find_bins(probabilities)
    found = []
    for number in np.unique(bins):
        inside = bins == number
        found.append(
            ReliabilityBin(
                low=float(number / BINS),
                high=float((number + 1) / BINS),
                count=int(inside.sum()),
                mean_probability=float(probabilities[inside].mean()),
                defective_share=float(sample.labels[inside].mean()),
            )
        )
    return tuple(found)


def _log(novelty: Floats) -> Floats:
    return np.log(np.maximum(np.asarray(novelty, np.float64), SMALLEST_NOVELTY))
