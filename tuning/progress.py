"""Signs of life while processes work: a moving line on a terminal, a message every few seconds elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from mvdefect.core.progress import logger
from mvdefect.runs import RunFolder
from tuning.schedule import format_time

QUIET_SECONDS = 4.0
REFRESH_SECONDS = 1.0


@contextmanager
def show_life(describe: Callable[[], str], is_shared: bool = False) -> Iterator[None]:
    """Show every few seconds how far something has come, until the block ends.

    Args:
        describe: Says it in one line; called from another thread.
        is_shared: Whether other processes write to the same terminal, on which a moving line would break.
    """
    from rich.console import Console
    from rich.status import Status

    is_moving = sys.stderr.isatty() and not is_shared
    status = Status(describe(), console=Console(stderr=True)) if is_moving else None
    ended, started = threading.Event(), time.monotonic()

    def tell() -> None:
        while not ended.wait(REFRESH_SECONDS if status else QUIET_SECONDS):
            words = f"{describe()} ({format_time(time.monotonic() - started)})"
            if status:
                status.update(words)
            else:
                logger.info(words)

    thread = threading.Thread(target=tell, daemon=True)
    with status or nullcontext():
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def describe_running(folder: Path, is_over: Callable[[Path], bool], epochs: int) -> str:
    """Say in which epochs the trainings of a folder are that are not over, as in "trial 03: epoch 2 of 17".

    Args:
        folder: That of trials or of refits.
        is_over: Tells from the folder of a training whether it is over.
        epochs: How many a training has at most.
    """
    running = [path for path in sorted(folder.glob("*")) if path.is_dir() and not is_over(path)]
    words = [
        f"{path.name.replace('_', ' ')}: epoch {min(epochs, _count_epochs(path) + 1)} of {epochs}"
        for path in running
    ]
    return ", ".join(words) or "preparing"


def _count_epochs(folder: Path) -> int:
    try:
        lines = RunFolder(folder).history.read_text(encoding="utf-8").splitlines()
    except OSError:  # it has not begun, or is being replaced
        return 0
    return max(0, len(lines) - 1)
