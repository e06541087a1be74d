"""The classifier: raw uint8 pixels in, one logit out; preprocessing is inside.

It is a chain of three models, `scaling`, `backbone` and `head`, so that it can be cut and joined anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from mvdefect.errors import RunError
from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.freezing import BACKBONE
from mvdefect.models.heads import LOGIT_MAP, HeadSettings, add_head, add_map_output
from mvdefect.models.weights import load_weights

SCALING = "scaling"
HEAD = "head"


def build_classifier(
    spec: BackboneSpec, size_px: int, head: HeadSettings, taps: int, weights: Path | None
) -> keras.Model:
    """Build a classifier of good (negative logit) against defective (positive logit).

    Args:
        spec: The backbone.
        size_px: Height and width of the input.
        head: See `mvdefect.models.heads`.
        taps: 1: the head sees the backbone's output; 2: also its last features at twice the resolution.
        weights: A weights file of the backbone without its top, or None for random weights.

    Returns:
        A model from uint8 RGB pixels (b, size_px, size_px, 3) to float32 logits (b, 1).

    Raises:
        ConfigError: A setting of the head has a value that is not allowed.
        WeightsError: The weights are damaged or belong to another architecture.
    """
    network = spec.build(size_px, None)
    if weights is not None:
        load_weights(network, spec, weights)
    _switch_off_dropout(network)
    pixels = keras.Input((size_px, size_px, 3), dtype="uint8", name="pixels")
    scaling = keras.Model(pixels, spec.preprocess(keras.ops.cast(pixels, "float32")), name=SCALING)
    return _put_head(scaling, network, spec, head, taps)


def replace_head(model: Any, spec: BackboneSpec, head: HeadSettings, taps: int) -> keras.Model:
    """Return a classifier with a new head that shares scaling and backbone with another classifier.

    Args:
        model: A classifier; it stays as it is.
        spec: Its backbone.
        head: The new head.
        taps: As for `build_classifier`.

    Raises:
        ConfigError: A setting of the head has a value that is not allowed.
    """
    return _put_head(model.get_layer(SCALING), model.get_layer(BACKBONE), spec, head, taps)


def join_head(model: Any, head: Any) -> keras.Model:
    """Return the classifier with another head, which may share its layers."""
    return _chain(model.get_layer(SCALING), model.get_layer(BACKBONE), head, model.name)


def add_logit_map(model: keras.Model) -> keras.Model | None:
    """Return a model that also gives the logit map, or None where the head has none.

    Its outputs are logits (b, 1) and the map (b, height, width, 1), both float32.
    """
    head = model.get_layer(HEAD)
    if LOGIT_MAP not in {layer.name for layer in head.layers}:
        return None
    return join_head(model, add_map_output(head))


def load_classifier(path: Path) -> keras.Model:
    """Load a classifier that was saved as `.keras`.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"the model {path} cannot be loaded: {error}") from error


def _put_head(scaling: Any, network: Any, spec: BackboneSpec, head: HeadSettings, taps: int) -> keras.Model:
    fine = [network.get_layer(spec.fine_tap).output] if taps == 2 else []
    backbone = keras.Model(network.input, [*fine, network.outputs[-1]], name=BACKBONE)
    features = [keras.Input(tensor.shape[1:]) for tensor in backbone.outputs]
    ending = keras.Model(features, add_head(features, head), name=HEAD)
    return _chain(scaling, backbone, ending, f"{spec.name}_{head.kind}")


def _chain(scaling: Any, backbone: Any, head: Any, name: str) -> keras.Model:
    pixels = keras.Input(scaling.input.shape[1:], dtype="uint8", name="pixels")
    return keras.Model(pixels, head(keras.tree.flatten(backbone(scaling(pixels)))), name=name)


def _switch_off_dropout(network: Any) -> None:
    """Let all of a backbone be the same function in training and in use.

    EfficientNet drops whole blocks by chance (Huang et al., 2016), which few images do not bear, and which
    a frozen part that runs once could not follow.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
