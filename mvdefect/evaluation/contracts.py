"""What a threshold is chosen by: a contract in the words of those who answer for the line."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from scipy.stats import beta

from mvdefect.core.errors import ConfigError, ContractError
from mvdefect.evaluation.bootstrap import Bools, Floats
from mvdefect.evaluation.requirement import ALARMS, RECALL, Requirement, parse_requirement

CONFIDENCE = 0.9
UNMET = "cannot be met"
NO_PROMISE = "no promise for fresh images"
FORMS = (
    "f1, min-recall 0.99, max-fpr 0.01, cost 1:20 (a false alarm : a missed defect), requirement, "
    "or a probability"
)

Kind = Literal["f1", "min-recall", "max-fpr", "cost", "fixed", "requirement"]


@dataclass(frozen=True)
class Contract:
    """What the threshold must do.

    Attributes:
        kind: "fixed" is a probability that the user named.
        value: Share for min-recall and max-fpr, probability for fixed, price of a missed defect for cost.
        price: For cost: price of a false alarm.
        requirement: For requirement: what the line needs.
    """

    kind: Kind
    value: float = 0.0
    price: float = 1.0
    requirement: Requirement | None = None

    @property
    def needs_defective(self) -> bool:
        """Whether no threshold can be chosen by good images alone."""
        asked = self.requirement
        return self.kind != "max-fpr" and (asked is None or asked.get_limit(ALARMS) is None)

    def __str__(self) -> str:
        if self.kind == "requirement":
            return f"requirement ({self.requirement})"
        if self.kind == "f1":
            return "f1"
        if self.kind == "cost":
            return f"cost {self.price:g}:{self.value:g}"
        return f"{self.value:g}" if self.kind == "fixed" else f"{self.kind} {self.value:g}"


@dataclass(frozen=True)
class Choice:
    """A threshold and how far it can be trusted.

    Attributes:
        threshold: Scores of at least this are called defective.
        achieved: What the contract's figure came to on the images that it was chosen on.
        guarantee: What holds on fresh images with 90% confidence, or what it would take; "" if neither.
    """

    threshold: float
    achieved: float
    guarantee: str = ""


def parse_contract(text: str, require: str | None = None) -> Contract:
    """Read a contract.

    Args:
        text: As in `FORMS`.
        require: What the line needs; None: nothing was said.

    Raises:
        ConfigError: One of the two has no form that is known, or a number is out of range.
    """
    words = str(text).split()
    requirement = None if require is None else parse_requirement(require)
    if words[:1] == ["requirement"]:
        if len(words) > 1:  # as an operating point tells it
            requirement = parse_requirement(" ".join(words[1:]).strip("()"))
        if requirement is None:
            raise ConfigError(
                "a threshold by requirement needs one: --require 'recall 0.95, false-alarms 0.05'"
            )
        return Contract("requirement", requirement=requirement)
    try:
        if words == ["f1"]:
            return Contract("f1")
        if len(words) == 2 and words[0] in ("min-recall", "max-fpr"):
            kind: Kind = "min-recall" if words[0] == "min-recall" else "max-fpr"
            return Contract(kind, _read_share(words[1]))
        if len(words) == 2 and words[0] == "cost":
            price, miss = map(_read_price, words[1].split(":"))
            return Contract("cost", miss, price)
        if len(words) == 1:
            return Contract("fixed", _read_share(words[0]))
    except ValueError:
        pass
    raise ConfigError(f"threshold must be one of: {FORMS}. Received: {text}")


def choose_threshold(
    contract: Contract,
    labels: Bools,
    scores: Floats,
    groups: NDArray[np.int64],
    prevalence: float | None = None,
) -> Choice:
    """Choose the threshold that meets a contract on images that nothing was trained on.

    Args:
        contract: What it must do.
        labels: True for defective, (n,).
        scores: Calibrated logits, (n,).
        groups: Code of the group of each image, (n,); images of a group are one piece of evidence.
        prevalence: Share of defective products on the line, for the cost; None: that of these images.

    Raises:
        ContractError: The contract cannot be met; it names the best that can be reached.
    """
    if contract.kind == "fixed":
        return Choice(float(logit(contract.value)), contract.value)
    missing = [name for name, there in (("defective", labels.any()), ("good", (~labels).any())) if not there]
    if missing and (contract.needs_defective or missing != ["defective"]):
        raise ContractError(f"{contract} needs {missing[0]} images to choose a threshold by; there is none")
    if contract.kind == "f1":
        return _choose_f1(labels, scores)
    if contract.requirement is not None:
        return _choose_by_requirement(contract.requirement, labels, scores, groups)
    if contract.kind == "cost":
        return _choose_cost(contract, labels, scores, prevalence)
    if contract.kind == "min-recall":
        return _choose_min_recall(contract.value, labels, scores, groups)
    return _choose_max_fpr(contract.value, labels, scores, groups)


def find_upper_threshold(scores: Floats, max_rate: float) -> float:
    """Find the lowest threshold that at most a share of scores reaches, halfway between two of them.

    Args:
        scores: At least one.
        max_rate: That share, 0 to 1.
    """
    ranked = np.sort(scores)[::-1]
    if (allowed := int(max_rate * len(ranked) + 1e-9)) >= len(ranked):
        return float(ranked[-1]) - 1e-3
    above = ranked[ranked > ranked[allowed]]
    return float((above.min() + ranked[allowed]) / 2) if len(above) else float(ranked[allowed]) + 1e-3


def count_needed(max_rate: float) -> int:
    """Return how many independent images it takes to promise a rate with 90% confidence.

    With n images none of which is beyond the threshold, the rate is below 1 - 0.1^(1/n) (Wilks, 1941).
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-max_rate))


