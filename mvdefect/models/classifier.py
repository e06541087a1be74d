"""The classifier: raw uint8 pixels in, one logit out; preprocessing is inside."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import keras

from mvdefect.errors import RunError
from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.freezing import BACKBONE
from mvdefect.models.heads import LOGIT_MAP, add_patch_head, add_pooled_head
from mvdefect.models.weights import load_weights

FEATURES = "features"
HeadKind = Literal["pooled", "patch"]
HEADS = {"pooled": add_pooled_head, "patch": add_patch_head}


def build_classifier(
    spec: BackboneSpec, size_px: int, head: HeadKind, taps: int, dropout: float, weights: Path | None
) -> keras.Model:
    """Build a classifier of good (negative logit) against defective (positive logit).

    Args:
        spec: The backbone.
        size_px: Height and width of the input.
        head: "pooled" or "patch"; see `mvdefect.models.heads`.
        taps: 1: the head sees the backbone's output; 2: also its last features at twice the resolution.
        dropout: Share of the features that is dropped in training.
        weights: A weights file of the backbone without its top, or None for random weights.

    Returns:
        A model from uint8 RGB pixels (b, size_px, size_px, 3) to float32 logits (b, 1).

    Raises:
        WeightsError: The weights are damaged or belong to another architecture.
    """
    network = spec.build(size_px, None)
    if weights is not None:
        load_weights(network, spec, weights)
    fine = [network.get_layer(spec.fine_tap).output] if taps == 2 else []
    backbone = keras.Model(network.input, [*fine, network.output], name=BACKBONE)
    pixels = keras.Input((size_px, size_px, 3), dtype="uint8", name="pixels")
    scaled = spec.preprocess(keras.ops.cast(pixels, "float32"))
    features = keras.tree.flatten(backbone(scaled, training=False))
    features[-1] = keras.layers.Activation("linear", name=FEATURES)(features[-1])  # a name to find it by
    return keras.Model(pixels, HEADS[head](features, dropout), name=f"{spec.name}_{head}")


def add_logit_map(model: keras.Model) -> keras.Model | None:
    """Return a model that also gives the logit map, or None where the head has none.

    Its outputs are logits (b, 1) and the map (b, height, width, 1), both float32.
    """
    if LOGIT_MAP not in {layer.name for layer in model.layers}:
        return None
    return keras.Model(model.input, [model.output, model.get_layer(LOGIT_MAP).output])


def load_classifier(path: Path) -> keras.Model:
    """Load a classifier that was saved as `.keras`.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"the model {path} cannot be loaded: {error}") from error
