"""Gaussians around good images: one for the whole image, or one for each position."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import ConfigError
from mvdefect.models.feature_maps import (
    FeatureSource,
    Maps,
    average_neighbourhoods,
    average_tensors,
    check_shape,
    iterate_chunks,
    iterate_several,
)
from mvdefect.models.one_class import Normality

MAX_CHANNELS = 100
SMALLEST = 1e-12  # distance that is divided by
FLOOR = 1e-4  # of the usual variance: positions that never change keep a little of it


@dataclass(frozen=True)
class PooledGaussian(Normality):
    """A Gaussian around the mean vectors of good images (Rippel et al., 2020).

    Attributes:
        mean: float64 of shape (d,).
        precision: Inverse covariance, float64 of shape (d, d).
    """

    kind: ClassVar = "gaussian"
    layout: ClassVar = {"mean": ("float64", "d"), "precision": ("float64", "dd")}

    mean: NDArray[np.float64]
    precision: NDArray[np.float64]

    @classmethod
    def fit(cls, features: FeatureSource, seed: int = 0) -> Self:  # noqa: ARG003, nothing is drawn
        """Fit a Gaussian with a shrunken covariance (Ledoit & Wolf, 2004), as Rippel et al. (2020) do.

        Args:
            features: Floats of shape (n, h, w, d), or batches of them; n at least 2, and it may be below d.
            seed: Of no effect.
        """
        from sklearn.covariance import LedoitWolf

        embeddings = np.concatenate([chunk.mean(axis=(1, 2)) for chunk in iterate_several(features)])
        fitted = LedoitWolf(store_precision=True).fit(embeddings.astype(np.float64))
        return cls(fitted.location_, fitted.precision_)

    def measure_images(self, features: FeatureSource) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the Mahalanobis distance of each image's mean vector from the good ones, (n,), twice.

        The mean of a map is this very distance, so novelty and mean novelty are one number.

        Args:
            features: Floats of shape (n, h, w, d), or batches of them.
        """
        scores = [np.zeros(0), *(self._measure(chunk)[1] for chunk in iterate_chunks(features))]
        distances = np.concatenate(scores)
        return distances, distances

    def score_positions(self, features: FeatureSource) -> NDArray[np.float32]:
        """Return what each position adds to the distance, (n, h, w); the mean of a map is the distance.

        Args:
            features: Floats of shape (n, h, w, d), or batches of them.
        """
        maps = []
        for chunk in iterate_chunks(features):
            directions, distances = self._measure(chunk)
            below = np.maximum(distances, SMALLEST)[:, np.newaxis]
            shares = np.einsum("nhwd,nd->nhw", chunk - self.mean, directions / below, optimize=True)
            maps.append(shares.astype(np.float32))
        return np.concatenate(maps) if maps else np.zeros((0, 1, 1), np.float32)

    def _measure(self, chunk: Maps) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the precision times the mean vector's offset, (n, d), and the distance, (n,)."""
        check_shape(chunk, (*chunk.shape[1:3], len(self.mean)))
        centred = chunk.mean(axis=(1, 2)).astype(np.float64) - self.mean
        directions = centred @ self.precision
        return directions, np.sqrt(np.maximum(np.einsum("nd,nd->n", directions, centred), 0))

    def measure_tensors(self, features: Any) -> tuple[Any, Any]:
        """Return what `measure_images` does as tensors of TensorFlow, float32."""
        distances = self._measure_tensor(features)[1]
        return distances, distances

    def map_tensor(self, features: Any) -> Any:
        """Return what `score_positions` does as tensors of TensorFlow, float32."""
        import tensorflow as tf

        directions, distances = self._measure_tensor(features)
        below = tf.maximum(distances, SMALLEST)[:, tf.newaxis]
        return tf.einsum("nhwd,nd->nhw", features - self.mean.astype(np.float32), directions / below)

    def _measure_tensor(self, features: Any) -> tuple[Any, Any]:
        """Return what `_measure` does, as tensors of float32: LiteRT knows no other.

        The factor of the precision keeps small distances from vanishing in rounding.
        """
        import tensorflow as tf

        factor = tf.constant(np.linalg.cholesky(self.precision).astype(np.float32))
        whitened = (tf.reduce_mean(features, axis=(1, 2)) - self.mean.astype(np.float32)) @ factor
        return whitened @ tf.transpose(factor), tf.norm(whitened, axis=-1)


