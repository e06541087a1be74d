"""The patch scorer of an inspector: fitted in folds on stored maps, within a bound of memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvdefect.config import FitConfig
from mvdefect.core.progress import show_phase, show_steps
from mvdefect.data.pipeline import Source, read_masks
from mvdefect.evaluation.bootstrap import Floats
from mvdefect.models.features import Trunk
from mvdefect.models.patch_scorer import PatchMachine, build_patch_scorer
from mvdefect.training.batches import number_strata, weigh_strata
from mvdefect.training.predictions import Flip
from mvdefect.workflow.folds import Folds
from mvdefect.workflow.looks import Looks

MAX_POSITIONS = 600_000  # of all images that are learned from


def choose_images(folds: Folds, positions: int, seed: int) -> frozenset[str]:
    """Choose the images that a patch scorer learns from: as many as memory has room for.

    Args:
        folds: Of which images.
        positions: How many an image has.
        seed: Draws them where they are too many; defective ones then are half of them, or all there are.

    Returns:
        Their ids.
    """
    most = max(2 * len(folds.train), MAX_POSITIONS // positions)
    labels, random = folds.whole.labels, np.random.default_rng(seed)
    drawn = [random.permutation(np.flatnonzero(labels == label)) for label in (1, 0)]
    defective = drawn[0][: max(most // 2, most - len(drawn[1]))]
    chosen = np.concatenate([defective, drawn[1][: most - len(defective)]])
    return frozenset(folds.whole.rows[number].id for number in chosen)


def learn_patches(
    trunk: Trunk, looks: Looks, folds: Folds, config: FitConfig, flips: Sequence[Flip]
) -> tuple[Any, dict[str, Floats]]:
    """Fit a patch scorer in folds; return the one in use, and what they say of each part.

    Args:
        trunk: The backbone.
        looks: Has looked at all parts in the poses that are in use.
        folds: What is learned from and what is judged.
        config: Balance of classes, whether masks are learned from, and seed.
        flips: The poses in use, whose scores are averaged.
    """
    with show_phase("Learning which positions are defective"):
        machines = folds.fit_each(partial(_fit_machine, looks, config))
    found = _score(looks, folds, machines, flips)

    def pick(number: int, source: Source) -> Floats:
        return np.array([found[row.id][number] for row in source.rows], np.float64)

    scores = [partial(pick, number) for number in range(len(folds.train))]
    return build_patch_scorer(trunk, machines[-1], config.seed), folds.settle(scores, partial(pick, -1))


def _fit_machine(looks: Looks, config: FitConfig, source: Source) -> PatchMachine:
    even = np.ones(source.count, np.float32)
    weights = even if config.balance == "none" else weigh_strata(number_strata(source))
    places = np.array([number for number, row in enumerate(source.rows) if row.id in looks.reserved])
    maps = looks.stack_maps(source.rows[number].id for number in places)
    marked = _read_marked(source, maps.shape[1:3])[places] if config.learn_from_masks else None
    return PatchMachine.fit(maps, source.labels[places], weights[places], marked, config.seed)


def _read_marked(source: Source, cells: tuple[int, ...]) -> NDArray[np.bool_]:
    height, width = cells
    return read_masks(source, (height, width)) > 0


def _score(
    looks: Looks, folds: Folds, machines: Sequence[PatchMachine], flips: Sequence[Flip]
) -> dict[str, Floats]:
    """Return the score of each image by each machine, by id: float64 (machines,), the mean of all poses."""
    found: dict[str, Floats] = {}
    passes = [(source, flip) for source in folds.parts.values() for flip in flips]
    with show_steps("scoring positions of all images", sum(source.count for source, _ in passes)) as advance:
        for source, flip in passes:
            for place, maps in looks.iterate_maps(source, flip):
                scores = np.stack([machine.score(maps) for machine in machines], axis=1) / len(flips)
                for row, score in zip(source.rows[place], scores, strict=True):
                    found[row.id] = found.get(row.id, 0.0) + score
                advance(len(maps))
    return found
