"""Frozen features: what good images are compared by, and what a classifier can be put on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras

from mvdefect.config import Size
from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.classifier import SCALING, build_classifier, build_scaling, shrink_size
from mvdefect.models.freezing import BACKBONE
from mvdefect.models.heads import HeadSettings, MapSpreading
from mvdefect.models.weights import load_weights


@dataclass(frozen=True)
class Trunk:
    """A backbone that no training touches, or touches any more.

    Features that were trained to tell known defects apart say less of unknown ones.

    Attributes:
        spec: Its name and its layers.
        scaling: From uint8 pixels to what the network expects.
        network: The network with its weights.
    """

    spec: BackboneSpec
    scaling: Any
    network: Any

    @cached_property
    def pixels(self) -> Any:
        """The input of what is built on it, uint8 (b, height, width, 3)."""
        return keras.Input(self.scaling.input.shape[1:], dtype="uint8", name="pixels")

    def tap(self, names: Sequence[str]) -> list[Any]:
        """Return what layers make of `pixels`; all of them in one pass."""
        taps = [self.network.get_layer(name).output for name in names]
        found = keras.Model(self.network.input, taps)(self.scaling(self.pixels), training=False)
        return list(keras.tree.flatten(found))

    def join(self, found: Sequence[Any]) -> Any:
        """Return what the novelty compares: maps of several resolutions as one, by the finest, float32."""
        height, width = found[0].shape[1:3]
        spread = [found[0], *(MapSpreading(height, width)(feature) for feature in found[1:])]
        joined = keras.layers.Concatenate()(spread) if len(spread) > 1 else spread[0]
        return keras.layers.Activation("linear", dtype="float32", name="features")(joined)


def load_trunk(spec: BackboneSpec, size_px: Size, weights: Path, shrink: int = 1) -> Trunk:
    """Build a backbone with pre-trained weights.

    Args:
        spec: The backbone.
        size_px: Height and width of the input.
        weights: Its pre-trained weights.
        shrink: How many times smaller the backbone sees the image.

    Raises:
        WeightsError: The weights are damaged or belong to another architecture.
    """
    network = spec.build(shrink_size(size_px, shrink), None)
    load_weights(network, spec, weights)
    return Trunk(spec, build_scaling(spec, size_px, shrink), network)


def build_features(trunk: Trunk) -> keras.Model:
    """Build the network of what good images are compared by.

    Returns:
        A model from uint8 pixels (b, height, width, 3) to the features of `novelty_taps`, float32
        (b, height, width, channels).
    """
    return keras.Model(trunk.pixels, trunk.join(trunk.tap(trunk.spec.novelty_taps)), name="features")


def share_trunk(model: Any, spec: BackboneSpec) -> Trunk:
    """Take the backbone of a trained classifier, for one that began with random weights."""
    return Trunk(spec, model.get_layer(SCALING), model.get_layer(BACKBONE))


def build_pooled_features(spec: BackboneSpec, size_px: Size, weights: Path | None) -> keras.Model:
    """Build a network of what a classifier's pooled head sees before anything has learned.

    Args:
        spec: The backbone; its output and its finer features are averaged over the image.
        size_px: Height and width of the input.
        weights: Its pre-trained weights, or None for random ones.

    Returns:
        A model from uint8 pixels (b, height, width, 3) to float32 features (b, channels of both together).

    Raises:
        WeightsError: The weights are damaged or belong to another architecture.
    """
    model = build_classifier(spec, size_px, HeadSettings(), 2, weights)
    pixels = keras.Input((*size_px, 3), dtype="uint8", name="pixels")
    maps = model.get_layer(BACKBONE)(model.get_layer(SCALING)(pixels), training=False)
    averages = [keras.layers.GlobalAveragePooling2D(dtype="float32")(found) for found in maps]
    joined = keras.layers.Concatenate(dtype="float32")(averages)
    return keras.Model(pixels, joined, name="pooled_features")
