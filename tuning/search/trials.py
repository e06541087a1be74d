"""A trial: one training in a process of its own, and the file with what came of it."""

from __future__ import annotations

import copy
import errno
import json
import math
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mvdefect.core.errors import MvdefectError, RunError
from mvdefect.core.files import parse_json, write_text
from mvdefect.core.progress import logger
from mvdefect.core.runtime import load_tensorflow, share_batches
from mvdefect.runs import EpochRow, RunFolder, read_history
from mvdefect.workflow.photographs import logging_to
from tuning.records import COMPLETED, FAILED, find_best_epoch
from tuning.search.processes import read_slot, run_isolated

RESULT = "result.json"
MESSAGES = "messages.txt"
FATAL = "fatal"
MEGABYTE = 1e6
NOTHING_CAN_BE_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


@dataclass(frozen=True)
class TrialResult:
    """What came of a trial.

    Attributes:
        status: "completed"; "failed", where others may do better; "fatal", where none would.
        history: The epochs, as far as they came.
        seconds: How long it took.
        peak_memory_mb: The most memory that its process had, in 10^6 bytes.
        parameters: How many numbers the classifier has.
        learning_parameters: How many of them learn in the last stage.
        logits: What the best epoch's weights say of each validation image, where they were asked for.
        trouble: Why it did not complete.
    """

    status: str
    history: tuple[EpochRow, ...] = ()
    seconds: float = 0.0
    peak_memory_mb: float = float("nan")
    parameters: int = 0
    learning_parameters: int = 0
    logits: tuple[float, ...] = ()
    trouble: str = ""

    def find_best_epoch(self) -> EpochRow:
        """Return the epoch whose weights a fit keeps: the best ROC-AUC, of equals the lowest loss."""
        return find_best_epoch(self.history)


@dataclass(frozen=True)
class TrialJob:
    """What a process needs to run a trial; it can be pickled.

    Attributes:
        folder: Where everything of it goes.
        hypermodel: An `InspectorHyperModel`.
        hyperparameters: KerasTuner's, as `get_config` gives them.
        with_logits: Whether what is said of each validation image is wanted.
    """

    folder: Path
    hypermodel: Any
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    with_logits: bool = False


TrialFunction = Callable[[TrialJob], None]


def run_trials(
    jobs: Sequence[TrialJob], function: TrialFunction | None = None, at_once: int = 1
) -> Iterator[tuple[int, TrialResult]]:
    """Run trials in processes of their own; one that has a result already is not run again.

    Args:
        jobs: The trials.
        function: What a process does; None: `train_trial`.
        at_once: How many processes there may be at a time.

    Yields:
        Number of a trial that is over, from 0, and what came of it.
    """
    found = {number: read_result(job.folder) for number, job in enumerate(jobs)}
    left = [number for number, result in found.items() if result is None or result.status == FATAL]
    yield from ((number, result) for number, result in found.items() if result and number not in left)
    for number in left:
        (jobs[number].folder / RESULT).unlink(missing_ok=True)
    work = [(jobs[number], jobs[number].folder / MESSAGES) for number in left]
    for place, code in run_isolated(function or train_trial, work, at_once):
        folder = jobs[left[place]].folder
        result = read_result(folder)
        if result is None:
            result = TrialResult(FAILED, _read_history(folder), trouble=_describe_end(code))
            write_result(folder, result)
        yield left[place], result


def train_trial(job: TrialJob) -> None:
    """Train, and write the result: what a trial's process does."""
    started = time.monotonic()
    job.folder.mkdir(parents=True, exist_ok=True)
    with logging_to(RunFolder(job.folder).log):
        try:
            result = _train(job, started)
        except Exception as error:
            logger.exception("the trial failed")
            status = FATAL if _is_fatal(error) else FAILED
            trouble = str(error) if isinstance(error, MvdefectError) else f"{type(error).__name__}: {error}"
            history = _read_history(job.folder)
            result = TrialResult(status, history, time.monotonic() - started, trouble=trouble)
    write_result(job.folder, result)


def _train(job: TrialJob, started: float) -> TrialResult:
    import keras_tuner

    from mvdefect.training.predictions import predict_logits

    earlier = sum(row.seconds for row in _read_history(job.folder))  # before an interrupt
    hp = keras_tuner.HyperParameters.from_config(
        copy.deepcopy(job.hyperparameters)
    )  # it changes what it reads
    config = job.hypermodel.configure(hp)
    load_tensorflow(devices=config.devices, gpu=read_slot() if config.devices == 1 else None)
    with share_batches(config.devices):
        model = job.hypermodel.build(hp)
        job.hypermodel.fit(hp, model, job.folder)
        logits: tuple[float, ...] = ()
        if job.with_logits:
            val = job.hypermodel.parts.val[config.size_px, config.resize]
            logits = tuple(map(float, predict_logits(model, val, config.batch_size)))
    return TrialResult(
        COMPLETED,
        _read_history(job.folder),
        round(earlier + time.monotonic() - started, 2),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE,
        model.count_params(),
        sum(math.prod(variable.shape) for variable in model.trainable_weights),
        logits,
    )


def _is_fatal(error: Exception) -> bool:
    """Whether other trials would fail as well: wrong settings, weights or photographs, or a full disk."""
    from mvdefect.training.fit import DivergedError

    if isinstance(error, OSError) and not isinstance(error, MvdefectError):
        return error.errno in NOTHING_CAN_BE_WRITTEN
    return isinstance(error, MvdefectError) and not isinstance(error, DivergedError)


def read_result(folder: Path) -> TrialResult | None:
    """Read what came of a trial; None where it is not over.

    Raises:
        RunError: The file is damaged.
    """
    path = folder / RESULT
    if not path.is_file():
        return None
    try:
        tree = parse_json(path.read_text(encoding="utf-8"))
        history = tuple(EpochRow(**row) for row in tree.pop("history"))
        found = TrialResult(history=history, logits=tuple(tree.pop("logits")), **tree)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    return found


def is_over(folder: Path) -> bool:
    """Whether a trial has a result."""
    return (folder / RESULT).is_file()


def write_result(folder: Path, result: TrialResult) -> None:
    """Write what came of a trial, whole or not at all, and remove what it needed to go on."""
    write_text(folder / RESULT, json.dumps(asdict(result)) + "\n")
    shutil.rmtree(RunFolder(folder).checkpoint, ignore_errors=True)


def _read_history(folder: Path) -> tuple[EpochRow, ...]:
    run = RunFolder(folder)
    return read_history(run) if run.history.is_file() else ()


def _describe_end(code: int) -> str:
    if code == -9:
        return "its process was killed, as systems do that run out of memory"
    if code < 0:
        return f"its process was ended by signal {-code}"
    return f"its process ended with code {code}; {MESSAGES} may say why"
