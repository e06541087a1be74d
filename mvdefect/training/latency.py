"""How long the whole inspector takes for an image."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from mvdefect.models.normality import Normality

ROUNDS = {1: 30, 32: 5}
WARM_UP_ROUNDS = 2


def measure_latency(model: Any, features: Any, normality: Normality) -> dict[str, float]:
    """Time classifier and novelty together, pixels in memory to numbers, on this machine.

    Args:
        model: The classifier.
        features: The network of the novelty.
        normality: What good images look like.

    Returns:
        Milliseconds an image: "batch_1_p50_ms", "batch_1_p95_ms", and the same for batches of 32.
    """
    run = tf.function(lambda pixels: (model(pixels, training=False), features(pixels, training=False)))
    found = {}
    for size, rounds in ROUNDS.items():
        pixels = tf.zeros((size, *model.input.shape[1:]), tf.uint8)

        def inspect(pixels: Any = pixels) -> None:
            normality.score_images(run(pixels)[1].numpy())

        times = _time(inspect, rounds) * 1000 / size
        for percent in (50, 95):
            found[f"batch_{size}_p{percent}_ms"] = round(float(np.percentile(times, percent)), 3)
    return found


def _time(work: Callable[[], None], rounds: int) -> np.ndarray:
    for _ in range(WARM_UP_ROUNDS):
        work()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return np.array(times)
