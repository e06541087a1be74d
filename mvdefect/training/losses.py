"""Losses: how wrong a logit is about an image, and a map of logits about where it is defective."""

from __future__ import annotations

from typing import Any, Literal

import keras

LossKind = Literal["cross_entropy", "focal"]


def make_loss(kind: LossKind, label_smoothing: float, focal_gamma: float) -> keras.losses.Loss:
    """Make the loss between labels and logits.

    Args:
        kind: "cross_entropy", or "focal", which turns down what is known already.
        label_smoothing: In [0, 1); a label y becomes `y * (1 - label_smoothing) + label_smoothing / 2`.
        focal_gamma: At least 0; how strongly the focal loss turns down; 0 is the cross-entropy.

    Returns:
        A loss from labels (b, 1) in {0, 1} and logits (b, 1), float32.
    """
    if kind == "focal":
        return FocalCrossentropy(focal_gamma, label_smoothing)
    return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=label_smoothing)


def make_mask_loss() -> keras.losses.Loss:
    """Make the loss between masks and logit maps; see `MapCrossentropy`."""
    return MapCrossentropy()


@keras.saving.register_keras_serializable("mvdefect")
class FocalCrossentropy(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy in which an image counts by how far it is from being known (Lin et al., 2017).

    `-y (1 - p)^gamma log p - (1 - y) p^gamma log(1 - p)`, computed from logits throughout. Keras's own
    goes by way of p, and has no number for the gradient where gamma is below 1 and p is rounded to 1.

    Args:
        gamma: At least 0; 0 is the cross-entropy.
        label_smoothing: As in `make_loss`.

    Input: labels (b, 1) in [0, 1] and logits (b, 1). Output: float (b,), then reduced.
    """

    def __init__(self, gamma: float = 2.0, label_smoothing: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gamma = gamma
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each image."""
        labels = y_true * (1 - self.label_smoothing) + self.label_smoothing / 2
        log_defective, log_good = keras.ops.log_sigmoid(y_pred), keras.ops.log_sigmoid(-y_pred)
        missed = -labels * keras.ops.exp(self.gamma * log_good) * log_defective
        alarmed = -(1 - labels) * keras.ops.exp(self.gamma * log_defective) * log_good
        return keras.ops.mean(missed + alarmed, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the loss."""
        return {**super().get_config(), "gamma": self.gamma, "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("mvdefect")
class MapCrossentropy(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of a logit map against the defective share of each cell, averaged over positions.

    The average is taken here and not by Keras, so that a weight belongs to an image: Keras would set
    weights (b,) against the last axis of (b, height, width), which is the width.

    Input: shares (b, height, width, 1) in [0, 1] and logits of that shape. Output: float (b,), then
    weighted by weights (b,) or (b, 1) and averaged over the batch; an image of weight 0 adds nothing.
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each image."""
        each = keras.ops.binary_crossentropy(y_true, y_pred, from_logits=True)
        return keras.ops.mean(each, axis=(1, 2, 3))
