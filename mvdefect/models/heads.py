"""Heads: from the backbone's features to one logit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import keras

from mvdefect.config import FitConfig
from mvdefect.core.errors import ConfigError, describe_unknown_name

LOGIT = "logit"
LOGIT_MAP = "logit_map"
POOLED = "pooled"
HeadKind = Literal["pooled", "patch"]
Pooling = Literal["avg", "avg_max"]
KINDS = ("pooled", "patch")
POOLINGS = ("avg", "avg_max")


@dataclass(frozen=True)
class HeadSettings:
    """What a head is like.

    Attributes:
        kind: "pooled": pool each feature, then score; "patch": score each position, then pool.
        pooling: What a pooled head takes of each feature: its average, or also its maximum.
        sharpness: Of a patch head's pooling, above 0; see `LogSumExpPooling`.
        learn_sharpness: Whether the sharpness is only where training begins.
        dropout: Share of the features that is dropped in training.
    """

    kind: HeadKind = "pooled"
    pooling: Pooling = "avg"
    sharpness: float = 1.0
    learn_sharpness: bool = False
    dropout: float = 0.2


def choose_head(config: FitConfig) -> HeadSettings:
    """Return the head that the settings of a run ask for."""
    return HeadSettings(config.head, config.pooling, config.sharpness, config.learn_sharpness, config.dropout)


@keras.saving.register_keras_serializable("mvdefect")
class LogSumExpPooling(keras.layers.Layer):  # type: ignore[misc]
    """Pools a logit map to one logit, between its mean and its maximum.

    `log(mean(exp(sharpness * map))) / sharpness` (Pinheiro & Collobert, 2015): a single high position
    is enough for a high result, yet every position gets a gradient. It computes in float32 under any
    policy, as the exponentials need it.

    Args:
        sharpness: Above 0; towards 0 the result is the mean, towards infinity the maximum.
        learn_sharpness: Whether training changes it, by way of its logarithm, so it stays above 0.

    Input: float (b, height, width, 1). Output: float32 (b, 1).

    Raises:
        ConfigError: The sharpness is not above 0.
    """

    def __init__(
        self, sharpness: float = 1.0, learn_sharpness: bool = False, dtype: Any = "float32", **kwargs: Any
    ) -> None:
        super().__init__(dtype=dtype, **kwargs)
        if not sharpness > 0:
            raise ConfigError(f"sharpness must be above 0. Received: sharpness={sharpness}")
        self.sharpness = sharpness
        self.learn_sharpness = learn_sharpness
        self.log_sharpness: Any = None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weight of a sharpness that is learnt."""
        del input_shape
        if self.learn_sharpness:
            start = keras.initializers.Constant(math.log(self.sharpness))
            self.log_sharpness = self.add_weight(shape=(), initializer=start, name="log_sharpness")

    def call(self, logit_map: Any) -> Any:
        """Pool over height and width."""
        sharpness = self.sharpness if self.log_sharpness is None else keras.ops.exp(self.log_sharpness)
        positions = logit_map.shape[1] * logit_map.shape[2]
        total = keras.ops.logsumexp(sharpness * logit_map, axis=(1, 2))
        return (total - math.log(positions)) / sharpness

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        """Return (batch, 1)."""
        return (input_shape[0], 1)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {
            **super().get_config(),
            "sharpness": self.sharpness,
            "learn_sharpness": self.learn_sharpness,
        }


@keras.saving.register_keras_serializable("mvdefect")
class TopPooling(keras.layers.Layer):  # type: ignore[misc]
    """Pools a logit map to one logit: the mean of its highest positions.

    Args:
        count: How many.

    Input: float (b, height, width, 1). Output: float32 (b, 1).
    """

    def __init__(self, count: int, dtype: Any = "float32", **kwargs: Any) -> None:
        super().__init__(dtype=dtype, **kwargs)
        self.count = count

    def call(self, logit_map: Any) -> Any:
        """Pool over height and width."""
        scores = keras.ops.reshape(logit_map, (-1, logit_map.shape[1] * logit_map.shape[2]))
        return keras.ops.mean(keras.ops.top_k(scores, self.count)[0], axis=1, keepdims=True)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "count": self.count}


@keras.saving.register_keras_serializable("mvdefect")
class MapSpreading(keras.layers.Layer):  # type: ignore[misc]
    """Spreads a map over more positions, bilinearly.

    Unlike Keras's own upsampling it goes by the size, as that of a fine map need not be a multiple of
    that of a coarse one.

    Args:
        height: Rows of the result.
        width: Columns of the result.

    Input: float (b, rows, columns, channels). Output: float (b, height, width, channels).
    """

    def __init__(self, height: int, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.height = height
        self.width = width

    def call(self, coarse: Any) -> Any:
        """Spread over height and width."""
        size = (self.height, self.width)
        return keras.ops.image.resize(coarse, size, interpolation="bilinear", data_format="channels_last")

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "height": self.height, "width": self.width}


