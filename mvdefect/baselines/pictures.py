"""What every baseline is given: pictures as one array, which may be memory-mapped, and their labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mvdefect.core.errors import ConfigError
from mvdefect.data.images import Pixels

CLASSES = np.array([0, 1])  # good, defective
BATCH_SIZE = 32


def check_pictures(X: ArrayLike) -> Pixels:
    """Return pictures as they came.

    Raises:
        ConfigError: They are not uint8 of shape (n, height, width, 3).
    """
    pictures = X if isinstance(X, np.ndarray) else np.asarray(X)
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or 0 in pictures.shape[1:3]:
        raise ConfigError(
            "X must be pictures, uint8 of shape (n, height, width, 3). "
            f"Received: {pictures.dtype} of shape {pictures.shape}"
        )
    return pictures


def check_labels(y: ArrayLike, count: int, needed: tuple[int, ...] = (0, 1)) -> NDArray[np.int64]:
    """Return labels as int64 (count,).

    Args:
        y: 0 for good, 1 for defective.
        count: How many there must be.
        needed: Which of them must be there.

    Raises:
        ConfigError: They are something else, or one is missing.
    """
    labels = np.asarray(y)
    found = np.unique(labels)
    if labels.shape != (count,) or not np.isin(found, CLASSES).all() or not np.isin(needed, found).all():
        raise ConfigError(
            f"y must be {count} labels, 0 for good and 1 for defective, with images of "
            f"{' and '.join(('good', 'defective')[label] for label in needed)}. "
            f"Received: shape {labels.shape} with the values {found[:5].tolist()}"
        )
    return labels.astype(np.int64)


def number_groups(groups: ArrayLike | None, count: int) -> NDArray[np.int64]:
    """Return the number of each picture's group, int64 (count,); without groups, each is one of its own.

    Raises:
        ConfigError: There are more or fewer groups than pictures.
    """
    if groups is None:
        return np.arange(count)
    names = np.asarray(groups)
    if names.shape != (count,):
        raise ConfigError(f"groups must be of shape ({count},). Received: shape {names.shape}")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def iterate_pictures(pictures: Pixels, numbers: NDArray[Any] | None = None) -> Iterator[Pixels]:
    """Yield pictures in batches, so that no more of a memory-mapped array is read at a time.

    Args:
        pictures: uint8 of shape (n, height, width, 3).
        numbers: Which of them, int64 (m,); None for all.
    """
    chosen = np.arange(len(pictures)) if numbers is None else numbers
    for start in range(0, len(chosen), BATCH_SIZE):
        yield np.asarray(pictures[chosen[start : start + BATCH_SIZE]])
