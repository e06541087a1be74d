"""What an inspector knows before anything is trained: one pass through the frozen backbone for all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvdefect.config import FitConfig
from mvdefect.core.progress import show_steps
from mvdefect.data.pipeline import Source
from mvdefect.evaluation.bootstrap import Floats
from mvdefect.models.features import Trunk, build_features
from mvdefect.models.kernel_machine import KernelMachine
from mvdefect.models.normality import fit_normality
from mvdefect.models.one_class import Normality
from mvdefect.models.scorer import build_look, build_scorer, list_blocks
from mvdefect.training.batches import number_strata, weigh_strata
from mvdefect.training.predictions import compile_features, iterate_features

BATCH_SIZE = 32


@dataclass(frozen=True)
class Frozen:
    """The members of an inspector that are solved, and what they say of each part.

    Attributes:
        features: The network of what the novelty compares.
        normality: How good images look.
        novelty: Distance from them by part, float64 (n,) each.
        mean_novelty: The same as a mean over the image.
        scorer: The classifier on frozen features; None where no image of train is defective.
        logits: What it says by part, float64 (n,) each; None without it.
    """

    features: Any
    normality: Normality
    novelty: Mapping[str, Floats]
    mean_novelty: Mapping[str, Floats]
    scorer: Any | None
    logits: Mapping[str, Floats] | None


def learn_frozen(trunk: Trunk, sources: Mapping[str, Source], config: FitConfig, with_scorer: bool) -> Frozen:
    """Learn from train what good images look like and what tells defective ones, and score all parts.

    Args:
        trunk: The backbone.
        sources: The parts by name; train is learned from.
        config: Kind of one-class score, balance of classes and seed.
        with_scorer: Whether to fit a scorer; train then needs both classes.
    """
    run, train = compile_features(build_look(trunk)), sources["train"]
    with show_steps("learning what good images look like", train.count) as advance:
        good = _iterate_good(run, train, advance)
        normality = fit_normality(config.one_class, good, config.seed)
    with show_steps("scoring all images", sum(source.count for source in sources.values())) as advance:
        found = {part: _look_at(run, source, normality, advance) for part, source in sources.items()}
    features = build_features(trunk)
    novelty, means = ({part: measured[place] for part, measured in found.items()} for place in (0, 1))
    if not with_scorer:
        return Frozen(features, normality, novelty, means, None, None)
    even = np.ones(train.count, np.float32)
    weights = even if config.balance == "none" else weigh_strata(number_strata(train))
    machine = KernelMachine.fit(found["train"][2], train.labels, weights, list_blocks(trunk), config.seed)
    logits = {part: machine.score(vectors) for part, (_, _, vectors) in found.items()}
    return Frozen(features, normality, novelty, means, build_scorer(trunk, machine), logits)


def _iterate_good(run: Any, train: Source, advance: Callable[..., None]) -> Iterator[np.ndarray]:
    for labels, (maps, _) in iterate_features(run, train, BATCH_SIZE):
        advance(len(labels))
        if (labels == 0).any():
            yield maps[labels == 0]


def _look_at(
    run: Any, source: Source, normality: Normality, advance: Callable[..., None]
) -> tuple[Floats, Floats, np.ndarray]:
    """Return novelty and mean novelty of each image, (n,), and what the scorer takes of it, (n, d)."""
    measured, vectors = [], []
    for labels, (maps, pooled) in iterate_features(run, source, BATCH_SIZE):
        measured.append(normality.measure_images(maps))
        vectors.append(pooled)
        advance(len(labels))
    novelty, means = np.concatenate(measured, axis=1)
    return novelty, means, np.concatenate(vectors)
