"""The search: KerasTuner's loop, each trial in a process of its own, resumed where it stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.src import config as keras_tuner_config

from mvdefect.core.errors import SearchError, join_lines
from tuning.records import COMPLETED, FAILED, RUNNING, TrialRecord, Value
from tuning.schedule import Schedule
from tuning.search.hypermodel import InspectorHyperModel, declare_space
from tuning.search.oracles import STATE, LimitedOracle, make_oracle
from tuning.search.trials import FATAL, TrialFunction, TrialJob, TrialResult, read_result, run_trials
from tuning.settings import SearchConfig

FOLDER = "trials"
IDLE_SECONDS = 0.5


class InspectorTuner(keras_tuner.Tuner):  # type: ignore[misc]
    """A tuner whose trials run in processes of their own.

    KerasTuner's variables `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT` make it
    the chief or a worker of a search on several machines.

    Args:
        oracle: See `tuning.search.oracles`.
        inspector: What builds and trains.
        out: The folder of the search, which all machines of it see.
        function: What the process of a trial does; None: `tuning.search.trials.train_trial`.
    """

    def __init__(
        self,
        oracle: LimitedOracle,
        inspector: InspectorHyperModel,
        out: Path,
        function: TrialFunction | None = None,
    ) -> None:
        with _quiet_stdout():
            super().__init__(oracle, directory=str(out), project_name=FOLDER)
        self.inspector = inspector
        self.function = function
        self._is_waiting = False

    def search(self, *_: Any, **__: Any) -> None:
        """Run what is left, or answer workers until they are done, without what KerasTuner prints."""
        keras_tuner_config.DEBUG = False  # or every trial that fails prints a traceback
        with _quiet_stdout():
            super().search()

    def pre_create_trial(self) -> None:
        """Wait a little where the oracle had nothing to do a moment ago."""
        if self._is_waiting:
            time.sleep(IDLE_SECONDS)
        self._is_waiting = True

    def on_trial_begin(self, trial: Any) -> None:
        """Note that there was something to do."""
        self._is_waiting = False
        super().on_trial_begin(trial)

    def run_trial(self, trial: Any, *_: Any, **__: Any) -> dict[str, float]:
        """Train in a process of its own.

        Returns:
            What `InspectorHyperModel.fit` returns.

        Raises:
            FailedTrialError: This trial failed: out of memory, diverged, crashed.
            FatalValueError: Others would fail as well, so the search stops.
        """
        job = TrialJob(
            Path(self.get_trial_dir(trial.trial_id)),
            self.inspector,
            trial.hyperparameters.get_config(),
        )
        result = next(iter(run_trials([job], self.function)))[1]
        if result.status == FATAL:
            raise keras_tuner.errors.FatalValueError(result.trouble)
        if result.status == FAILED:
            raise keras_tuner.errors.FailedTrialError(result.trouble)
        best = result.find_best_epoch()
        return {"val_roc_auc": best.val_roc_auc, "val_loss": best.val_loss}

    def save(self) -> None:
        """Do nothing: the oracle saves all there is, and a tuner's own file would be reloaded unasked."""


@contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Let nothing on stdout, which belongs to data."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def make_tuner(
    search: SearchConfig,
    inspector: InspectorHyperModel,
    out: Path,
    function: TrialFunction | None = None,
    schedule: Schedule | None = None,
) -> InspectorTuner:
    """Make the tuner of a search, as far as it has come.

    Args:
        search: The settings.
        inspector: What builds and trains.
        out: The folder of the search.
        function: See `InspectorTuner`.
        schedule: What follows the trials, for which time is kept; None: nothing.
    """
    hp = keras_tuner.HyperParameters()
    declare_space(inspector.space, hp)
    oracle = make_oracle(search, hp, inspector.space.base.stages[-1].epochs, schedule)
    tuner = InspectorTuner(oracle, inspector, out, function)
    if tuner.oracle is oracle and (out / FOLDER / STATE).is_file():  # otherwise the chief has it
        try:
            oracle.reload()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SearchError(
                f"the search in {out} cannot continue because a file in {out / FOLDER} is damaged "
                f"({type(error).__name__}: {join_lines(error)}); remove {out}, or choose another --out"
            ) from error
    return tuner


def read_trials(tuner: InspectorTuner) -> tuple[TrialRecord, ...]:
    """Return all trials in the order in which they began."""
    oracle = tuner.oracle
    return tuple(_describe(tuner, oracle.trials[name]) for name in oracle.start_order)


def _describe(tuner: InspectorTuner, trial: Any) -> TrialRecord:
    result = read_result(Path(tuner.get_trial_dir(trial.trial_id))) or TrialResult(RUNNING)
    is_complete = trial.status == "COMPLETED" and result.status == COMPLETED
    best = result.find_best_epoch() if is_complete else None
    return TrialRecord(
        name=trial.trial_id,
        status=COMPLETED if is_complete else FAILED if trial.status == "FAILED" else RUNNING,
        values={name: _to_plain(value) for name, value in trial.hyperparameters.values.items()},
        score=float("nan") if best is None else float(getattr(best, tuner.oracle.objective.name)),
        val_roc_auc=float("nan") if best is None else best.val_roc_auc,
        val_loss=float("nan") if best is None else best.val_loss,
        history=result.history,
        seconds=result.seconds,
        peak_memory_mb=result.peak_memory_mb,
        parameters=result.parameters,
        learning_parameters=result.learning_parameters,
        trouble=result.trouble,
    )


def _to_plain(value: Any) -> Value:
    """Return a number of NumPy's, as the Gaussian process proposes them, as one of Python's."""
    return value.item() if hasattr(value, "item") else value  # type: ignore[no-any-return]
