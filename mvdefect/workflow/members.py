"""From the members of an inspector to the inspector: who takes part, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mvdefect.config import FitConfig
from mvdefect.core.progress import logger
from mvdefect.data.pipeline import Source
from mvdefect.evaluation.bootstrap import Figure, Floats
from mvdefect.evaluation.members import (
    CHANCE,
    NAMES,
    NETWORK,
    SCORER,
    Member,
    choose_members,
    find_small_gain,
    join_scores,
    measure_scores,
)
from mvdefect.models.members import join_members
from mvdefect.models.one_class import Normality
from mvdefect.report.sheets import join_figure
from mvdefect.report.wording import format_signed
from mvdefect.training.folds import FoldNetworks
from mvdefect.training.predictions import predict_logits
from mvdefect.workflow.folds import Folds
from mvdefect.workflow.frozen import Frozen
from mvdefect.workflow.outcome import Scores

FEW_DEFECTS = 30  # groups; from fewer a network learns nothing that frozen features do not tell
NO_CLASSIFIER = 3  # groups; fewer can teach a classifier, but not judge it


@dataclass(frozen=True)
class Inspector:
    """All that reaches a verdict, and what it says of each part.

    Attributes:
        classifier: From pixels to the logit; None: the novelty alone decides.
        features: From pixels to what the novelty compares.
        normality: How good images look.
        scores: Of each part.
        members: What the classifier was made of, and what was left out.
    """

    classifier: Any | None
    features: Any
    normality: Normality
    scores: Mapping[str, Scores]
    members: tuple[Member, ...]


def has_classifier(folds: Folds) -> bool:
    """Whether there is a classifier, and say so if defective images are there that are too few for one."""
    defects = folds.count_defects()
    if 0 < defects < NO_CLASSIFIER:
        logger.warning(
            "no classifier: %d independent defective image(s) cannot show what one is worth; "
            "the distance from good images decides",
            defects,
        )
    return defects >= NO_CLASSIFIER and all(source.labels.any() for source in folds.train)


def is_fine_tuned(config: FitConfig, folds: Folds) -> bool:
    """Whether a network is trained beside the scorer, and say so if defective images are too few for one."""
    if config.fine_tune is not None:
        return config.fine_tune
    defects = folds.count_defects()
    if defects < FEW_DEFECTS:
        logger.info(
            "no network is fine-tuned: %d independent defective images are few to learn from "
            "(--set fine_tune=true trains one)",
            defects,
        )
    return defects >= FEW_DEFECTS


def tell_first_figures(frozen: Frozen, folds: Folds) -> None:
    """Log what can be said before a network is trained."""
    labels, groups = folds.list_judged()
    if not labels.any():
        return
    scores = {"the distance from good images": frozen.novelty}
    if frozen.logits is not None:
        scores = {"scorers on frozen features": frozen.logits, **scores}
    figures = [
        f"{join_figure(measure_scores(labels, groups, folds.pick_judged(found)))} by {name}"
        for name, found in scores.items()
    ]
    parts = " and ".join(folds.judged_parts)
    logger.info("before any training, ROC-AUC on %d held-out images of %s:", len(labels), parts)
    for figure in figures:
        logger.info("  %s", figure)


def gives_up(frozen: Frozen, folds: Folds, batch_size: int, network: Any) -> bool:
    """Tell from the first fold whether a network is worth training on the others, and log it if it is not."""
    if frozen.logits is None:
        return False
    source = folds.held_out[0]
    found = predict_logits(network, source, batch_size).astype(np.float64)
    labels, simple = source.labels == 1, folds.pick(frozen.logits, source)
    gain = find_small_gain(labels, source.groups, simple, found, len(folds.train))
    if gain is not None:
        logger.warning(
            "fine-tuning brings too little and is given up after the first of %d folds: ROC-AUC %s against "
            "frozen features alone on the %d images that it holds out",
            *(len(folds.train), _describe_gain(gain), source.count),
        )
    return gain is not None


def join_inspector(
    frozen: Frozen, networks: FoldNetworks | None, folds: Folds, config: FitConfig
) -> Inspector:
    """Choose which members make the logit, by images that were held out, and put them together.

    Args:
        frozen: What was solved.
        networks: The fine-tuned classifiers of the folds; None where none was trained.
        folds: What they were fitted on and what they are judged by.
        config: Images a batch, and whether the classifier looks twice.
    """
    logits: dict[str, dict[str, Floats]] = {}
    if frozen.logits is not None:
        logits[SCORER] = frozen.logits
    if networks:
        logits[NETWORK] = _score_networks(networks, folds, config.batch_size)
    if not logits:
        scores = {part: Scores(None, frozen.novelty[part], frozen.mean_novelty[part]) for part in folds.parts}
        return Inspector(None, frozen.features, frozen.normality, scores, ())
    judged = {name: folds.pick_judged(found) for name, found in logits.items()}
    chosen = choose_members(*folds.list_judged(), judged)
    members = _separate_solved(chosen, frozen)
    tell_members(members, folds)
    scores = {
        part: Scores(
            join_scores(chosen, {name: found[part] for name, found in logits.items()}),
            frozen.novelty[part],
            frozen.mean_novelty[part],
        )
        for part in folds.parts
    }
    used = []
    for member in chosen:
        models = frozen.scorers
        if networks and member.name == NETWORK:
            found = networks.separate() if member.weight else ()
            models = tuple((network, 1 / len(found)) for network in found)
        used += [(model, member.weight * share) for model, share in models if member.weight]
    classifier = join_members(used, config.looks_twice)
    return Inspector(classifier, frozen.features, frozen.normality, scores, members)


def _separate_solved(chosen: tuple[Member, ...], frozen: Frozen) -> tuple[Member, ...]:
    """Return the members with those that were solved one by one, instead of all of these as one."""
    members: list[Member] = []
    for member in chosen:
        if member.name != SCORER:
            members.append(member)
            continue
        solved = [replace(one, weight=one.weight * member.weight) for one in frozen.members]
        members += solved if member.weight else [replace(one, reason=member.reason) for one in solved]
    return tuple(members)


def _score_networks(networks: FoldNetworks, folds: Folds, batch_size: int) -> dict[str, Floats]:
    def score(source: Source, number: int) -> Floats:
        return networks.predict(number, source, batch_size)

    numbers = range(len(networks.values))

    def average(source: Source) -> Floats:
        return np.asarray(np.mean([score(source, number) for number in numbers], axis=0))

    return folds.settle([partial(score, number=number) for number in numbers], average)


def tell_members(members: tuple[Member, ...], folds: Folds) -> None:
    """Log which members are in use and why, and the likely cause where training brought nothing."""
    for member in members:
        use = "in use" if member.weight else "not in use"
        gain = "" if member.gain is None else f", {_describe_gain(member.gain)} by it"
        figure = f"ROC-AUC {join_figure(member.roc_auc)}{gain}"
        logger.info("%s: %s, %s: %s", NAMES[member.name], use, figure, member.reason)
    network = next((one for one in members if one.name == NETWORK), None)
    if network is not None and not network.weight:
        logger.warning("fine-tuning brought nothing and is not used: %s", _find_cause(network, folds))


def _find_cause(network: Member, folds: Folds) -> str:
    defects = folds.count_defects()
    if network.roc_auc.value <= CHANCE:
        return "it did not learn; its learning rate may be too high, or defects too small at this image size"
    if defects < FEW_DEFECTS:
        return f"{defects} independent defective images are few to learn from"
    return "frozen features tell these images apart as well"


def _describe_gain(gain: Figure) -> str:
    low, high = format_signed(gain.low), format_signed(gain.high)
    return f"{format_signed(gain.value)} ({low} to {high})"
