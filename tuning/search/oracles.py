"""KerasTuner's oracles, with limits of their own, files that are whole or absent, and news of how it goes.

An oracle proposes what to try and remembers what came of it. In a search on several machines there is one,
at the chief, so limits and progress belong here. Some of KerasTuner's names with an underscore are used:
`_save_trial`, `_project_dir`, `_retry_queue`, `_random_state` and others; tests fail where they change.
"""

from __future__ import annotations

import json
import shutil
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from mvdefect.core.files import parse_json, write_text
from mvdefect.core.progress import logger
from tuning.schedule import Pace, Schedule, format_time
from tuning.settings import SearchConfig

MAX_FAILURES = 3
STATE = "oracle.json"


@dataclass(frozen=True)
class Limits:
    """When a search ends.

    Attributes:
        trials: At most.
        minutes: For everything, what follows the trials included, all sessions together; None: any.
        patience: Trials in a row without a better one; None: any.
        failures: Trials in a row that fail in one session.
    """

    trials: int
    minutes: float | None = None
    patience: int | None = None
    failures: int = MAX_FAILURES  # of this session


class LimitedOracle(keras_tuner.Oracle):  # type: ignore[misc]
    """What the three oracles below have in common; it goes before KerasTuner's own among their bases.

    Attributes:
        limits: When the search ends.
        schedule: What follows the trials, for which time is kept.
        ended: Why it ended; empty while it goes on.
    """

    limits = Limits(trials=1)
    schedule = Schedule(trials=1, began=0.0)
    ended = ""
    _spent_s = 0.0  # in earlier sessions
    _ended_before = 0  # trials of earlier sessions
    _retry_queue: list[str]
    _began: float | None = None
    _last_end: float | None = None  # of a trial of this session
    _first_start_s = 0.0  # what was spent before the first trial of this session
    _paces_s: tuple[float, ...] = ()  # from the end of one trial to that of the next, if it completed

    def set_limits(self, limits: Limits, schedule: Schedule | None = None) -> None:
        """Say when the search ends, and what follows; the time counts from the beginning of the schedule."""
        self.limits = limits
        self.max_trials = limits.trials
        self.schedule = schedule or Schedule(limits.trials)
        self._began = None if schedule is None else schedule.began

    @keras_tuner.synchronized  # type: ignore[untyped-decorator]
    def create_trial(self, tuner_id: str) -> Any:
        """Return the next trial, or one whose status tells the tuner to stop."""
        self._began = time.monotonic() if self._began is None else self._began
        if self._last_end is None:
            self._last_end, self._first_start_s = time.monotonic(), self.count_seconds()
        is_new = tuner_id not in self.ongoing_trials and not self._retry_queue
        self.ended = self.find_end() if is_new else ""
        if self.ended:
            self.tuner_ids.discard(tuner_id)
            return keras_tuner.engine.trial.Trial(self.get_space(), "none", "STOPPED")
        trial = super().create_trial(tuner_id)
        if trial.status == "STOPPED":
            self.ended = "there is nothing more to try"
        return trial

    @keras_tuner.synchronized  # type: ignore[untyped-decorator]
    def end_trial(self, trial: Any) -> None:
        """Note that a trial is over, and log how the search goes; one that is over already stays as it is."""
        if trial.trial_id in self.end_order:
            return
        super().end_trial(trial)
        now = time.monotonic()
        if self._is_complete(trial.trial_id) and self._last_end is not None:
            self._paces_s = (*self._paces_s, now - self._last_end)
        self._last_end = now
        self.save()  # KerasTuner saves while the trial still counts as one that runs
        self._log_progress(self.trials[trial.trial_id])

    def get_state(self) -> dict[str, Any]:
        """Return what is saved."""
        times = {"spent_s": self.count_seconds(), "paces_s": list(self._paces_s)}
        return {**super().get_state(), **times}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take up what was saved."""
        super().set_state(state)
        self._spent_s = state["spent_s"]
        self._paces_s = tuple(state.get("paces_s", ()))  # version 0.1.0 kept none

    def save(self) -> None:
        """Save the state; a kill in the middle leaves the state before."""
        write_text(Path(self._get_oracle_fname()), json.dumps(self.get_state()))

    def _save_trial(self, trial: Any) -> None:
        write_text(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", json.dumps(trial.get_state()))

    def reload(self) -> None:
        """Take up a search where an interrupt stopped it, whatever was written last.

        A trial that was being proposed is proposed anew, and one that was running is run again.
        """
        started = set(parse_json(Path(self._get_oracle_fname()).read_text(encoding="utf-8"))["start_order"])
        for folder in Path(self._project_dir).glob("trial_*"):
            if folder.name.removeprefix("trial_") not in started:
                shutil.rmtree(folder)
        super().reload()
        self._retry_queue = [name for name in self._retry_queue if name not in self.end_order]
        for name in self._retry_queue:
            trial = self.trials[name]
            trial.metrics, trial.score, trial.status = type(trial.metrics)(), None, "RUNNING"
        self._ended_before = len(self.end_order)

    @property
    def is_over(self) -> bool:
        """Whether no trial is to be run, neither a new one nor one that was interrupted."""
        return bool(self.find_end()) and not self._retry_queue

    def find_end(self) -> str:
        """Return which limit is reached; empty where none is."""
        scores = [self.trials[name].score for name in self.end_order if self._is_complete(name)]
        failed = [not self._is_complete(name) for name in self.end_order[self._ended_before :]]
        limits = self.limits
        if len(failed) >= limits.failures and all(failed[-limits.failures :]):
            return f"{limits.failures} trials in a row failed"
        if len(self.trials) >= limits.trials:
            return f"all {limits.trials} trials are done"
        if self.end_order and (reason := self._find_end_of_time()):
            return reason
        if limits.patience is not None and scores:
            best = int(np.argmax(np.array(scores) * (1 if self.objective.direction == "max" else -1)))
            if len(scores) - 1 - best >= limits.patience:
                return f"{limits.patience} trials in a row brought nothing better"
        return ""

    def _is_complete(self, name: str) -> bool:
        return bool(self.trials[name].status == "COMPLETED")

    def count_seconds(self) -> float:
        """Return how long the search has taken, all sessions together."""
        return self._spent_s + (0.0 if self._began is None else time.monotonic() - self._began)

    @property
    def pace(self) -> Pace | None:
        """How long a trial takes: as measured on those that completed, otherwise as estimated."""
        if not self._paces_s:
            return self.schedule.pace
        first, *others = self._paces_s
        usual = float(np.mean(others)) if others else first
        return Pace(max(first, usual), usual)

    def find_refit_pace(self) -> Pace | None:
        """Return how long a refit takes."""
        return self.pace

    def _find_end_of_time(self) -> str:
        minutes, pace, refits = self.limits.minutes, self.pace, self.find_refit_pace()
        if minutes is None:
            return ""
        limit_s, spent_s = 60 * minutes, self.count_seconds()
        if spent_s > limit_s:
            return f"{minutes:g} minutes are over"
        if pace is None or refits is None:
            return ""
        reserve_s = self.schedule.find_reserve(refits, limit_s - self._first_start_s)
        if spent_s + self.schedule.workers * pace.next_s + reserve_s > limit_s:
            return f"the rest of the {minutes:g} minutes is needed to train the best again"
        return ""

    def describe_left(self) -> str:
        """Say how long everything that is left takes; empty where that is not known."""
        pace, refits = self.pace, self.find_refit_pace()
        if pace is None or refits is None:
            return ""
        trials = max(0, self.limits.trials - len(self.end_order))
        left_s = trials * pace.next_s + self.schedule.find_left(refits, 0)
        if self.limits.minutes is not None:
            left_s = min(left_s, max(0.0, 60 * self.limits.minutes - self.count_seconds()))
        return f"about {format_time(left_s)} left, refits included" if left_s else ""

    def _log_progress(self, trial: Any) -> None:
        done, total = len(self.end_order), self.limits.trials
        name, score = self.objective.name, "failed"
        if trial.status == "COMPLETED":
            score = f"{name} {trial.score:.4f}"
        best = self.get_best_trials()[0]
        leader = (
            f"best {best.score:.4f} (trial {best.trial_id})" if best.score is not None else "none completed"
        )
        left = self.describe_left()
        words = f"; {left}" if left else ""
        logger.info("trial %s, %d of %d: %s; %s%s", trial.trial_id, done, total, score, leader, words)


class RandomOracle(LimitedOracle, keras_tuner.oracles.RandomSearchOracle):  # type: ignore[misc]
    """Draws every value at random."""


class HyperbandOracle(LimitedOracle, keras_tuner.oracles.HyperbandOracle):  # type: ignore[misc]
    """Many short trials, of which the best go on to longer ones (Li et al., 2018).

    A longer trial is trained from the beginning, with a schedule of its own length: it then is what `fit`
    does with as many epochs.
    """

    def find_refit_pace(self) -> Pace | None:
        """Return how long a refit takes: it has all epochs, of which most trials have few."""
        values = [self.trials[name].hyperparameters.values for name in self.end_order]
        epochs = [int(one["tuner/epochs"]) for one in values if one.get("tuner/epochs")]
        if self.pace is None or not self._paces_s or not epochs:
            return self.pace
        times = self.max_epochs / float(np.mean(epochs))
        return Pace(times * self.pace.first_s, times * self.pace.next_s)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Propose values. Trials that failed count as the worst, or a bracket would wait for them."""
        worst = float("-inf") if self.objective.direction == "max" else float("inf")
        failed = [trial for trial in self.trials.values() if trial.status == "FAILED"]
        for trial in failed:
            trial.status, trial.score = "COMPLETED", worst
        try:
            return super().populate_space(trial_id)  # type: ignore[no-any-return]
        finally:
            for trial in failed:
                trial.status, trial.score = "FAILED", None