def add_head(features: Sequence[Any], settings: HeadSettings) -> Any:
    """Add the head that the settings describe.

    Args:
        features: Keras tensors (b, height, width, channels), from fine to coarse.
        settings: What it is like.

    Returns:
        Keras tensor of logits (b, 1), float32.

    Raises:
        ConfigError: A setting has a value that is not allowed.
    """
    if settings.kind not in KINDS:
        raise ConfigError(describe_unknown_name("head", settings.kind, KINDS))
    if settings.kind == "patch":
        return add_patch_head(features, settings.dropout, settings.sharpness, settings.learn_sharpness)
    return add_pooled_head(features, settings.dropout, settings.pooling)


def add_pooled_head(features: Sequence[Any], dropout: float, pooling: Pooling = "avg") -> Any:
    """Pool each feature over all positions, and score what comes out with one linear layer.

    Args:
        features: Keras tensors (b, height, width, channels), from fine to coarse.
        dropout: Share of the pooled features that is dropped in training.
        pooling: "avg": the average; "avg_max": also the maximum, which small things do not vanish from.

    Returns:
        Keras tensor of logits (b, 1). The layer `pooled` holds what is scored (b, d): the averages, from
        fine to coarse, then the maxima.

    Raises:
        ConfigError: There is no such pooling.
    """
    pooled = pool_features(features, pooling)
    dropped = keras.layers.Dropout(dropout, name="dropout")(pooled)
    return keras.layers.Dense(1, dtype="float32", name=LOGIT)(dropped)


def pool_features(features: Sequence[Any], pooling: Pooling) -> Any:
    """Return Keras tensor (b, d), the output of the layer `pooled`; see `add_pooled_head`."""
    if pooling not in POOLINGS:
        raise ConfigError(describe_unknown_name("pooling", pooling, POOLINGS))
    kinds = {"average": keras.layers.GlobalAveragePooling2D}
    if pooling == "avg_max":
        kinds["maximum"] = keras.layers.GlobalMaxPooling2D
    vectors = [
        make(name=f"{kind}_{number}")(feature)
        for kind, make in kinds.items()
        for number, feature in enumerate(features, start=1)
    ]
    join = keras.layers.Concatenate(name=POOLED) if len(vectors) > 1 else keras.layers.Identity(name=POOLED)
    return join(vectors if len(vectors) > 1 else vectors[0])


def add_patch_head(
    features: Sequence[Any], dropout: float, sharpness: float = 1.0, learn_sharpness: bool = False
) -> Any:
    """Score every position, and pool the scores by log-sum-exp: a small defect is not averaged away.

    Each resolution has its own scores; the coarse ones are spread over the fine ones and added.

    Args:
        features: Keras tensors (b, height, width, channels), from fine to coarse; any ratio of sizes.
        dropout: Share of the channels that is dropped in training.
        sharpness: Of the pooling, above 0.
        learn_sharpness: Whether training changes the sharpness.

    Returns:
        Keras tensor of logits (b, 1). The layer `logit_map` holds the scores (b, height, width, 1) at
        the resolution of the finest features.

    Raises:
        ConfigError: The sharpness is not above 0.
    """
    height, width = features[0].shape[1:3]
    maps = []
    for number, feature in enumerate(features, start=1):
        scores = _score_positions(feature, dropout, number)
        if feature.shape[1:3] != (height, width):
            scores = MapSpreading(height, width, dtype="float32", name=f"spread_{number}")(scores)
        maps.append(scores)
    summed = maps[0] if len(maps) == 1 else keras.layers.Add(dtype="float32", name="sum")(maps)
    logit_map = keras.layers.Activation("linear", dtype="float32", name=LOGIT_MAP)(summed)
    return LogSumExpPooling(sharpness, learn_sharpness, name=LOGIT)(logit_map)


def add_map_output(head: keras.Model) -> keras.Model:
    """Return a model of the layers of a patch head that also gives the map.

    Its outputs are logits (b, 1) and the map (b, height, width, 1), both float32.

    Raises:
        ConfigError: The head has no map.
    """
    if LOGIT_MAP not in {layer.name for layer in head.layers}:
        raise ConfigError(f"only a patch head has a map. Received: a head without a layer {LOGIT_MAP}")
    return keras.Model(head.inputs, [head.output, head.get_layer(LOGIT_MAP).output], name=head.name)


def _score_positions(feature: Any, dropout: float, number: int) -> Any:
    normalised = keras.layers.LayerNormalization(name=f"normalised_{number}")(feature)
    dropped = keras.layers.SpatialDropout2D(dropout, name=f"dropout_{number}")(normalised)
    return keras.layers.Conv2D(1, 1, dtype="float32", name=f"scores_{number}")(dropped)
