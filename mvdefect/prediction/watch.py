"""Watching a folder into which a camera drops photographs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mvdefect.core.errors import ImageError, LayoutError
from mvdefect.core.progress import logger
from mvdefect.data.images import decode_image
from mvdefect.data.sources.folders import list_files
from mvdefect.inspector.photographs import Photograph, SortedNames, find_photograph, sort_names

PAUSE_SECONDS = 0.5
SETTLE_SECONDS = 10.0  # after which what cannot be read is not still being written


def watch_folder(
    folder: Path,
    pause_seconds: float = PAUSE_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Iterator[Photograph]:
    """Return each photograph below a folder once, those that are there and all that come, without an end.

    One that is written anew, with another size or time, is another photograph.

    Notes, tables and the like, and masks, are left out; see `mvdefect.inspector.photographs.sort_names`. A
    file counts when its size and time are the same in two looks and it can be read, so that one is not
    taken while a camera still writes it. What cannot be read is taken as it is when nothing has been written
    to it for ten seconds; an empty file too.

    Args:
        folder: The folder.
        pause_seconds: Between two looks.
        sleep: What waits.
        clock: Tells the time, in seconds, as files have it.

    Raises:
        LayoutError: It is no folder.
    """
    if not folder.is_dir():
        raise LayoutError(f"what is watched must be a folder. Received: {folder}")
    return _watch(folder, pause_seconds, sleep, clock)


def _watch(
    folder: Path, pause_seconds: float, sleep: Callable[[float], None], clock: Callable[[], float]
) -> Iterator[Photograph]:
    seen: dict[Path, _Seen] = {}
    done: dict[Path, Photograph] = {}
    told: set[str] = set()
    while True:
        for path in _choose(folder, _look(folder), told):
            found = find_photograph(path)
            if found.modified_ns is None or done.get(path) == found:
                continue
            if path not in seen or seen[path].photograph != found:
                seen[path] = _Seen(found, clock())
            elif _is_quiet(seen[path], clock()) or _is_whole(found):
                done[path] = found
                del seen[path]
                yield found
        sleep(pause_seconds)


def _choose(folder: Path, found: list[Path], told: set[str]) -> list[Path]:
    """Leave out what is not inspected, and say so once of each file."""
    names = sort_names([path.relative_to(folder).as_posix() for path in found])
    new = SortedNames(
        (), *(tuple(name for name in kind if name not in told) for kind in (names.notes, names.masks))
    )
    new.tell(str(folder))
    told.update(new.notes, new.masks)
    return [folder / name for name in names.images]


def _look(folder: Path) -> list[Path]:
    """List what is there now; a share that cannot be read for a moment ends nothing."""
    try:
        return list_files(folder)
    except OSError as error:
        logger.warning("%s: %s; trying again", error.filename or folder, error.strerror)
        return []


@dataclass(frozen=True)
class _Seen:
    """A photograph as two looks found it, and since when it has been so."""

    photograph: Photograph
    since: float


def _is_quiet(seen: _Seen, now: float) -> bool:
    written = (seen.photograph.modified_ns or 0) / 1e9
    return now - min(seen.since, written) >= SETTLE_SECONDS


def _is_whole(photograph: Photograph) -> bool:
    try:
        decode_image(photograph.read())
    except (ImageError, OSError):
        return False
    return True
