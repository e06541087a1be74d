"""The network that is pre-trained: a backbone between its scaling and one small ending a question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.freezing import BACKBONE
from mvdefect.models.heads import MapSpreading
from mvdefect.pretraining.scenes import CELL_PX

EMBEDDING = 128


def build_pretrainer(spec: BackboneSpec, size_px: int, classes: Mapping[str, int]) -> keras.Model:
    """Build a network with random weights.

    All endings but that of positions look at averages and maxima of the backbone's last features and of
    those at twice their resolution; they are what a classifier's head will look at.

    Args:
        spec: The backbone.
        size_px: Height and width of the input.
        classes: What is asked, and how many answers there are: some of "recipe", "defect_type", "position",
            "rotation", "layout"; for "contrast" the number does not count.

    Returns:
        A model from uint8 pixels (b, size, size, 3) to a dictionary: logits (b, classes), for "position"
        (b, rows, columns, classes), for "contrast" unit vectors (b, 128), and for "layout" its numbers
        (b, numbers); all float32.
    """
    network = spec.build(size_px, None)
    fine = network.get_layer(spec.fine_tap).output
    backbone = keras.Model(network.input, [fine, network.outputs[-1]], name=BACKBONE)
    pixels = keras.Input((size_px, size_px, 3), dtype="uint8", name="pixels")
    maps = backbone(spec.preprocess(keras.ops.cast(pixels, "float32")))
    pooled = keras.layers.Concatenate(dtype="float32")(
        [
            layer(dtype="float32")(found)
            for found in maps
            for layer in (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
        ]
    )
    pooled = keras.layers.LayerNormalization(dtype="float32")(pooled)
    cells = size_px // CELL_PX
    answers = {name: _answer(name, count, pooled, maps, cells) for name, count in sorted(classes.items())}
    return keras.Model(pixels, answers, name=f"{spec.name}_pretrainer")


def _answer(name: str, count: int, pooled: Any, maps: list[Any], cells: int) -> Any:
    if name == "position":
        scores = [keras.layers.Conv2D(count, 1, dtype="float32")(found) for found in maps]
        return keras.layers.Add(name=name, dtype="float32")([_bring(score, cells) for score in scores])
    if name == "contrast":
        embedding = keras.layers.Dense(EMBEDDING, dtype="float32")(pooled)
        return keras.layers.UnitNormalization(name=name, dtype="float32")(embedding)
    return keras.layers.Dense(count, name=name, dtype="float32")(pooled)


def _bring(scores: Any, cells: int) -> Any:
    """Average a finer map over cells, and spread a coarser one over them."""
    rows = scores.shape[1]
    if rows > cells:
        return keras.layers.AveragePooling2D(rows // cells, dtype="float32")(scores)
    return MapSpreading(cells, cells, dtype="float32")(scores) if rows < cells else scores
