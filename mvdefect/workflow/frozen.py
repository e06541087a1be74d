"""What an inspector knows before anything is trained: what is solved on frozen features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvdefect.config import FitConfig
from mvdefect.core.progress import show_phase, show_steps
from mvdefect.data.pipeline import Source
from mvdefect.data.views import list_flips
from mvdefect.evaluation.bootstrap import Floats
from mvdefect.evaluation.members import PATCHES, SCORER, Member, join_scores, join_solved
from mvdefect.models.features import Trunk, build_features
from mvdefect.models.kernel_machine import MAX_EXACT, KernelMachine, find_scaling
from mvdefect.models.normality import fit_normality
from mvdefect.models.one_class import Normality
from mvdefect.models.patch_scorer import build_patch_look
from mvdefect.models.scorer import build_look, build_scorer, list_blocks
from mvdefect.training.batches import number_strata, weigh_strata
from mvdefect.training.predictions import Flip, compile_features
from mvdefect.workflow.folds import Folds
from mvdefect.workflow.looks import Looks
from mvdefect.workflow.patches import choose_images, learn_patches


@dataclass(frozen=True)
class Frozen:
    """The members of an inspector that are solved, and what they say of each part.

    Attributes:
        features: The network of what the novelty compares.
        normality: How good images look.
        novelty: Distance from them by part, float64 (n,) each.
        mean_novelty: The same as a mean over the image.
        scorers: The classifiers on frozen features, each with its weight; none where no image to learn from
            is defective.
        members: What kinds of them there are, and which of them are in use.
        logits: What they say together by part, float64 (n,) each; None without them.
    """

    features: Any
    normality: Normality
    novelty: dict[str, Floats]
    mean_novelty: dict[str, Floats]
    scorers: tuple[tuple[Any, float], ...]
    members: tuple[Member, ...]
    logits: dict[str, Floats] | None


def learn_frozen(trunks: Sequence[Trunk], folds: Folds, config: FitConfig, with_scorer: bool) -> Frozen:
    """Learn what good images look like, and what tells defective ones from them; and score all parts.

    Args:
        trunks: The backbone at each scale, the coarsest first; the novelty goes by that one.
        folds: What is learned from, and what is judged.
        config: Kind of one-class score, balance of classes and seed.
        with_scorer: Whether to fit a scorer; each fold then needs images of both classes.
    """
    looks = Looks(compile_features(build_look(trunks[0])))
    looks.look_at(folds.parts.values())
    features, region = build_features(trunks[0]), folds.whole.store.region
    counted = None if region is None else region.mark_cells(features.output.shape[1:3])
    normalities = _fit_normalities(looks, folds, config, counted)
    measured, numbers = _measure(looks, folds, normalities), range(len(folds.train))

    def pick(kind: int, number: int, source: Source) -> Floats:
        return np.array([measured[row.id][kind, number] for row in source.rows], np.float64)

    novelty, means = (
        folds.settle([partial(pick, kind, number) for number in numbers], partial(pick, kind, -1))
        for kind in (0, 1)
    )
    solved = Frozen(features, normalities[-1], novelty, means, (), (), None)
    return _learn_scorers(solved, trunks, looks, folds, config) if with_scorer else solved


def _learn_scorers(
    solved: Frozen, trunks: Sequence[Trunk], looks: Looks, folds: Folds, config: FitConfig
) -> Frozen:
    """Fit scorers of whole images at each scale, and one of positions at the finest; and join them."""
    flips, finest = list_flips(config.augment)[: 1 + config.looks_twice], trunks[-1]
    poses = count_poses(config, folds.whole.count)
    wholes = [_learn_scorer(trunks[0], looks, folds, config, poses)]
    run = build_patch_look(finest, config.seed)
    positions = int(np.prod(run.outputs[0].shape[1:3]))
    closer = Looks(compile_features(run), flips, choose_images(folds, positions, config.seed))
    closer.look_at(folds.parts.values(), flips)
    if len(trunks) > 1:  # a finer look takes longer: in fewer poses
        wholes.append(_learn_scorer(finest, closer, folds, config, min(poses, len(flips))))
    patches, patch_logits = learn_patches(finest, closer, folds, config, flips)
    scores = {
        SCORER: {part: np.mean([said[part] for _, said in wholes], axis=0) for part in folds.parts},
        PATCHES: patch_logits,
    }
    judged = {name: folds.pick_judged(found) for name, found in scores.items()}
    members = join_solved(*folds.list_judged(), judged)
    share, patch_share = (member.weight for member in members)
    used = [*((scorer, share / len(wholes)) for scorer, _ in wholes), (patches, patch_share)]
    logits = {
        part: join_scores(members, {name: found[part] for name, found in scores.items()})
        for part in folds.parts
    }
    scorers = tuple((scorer, weight) for scorer, weight in used if weight)
    return replace(solved, scorers=scorers, members=members, logits=logits)


def _learn_scorer(
    trunk: Trunk, looks: Looks, folds: Folds, config: FitConfig, poses: int
) -> tuple[Any, dict[str, Floats]]:
    """Fit the scorer of one scale on so many poses of images; return it, and what it says of each part."""
    _look_in_poses(looks, folds, poses, config)
    flips = list_flips(config.augment)
    machines = _fit_machines(looks, folds, flips[:poses], config, list_blocks(trunk))

    def score(machine: KernelMachine, source: Source) -> Floats:
        found = [machine.score(looks.stack(source, flip)) for flip in flips[: 1 + config.looks_twice]]
        return np.asarray(np.mean(found, axis=0))

    scorers = [partial(score, machine) for machine in machines]
    return build_scorer(trunk, machines[-1]), folds.settle(scorers[: len(folds.train)], scorers[-1])


def count_poses(config: FitConfig, images: int) -> int:
    """Return in how many poses a scorer sees each of so many images: as many as it can solve for exactly."""
    return max(1, min(len(list_flips(config.augment)), MAX_EXACT // images))


def _look_in_poses(looks: Looks, folds: Folds, poses: int, config: FitConfig) -> None:
    """Look at what is learned from in all of its poses, and at the rest in those that are in use."""
    flips, in_use = list_flips(config.augment), 1 + config.looks_twice
    for part, source in folds.parts.items():
        count = in_use if part not in folds.learned_parts else max(in_use, poses)
        looks.look_at([source], flips[:count])


def _fit_normalities(
    looks: Looks, folds: Folds, config: FitConfig, counted: NDArray[np.bool_] | None
) -> list[Normality]:
    def fit(source: Source) -> Normality:
        return fit_normality(config.one_class, _iterate_good(looks, source), config.seed).within(counted)

    with show_phase("Learning what good images look like"):
        return folds.fit_each(fit)


def _iterate_good(looks: Looks, train: Source) -> Iterator[np.ndarray]:
    for place, maps in looks.iterate_maps(train):
        is_good = train.labels[place] == 0
        if is_good.any():
            yield maps[is_good]


def _measure(looks: Looks, folds: Folds, normalities: list[Normality]) -> dict[str, np.ndarray]:
    """Return what each normality measures of each image, by id: float64 (2, normalities)."""
    found: dict[str, np.ndarray] = {}
    sources = folds.parts.values()
    with show_steps("measuring all images", sum(source.count for source in sources)) as advance:
        for source in sources:
            for place, maps in looks.iterate_maps(source):
                measured = np.stack([one.measure_images(maps) for one in normalities], axis=-1)
                names = [row.id for row in source.rows[place]]
                found |= zip(names, measured.swapaxes(0, 1), strict=True)
                advance(len(names))
    return found


def _fit_machines(
    looks: Looks, folds: Folds, flips: Sequence[Flip], config: FitConfig, blocks: tuple[int, ...]
) -> list[KernelMachine]:
    """Solve one a fold and the one in use; features have one scaling, which looks at no label."""
    scaling = find_scaling(looks.stack(folds.whole), blocks)

    def fit(source: Source) -> KernelMachine:
        even = np.ones(source.count, np.float32)
        weights = even if config.balance == "none" else weigh_strata(number_strata(source))
        poses = len(flips)
        vectors = np.concatenate([looks.stack(source, flip) for flip in flips])
        labels, shares = np.tile(source.labels, poses), np.tile(weights / np.float32(poses), poses)
        is_large = folds.whole.count * poses > MAX_EXACT
        return KernelMachine.fit(vectors, labels, shares, scaling, config.seed, is_large)

    return folds.fit_each(fit)
