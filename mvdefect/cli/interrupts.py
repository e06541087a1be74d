"""A Ctrl-C that is always heard."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 1.0


@contextmanager
def insist_on_interrupts(patience_seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Raise KeyboardInterrupt again where something swallowed it.

    Python ignores whatever is raised in a destructor, in a callback of the garbage collector or in one that
    native code calls, and a Ctrl-C is raised wherever the program happens to be. So it is raised anew until
    the block ends, but not while any exception is being handled: what cleans up is not disturbed.

    Args:
        patience_seconds: Between two tries.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        is_heard = sys.exc_info()[1] is not None
        signal.setitimer(signal.ITIMER_REAL, patience_seconds)
        if not is_heard:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGALRM)}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
