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
from tuning.settings import SearchConfig

MAX_FAILURES = 3
STATE = "oracle.json"


@dataclass(frozen=True)
class Limits:
    """When a search ends.

    Attributes:
        trials: At most.
        minutes: No trial begins after so many, all sessions together; None: any.
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
        ended: Why it ended; empty while it goes on.
    """

    limits = Limits(trials=1)
    ended = ""
    _spent_s = 0.0  # in earlier sessions
    _ended_before = 0  # trials of earlier sessions
    _retry_queue: list[str]
    _began: float | None = None

    def set_limits(self, limits: Limits) -> None:
        """Say when the search ends."""
        self.limits = limits
        self.max_trials = limits.trials

    @keras_tuner.synchronized  # type: ignore[untyped-decorator]
    def create_trial(self, tuner_id: str) -> Any:
        """Return the next trial, or one whose status tells the tuner to stop."""
        self._began = time.monotonic() if self._began is None else self._began
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
        self.save()  # KerasTuner saves while the trial still counts as one that runs
        self._log_progress(self.trials[trial.trial_id])

    def get_state(self) -> dict[str, Any]:
        """Return what is saved."""
        return {**super().get_state(), "spent_s": self._count_seconds()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take up what was saved."""
        super().set_state(state)
        self._spent_s = state["spent_s"]

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
        if limits.minutes is not None and self._count_seconds() > 60 * limits.minutes:
            return f"{limits.minutes:g} minutes are over"
        if limits.patience is not None and scores:
            best = int(np.argmax(np.array(scores) * (1 if self.objective.direction == "max" else -1)))
            if len(scores) - 1 - best >= limits.patience:
                return f"{limits.patience} trials in a row brought nothing better"
        return ""

    def _is_complete(self, name: str) -> bool:
        return bool(self.trials[name].status == "COMPLETED")

    def _count_seconds(self) -> float:
        return self._spent_s + (0.0 if self._began is None else time.monotonic() - self._began)

    def _log_progress(self, trial: Any) -> None:
        done, total = len(self.end_order), self.limits.trials
        name, score = self.objective.name, "failed"
        if trial.status == "COMPLETED":
            score = f"{name} {trial.score:.4f}"
        best = self.get_best_trials()[0]
        leader = (
            f"best {best.score:.4f} (trial {best.trial_id})" if best.score is not None else "none completed"
        )
        pace = self._count_seconds() / max(1, done)
        left = "" if done >= total else f"; {total - done} left, about {_format_time(pace * (total - done))}"
        logger.info("trial %s, %d of %d: %s; %s%s", trial.trial_id, done, total, score, leader, left)


class RandomOracle(LimitedOracle, keras_tuner.oracles.RandomSearchOracle):  # type: ignore[misc]
    """Draws every value at random."""


class HyperbandOracle(LimitedOracle, keras_tuner.oracles.HyperbandOracle):  # type: ignore[misc]
    """Many short trials, of which the best go on to longer ones (Li et al., 2018).

    A longer trial is trained from the beginning, with a schedule of its own length: it then is what `fit`
    does with as many epochs.
    """

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


def make_oracle(search: SearchConfig, hp: Any, max_epochs: int) -> LimitedOracle:
    """Make the oracle of a search.

    Args:
        search: Strategy, objective, limits and seed.
        hp: KerasTuner's `HyperParameters`, with the space declared.
        max_epochs: Of the last stage, which Hyperband shortens.
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
    oracle.set_limits(Limits(search.trials, search.minutes, search.patience))
    return oracle


def _format_time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
