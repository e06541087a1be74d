"""What all kinds of one-class score have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mvdefect.models.feature_maps import FeatureSource


class Normality(ABC):
    """How good images look; each kind is a frozen dataclass of what scoring needs.

    Attributes:
        kind: Its name, as in a configuration.
        layout: Of each field its type and its axes; axes of one letter are of one length.
        counted: Which positions count, bool (h, w), where images are of one colour elsewhere; None: all do.
    """

    kind: ClassVar[str]
    layout: ClassVar[dict[str, tuple[str, str]]]
    counted: NDArray[np.bool_] | None = None

    def within(self, counted: NDArray[np.bool_] | None) -> Self:
        """Return the same, of which the positions of a region alone count, bool (h, w); None: all do."""
        same = copy(self)
        object.__setattr__(same, "counted", counted)  # kinds are frozen
        return same

    @classmethod
    @abstractmethod
    def fit(cls, features: FeatureSource, seed: int = 0) -> Self:
        """Learn from features of good images, (n, h, w, c) or batches of them; n at least 2."""

    @abstractmethod
    def score_positions(self, features: FeatureSource) -> NDArray[np.float32]:
        """Return how unlike good images each position is, (n, h, w).

        Args:
            features: Floats of shape (n, h, w, c), or batches of them.
        """

    @abstractmethod
    def map_tensor(self, features: Any) -> Any:
        """Return what `score_positions` does as tensors of TensorFlow, float32."""

    def measure_images(self, features: FeatureSource) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return how unlike good images others are, by two numbers.

        Args:
            features: Floats of shape (n, h, w, c), or batches of them.

        Returns:
            Novelty, (n,): the largest score of a map, since a defect is local, unless a kind measures it
            otherwise. Mean novelty, (n,): the mean of the map; it is high where an image is unlike good ones
            everywhere, as another product is. Both are of the positions that count.
        """
        maps = self.score_positions(features)
        if self.counted is not None:
            maps = maps[:, np.newaxis, self.counted]
        return maps.max(axis=(1, 2)).astype(np.float64), maps.mean(axis=(1, 2), dtype=np.float64)

    def measure_tensors(self, features: Any) -> tuple[Any, Any]:
        """Return what `measure_images` does as tensors of TensorFlow, float32."""
        import tensorflow as tf

        maps = self.map_tensor(features)
        if self.counted is None:
            return tf.reduce_max(maps, axis=(1, 2)), tf.reduce_mean(maps, axis=(1, 2))
        places = np.flatnonzero(self.counted)
        scores = tf.gather(tf.reshape(maps, (-1, self.counted.size)), places, axis=1)
        return tf.reduce_max(scores, axis=1), tf.reduce_mean(scores, axis=1)

    def score_images(self, features: FeatureSource) -> NDArray[np.float64]:
        """Return the novelty alone, (n,)."""
        return self.measure_images(features)[0]

    @classmethod
    def rebuild(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """Put stored fields together.

        Raises:
            ValueError: Some are missing, are of another type or shape, or hold what is no number.
        """
        if set(arrays) != set(cls.layout):
            raise ValueError(f"it holds {sorted(arrays)}, not {sorted(cls.layout)}")
        lengths: dict[str, int] = {}
        for name, (dtype, axes) in cls.layout.items():
            array = arrays[name]
            lengths_agree = all(
                lengths.setdefault(axis, size) == size for axis, size in zip(axes, array.shape, strict=False)
            )
            as_written = array.dtype == dtype and array.ndim == len(axes) and lengths_agree
            if not as_written or not np.isfinite(array).all():
                raise ValueError(f"{name} is not as it was written")
        return cls(**{name: array[()] for name, array in arrays.items()})
