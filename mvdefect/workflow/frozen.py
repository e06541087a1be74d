"""What an inspector knows before anything is trained: what is solved on frozen features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from mvdefect.config import FitConfig
from mvdefect.core.progress import show_steps
from mvdefect.data.pipeline import Source
from mvdefect.evaluation.bootstrap import Floats
from mvdefect.models.features import Trunk, build_features
from mvdefect.models.kernel_machine import KernelMachine, find_scaling
from mvdefect.models.normality import fit_normality, join_normalities
from mvdefect.models.one_class import Normality
from mvdefect.models.scorer import build_look, build_scorer, list_blocks
from mvdefect.training.batches import number_strata, weigh_strata
from mvdefect.training.predictions import compile_features, iterate_features
from mvdefect.workflow.folds import Folds

BATCH_SIZE = 32


@dataclass(frozen=True)
class Frozen:
    """The members of an inspector that are solved, and what they say of each part.

    Attributes:
        features: The network of what the novelty compares.
        normality: How good images look.
        novelty: Distance from them by part, float64 (n,) each.
        mean_novelty: The same as a mean over the image.
        scorer: The classifier on frozen features; None where no image to learn from is defective.
        logits: What it says by part, float64 (n,) each; None without it.
    """

    features: Any
    normality: Normality
    novelty: dict[str, Floats]
    mean_novelty: dict[str, Floats]
    scorer: Any | None
    logits: dict[str, Floats] | None


@dataclass(frozen=True)
class _Looked:
    """What one pass gave of the images of all parts, by id: what each normality measured, and a vector."""

    measured: Mapping[str, np.ndarray]
    vectors: Mapping[str, np.ndarray]

    def stack(self, source: Source) -> np.ndarray:
        return np.stack([self.vectors[row.id] for row in source.rows])

    def pick(self, kind: int, number: int, source: Source) -> Floats:
        return np.array([self.measured[row.id][kind, number] for row in source.rows], np.float64)

    def score(self, machine: KernelMachine, source: Source) -> Floats:
        return machine.score(self.stack(source))


def learn_frozen(trunk: Trunk, folds: Folds, config: FitConfig, with_scorer: bool) -> Frozen:
    """Learn what good images look like, and what tells defective ones from them; and score all parts.

    Args:
        trunk: The backbone.
        folds: What is learned from, and what is judged.
        config: Kind of one-class score, balance of classes and seed.
        with_scorer: Whether to fit a scorer; each fold then needs images of both classes.
    """
    run = compile_features(build_look(trunk))
    normalities = _fit_normalities(run, folds, config)
    normality, count = join_normalities(normalities), len(normalities)
    looked = _look_at(run, folds, [*normalities, normality])
    novelty, means = (
        folds.settle(
            [partial(looked.pick, kind, one) for one in range(count)], partial(looked.pick, kind, count)
        )
        for kind in (0, 1)
    )
    features = build_features(trunk)
    if not with_scorer:
        return Frozen(features, normality, novelty, means, None, None)
    machines = _fit_machines(looked, folds, config, list_blocks(trunk))
    machine = KernelMachine.join(machines)
    scorers = [partial(looked.score, one) for one in (*machines, machine)]
    logits = folds.settle(scorers[:-1], scorers[-1])
    return Frozen(features, normality, novelty, means, build_scorer(trunk, machine), logits)


def _fit_normalities(run: Any, folds: Folds, config: FitConfig) -> list[Normality]:
    found = []
    steps = sum(source.count for source in folds.train)
    with show_steps("learning what good images look like", steps) as advance:
        for source in folds.train:
            good = _iterate_good(run, source, advance)
            found.append(fit_normality(config.one_class, good, config.seed))
    return found


def _iterate_good(run: Any, train: Source, advance: Callable[..., None]) -> Iterator[np.ndarray]:
    for labels, (maps, _) in iterate_features(run, train, BATCH_SIZE):
        advance(len(labels))
        if (labels == 0).any():
            yield maps[labels == 0]


def _look_at(run: Any, folds: Folds, normalities: list[Normality]) -> _Looked:
    measured: dict[str, np.ndarray] = {}
    vectors: dict[str, np.ndarray] = {}
    sources = folds.parts.values()
    with show_steps("scoring all images", sum(source.count for source in sources)) as advance:
        for source in sources:
            names = iter([row.id for row in source.rows])
            for labels, (maps, pooled) in iterate_features(run, source, BATCH_SIZE):
                found = np.stack([one.measure_images(maps) for one in normalities], axis=-1)
                for number, name in enumerate(islice(names, len(labels))):
                    measured[name], vectors[name] = found[:, number], pooled[number]
                advance(len(labels))
    return _Looked(measured, vectors)


def _fit_machines(
    looked: _Looked, folds: Folds, config: FitConfig, blocks: tuple[int, ...]
) -> list[KernelMachine]:
    """Solve one a fold; features of all folds have one scaling, which looks at no label."""
    seen = folds.train[0], folds.held_out[0]
    used = seen if len(folds.train) > 1 else seen[:1]
    scaling = find_scaling(np.concatenate([looked.stack(source) for source in used]), blocks)
    machines = []
    for source in folds.train:
        even = np.ones(source.count, np.float32)
        weights = even if config.balance == "none" else weigh_strata(number_strata(source))
        machines.append(KernelMachine.fit(looked.stack(source), source.labels, weights, scaling, config.seed))
    return machines
