"""From the members of an inspector to the inspector: who takes part, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvdefect.core.progress import logger
from mvdefect.data.pipeline import Source
from mvdefect.evaluation.bootstrap import Figure
from mvdefect.evaluation.members import (
    NETWORK,
    SCORER,
    Member,
    choose_members,
    join_scores,
    measure_scores,
)
from mvdefect.models.classifier import join_members
from mvdefect.models.one_class import Normality
from mvdefect.training.predictions import predict_logits
from mvdefect.workflow.frozen import Frozen
from mvdefect.workflow.outcome import CHOSEN_ON, Scores

FEW_DEFECTS = 30  # groups; with fewer, that they are few is the likely cause of a network that learns nothing


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


def tell_first_figures(frozen: Frozen, chosen_on: Source) -> None:
    """Log what can be said before the network is trained."""
    if not chosen_on.labels.any():
        return
    scores = {"distance from good images": frozen.novelty[CHOSEN_ON]}
    if frozen.logits is not None:
        scores = {"scorer on frozen features": frozen.logits[CHOSEN_ON], **scores}
    labels, groups = _list_labels(chosen_on)
    figures = {name: measure_scores(labels, groups, found) for name, found in scores.items()}
    told = ", ".join(f"{name} {_describe(figure)}" for name, figure in figures.items())
    logger.info("before any training, ROC-AUC on %d validation images: %s", chosen_on.count, told)


def join_inspector(
    frozen: Frozen, network: Any | None, parts: Mapping[str, Source], batch_size: int
) -> Inspector:
    """Choose on validation which members make the logit, and put them together.

    Args:
        frozen: What was solved.
        network: The fine-tuned classifier; None: none was trained.
        parts: The parts by name.
        batch_size: Images a batch.
    """
    models, logits = {}, {}
    if frozen.scorer is not None and frozen.logits is not None:
        models[SCORER], logits[SCORER] = frozen.scorer, frozen.logits
    if network is not None:
        models[NETWORK] = network
        logits[NETWORK] = {
            part: predict_logits(network, source, batch_size).astype(np.float64)
            for part, source in parts.items()
        }
    if not models:
        scores = {part: Scores(None, frozen.novelty[part], frozen.mean_novelty[part]) for part in parts}
        return Inspector(None, frozen.features, frozen.normality, scores, ())
    judged = {name: found[CHOSEN_ON] for name, found in logits.items()}
    members = choose_members(*_list_labels(parts[CHOSEN_ON]), judged)
    tell_members(members, parts["train"])
    scores = {
        part: Scores(
            join_scores(members, {name: found[part] for name, found in logits.items()}),
            frozen.novelty[part],
            frozen.mean_novelty[part],
        )
        for part in parts
    }
    classifier = join_members([(models[one.name], one.weight) for one in members if one.weight])
    return Inspector(classifier, frozen.features, frozen.normality, scores, members)


def tell_members(members: tuple[Member, ...], train: Source) -> None:
    """Log which members are in use and why, and the likely cause where training brought nothing."""
    for member in members:
        use = "in use" if member.weight else "not in use"
        gain = "" if member.gain is None else f", {_describe(member.gain, '+')} against the scorer alone"
        figure = _describe(member.roc_auc)
        logger.info("%s: %s (ROC-AUC %s%s): %s", member.name, use, figure, gain, member.reason)
    network = next((one for one in members if one.name == NETWORK), None)
    if network is not None and not network.weight:
        logger.warning("fine-tuning brought nothing and is not used: %s", _find_cause(members, train))


def _find_cause(members: tuple[Member, ...], train: Source) -> str:
    defects = len({row.group for row in train.rows if row.label})
    if defects < FEW_DEFECTS:
        return f"{defects} independent defective images are few to learn from"
    if members[-1].roc_auc.value <= 0.5:
        return "it did not learn; its learning rate may be too high, or defects too small at this image size"
    return "frozen features tell these images apart as well"


def _list_labels(source: Source) -> tuple[np.ndarray, np.ndarray]:
    return source.labels == 1, np.array([row.group for row in source.rows], np.int64)


def _describe(figure: Figure, sign: str = "") -> str:
    return f"{figure.value:{sign}.3f} ({figure.low:{sign}.3f} to {figure.high:{sign}.3f})"
