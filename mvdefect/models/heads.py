"""Heads: from the backbone's features to one logit."""

from __future__ import annotations

import math
from typing import Any

import keras

LOGIT = "logit"
LOGIT_MAP = "logit_map"
EMBEDDING = "embedding"


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


def add_pooled_head(features: Any, dropout: float) -> Any:
    """Average and maximum of each feature, normalised, and a linear layer.

    Args:
        features: Keras tensor (b, height, width, channels).
        dropout: Share of the features that is dropped in training.

    Returns:
        Keras tensor of logits (b, 1).
    """
    average = keras.layers.GlobalAveragePooling2D(name=EMBEDDING)(features)
    maximum = keras.layers.GlobalMaxPooling2D(name="maximum")(features)
    pooled = keras.layers.Concatenate(name="pooled")([average, maximum])
    normalised = keras.layers.LayerNormalization(name="normalised")(pooled)
    dropped = keras.layers.Dropout(dropout, name="dropout")(normalised)
    return keras.layers.Dense(1, dtype="float32", name=LOGIT)(dropped)


def add_patch_head(features: Any, dropout: float) -> Any:
    """Score every position, and pool the scores by log-sum-exp, so that a small defect is not averaged away.

    Args:
        features: Keras tensor (b, height, width, channels).
        dropout: Share of the channels that is dropped in training.

    Returns:
        Keras tensor of logits (b, 1). The layer `logit_map` holds the scores (b, height, width, 1).
    """
    normalised = keras.layers.LayerNormalization(name=EMBEDDING)(features)
    dropped = keras.layers.SpatialDropout2D(dropout, name="dropout")(normalised)
    logit_map = keras.layers.Conv2D(1, 1, dtype="float32", name=LOGIT_MAP)(dropped)
    return LogSumExpPooling(name=LOGIT, dtype="float32")(logit_map)