@dataclass(frozen=True)
class PatchGaussians(Normality):
    """A Gaussian for each position: PaDiM (Defard et al., 2021).

    It fits parts that always lie the same way: what is usual is learned for each place.

    Attributes:
        channels: Which channels are looked at, int64 of shape (d,), sorted.
        input_channels: How many the feature maps have.
        mean: float32 of shape (h, w, d).
        whitening: W of each position, float32 of shape (h, w, d, d): W^T W is the inverse covariance.
    """

    kind: ClassVar = "padim"
    layout: ClassVar = {
        "channels": ("int64", "d"),
        "input_channels": ("int64", ""),
        "mean": ("float32", "hwd"),
        "whitening": ("float32", "hwdd"),
    }

    channels: NDArray[np.int64]
    input_channels: int
    mean: Maps
    whitening: NDArray[np.float32]

    def __post_init__(self) -> None:
        if not ((self.channels >= 0) & (self.channels < self.input_channels)).all():
            raise ValueError(f"it names channels that maps of {self.input_channels} channels lack")

    @classmethod
    def fit(cls, features: FeatureSource, seed: int = 0, max_channels: int = MAX_CHANNELS) -> Self:
        """Fit a Gaussian at each position, with covariances shrunken as Chen et al. (2010) do.

        One pass, and memory that does not grow with the images.

        Args:
            features: Of good images, floats of shape (n, h, w, c), or batches of them; n at least 2.
            seed: Draws the channels where there are more than `max_channels`.
            max_channels: More are not looked at: a covariance grows with their square.

        Raises:
            ConfigError: `max_channels` is below 1, or see `iterate_several`.
        """
        if max_channels < 1:
            raise ConfigError(f"max_channels must be at least 1. Received: max_channels={max_channels}")
        chunks = iterate_several(features)
        first = next(chunks)
        height, width, present = first.shape[1:]
        channels = draw_channels(present, max_channels, seed)
        origin = average_neighbourhoods(first[..., channels]).mean(axis=0)  # or squares would cancel
        places, kept = height * width, len(channels)
        count, sums, products = 0, np.zeros((places, kept)), np.zeros((places, kept, kept))
        for chunk in chain([first], chunks):
            centred = average_neighbourhoods(chunk[..., channels]) - origin
            by_place = centred.reshape(len(chunk), places, kept).transpose(1, 0, 2).astype(np.float64)
            sums += by_place.sum(axis=1)
            products += by_place.transpose(0, 2, 1) @ by_place
            count += len(chunk)
        offsets = sums / count
        covariances = products / count - offsets[:, :, np.newaxis] * offsets[:, np.newaxis, :]
        mean = (origin + offsets.reshape(origin.shape)).astype(np.float32)
        whitening = _whiten(shrink_covariances(covariances, count))
        return cls(channels, present, mean, whitening.reshape(height, width, kept, kept))

    def score_positions(self, features: FeatureSource) -> NDArray[np.float32]:
        """Return the Mahalanobis distance of each position from its Gaussian, (n, h, w).

        Args:
            features: Floats of shape (n, h, w, input_channels), or batches of them.
        """
        height, width, kept = self.mean.shape
        turned = self.whitening.reshape(-1, kept, kept).transpose(0, 2, 1)
        maps = [np.zeros((0, height, width), np.float32)]
        for chunk in iterate_chunks(features):
            check_shape(chunk, (height, width, self.input_channels))
            centred = average_neighbourhoods(chunk[..., self.channels]) - self.mean
            whitened = centred.reshape(len(chunk), -1, kept).transpose(1, 0, 2) @ turned
            maps.append(np.linalg.norm(whitened, axis=-1).T.reshape(len(chunk), height, width))
        return np.concatenate(maps)

    def map_tensor(self, features: Any) -> Any:
        """Return what `score_positions` does as tensors of TensorFlow, float32."""
        import tensorflow as tf

        centred = average_tensors(tf.gather(features, self.channels, axis=-1)) - self.mean
        whitened = tf.einsum("hwed,nhwd->nhwe", tf.constant(self.whitening), centred)
        return tf.norm(whitened, axis=-1)


def shrink_covariances(covariances: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Draw covariances towards a round one: oracle approximating shrinkage (Chen et al., 2010).

    Args:
        covariances: Empirical ones, shape (m, d, d).
        count: Of the vectors behind each.
    """
    size = covariances.shape[-1]
    usual = np.trace(covariances, axis1=1, axis2=2) / size
    squares = np.square(covariances).mean(axis=(1, 2))
    below = (count + 1) * (squares - usual**2 / size)
    shares = np.ones_like(usual)
    np.divide(squares + usual**2, below, out=shares, where=below > 0)
    shares = np.clip(shares, 0, 1)[:, np.newaxis, np.newaxis]
    return np.asarray((1 - shares) * covariances + shares * usual[:, np.newaxis, np.newaxis] * np.eye(size))


def draw_channels(present: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """Return which channels are looked at, sorted: all, or as many as are wanted."""
    if present <= wanted:
        return np.arange(present)
    return np.sort(np.random.default_rng(seed).choice(present, wanted, replace=False)).astype(np.int64)


def _whiten(covariances: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the inverse Cholesky factors of covariances (m, d, d)."""
    size = covariances.shape[-1]
    usual = float(np.trace(covariances, axis1=1, axis2=2).mean()) / size
    floor = max(FLOOR * usual, 1e-12)
    factors = np.linalg.cholesky(covariances + floor * np.eye(size))
    return np.linalg.inv(factors).astype(np.float32)
