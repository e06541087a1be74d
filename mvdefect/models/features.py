"""Frozen features: what good images are compared by, and what a classifier can be put on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.classifier import SCALING, build_classifier
from mvdefect.models.freezing import BACKBONE
from mvdefect.models.heads import HeadSettings, MapSpreading
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


def build_pooled_features(spec: BackboneSpec, size_px: int, weights: Path | None) -> keras.Model:
    """Build a network of what a classifier's pooled head sees before anything has learned.

    Args:
        spec: The backbone; its output and its finer features are averaged over the image.
        size_px: Height and width of the input.
        weights: Its pre-trained weights, or None for random ones.

    Returns:
        A model from uint8 pixels (b, size, size, 3) to float32 features (b, channels of both together).

    Raises:
        WeightsError: The weights are damaged or belong to another architecture.
    """
    model = build_classifier(spec, size_px, HeadSettings(), 2, weights)
    pixels = keras.Input((size_px, size_px, 3), dtype="uint8", name="pixels")
    maps = model.get_layer(BACKBONE)(model.get_layer(SCALING)(pixels), training=False)
    averages = [keras.layers.GlobalAveragePooling2D(dtype="float32")(found) for found in maps]
    joined = keras.layers.Concatenate(dtype="float32")(averages)
    return keras.Model(pixels, joined, name="pooled_features")


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
