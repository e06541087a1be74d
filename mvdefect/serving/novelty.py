"""The one-class scores of `mvdefect.models` in TensorFlow, so that an export can hold them."""

from __future__ import annotations

import tensorflow as tf

from mvdefect.models.normality import MemoryBank, Normality, PatchGaussians, PooledGaussian


def score_features(normality: Normality, features: tf.Tensor) -> tf.Tensor:
    """Return how unlike good images others are, float32 (n,), as `normality.score_images` does.

    Args:
        normality: What good images look like.
        features: float32 (n, height, width, channels).
    """
    if isinstance(normality, PatchGaussians):
        return _measure_patches(normality, features)
    if isinstance(normality, MemoryBank):
        return _measure_nearest(normality, features)
    return _measure_whole(normality, features)


def _average_neighbourhoods(maps: tf.Tensor) -> tf.Tensor:
    return tf.nn.avg_pool2d(maps, 3, 1, "SAME")  # which counts only the neighbours that exist


def _measure_patches(normality: PatchGaussians, features: tf.Tensor) -> tf.Tensor:
    centred = _average_neighbourhoods(tf.gather(features, normality.channels, axis=-1)) - normality.mean
    whitened = tf.einsum("hwed,nhwd->nhwe", tf.constant(normality.whitening), centred)
    return tf.reduce_max(tf.norm(whitened, axis=-1), axis=(1, 2))


def _measure_nearest(normality: MemoryBank, features: tf.Tensor) -> tf.Tensor:
    patches, vectors = _average_neighbourhoods(features) / normality.scale, tf.constant(normality.vectors)
    products = tf.einsum("nhwc,kc->nhwk", patches, vectors)
    nearest = tf.argmin(tf.reduce_sum(vectors**2, axis=1) - 2 * products, axis=-1)
    distances = tf.norm(patches - tf.gather(vectors, nearest), axis=-1)
    return tf.reduce_max((distances - normality.usual) / normality.spread, axis=(1, 2))


def _measure_whole(normality: PooledGaussian, features: tf.Tensor) -> tf.Tensor:
    centred = tf.cast(tf.reduce_mean(features, axis=(1, 2)), tf.float64) - normality.mean
    squares = tf.einsum("nd,de,ne->n", centred, tf.constant(normality.precision), centred)
    return tf.cast(tf.sqrt(tf.maximum(squares, 0)), tf.float32)
