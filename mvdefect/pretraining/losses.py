"""What a pre-training minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from mvdefect.pretraining.scenes import VIEWS

TEMPERATURE = 0.1
TINY = 1e-6


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
