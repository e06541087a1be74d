"""What an inspector says of the images of a part, and how long it takes for one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mvdefect.data.pipeline import Source, make_inference_batches
from mvdefect.data.resolution import bound_batch
from mvdefect.models.merging import Merged
from mvdefect.models.one_class import Normality
from mvdefect.models.saliency import build_heatmaps

MAX_FLOAT16 = float(np.finfo(np.float16).max)

Flip = tuple[bool, bool]
NO_FLIP: Flip = (False, False)

ROUNDS = {1: 30, 32: 5}
FEWEST_ROUNDS, ENOUGH_S = 3, 3.0


def predict_logits(model: Any, source: Source, batch_size: int) -> NDArray[np.float32]:
    """Return the logit of every image of a part, float32 (n,), in the order of the split plan."""
    logits = model.predict(make_inference_batches(source, batch_size), verbose=0)
    return np.asarray(logits, np.float32)[:, 0]


def compile_features(features: Any) -> Callable[[Any], Any]:
    """Return the function of a network of `mvdefect.models.classifier`, traced once for all parts."""
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
        float16 (n, height, width), in the order of the split plan; see `mvdefect.models.saliency`.
    """
    return keep_maps(build_heatmaps(model).predict(make_inference_batches(source, batch_size), verbose=0))


def keep_maps(maps: NDArray[np.floating[Any]]) -> NDArray[np.float16]:
    """Return heatmaps as a run keeps them; values beyond the range of float16 are set to its ends."""
    return np.asarray(np.clip(maps, -MAX_FLOAT16, MAX_FLOAT16), np.float16)


def iterate_features(
    run: Callable[[Any], Any], source: Source, batch_size: int, flip: Flip = NO_FLIP
) -> Iterator[tuple[NDArray[np.int64], Any]]:
    """Yield labels (b,) and what a network makes of the images of a part, batch by batch.

    Args:
        run: What `compile_features` returned; where the network has several outputs, so have the batches.
        source: The part.
        batch_size: Images a batch.
        flip: Whether rows and columns of images are reversed.
    """
    start, axes = 0, [axis for axis, is_reversed in enumerate(flip, start=1) if is_reversed]
    for pixels in make_inference_batches(source, batch_size):
        pixels = tf.reverse(pixels, axes) if axes else pixels
        found = keras.tree.map_structure(keras.ops.convert_to_numpy, run(pixels))
        end = start + len(pixels)
        yield source.labels[start:end], found
        start = end


def measure_latency(model: Any | None, features: Any, normality: Normality) -> dict[str, float]:
    """Time classifier and novelty together, pixels in memory to numbers, on this machine.

    Args:
        model: The classifier; None: the novelty alone decides.
        features: The network of the novelty.
        normality: What good images look like.

    Returns:
        Milliseconds an image: "batch_1_p50_ms", "batch_1_p95_ms", and the same for batches of 32, of fewer
        if images are large.
    """
    shape = (None, *features.input.shape[1:])
    merged = Merged([features] if model is None else [features, model])
    run = tf.function(merged, [tf.TensorSpec(shape, tf.uint8)])
    found = {}
    for most, rounds in ROUNDS.items():
        size = bound_batch(shape[1:3], most)
        pixels = tf.zeros((size, *shape[1:]), tf.uint8)

        def inspect(pixels: Any = pixels) -> None:
            normality.score_images(run(pixels)[0].numpy())

        times = _time(inspect, rounds) * 1000 / size
        for percent in (50, 95):
            found[f"batch_{size}_p{percent}_ms"] = round(float(np.percentile(times, percent)), 3)
    return found


def _time(work: Callable[[], None], rounds: int) -> np.ndarray:
    """Return seconds of up to so many rounds after a first one, fewer where the work is slow."""
    work()
    times: list[float] = []
    while len(times) < rounds and (len(times) < FEWEST_ROUNDS or sum(times) < ENOUGH_S):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return np.array(times)