def _choose_f1(labels: Bools, scores: Floats) -> Choice:
    """Among equals the lowest threshold wins: it misses the fewest defects."""
    ranked, hits, called = _rank(labels, scores)
    f1 = 2 * hits / (called + labels.sum())
    index = int(np.flatnonzero(f1 == f1.max())[-1])
    return Choice(_find_middle(ranked, index), float(f1[index]))


def _choose_cost(contract: Contract, labels: Bools, scores: Floats, prevalence: float | None) -> Choice:
    """Choose the least mean cost a product; calling none defective is among the choices."""
    share = labels.mean() if prevalence is None else prevalence
    ranked, hits, called = _rank(labels, scores)
    alarms = np.concatenate([[0.0], (called - hits) / (~labels).sum()])
    missed = np.concatenate([[1.0], 1 - hits / labels.sum()])
    costs = contract.price * (1 - share) * alarms + contract.value * share * missed
    index = int(np.flatnonzero(costs <= costs.min() * (1 + 1e-12))[-1])
    threshold = _find_middle(ranked, index - 1) if index else float(ranked[0]) + 1e-3
    return Choice(threshold, float(costs[index]))


def _choose_min_recall(recall: float, labels: Bools, scores: Floats, groups: NDArray[np.int64]) -> Choice:
    """Let at most so many defective images pass, and promise it where there are enough of them.

    The promise counts a group as caught when all of it is: the k-th lowest of n independent scores has
    at most a share p of fresh ones below it with confidence Beta(k, n - k + 1).cdf(p) (Wilks, 1941).
    """
    defective, good, allowed = scores[labels], scores[~labels], 1 - recall
    worst = np.sort(_reduce(defective, groups[labels], np.minimum))
    rank = _find_tolerance_rank(len(worst), allowed)
    if rank and (good < worst[rank - 1]).any():
        lowest_caught = worst[rank - 1]
        guarantee = f"recall of at least {recall:g} on fresh images like these, with 90% confidence"
    else:
        lowest_caught = np.sort(defective)[int(allowed * len(defective) + 1e-9)]
        best = math.floor((1 - CONFIDENCE) ** (1 / len(worst)) * 1000) / 1000
        guarantee = (
            f"{NO_PROMISE}: {len(worst)} independent defective ones can promise min-recall "
            f"{best:g} at most; {count_needed(allowed) - len(worst)} more are needed"
        )
        if rank:
            guarantee = f"{NO_PROMISE}: to hold with 90% confidence there, it would reject every good one"
    threshold = _step_below(lowest_caught, scores)
    if not (good < threshold).any():
        reachable = float((defective > good.min()).mean())
        raise ContractError(
            f"min-recall {recall:g} {UNMET}: every good validation image would be rejected. "
            f"The highest recall at which one passes is {reachable:.3f}"
        )
    return Choice(threshold, float((defective >= threshold).mean()), guarantee)


def _choose_max_fpr(rate: float, labels: Bools, scores: Floats, groups: NDArray[np.int64]) -> Choice:
    """Let at most so many good images be rejected, and promise it where there are enough of them."""
    good, defective = scores[~labels], scores[labels]
    highest = np.sort(_reduce(good, groups[~labels], np.maximum))[::-1]
    rank = _find_tolerance_rank(len(highest), rate)
    if rank and (not len(defective) or (defective > highest[rank - 1]).any()):
        highest_passed = highest[rank - 1]
        guarantee = f"at most {rate:g} of fresh good images like these are rejected, with 90% confidence"
    else:
        highest_passed = np.sort(good)[::-1][int(rate * len(good) + 1e-9)]
        guarantee = (
            f"{NO_PROMISE}: {len(highest)} independent good ones are too few; "
            f"{count_needed(rate) - len(highest)} more are needed"
        )
        if rank:
            guarantee = f"{NO_PROMISE}: to hold with 90% confidence there, it would catch no defective one"
    threshold = -_step_below(-highest_passed, -scores)
    if len(defective) and not (defective >= threshold).any():
        reachable = float((good >= defective.max()).mean())
        raise ContractError(
            f"max-fpr {rate:g} {UNMET}: no defective validation image would be caught. "
            f"The lowest false-alarm rate at which one is caught is {reachable:.3f}"
        )
    return Choice(threshold, float((good >= threshold).mean()), guarantee)


