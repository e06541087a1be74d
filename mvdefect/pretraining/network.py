"""The network that is pre-trained, one small ending for each question, and what its training minimises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.freezing import BACKBONE
from mvdefect.models.heads import MapSpreading
from mvdefect.pretraining.scenes import CELL_PX, VIEWS

EMBEDDING = 128


TEMPERATURE = 0.1
TINY = 1e-6


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
    network = spec.build((size_px, size_px), None)
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


def compare_classes(answers: Any, logits: Any) -> Any:
    """Return the mean cross-entropy of whole pictures: int (b,) or (b, 1) against float (b, classes)."""
    return keras.ops.mean(
        keras.losses.sparse_categorical_crossentropy(
            keras.ops.reshape(answers, (-1,)), logits, from_logits=True
        )
    )


def compare_cells(answers: Any, logits: Any) -> Any:
    """Return the mean cross-entropy of faulty cells plus that of flawless ones, which are far more.

    Args:
        answers: int (b, rows, columns); -1 where nobody is asked.
        logits: float (b, rows, columns, classes), class 0 flawless.
    """
    asked = keras.ops.maximum(answers, 0)
    each = keras.losses.sparse_categorical_crossentropy(asked, logits, from_logits=True)
    total = 0.0
    for chosen in (answers > 0, keras.ops.equal(answers, 0)):
        weight = keras.ops.cast(chosen, each.dtype)
        total = total + keras.ops.sum(each * weight) / (keras.ops.sum(weight) + TINY)
    return total


def contrast_views(_: Any, embeddings: Any) -> Any:
    """Return how badly two flawless views of a surface find each other (InfoNCE; van den Oord et al., 2018).

    Among the candidates are all other surfaces, and the same one with its fault: only what the fault looks
    like tells that one from the right one.

    Args:
        embeddings: Unit vectors, float (surfaces × VIEWS, d), the flawed view of a surface last.
    """
    views = keras.ops.reshape(embeddings, (-1, VIEWS, embeddings.shape[-1]))
    first, second, flawed = views[:, 0], views[:, 1], views[:, 2]
    total = 0.0
    for anchor, other in ((first, second), (second, first)):
        alike = keras.ops.matmul(anchor, keras.ops.transpose(other)) / TEMPERATURE
        decoys = keras.ops.matmul(anchor, keras.ops.transpose(flawed)) / TEMPERATURE
        logits = keras.ops.concatenate([alike, decoys], axis=1)
        right = keras.ops.diagonal(alike)
        total = total + keras.ops.mean(keras.ops.logsumexp(logits, axis=1) - right)
    return total / 2


def compare_layouts(answers: Any, found: Any) -> Any:
    """Return the mean squared difference of float (b, numbers)."""
    return keras.ops.mean(keras.ops.square(found - keras.ops.cast(answers, found.dtype)))


LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "recipe": compare_classes,
    "defect_type": compare_classes,
    "position": compare_cells,
    "rotation": compare_classes,
    "contrast": contrast_views,
    "layout": compare_layouts,
}
