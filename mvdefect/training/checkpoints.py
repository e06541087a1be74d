"""Checkpoints: how far a training has come, and all variables that are needed to go on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mvdefect.core.errors import RunError, join_lines
from mvdefect.core.files import UNREADABLE_NPZ, replace_file
from mvdefect.runs import EpochRow, RunFolder, read_json, write_json

STATE_FILE = "state.json"


@dataclass(frozen=True)
class TrainingState:
    """How far a training has come; with the files that it names, all that is needed to go on.

    Attributes:
        rows: The epochs done.
        stage: Index of the stage that runs.
        stage_epochs: Epochs of that stage done.
        waited: Epochs since the best one of that stage.
        best_score: ROC-AUC and negative loss on validation of the best epoch of all stages.
        best_file: Every variable of the model after that epoch, averaged where averages are kept.
        last_file: Every variable of the model and of its optimizer after the last epoch.
    """

    rows: tuple[EpochRow, ...] = ()
    stage: int = 0
    stage_epochs: int = 0
    waited: int = 0
    best_score: tuple[float, float] = (float("-inf"), float("-inf"))
    best_file: str = ""
    last_file: str = ""


def read_state(folder: RunFolder) -> TrainingState:
    """Read how far an interrupted training came; a fresh state where there is none.

    Raises:
        RunError: It is damaged.
    """
    path = folder.checkpoint / STATE_FILE
    if not path.is_file():
        return TrainingState()
    try:
        tree = read_json(path)
        rows = tuple(EpochRow(**row) for row in tree.pop("rows"))
        score = tuple(tree.pop("best_score"))
        return TrainingState(rows=rows, best_score=score, **tree)
    except (RunError, KeyError, TypeError, AttributeError) as error:
        raise _make_damage_error(path, error) from error


class Checkpoints:
    """What an unfinished training leaves to go on from: weights, optimizer and state, the state last.

    Keras's own file would not do: when it loads a model, it makes all layers of a nested one trainable, and
    then finds that the optimizer has too few variables.

    Args:
        folder: The run.
        variables: Those of the model that training changes.
        pause_seconds: Nothing is written before so many seconds have passed since the last time.
    """

    def __init__(self, folder: RunFolder, variables: Sequence[Any], pause_seconds: float) -> None:
        self.folder = folder
        self.variables = variables
        self.pause_seconds = pause_seconds
        self._best: dict[str, np.ndarray] = {}
        self._written = time.monotonic()

    def keep_best(self) -> None:
        """Keep the variables as they are now; `write` puts them into the file that the state names."""
        self._best = _name_arrays("model", self.variables)

    def write(self, state: TrainingState, optimizer: Any, is_last: bool) -> None:
        """Write what is needed to go on after an epoch, then remove the files that the state no longer names.

        Args:
            state: How far the training has come.
            optimizer: Its optimizer.
            is_last: Whether the stage is over, after which it is written in any case.
        """
        if not is_last and time.monotonic() - self._written < self.pause_seconds:
            return
        if self._best:
            _save(self.folder.checkpoint / state.best_file, self._best)
            self._best = {}
        arrays = _name_arrays("model", self.variables) | _name_arrays("optimizer", optimizer.variables)
        _save(self.folder.checkpoint / state.last_file, arrays)
        store_state(self.folder, state)
        self._written = time.monotonic()


def store_state(folder: RunFolder, state: TrainingState) -> TrainingState:
    """Write the state, then remove the files that it no longer names."""
    write_json(folder.checkpoint / STATE_FILE, asdict(state))
    for path in folder.checkpoint.iterdir():
        if path.name not in {STATE_FILE, state.best_file, state.last_file}:
            path.unlink()
    return state


def begin_next_stage(folder: RunFolder, state: TrainingState) -> TrainingState:
    """Note that a stage is over."""
    return store_state(folder, replace(state, stage=state.stage + 1, stage_epochs=0, waited=0))


def restore_variables(path: Path, variables: Sequence[Any], optimizer: Any | None = None) -> None:
    """Put back what `Checkpoints` wrote.

    Raises:
        RunError: It is damaged.
    """
    try:
        with path.open("rb") as stream, np.load(stream) as arrays:
            for index, variable in enumerate(variables):
                variable.assign(arrays[f"model_{index}"])
            for index, variable in enumerate(() if optimizer is None else optimizer.variables):
                variable.assign(arrays[f"optimizer_{index}"])
    except UNREADABLE_NPZ as error:
        raise _make_damage_error(path, error) from error


def _make_damage_error(path: Path, error: Exception) -> RunError:
    return RunError(
        f"the interrupted training cannot continue because {path} is damaged ({type(error).__name__}: "
        f"{join_lines(error)}); remove {path.parent.parent} to start again"
    )


def _save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with replace_file(path) as partial, partial.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def copy_values(variables: Iterable[Any]) -> list[np.ndarray]:
    """Return the values of variables as arrays of their own."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def put_values(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Give variables what `copy_values` returned."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _name_arrays(kind: str, variables: Sequence[Any]) -> dict[str, np.ndarray]:
    return {f"{kind}_{index}": value for index, value in enumerate(copy_values(variables))}