def _choose_by_requirement(
    asked: Requirement, labels: Bools, scores: Floats, groups: NDArray[np.int64]
) -> Choice:
    """Choose what meets the requirement; where nothing can, the threshold is by F1, and it is told."""
    recall, rate = asked.get_limit(RECALL), asked.get_limit(ALARMS)
    try:
        if rate is None:
            return _choose_min_recall(recall or 0, labels, scores, groups)
        if recall is not None and labels.any():
            return _choose_both(recall, rate, labels, scores, groups)
        return _choose_max_fpr(rate, labels, scores, groups)
    except ContractError as error:
        return replace(_choose_f1(labels, scores), guarantee=f"{error}; the threshold is by f1 instead")


def _choose_both(
    recall: float, rate: float, labels: Bools, scores: Floats, groups: NDArray[np.int64]
) -> Choice:
    """Among the thresholds that meet both, choose the one at which the less certain of them is most certain.

    How certain is by Clopper and Pearson (1934), with a group as one observation that is right when all of
    it is. Thresholds at which both are 90% certain lie between the two that Wilks' order statistics name, so
    any of them keeps both promises. Where no threshold meets both, recall comes first.
    """
    ranked, hits, called = _rank(labels, scores)
    caught, rejected = hits / labels.sum(), (called - hits) / (~labels).sum()
    kept = _count_reaching(_reduce(scores[labels], groups[labels], np.minimum), ranked)
    alarms = _count_reaching(_reduce(scores[~labels], groups[~labels], np.maximum), ranked)
    defective, good = len(np.unique(groups[labels])), len(np.unique(groups[~labels]))
    sure_recall = np.nan_to_num(beta.sf(recall, kept, defective - kept + 1))  # none caught: not at all
    sure_rate = np.nan_to_num(beta.cdf(rate, alarms + 1, good - alarms))
    fitting = np.flatnonzero((caught >= recall) & (rejected <= rate))
    if not len(fitting):
        return _put_recall_first(recall, rate, ranked, caught, rejected)
    lower, higher = np.minimum(sure_recall, sure_rate), np.maximum(sure_recall, sure_rate)
    index = int(fitting[np.lexsort((higher[fitting], lower[fitting]))[-1]])
    guarantee = (
        f"recall of at least {recall:g}, and at most {rate:g} of good images rejected, on fresh images like "
        "these, each with 90% confidence"
    )
    if lower[index] < CONFIDENCE:
        guarantee = (
            f"{NO_PROMISE}: with so few, recall {recall:g} is {sure_recall[index]:.0%} certain and "
            f"false-alarms {rate:g} {sure_rate[index]:.0%}"
        )
    return Choice(_find_middle(ranked, index), float(caught[index]), guarantee)


def _put_recall_first(recall: float, rate: float, ranked: Floats, caught: Floats, rejected: Floats) -> Choice:
    """Choose the fewest false alarms among the thresholds that meet the recall."""
    index = int(np.flatnonzero(caught >= recall)[0])
    if rejected[index] == 1:
        raise ContractError(f"recall {recall:g} {UNMET}: every good validation image would be rejected")
    return Choice(
        _find_middle(ranked, index),
        float(caught[index]),
        f"recall {recall:g} and false-alarms {rate:g} {UNMET} together on validation, so recall comes first: "
        f"it is {caught[index]:.3f} there, and {rejected[index]:.3f} of the good ones are rejected",
    )


def _count_reaching(scores: Floats, thresholds: Floats) -> NDArray[np.int64]:
    """Return how many scores are at least as high as each threshold."""
    return np.asarray(len(scores) - np.searchsorted(np.sort(scores), thresholds, "left"), np.int64)


def _find_tolerance_rank(count: int, rate: float) -> int:
    """Return the largest k whose k-th extreme score bounds the rate with 90% confidence; 0: none does."""
    ranks = np.arange(1, count + 1)
    holds = beta.cdf(rate, ranks, count - ranks + 1) >= CONFIDENCE
    return int(holds.sum())  # the confidence falls with k


def _reduce(scores: Floats, groups: NDArray[np.int64], extreme: np.ufunc) -> Floats:
    """Return one score a group, its lowest or its highest."""
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order][:1] - 1))
    return np.asarray(extreme.reduceat(scores[order], starts), np.float64)


def _step_below(score: float, scores: Floats) -> float:
    """Halfway to the next score below, so that rounding tips nothing over."""
    below = scores[scores < score]
    return float((score + below.max()) / 2) if len(below) else float(score) - 1e-3


def _rank(labels: Bools, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the distinct scores, falling, and how many defective and how many images reach each."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(labels[order])
    last = np.flatnonzero(np.concatenate([np.diff(ranked) < 0, [True]]))
    return ranked[last], hits[last].astype(np.float64), (last + 1).astype(np.float64)


def _find_middle(ranked: Floats, index: int) -> float:
    """Halfway between the last score that is called defective and the next one down."""
    if index + 1 == len(ranked):
        return float(ranked[index]) - 1e-3
    return float((ranked[index] + ranked[index + 1]) / 2)


def _read_share(word: str) -> float:
    share = float(word)
    if not 0 < share < 1:
        raise ValueError
    return share


def _read_price(word: str) -> float:
    price = float(word)
    if not 0 < price < math.inf:
        raise ValueError
    return price
