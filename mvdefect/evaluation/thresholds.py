"""Operating point: the threshold, what chose it, and on which images; never on the test part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from mvdefect.evaluation.metrics import Bools, Floats

MAX_FALSE_ALARM_RATE = 0.05
MAX_NOVEL_RATE = 0.02


@dataclass(frozen=True)
class OperatingPoint:
    """Where 'defective' begins.

    Attributes:
        logit: An image is called defective when its logit is at least this.
        probability: The same as a probability.
        contract: What the threshold was chosen by.
        part: The part that it was chosen on.
        achieved: What the contract's figure came to on that part.
        novelty: An image is called novel when its novelty is at least this.
        verdict: "classifier": the logit decides; "either": what is novel is called defective as well.
    """

    logit: float
    probability: float
    contract: str
    part: str
    achieved: float
    novelty: float = float("inf")
    verdict: str = "classifier"

    def find_defective(self, logits: Floats, novelty: Floats, verdict: str | None = None) -> Bools:
        """Return which images are called defective.

        Args:
            logits: One an image, (n,).
            novelty: One an image, (n,).
            verdict: "classifier", "novelty" or "either"; None: that of the operating point.
        """
        scored, novel = logits >= self.logit, novelty >= self.novelty
        by_verdict = {"classifier": scored, "novelty": novel, "either": scored | novel}
        return np.asarray(by_verdict[verdict or self.verdict], bool)


def choose_threshold(labels: Bools, logits: Floats, part: str) -> OperatingPoint:
    """Choose by F1, or by false alarms where there is no defective image to choose by.

    Args:
        labels: True for defective.
        logits: One an image.
        part: Name of the part, for the record.
    """
    if labels.any():
        return choose_max_f1(labels, logits, part)
    return choose_max_false_alarms(logits, part)


def choose_max_false_alarms(
    logits: Floats, part: str, max_rate: float = MAX_FALSE_ALARM_RATE
) -> OperatingPoint:
    """Choose the lowest threshold at which at most a share of good images is called defective.

    Args:
        logits: Those of good images; at least one.
        part: Name of the part, for the record.
        max_rate: That share, 0 to 1.
    """
    logit = _find_upper_threshold(logits, max_rate)
    rate = float((logits >= logit).mean())
    return OperatingPoint(logit, float(expit(logit)), f"max-fpr {max_rate:g}", part, rate)


def choose_max_novelty(novelty: Floats, max_rate: float = MAX_NOVEL_RATE) -> float:
    """Choose the lowest novelty at which at most a share of good images is called novel.

    Args:
        novelty: That of good images which the score was not fitted on; at least one.
        max_rate: That share, 0 to 1.
    """
    return _find_upper_threshold(novelty, max_rate)


def _find_upper_threshold(scores: Floats, max_rate: float) -> float:
    """Find the lowest threshold that at most a share of scores reaches, halfway between two of them."""
    ranked = np.sort(scores)[::-1]
    highest_left = ranked[int(max_rate * len(ranked))]
    above = ranked[ranked > highest_left]
    return float((above.min() + highest_left) / 2) if len(above) else float(highest_left) + 1e-3


def choose_max_f1(labels: Bools, logits: Floats, part: str) -> OperatingPoint:
    """Choose the threshold with the highest F1.

    The threshold lies halfway between two neighbouring logits, so that rounding cannot tip an image
    over. Among equals the lowest one wins: it misses the fewest defects.

    Args:
        labels: True for defective; at least one is.
        logits: One an image.
        part: Name of the part, for the record.
    """
    order = np.argsort(-logits, kind="stable")
    ranked = logits[order]
    hits = np.cumsum(labels[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + labels.sum())
    last_of_its_score = np.concatenate([np.diff(ranked) < 0, [True]])
    f1 = np.where(last_of_its_score, f1, -1.0)
    index = int(np.flatnonzero(f1 == f1.max())[-1])
    logit = _middle(ranked, index)
    return OperatingPoint(logit, float(expit(logit)), "f1", part, float(f1[index]))


def _middle(ranked: NDArray[np.float64], index: int) -> float:
    """Halfway between the last logit that is called defective and the next one down."""
    if index + 1 == len(ranked):
        return float(ranked[index]) - 1e-3
    return float((ranked[index] + ranked[index + 1]) / 2)
