"""Feature maps of a frozen network: read in pieces, averaged over neighbours, stretched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import ConfigError

Maps = NDArray[np.float32]
FeatureSource = NDArray[Any] | Iterable[NDArray[Any]]

CHUNK_BYTES = 16 << 20
SMALLEST, SMALLEST_SHARE = 1e-12, 0.01  # of novelty at a position: a logarithm needs a limit


def iterate_chunks(features: FeatureSource) -> Iterator[Maps]:
    """Yield feature maps in pieces of about 16 MiB, so that memory stays bounded.

    Args:
        features: One array (n, h, w, c) of any float type, which may be memory-mapped, or batches of it,
            of any sizes.

    Yields:
        float32 of shape (b, h, w, c), b at least 1.

    Raises:
        ConfigError: An array has another rank or type, another shape than the one before, or holds
            values that are no numbers.
    """
    shape: tuple[int, ...] | None = None
    for batch in [features] if isinstance(features, np.ndarray) else features:
        if batch.ndim != 4 or batch.dtype.kind != "f" or 0 in batch.shape[1:]:
            raise ConfigError(
                "features must be floats of shape (images, height, width, channels). "
                f"Received: {batch.dtype} of shape {batch.shape}"
            )
        shape = shape or batch.shape[1:]
        check_shape(batch, shape)
        rows = max(1, CHUNK_BYTES // (4 * int(np.prod(shape))))
        for start in range(0, len(batch), rows):
            piece = np.asarray(batch[start : start + rows], np.float32)
            if not np.isfinite(piece).all():
                raise ConfigError("features must be finite. Received: infinite values or NaN")
            yield piece


def iterate_several(features: FeatureSource) -> Iterator[Maps]:
    """Yield as `iterate_chunks` does what a fit needs: two images at least.

    Raises:
        ConfigError: There are fewer.
    """
    chunks, first = iterate_chunks(features), []
    for chunk in chunks:
        first.append(chunk)
        if sum(map(len, first)) > 1:
            yield from chain(first, chunks)
            return
    count = sum(map(len, first))
    raise ConfigError(f"features of at least 2 good images are needed. Received: {count} images")


def check_shape(maps: NDArray[Any], expected: Sequence[int]) -> None:
    """Refuse feature maps whose height, width or channels are not the expected ones.

    Raises:
        ConfigError: They differ.
    """
    if maps.shape[1:] != tuple(expected):
        raise ConfigError(
            f"features must be of shape (images, {', '.join(map(str, expected))}). "
            f"Received: shape {maps.shape}"
        )


def average_neighbourhoods(maps: Maps) -> Maps:
    """Replace each position by the mean over itself and its neighbours (3 × 3).

    It gives a patch the surroundings it lies in and forgives small shifts, as in PatchCore (Roth et al.,
    2022). At the border the mean is over the neighbours that exist.

    Args:
        maps: float32 of shape (n, h, w, c).
    """
    return _average_along(_average_along(maps, 1), 2)


def average_tensors(maps: Any) -> Any:
    """Do to tensors of TensorFlow what `average_neighbourhoods` does to arrays."""
    import tensorflow as tf

    return tf.nn.avg_pool2d(maps, 3, 1, "SAME")  # which counts only the neighbours that exist


def log_novelty(maps: Maps) -> Maps:
    """Return the logarithm of novelty by position, at least that of a hundredth of an image's largest.

    Args:
        maps: float32 of shape (n, h, w).
    """
    largest = np.maximum(maps.max(axis=(1, 2), keepdims=True), SMALLEST)
    return np.asarray(np.log(np.maximum(maps, SMALLEST_SHARE * largest)), np.float32)


def log_novelty_tensor(maps: Any) -> Any:
    """Do to tensors of TensorFlow what `log_novelty` does to arrays."""
    import tensorflow as tf

    largest = tf.maximum(tf.reduce_max(maps, axis=(1, 2), keepdims=True), SMALLEST)
    return tf.math.log(tf.maximum(maps, SMALLEST_SHARE * largest))


def level_outside(maps: NDArray[Any], counted: NDArray[np.bool_]) -> NDArray[Any]:
    """Give what does not count the lowest value of what does, so that nothing is drawn there.

    Args:
        maps: Floats of shape (n, h, w).
        counted: bool (h, w), true somewhere.
    """
    lowest = maps[:, counted].min(axis=1)
    return np.asarray(np.where(counted, maps, lowest[:, np.newaxis, np.newaxis]))


def level_outside_tensor(maps: Any, counted: NDArray[np.bool_]) -> Any:
    """Do to tensors of TensorFlow what `level_outside` does to arrays."""
    import tensorflow as tf

    places = np.flatnonzero(counted)
    lowest = tf.reduce_min(tf.gather(tf.reshape(maps, (-1, counted.size)), places, axis=1), axis=1)
    shares = counted.astype(np.float32)  # arithmetic: not every runtime chooses between tensors
    return maps * shares + lowest[:, tf.newaxis, tf.newaxis] * (1 - shares)


def stretch_maps(maps: Maps, axis: int, length: int) -> Maps:
    """Bring one axis of any array to a length, linearly, by the centres of its cells, level at the border.

    Args:
        maps: float32 of any shape.
        axis: Which one, from 0.
        length: Of that axis in the result.
    """
    present = maps.shape[axis]
    if present == length:
        return maps
    places = np.clip((np.arange(length) + 0.5) * present / length - 0.5, 0, present - 1)
    below = np.minimum(places.astype(np.int64), max(present - 2, 0))
    above = np.minimum(below + 1, present - 1)
    shares = (places - below).astype(np.float32).reshape((-1,) + (1,) * (maps.ndim - axis - 1))
    return np.asarray(np.take(maps, below, axis) * (1 - shares) + np.take(maps, above, axis) * shares)


def _average_along(maps: Maps, axis: int) -> Maps:
    total, counts = maps.copy(), np.ones(maps.shape[axis], np.float32)
    left: list[slice] = [slice(None)] * axis + [slice(None, -1)]
    right: list[slice] = [slice(None)] * axis + [slice(1, None)]
    total[tuple(right)] += maps[tuple(left)]
    total[tuple(left)] += maps[tuple(right)]
    counts[1:] += 1
    counts[:-1] += 1
    total /= counts.reshape((-1,) + (1,) * (maps.ndim - axis - 1))
    return total
