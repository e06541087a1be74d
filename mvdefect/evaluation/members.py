"""Members of an inspector: what each of them is worth, and which of them make its logit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mvdefect.core.errors import RunError
from mvdefect.evaluation.bootstrap import CONFIDENCE, Bools, Figure, Floats
from mvdefect.evaluation.comparison import compare_samples
from mvdefect.evaluation.figures import UNKNOWN, Sample, measure, roc_auc

SCORER, PATCHES, NETWORK = "scorer", "patches", "network"  # in order of simplicity
NAMES = {
    SCORER: "scorer of whole images on frozen features",
    PATCHES: "scorer of single positions on frozen features",
    NETWORK: "fine-tuned network",
}
CHANCE = 0.5
SMALLEST_SPREAD = 1e-12  # of scores, that is divided by
STANDARD_ERRORS = 2 * float(norm.ppf((1 + CONFIDENCE) / 2))  # from one end of an interval to the other


@dataclass(frozen=True)
class Member:
    """What a member of an inspector is worth.

    Attributes:
        name: "scorer", "patches" or "network".
        weight: Of its score in the logit; 0: it is not in use.
        roc_auc: On the images that the members were chosen on.
        gain: ROC-AUC of the best set of members with it, less that of the simplest member alone; None for
            that one, and where it could not be compared.
        reason: Why it is in use, or why not.
    """

    name: str
    weight: float
    roc_auc: Figure
    gain: Figure | None
    reason: str


def members_to_json(members: Sequence[Member]) -> dict[str, Any]:
    """Return members by name as a tree for JSON."""
    return {member.name: asdict(member) for member in members}


def parse_members(tree: Mapping[str, Any]) -> tuple[Member, ...]:
    """Read what `members_to_json` returned.

    Raises:
        RunError: Something is missing or of another kind.
    """
    try:
        return tuple(
            Member(
                str(fields["name"]),
                float(fields["weight"]),
                Figure(**fields["roc_auc"]),
                Figure(**fields["gain"]) if fields["gain"] else None,
                str(fields["reason"]),
            )
            for fields in tree.values()
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"the list of members is damaged: {error!r}") from error


def choose_members(
    labels: Bools, groups: NDArray[np.int64], scores: Mapping[str, Floats]
) -> tuple[Member, ...]:
    """Choose which members make the logit, and with which weights.

    A member that is constant, not finite, or no better than chance is left out. The simplest of the others
    counts alone, unless another one, alone or with it, has a ROC-AUC that is higher by more than a standard
    error of the paired difference (Breiman et al., 1984). Then both count at one spread, unless one alone is
    better than both by more than such an error.

    Args:
        labels: True for defective, (n,).
        groups: Code of the group of each image, (n,).
        scores: By name, of images that the member was not trained on, (n,); the simplest comes first.

    Returns:
        One for each member, in their order. At least one is in use.
    """
    samples = {name: _make_sample(labels, groups, found) for name, found in scores.items()}
    figures = {name: _measure(sample) for name, sample in samples.items()}
    first = next(iter(scores))
    if not labels.any() or labels.all():
        return tuple(
            Member(name, float(name == first), UNKNOWN, None, "no image shows whether it helps")
            for name in scores
        )
    usable = [name for name, figure in figures.items() if figure.value > CHANCE]
    if len(usable) < 2:
        used = usable[0] if usable else first
        return tuple(_settle_alone(name, figures[name], used) for name in scores)
    return _choose_of_two(samples, figures, usable[0], usable[1])


def join_solved(labels: Bools, groups: NDArray[np.int64], scores: Mapping[str, Floats]) -> tuple[Member, ...]:
    """Join two members that cost next to nothing: both count alike, unless one alone is clearly better.

    A member that is no better than chance is left out. Weights bring the scores to a spread of 1.

    Args:
        labels: True for defective, (n,).
        groups: Code of the group of each image, (n,).
        scores: By name, of images that the member was not trained on, (n,); the simpler one comes first.

    Returns:
        One for each member, in their order. At least one is in use.
    """
    samples = {name: _make_sample(labels, groups, found) for name, found in scores.items()}
    figures = {name: _measure(sample) for name, sample in samples.items()}
    usable = [name for name, figure in figures.items() if figure.value > CHANCE]
    if not labels.any() or labels.all() or len(usable) < 2:
        return choose_members(labels, groups, scores)
    simple, other = usable
    shares, reasons = _weigh_two(samples, simple, other)
    gain = compare_samples(_add_up(samples[simple], samples[other]), samples[simple], roc_auc)
    return tuple(
        Member(name, shares[name], figures[name], gain if name == other else None, reasons[name])
        for name in scores
    )


def _weigh_two(
    samples: Mapping[str, Sample], simple: str, other: str
) -> tuple[dict[str, float], dict[str, str]]:
    """Return weights and reasons of two members: both at one spread, unless one alone is clearly better."""
    both = _add_up(samples[simple], samples[other])
    losses = {name: compare_samples(samples[name], both, roc_auc) for name in (simple, other)}
    best = max(losses, key=lambda name: losses[name].value)
    shares = {name: _find_share(samples[name].scores) for name in losses}
    if not _is_clear(losses[best]):
        return shares, dict.fromkeys(losses, "better together, or as good")
    reasons = {name: "better alone" if name == best else "makes the other one worse" for name in losses}
    return {name: share if name == best else 0.0 for name, share in shares.items()}, reasons


def find_small_gain(
    labels: Bools, groups: NDArray[np.int64], simple: Floats, other: Floats, folds: int
) -> Figure | None:
    """Tell from the first fold that a member will hardly be chosen beside a simpler one.

    The gain of all folds is expected to be that of the first, and its standard error to fall with the square
    root of their number; `choose_members` asks for more than that.

    Args:
        labels: True for defective, (n,).
        groups: Code of the group of each image, (n,).
        simple: Scores of the simpler member, (n,).
        other: Scores of the other one, (n,).
        folds: How many there are.

    Returns:
        What the other one, alone or with the simpler one, gains in ROC-AUC; None if that is worth more folds.
    """
    if not labels.any() or labels.all() or not np.isfinite(other).all():
        return None
    first, second = (_make_sample(labels, groups, scores) for scores in (simple, other))
    gains = [compare_samples(one, first, roc_auc) for one in (second, _add_up(first, second))]
    gain = max(gains, key=lambda found: found.value)
    return None if _is_clear(gain, folds) else gain


def _find_share(scores: Floats) -> float:
    """Return the weight that brings scores to a spread of 1."""
    return 1 / max(float(scores.std()), SMALLEST_SPREAD)


def _add_up(first: Sample, second: Sample) -> Sample:
    """Return the sum of two scores of the same images, each at a spread of 1."""
    scores = _find_share(first.scores) * first.scores + _find_share(second.scores) * second.scores
    return replace(first, scores=scores)


def join_scores(members: tuple[Member, ...], scores: Mapping[str, Floats]) -> Floats:
    """Return the logit that members make together, (n,)."""
    used = [one.weight * scores[one.name] for one in members if one.weight]
    return np.asarray(np.sum(used, axis=0), np.float64)


def measure_scores(labels: Bools, groups: NDArray[np.int64], scores: Floats) -> Figure:
    """Return the ROC-AUC of scores; not known where they are no numbers."""
    return _measure(_make_sample(labels, groups, scores))


def _make_sample(labels: Bools, groups: NDArray[np.int64], scores: Floats) -> Sample:
    return Sample(labels, np.asarray(scores, np.float64), np.zeros(len(labels), bool), groups)


def _measure(sample: Sample) -> Figure:
    return measure(sample, roc_auc) if np.isfinite(sample.scores).all() else UNKNOWN


def _settle_alone(name: str, figure: Figure, used: str) -> Member:
    if figure.value > CHANCE:
        return Member(name, 1.0, figure, None, "the only one that tells defective images from good ones")
    words = "no better than chance" if np.isfinite(figure.value) else "its scores are no numbers"
    return Member(name, float(name == used), figure, None, words)


def _choose_of_two(
    samples: Mapping[str, Sample], figures: Mapping[str, Figure], simple: str, other: str
) -> tuple[Member, ...]:
    """Choose between the simpler member, the other one, and both."""
    both = _add_up(samples[simple], samples[other])
    gains = [compare_samples(one, samples[simple], roc_auc) for one in (samples[other], both)]
    gain = max(gains, key=lambda found: found.value)
    if _is_clear(gain):
        shares, reasons = _weigh_two(samples, simple, other)
    else:
        shares = {simple: 1.0}
        reasons = {simple: "as good as anything with the other one", other: "brings nothing more"}
    return tuple(
        Member(name, shares.get(name, 0.0), figures[name], gain if name == other else None, reasons[name])
        if name in reasons
        else _settle_alone(name, figures[name], simple)
        for name in figures
    )


def _is_clear(difference: Figure, times: int = 1) -> bool:
    """Whether a difference is above its standard error, as it would be with so many times the images."""
    return difference.value > (difference.high - difference.low) / STANDARD_ERRORS / math.sqrt(times)
