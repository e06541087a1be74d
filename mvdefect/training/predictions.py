"""What an inspector says of the images of a part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mvdefect.data.pipeline import Source, make_inference_batches
from mvdefect.models.heatmaps import build_heatmaps

MAX_FLOAT16 = float(np.finfo(np.float16).max)


def predict_logits(model: Any, source: Source, batch_size: int) -> NDArray[np.float32]:
    """Return the logit of every image of a part, float32 (n,), in the order of the split plan."""
    logits = model.predict(make_inference_batches(source, batch_size), verbose=0)
    return np.asarray(logits, np.float32)[:, 0]


def compile_features(features: Any) -> Callable[[Any], Any]:
    """Return the function of a network of `mvdefect.models.features`, traced once for all parts."""
    run: Callable[[Any], Any] = tf.function(
        lambda pixels: features(pixels, training=False), reduce_retracing=True
    )
    return run


def predict_heatmaps(model: Any, source: Source, batch_size: int) -> NDArray[np.float16]:
    """Return where a classifier sees defects, in every image of a part.

    Args:
        model: A classifier of `mvdefect.models.classifier`.
        source: The part.
        batch_size: Images a batch.

    Returns:
        float16 (n, height, width), in the order of the split plan; see `mvdefect.models.heatmaps`. What
        lies beyond the range of float16 is put to its end.
    """
    maps = build_heatmaps(model).predict(make_inference_batches(source, batch_size), verbose=0)
    return np.asarray(np.clip(maps, -MAX_FLOAT16, MAX_FLOAT16), np.float16)


def iterate_features(
    run: Callable[[Any], Any], source: Source, batch_size: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield labels (b,) and features (b, height, width, channels) of a part, batch by batch.

    Args:
        run: What `compile_features` returned.
        source: The part.
        batch_size: Images a batch.
    """
    start = 0
    for pixels in make_inference_batches(source, batch_size):
        found = keras.ops.convert_to_numpy(run(pixels))
        yield source.labels[start : start + len(found)], found
        start += len(found)
