"""What commands share: messages on stderr, TensorFlow set up before it is needed, a Ctrl-C that is heard."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

PATIENCE_SECONDS = 1.0


PATH = click.Path(path_type=Path)


@contextmanager
def insist_on_interrupts(patience_seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Raise KeyboardInterrupt again where something swallowed it.

    Python ignores whatever is raised in a destructor, in a callback of the garbage collector or in one that
    native code calls, and a Ctrl-C is raised wherever the program happens to be. So it is raised anew until
    the block ends, but not while any exception is being handled: what cleans up is not disturbed. An error
    after an interrupt is taken for it, since TensorFlow makes a RuntimeError of what comes while it traces.

    Args:
        patience_seconds: Between two tries.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    came = threading.Event()

    def interrupt(_number: int, _frame: object) -> None:
        came.set()
        is_heard = sys.exc_info()[1] is not None
        signal.setitimer(signal.ITIMER_REAL, patience_seconds)
        if not is_heard:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGALRM)}
    try:
        yield
    except Exception:
        if came.is_set():
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def show_messages() -> None:
    """Send the library's messages to stderr."""
    import logging
    import warnings

    from rich.console import Console
    from rich.logging import RichHandler

    from mvdefect.core.progress import logger

    for handler in [handler for handler in logger.handlers if isinstance(handler, RichHandler)]:
        logger.removeHandler(handler)
    logger.addHandler(RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%X"))
    logger.setLevel(logging.INFO)
    logger.propagate = False  # libraries give the root logger handlers of their own
    warnings.filterwarnings("ignore", module="PIL")  # on files that end as errors of ours or not at all


def start_work(debug: bool, devices: int = 1) -> None:
    """Set up messages, and TensorFlow on as many devices."""
    show_messages()
    from mvdefect.core.progress import show_phase
    from mvdefect.core.runtime import load_tensorflow

    with show_phase("Loading TensorFlow"):
        load_tensorflow(verbose=debug, devices=devices)
