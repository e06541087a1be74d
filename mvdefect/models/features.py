"""Features for the one-class score: what good images are compared by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.classifier import SCALING
from mvdefect.models.freezing import BACKBONE
from mvdefect.models.heads import MapSpreading
from mvdefect.models.weights import load_weights


def build_features(spec: BackboneSpec, size_px: int, weights: Path) -> keras.Model:
    """Build a network of pre-trained features that no training touches.

    Features that were trained to tell known defects apart say less of unknown ones.

    Args:
        spec: The backbone; features are taken after its `novelty_taps`.
        size_px: Height and width of the input.
        weights: Its pre-trained weights.

    Returns:
        A model from uint8 pixels (b, size, size, 3) to features (b, height, width, channels), float32.

    Raises:
        WeightsError: The weights are damaged or belong to another architecture.
    """
    network = spec.build(size_px, None)
    load_weights(network, spec, weights)
    pixels = keras.Input((size_px, size_px, 3), dtype="uint8", name="pixels")
    return _tap(network, spec, pixels, spec.preprocess(keras.ops.cast(pixels, "float32")))


def share_features(model: Any, spec: BackboneSpec) -> keras.Model:
    """Take features from a trained classifier, for a backbone that began with random weights."""
    scaling = model.get_layer(SCALING)
    pixels = keras.Input(scaling.input.shape[1:], dtype="uint8", name="pixels")
    return _tap(model.get_layer(BACKBONE), spec, pixels, scaling(pixels))


def _tap(network: Any, spec: BackboneSpec, pixels: Any, scaled: Any) -> keras.Model:
    taps = [network.get_layer(name).output for name in spec.novelty_taps]
    found = keras.tree.flatten(keras.Model(network.input, taps)(scaled, training=False))
    height, width = found[0].shape[1:3]  # the finest comes first
    spread = [found[0], *(MapSpreading(height, width)(feature) for feature in found[1:])]
    joined = keras.layers.Concatenate()(spread) if len(spread) > 1 else spread[0]
    features = keras.layers.Activation("linear", dtype="float32", name="features")(joined)
    return keras.Model(pixels, features, name="features")
