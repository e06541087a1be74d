"""What descriptors and frozen networks made of pictures, kept for estimators that see them again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
from numpy.typing import NDArray

from mvdefect.baselines.pictures import iterate_pictures
from mvdefect.data.images import Pixels

Features = NDArray[np.float32]
_REMEMBERED: ContextVar[dict[bytes, Features] | None] = ContextVar("remembered", default=None)


@contextmanager
def remember_descriptions() -> Iterator[None]:
    """Describe each picture once within the block, however many estimators with the same eyes see it.

    A benchmark fits one baseline on many split plans of the same images. Memory grows by the features of
    each picture, some 8 kB.
    """
    token = _REMEMBERED.set({})
    try:
        yield
    finally:
        _REMEMBERED.reset(token)


def describe_once(eyes: str, pictures: Pixels, describe: Callable[[Pixels], Features]) -> Features:
    """Return the features of pictures; outside `remember_descriptions` all are described.

    Args:
        eyes: All that decides the features but the picture.
        pictures: uint8 of shape (n, height, width, 3).
        describe: Returns the features of pictures, float32 (n, d).
    """
    known = _REMEMBERED.get()
    if known is None:
        return describe(pictures)
    found = []
    for batch in iterate_pictures(pictures):
        head = f"{eyes} {batch.shape[1:]}\0".encode()
        names = [hashlib.sha256(head + picture.tobytes()).digest() for picture in batch]
        new = [number for number, name in enumerate(names) if name not in known]
        if new:
            known.update(zip([names[number] for number in new], describe(batch[new]), strict=True))
        found += [known[name] for name in names]
    return np.stack(found)
