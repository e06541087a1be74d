"""Progress bars and messages on stderr; stdout belongs to data."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")

HEARTBEAT_S = 5.0  # between two lines of a long step, if there is no terminal to draw a bar on
logger = logging.getLogger("mvdefect")
_bars: list[Any] = []  # the one that is drawn now, and those within it


def track(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    """Yield `items` and show progress; see `show_steps`."""
    with show_steps(description, total) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def show_phase(description: str) -> Iterator[None]:
    """Show that something is being done whose end cannot be told; without a terminal, log it."""
    if not sys.stderr.isatty():
        logger.info("%s", description)
    with show_steps(description, None):
        yield


@contextmanager
def show_steps(description: str, total: int | None) -> Iterator[Callable[..., None]]:
    """Draw a progress bar with the time left; without a terminal, log a line every `HEARTBEAT_S` seconds.

    The bar vanishes when the block ends. A bar within the block of another is drawn below it.

    Args:
        description: What is being done, as in "Reading images".
        total: How many steps there are; None: nobody knows.

    Yields:
        A function that moves the bar one step on, or as many as it is given.
    """
    if not sys.stderr.isatty():
        with _log_steps(description, total) as advance:
            yield advance
        return
    with _draw_bars() as progress:
        task = progress.add_task(description, total=total)

        done = 0

        def advance(steps: int = 1) -> None:
            nonlocal done
            done += steps
            words = description if total else f"{description}: {done}"
            progress.update(task, completed=done, description=words)

        try:
            yield advance
        finally:
            progress.remove_task(task)


@contextmanager
def _log_steps(description: str, total: int | None) -> Iterator[Callable[..., None]]:
    """Log now and then how far it is."""
    heartbeat = _Heartbeat(description, total)
    _bars.append(heartbeat)
    heartbeat.start()
    try:
        yield heartbeat.advance
    finally:
        heartbeat.ended.set()
        _bars.remove(heartbeat)


@contextmanager
def _draw_bars() -> Iterator[Any]:
    """Yield the bars that are drawn now, or draw some, on a copy of stderr: native libraries are muted."""
    from rich.console import Console
    from rich.progress import Progress

    if _bars:
        yield _bars[-1]
        return
    with (
        os.fdopen(os.dup(sys.stderr.fileno()), "w") as file,
        # stdout may be a file that takes rows meanwhile
        Progress(console=Console(file=file), transient=True, redirect_stdout=False) as progress,
    ):
        _bars.append(progress)
        try:
            yield progress
        finally:
            _bars.pop()


class _Heartbeat(threading.Thread):
    """Logs every `HEARTBEAT_S` seconds how far a step is, until it is stopped."""

    def __init__(self, description: str, total: int | None) -> None:
        super().__init__(daemon=True)
        self.description, self.total, self.done = description, total, 0
        self.started = time.monotonic()
        self.first: tuple[float, int] | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        """Log until the step has ended, but for the time of a step within it, which logs by itself."""
        while not self.ended.wait(HEARTBEAT_S):
            if _bars[-1:] == [self]:
                logger.info("%s: %s", self.description, self.describe(time.monotonic()))

    def advance(self, steps: int = 1) -> None:
        """Count steps."""
        self.done += steps
        self.first = self.first or (time.monotonic(), self.done)

    def describe(self, now: float) -> str:
        """Say how far it is, and what is left at the rate since the first step, which may have waited."""
        if self.first is None:
            return f"{now - self.started:.0f} s so far"
        since, done = self.first
        if self.total is None:
            return f"{self.done} so far"
        if self.done == done:
            return f"{self.done} of {self.total}"
        left = (now - since) / (self.done - done) * (self.total - self.done)
        return f"{self.done} of {self.total}, {left:.0f} s left"
