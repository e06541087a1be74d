"""Several trials at a time on one machine: KerasTuner's chief and its workers, started and watched.

The chief has the oracle and answers on loopback; each worker asks it for trials. A worker that dies is
started again under its name, and KerasTuner's chief then gives it the trial that it had.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_tuner

from mvdefect.core.errors import SearchError
from mvdefect.core.files import write_text
from mvdefect.core.progress import logger
from tuning.schedule import Schedule
from tuning.search.hypermodel import InspectorHyperModel
from tuning.search.processes import SLOT, start_process
from tuning.search.search import make_tuner
from tuning.search.trials import TrialFunction
from tuning.settings import SearchConfig

CHIEF = "chief"
MAX_RESTARTS = 3
TROUBLE = "trouble-{}.txt"


@dataclass(frozen=True)
class ClusterJob:
    """What the chief or a worker needs to know; it can be pickled.

    Attributes:
        search: The settings.
        inspector: What builds and trains.
        out: The folder of the search.
        workers: How many workers there are.
        function: See `tuning.search.search.InspectorTuner`.
        set_up: Called first: to send messages somewhere, for instance.
        schedule: What follows the trials, for which the chief keeps time; None: nothing.
    """

    search: SearchConfig
    inspector: InspectorHyperModel
    out: Path
    workers: int
    function: TrialFunction | None = None
    set_up: Callable[[], None] | None = None
    schedule: Schedule | None = None


def search_with_workers(job: ClusterJob) -> None:
    """Start a chief and workers, and wait until there is nothing more to try.

    Raises:
        SearchError: A setting is wrong, the chief ended, or a worker died again and again.
    """
    environment = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(_find_free_port())}
    names = [CHIEF, *(f"tuner{number}" for number in range(job.workers))]
    variables = {name: {**environment, SLOT: str(max(0, place - 1))} for place, name in enumerate(names)}
    processes = {name: _start(name, job, variables[name]) for name in names}
    restarts: Counter[str] = Counter()
    try:
        while any(name != CHIEF for name in processes):
            multiprocessing.connection.wait([process.sentinel for process in processes.values()])
            for name in [name for name, process in processes.items() if not process.is_alive()]:
                code = processes.pop(name).exitcode
                _check_trouble(name, job.out)
                if code == 0 and name != CHIEF:
                    continue
                if name == CHIEF:
                    if code == 0:  # nothing is left to try: a worker that has not called yet need not
                        return
                    raise SearchError(f"the chief of the search ended with code {code}")
                restarts[name] += 1
                if restarts[name] > MAX_RESTARTS:
                    raise SearchError(f"worker {name} ended {restarts[name]} times, last with code {code}")
                logger.warning("worker %s ended with code %s; it is started again", name, code)
                processes[name] = _start(name, job, variables[name])
    finally:
        for process in processes.values():  # a chief whose workers are done waits for up to 20 seconds
            process.terminate()
            process.join()


def _start(name: str, job: ClusterJob, environment: dict[str, str]) -> Any:
    (job.out / TROUBLE.format(name)).unlink(missing_ok=True)
    return start_process(_take_part, job, None, {**environment, "KERASTUNER_TUNER_ID": name})


def _take_part(job: ClusterJob) -> None:
    """Be the chief or a worker, as KerasTuner's variables say."""
    if job.set_up is not None:
        job.set_up()
    tuner = make_tuner(job.search, job.inspector, job.out, job.function, job.schedule)
    try:
        tuner.search()
    except keras_tuner.errors.FatalError as error:
        write_text(job.out / TROUBLE.format(os.environ["KERASTUNER_TUNER_ID"]), str(error))
        raise SystemExit(1) from error


def _check_trouble(name: str, out: Path) -> None:
    path = out / TROUBLE.format(name)
    if path.is_file():
        trouble = path.read_text(encoding="utf-8")
        path.unlink()
        raise SearchError(trouble)


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
