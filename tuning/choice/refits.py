"""Refits: the best configurations and the default, trained again with several seeds and folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras_tuner

from mvdefect.core.errors import SearchError
from mvdefect.core.progress import logger
from tuning.records import COMPLETED, DEFAULT, TrialRecord, Value
from tuning.search.hypermodel import InspectorHyperModel, TrainingParts, declare_space
from tuning.search.trials import FATAL, TrialFunction, TrialJob, TrialResult, run_trials
from tuning.settings import SearchConfig
from tuning.space.space import SearchSpace

FOLDER = "refits"


@dataclass(frozen=True)
class RefitRun:
    """One training of one candidate.

    Attributes:
        candidate: Its name.
        seed: Of the training.
        fold: Number of the fold, from 0.
        result: What came of it.
    """

    candidate: str
    seed: int
    fold: int
    result: TrialResult


def choose_candidates(
    trials: Sequence[TrialRecord], search: SearchConfig, default: Mapping[str, Value]
) -> dict[str, Mapping[str, Value]]:
    """Return the hyperparameters of the best trials that differ, and of the default, by name.

    Args:
        trials: All trials.
        search: How many, and in which direction a score is better.
        default: What the settings that the search starts from have for hyperparameters.
    """
    sign = 1 if search.direction == "max" else -1
    ranked = sorted(
        (trial for trial in trials if trial.status == COMPLETED),
        key=lambda trial: (-sign * trial.score, trial.val_loss, trial.name),
    )
    chosen: dict[str, Mapping[str, Value]] = {}
    for trial in ranked:
        values = {name: value for name, value in trial.values.items() if not name.startswith("tuner/")}
        if values not in chosen.values() and len(chosen) < search.refits.best:
            chosen[trial.name] = values
    return {**chosen, DEFAULT: default}


def refit_candidates(
    candidates: Mapping[str, Mapping[str, Value]],
    space: SearchSpace,
    folds: Sequence[TrainingParts],
    search: SearchConfig,
    out: Path,
    workers: int = 1,
    function: TrialFunction | None = None,
) -> tuple[RefitRun, ...]:
    """Train every candidate with every seed on every fold; what is done already is not done again.

    Args:
        candidates: See `choose_candidates`.
        space: What the hyperparameters mean.
        folds: The parts of each.
        search: How many seeds.
        out: The folder of the search.
        workers: How many trainings at a time.
        function: What a process does; None: `tuning.search.trials.train_trial`.

    Raises:
        SearchError: A setting is wrong.
    """
    first = space.base.seed
    # Folds and seeds before candidates: those that share a store of activations come one after the other.
    cells = [
        (name, first + number, fold)
        for fold in range(len(folds))
        for number in range(search.refits.seeds)
        for name in candidates
    ]
    jobs = [_make_job(cell, candidates, space, folds[cell[2]], out) for cell in cells]
    results: dict[int, TrialResult] = {}
    for number, result in run_trials(jobs, function, workers):
        if result.status == FATAL:
            raise SearchError(result.trouble)
        results[number] = result
        name, seed, fold = cells[number]
        said = result.trouble if result.status != COMPLETED else _describe(result, search)
        logger.info(
            "refit %d of %d: %s, seed %d, fold %d: %s", len(results), len(jobs), name, seed, fold + 1, said
        )
    return tuple(RefitRun(*cells[number], results[number]) for number in range(len(jobs)))


def _make_job(
    cell: tuple[str, int, int],
    candidates: Mapping[str, Mapping[str, Value]],
    space: SearchSpace,
    parts: TrainingParts,
    out: Path,
) -> TrialJob:
    name, seed, fold = cell
    seeded = replace(space, base=space.base.model_copy(update={"seed": seed}))
    others = [seeded.configure(values) for values in candidates.values()]
    is_default = name == DEFAULT
    own = replace(seeded, dimensions=()) if is_default else seeded
    return TrialJob(
        out / FOLDER / f"{name}-fold{fold + 1}-{_hash_plan(parts)}-seed{seed}",
        InspectorHyperModel(own, parts, others),
        keras_tuner.HyperParameters().get_config()
        if is_default
        else _make_hyperparameters(space, candidates[name]),
        with_logits=True,
    )


def _hash_plan(parts: TrainingParts) -> str:
    """Name what is validated on, so that a fold of another draw is another refit."""
    return next(iter(parts.val.values())).plan.digest[:8]


def _make_hyperparameters(space: SearchSpace, values: Mapping[str, Value]) -> dict[str, Any]:
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    declare_space(space, hp)
    hp.values = dict(values)
    return dict(hp.get_config())


def _describe(result: TrialResult, search: SearchConfig) -> str:
    return f"{search.objective} {getattr(result.find_best_epoch(), search.objective):.4f}"