class BayesianOracle(LimitedOracle, keras_tuner.oracles.BayesianOptimizationOracle):  # type: ignore[misc]
    """A Gaussian process over what was tried proposes what to try next."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Propose values. What is drawn for a trial depends on its number alone, also after an interrupt."""
        self._random_state = np.random.RandomState([self.seed, len(self.trials)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # few trials do not tell a length scale
            proposed = super().populate_space(trial_id)
        if proposed["status"] == "RUNNING" and self._duplicate(proposed["values"]):
            return self._random_populate_space()  # type: ignore[no-any-return]
        return proposed  # type: ignore[no-any-return]


def make_oracle(
    search: SearchConfig, hp: Any, max_epochs: int, schedule: Schedule | None = None
) -> LimitedOracle:
    """Make the oracle of a search.

    Args:
        search: Strategy, objective, limits and seed.
        hp: KerasTuner's `HyperParameters`, with the space declared.
        max_epochs: Of the last stage, which Hyperband shortens.
        schedule: What follows the trials; None: nothing.
    """
    shared = {
        "objective": keras_tuner.Objective(search.objective, search.direction),
        "hyperparameters": hp,
        "seed": search.seed + 1,  # 0 would mean 'any' to KerasTuner
        "allow_new_entries": False,
        "tune_new_entries": False,
        "max_consecutive_failed_trials": None,  # it would raise before it saves; see `Limits`
    }
    if search.strategy == "hyperband":
        rounds = {"max_epochs": max_epochs, "factor": search.factor, "hyperband_iterations": None}
        oracle: LimitedOracle = HyperbandOracle(**rounds, **shared)
    elif search.strategy == "bayesian":
        first = max(3, min(2 * len(hp.space), search.trials // 3))
        oracle = BayesianOracle(num_initial_points=first, **shared)
    else:
        oracle = RandomOracle(**shared)
    oracle.verbose = 0
    oracle.set_limits(Limits(search.trials, search.minutes, search.patience), schedule)
    return oracle
