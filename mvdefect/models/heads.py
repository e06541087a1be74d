"""Heads: from the backbone's features to one logit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

LOGIT = "logit"
LOGIT_MAP = "logit_map"


@keras.saving.register_keras_serializable("mvdefect")
class LogSumExpPooling(keras.layers.Layer):  # type: ignore[misc]
    """Pools a logit map to one logit, between its mean and its maximum.

    `log(mean(exp(sharpness * map))) / sharpness` (Pinheiro & Collobert, 2015): a single high position
    is enough for a high result, yet every position gets a gradient.

    Args:
        sharpness: Above 0; towards 0 the result is the mean, towards infinity the maximum.

    Input: float (b, height, width, 1). Output: float (b, 1).
    """

    def __init__(self, sharpness: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if sharpness <= 0:
            raise ValueError(f"sharpness must be above 0. Received: sharpness={sharpness}")
        self.sharpness = sharpness

    def call(self, logit_map: Any) -> Any:
        """Pool over height and width."""
        positions = logit_map.shape[1] * logit_map.shape[2]
        total = keras.ops.logsumexp(self.sharpness * logit_map, axis=(1, 2))
        return (total - math.log(positions)) / self.sharpness

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        """Return (batch, 1)."""
        return (input_shape[0], 1)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "sharpness": self.sharpness}


def add_pooled_head(features: Sequence[Any], dropout: float) -> Any:
    """Average each feature over all positions, and score the averages with one linear layer.

    Args:
        features: Keras tensors (b, height, width, channels), from fine to coarse.
        dropout: Share of the averages that is dropped in training.

    Returns:
        Keras tensor of logits (b, 1).
    """
    averages = [keras.layers.GlobalAveragePooling2D()(feature) for feature in features]
    pooled = averages[0] if len(averages) == 1 else keras.layers.Concatenate(name="pooled")(averages)
    dropped = keras.layers.Dropout(dropout, name="dropout")(pooled)
    return keras.layers.Dense(1, dtype="float32", name=LOGIT)(dropped)


def add_patch_head(features: Sequence[Any], dropout: float) -> Any:
    """Score every position, and pool the scores by log-sum-exp: a small defect is not averaged away.

    Each resolution has its own scores; the coarse ones are spread over the fine ones and added.

    Args:
        features: Keras tensors (b, height, width, channels), from fine to coarse.
        dropout: Share of the channels that is dropped in training.

    Returns:
        Keras tensor of logits (b, 1). The layer `logit_map` holds the scores (b, height, width, 1) at
        the resolution of the finest features.
    """
    finest = features[0].shape[1]
    maps = [_score_positions(feature, dropout, finest // feature.shape[1]) for feature in features]
    summed = maps[0] if len(maps) == 1 else keras.layers.Add()(maps)
    logit_map = keras.layers.Activation("linear", dtype="float32", name=LOGIT_MAP)(summed)
    return LogSumExpPooling(name=LOGIT, dtype="float32")(logit_map)


def _score_positions(feature: Any, dropout: float, spread: int) -> Any:
    normalised = keras.layers.LayerNormalization()(feature)
    dropped = keras.layers.SpatialDropout2D(dropout)(normalised)
    scores = keras.layers.Conv2D(1, 1, dtype="float32")(dropped)
    if spread == 1:
        return scores
    return keras.layers.UpSampling2D(spread, interpolation="bilinear")(scores)
