"""Room for activations: whether they fit the budget and the disk, and which old ones go."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from mvdefect.paths import cache_dir
from mvdefect.progress import logger

GIGABYTE = 10**9
SPARE_BYTES = 10**9


def make_room(needed: Mapping[str, int], budget_gb: float) -> bool:
    """See whether activations fit, and remove those that were used longest ago where they are in the way.

    Args:
        needed: Name of each store (see `mvdefect.training.activations.name_store`) and its size in bytes
            when it is complete.
        budget_gb: What all stores together may take, in 10^9 bytes.

    Returns:
        Whether they fit; the log says why not.
    """
    root, total = cache_dir("activations"), sum(needed.values())
    if total > budget_gb * GIGABYTE:
        logger.info(
            "the frozen part runs in every epoch: its activations would take %.2f GB, and "
            "activation_budget_gb is %g",
            total / GIGABYTE,
            budget_gb,
        )
        return False
    _remove_oldest(root, set(needed), budget_gb * GIGABYTE - total)
    missing = total - sum(_measure(root / name) for name in needed)
    free = shutil.disk_usage(root).free
    if missing > free - SPARE_BYTES:
        logger.warning(
            "the frozen part runs in every epoch: its activations take %.2f GB more, and the disk of %s has "
            "%.2f GB left",
            missing / GIGABYTE,
            root,
            free / GIGABYTE,
        )
        return False
    return True


def _remove_oldest(root: Path, kept: set[str], allowed_bytes: float) -> None:
    others = [path for path in root.iterdir() if path.is_dir() and path.name not in kept]
    others.sort(key=lambda path: (path.stat().st_mtime, path.name))
    sizes = [_measure(path) for path in others]
    while sum(sizes) > allowed_bytes:
        shutil.rmtree(others.pop(0), ignore_errors=True)
        del sizes[0]


def _measure(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
