"""Progress bars and messages on stderr; stdout belongs to data."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")

logger = logging.getLogger("mvdefect")


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
def show_steps(description: str, total: int) -> Iterator[Callable[[], None]]:
    """Draw a progress bar that vanishes when the block ends, where stderr is a terminal.

    Yields:
        A function that moves the bar one step on.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(description, total=total)
        yield lambda: progress.advance(task)
