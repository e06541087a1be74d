"""Progress bars and messages on stderr; stdout belongs to data."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

Item = TypeVar("Item")

logger = logging.getLogger("mvdefect")
_bars: list[Any] = []  # the one that is drawn now, and those within it


def track(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Yield `items` and draw a progress bar, where stderr is a terminal.

    Args:
        items: What is worked on.
        description: What is being done, as in "Reading photographs".
        total: How many items there are.
    """
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    yield from rich_track(
        items, description=description, total=total, console=console, disable=not sys.stderr.isatty()
    )


@contextmanager
def show_steps(description: str, total: int) -> Iterator[Callable[..., None]]:
    """Draw a progress bar with the time left, where stderr is a terminal.

    It vanishes when the block ends. A bar within the block of another is drawn below it.

    Yields:
        A function that moves the bar one step on, or as many as it is given.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    outer = _bars[-1] if _bars else None
    progress = outer or Progress(console=console, transient=True, disable=not sys.stderr.isatty())
    with nullcontext() if outer else progress:
        task = progress.add_task(description, total=total)
        _bars.append(progress)
        try:
            yield lambda steps=1: progress.advance(task, steps)
        finally:
            _bars.pop()
            progress.remove_task(task)
