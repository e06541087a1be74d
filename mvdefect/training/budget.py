"""The budget of the activation store: whether activations fit it and the disk, and which old ones go."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mvdefect.core.files import cache_dir
from mvdefect.core.progress import logger

GIGABYTE = 10**9
SPARE_BYTES = 10**9
LOCK = "lock"
OTHERWISE = "the frozen part runs in every epoch"
_held: dict[Path, int] = {}  # file descriptors of locks


def hold_store(folder: Path) -> None:
    """Make the folder of a store, and keep other trainings from removing it while this process lives."""
    while folder not in _held or not (folder / LOCK).exists():
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # removed between the two
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if folder in _held:
                os.close(_held[folder])
            _held[folder] = descriptor


def make_room(needed: Mapping[str, int], budget_gb: float, otherwise: str = OTHERWISE) -> bool:
    """See whether activations fit, and remove those that were used longest ago where they are in the way.

    Args:
        needed: Name of each store (see `mvdefect.training.activations.name_store`) and its size in bytes
            when it is complete.
        budget_gb: What all stores together may take, in 10^9 bytes.
        otherwise: What comes of it where they do not fit, for the log.

    Returns:
        Whether they fit; the log says why not.
    """
    root, total = cache_dir("activations"), sum(needed.values())
    if total > budget_gb * GIGABYTE:
        logger.info(
            "%s: the activations would take %.2f GB, and activation_budget_gb is %g",
            otherwise,
            total / GIGABYTE,
            budget_gb,
        )
        return False
    _remove_oldest(root, set(needed), budget_gb * GIGABYTE - total)
    missing = total - sum(_measure(root / name)[0] for name in needed)
    free = shutil.disk_usage(root).free
    if missing > free - SPARE_BYTES:
        logger.warning(
            "%s: the activations take %.2f GB more, and the disk of %s has %.2f GB left",
            otherwise,
            missing / GIGABYTE,
            root,
            free / GIGABYTE,
        )
        return False
    return True


def _remove_oldest(root: Path, kept: set[str], allowed_bytes: float) -> None:
    others = {path: _measure(path) for path in root.iterdir() if path.is_dir() and path.name not in kept}
    total = sum(size for size, _ in others.values())
    for path in sorted(others, key=lambda path: (others[path][1], path.name)):
        if total <= allowed_bytes:
            return
        if _remove_unused(path):
            total -= others[path][0]


def _remove_unused(folder: Path) -> bool:
    """Remove a store, unless another training holds it."""
    try:
        with (folder / LOCK).open("a", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except FileNotFoundError:  # another one has removed it
        return True
    except BlockingIOError:
        return False
    return True


def _measure(folder: Path) -> tuple[int, float]:
    """Return size in bytes and time of the last use; what vanishes meanwhile counts nothing."""
    size = 0
    try:
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                size += path.stat().st_size
        return size, folder.stat().st_mtime
    except FileNotFoundError:
        return size, 0.0
