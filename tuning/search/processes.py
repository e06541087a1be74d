"""A process of its own for each trial, so that what a trial takes or breaks ends with it.

TensorFlow keeps memory of every model that it has seen, and KerasTuner's searches grow by it. A server that
has imported TensorFlow once, and used nothing of it, forks a fresh process in milliseconds instead.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PRELOADED = ["tuning.search.preload"]
SLOT = "MVDEFECT_SLOT"
_server_is_set = False


def run_isolated(
    function: Callable[[Any], None], jobs: Sequence[tuple[Any, Path]], at_once: int = 1
) -> Iterator[tuple[int, int]]:
    """Call a function in processes of their own, some at a time, in the order of the jobs.

    Each process has a slot, a number that no other process has at the same time; see `read_slot`.

    Args:
        function: Of a module's top level. What it finds, it writes to disk.
        jobs: What it is called with, which is pickled, and the file for whatever the process says.
        at_once: How many processes there may be at a time.

    Yields:
        Number of a job that ended, from 0, and the exit code of its process: 0, where nothing was raised;
        negative, where a signal ended it.
    """
    running: dict[int, Any] = {}
    waiting = list(range(len(jobs)))
    slot_of: dict[int, int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                number = waiting.pop(0)
                slot_of[number] = min(set(range(at_once)) - {slot_of[other] for other in running})
                slot = {SLOT: str(read_slot() + slot_of[number])}
                running[number] = start_process(function, *jobs[number], slot)
            multiprocessing.connection.wait([process.sentinel for process in running.values()])
            for number in [number for number, process in running.items() if not process.is_alive()]:
                yield number, int(running.pop(number).exitcode or 0)
    finally:
        for process in running.values():  # an interrupt of this process is one of those
            process.kill()
            process.join()


def read_slot() -> int:
    """Return the slot of this process, by which it takes a GPU; 0 where it has none."""
    return int(os.environ.get(SLOT, 0))


def start_process(
    function: Callable[[Any], None],
    argument: Any,
    log: Path | None,
    environment: Mapping[str, str] | None = None,
) -> Any:
    """Start a process that ends with this one, however this one ends.

    Args:
        function: Of a module's top level.
        argument: What it is called with; it is pickled.
        log: Where whatever the process says goes; None: where this one's goes.
        environment: Variables beyond those of this process.

    Returns:
        A `multiprocessing.Process`.
    """
    variables = {**os.environ, **(environment or {})}
    process = _get_context().Process(target=_begin, args=(function, argument, log, variables))
    process.start()
    return process


def _get_context() -> Any:
    global _server_is_set
    context = multiprocessing.get_context("forkserver")
    if not _server_is_set:
        context.set_forkserver_preload(PRELOADED)
        _server_is_set = True
    return context


def _begin(
    function: Callable[[Any], None], argument: Any, log: Path | None, variables: Mapping[str, str]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.clear()  # the server has the variables of the time when it began
    os.environ.update(variables)
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
    function(argument)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
