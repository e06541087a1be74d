"""Watching a folder into which a camera drops photographs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mvdefect.data.images import is_image
from mvdefect.data.layouts import list_files
from mvdefect.errors import LayoutError
from mvdefect.serving.photographs import Photograph

PAUSE_SECONDS = 0.5


def watch_folder(
    folder: Path, pause_seconds: float = PAUSE_SECONDS, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Photograph]:
    """Yield each photograph below a folder once, those that are there and all that come, without an end.

    A file counts when its size and time are the same in two looks, so that one is not read while a camera
    still writes it.

    Args:
        folder: The folder.
        pause_seconds: Between two looks.
        sleep: What waits.

    Raises:
        LayoutError: It is no folder.
    """
    if not folder.is_dir():
        raise LayoutError(f"what is watched must be a folder. Received: {folder}")
    seen: dict[Path, tuple[int, int]] = {}
    done: set[Path] = set()
    while True:
        for path in list_files(folder):
            if path in done or not is_image(path.name):
                continue
            state = _look(path)
            if state is not None and state[0] and seen.get(path) == state:
                done.add(path)
                del seen[path]
                yield Photograph(str(path), path)
            elif state is not None:
                seen[path] = state
        sleep(pause_seconds)


def _look(path: Path) -> tuple[int, int] | None:
    """Return size and time of a file; None where it has gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
