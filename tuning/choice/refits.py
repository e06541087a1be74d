"""Refits: the best configurations and the default, trained again with several seeds and folds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras_tuner

from mvdefect.core.errors import SearchError
from mvdefect.core.progress import logger
from tuning.records import COMPLETED, DEFAULT, TrialRecord, Value
from tuning.schedule import format_time
from tuning.search.hypermodel import InspectorHyperModel, TrainingParts, declare_space
from tuning.search.trials import FATAL, TrialFunction, TrialJob, TrialResult, read_result, run_trials
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
    until: float | None = None,
) -> tuple[RefitRun, ...]:
    """Train every candidate with every seed on every fold; what is done already is not done again.

    A round trains all candidates with one seed on one fold. The first one is always made, and each other one
    if it fits into the time that is left.

    Args:
        candidates: See `choose_candidates`.
        space: What the hyperparameters mean.
        folds: The parts of each.
        search: How many seeds.
        out: The folder of the search.
        workers: How many trainings at a time.
        function: What a process does; None: `tuning.search.trials.train_trial`.
        until: When the last round must be over, by `time.monotonic`; None: at any time.

    Raises:
        SearchError: A setting is wrong.
    """
    first = space.base.seed
    # Candidates last: those that share a store of activations come one after the other. Folds before seeds:
    # where time is short, every image validates once before any does twice.
    rounds = [
        [(name, first + number, fold) for name in candidates]
        for number in range(search.refits.seeds)
        for fold in range(len(folds))
    ]
    jobs = {
        cell: _make_job(cell, candidates, space, folds[cell[2]], out) for cells in rounds for cell in cells
    }
    batches = rounds if until is not None else [[cell for cells in rounds for cell in cells]]
    runs: list[RefitRun] = []
    longest_s = 0.0
    for place, cells in enumerate(batches):
        started = time.monotonic()
        is_new = any(read_result(jobs[cell].folder) is None for cell in cells)
        if place and until is not None and is_new and started + longest_s > until:
            logger.info("the time is enough for %d of %d rounds of refits", place, len(rounds))
            break
        told = _Telling(search, len(jobs), len(runs), len(runs) + len(cells), until)
        found = {}
        for number, result in run_trials([jobs[cell] for cell in cells], function, workers):
            found[number] = RefitRun(*cells[number], result)
            told.tell(found[number])
        runs += [found[number] for number in range(len(cells))]
        longest_s = max(longest_s, time.monotonic() - started)
    return tuple(runs)


@dataclass
class _Telling:
    """News of refits, with the time that is left by the pace of this round.

    Attributes:
        total: Refits of all rounds.
        certain: Refits up to the end of this round, which are made whatever the time.
    """

    search: SearchConfig
    total: int
    done: int
    certain: int
    until: float | None
    began: float = field(default_factory=time.monotonic)
    trained: int = 0

    def tell(self, run: RefitRun) -> None:
        """Tell of one that is over.

        Raises:
            SearchError: A setting is wrong.
        """
        result = run.result
        if result.status == FATAL:
            raise SearchError(result.trouble)
        self.done, self.trained = self.done + 1, self.trained + 1
        pace_s = (time.monotonic() - self.began) / self.trained
        left_s = pace_s * (self.total - self.done)
        if self.until is not None:
            left_s = max(min(left_s, self.until - time.monotonic()), pace_s * (self.certain - self.done))
        said = result.trouble if result.status != COMPLETED else _describe(result, self.search)
        logger.info(
            "refit %d of %d: %s, seed %d, fold %d: %s%s",
            self.done,
            self.total,
            run.candidate if run.candidate == DEFAULT else f"trial {run.candidate}",
            run.seed,
            run.fold + 1,
            said,
            f"; about {format_time(left_s)} left" if left_s else "",
        )


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
