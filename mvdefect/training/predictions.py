"""What a classifier says of the images of a part."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mvdefect.data.pipeline import Source, make_inference_batches
from mvdefect.models.classifier import SCALING
from mvdefect.models.freezing import BACKBONE


def predict_logits(model: Any, source: Source, batch_size: int) -> NDArray[np.float32]:
    """Return the logit of every image of a part, float32 (n,), in the order of the split plan."""
    logits = model.predict(make_inference_batches(source, batch_size), verbose=0)
    return np.asarray(logits, np.float32)[:, 0]


def predict_with_embedding(
    model: Any, source: Source, batch_size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return logits (n,) and embeddings (n, d), both float32, in the order of the split plan.

    The embedding is the output of the backbone, averaged over positions.
    """
    scaling, backbone = model.get_layer(SCALING), model.get_layer(BACKBONE)
    pixels = keras.Input(scaling.input.shape[1:], dtype="uint8")
    features = keras.tree.flatten(backbone(scaling(pixels)))
    embedding = keras.layers.GlobalAveragePooling2D()(features[-1])
    both = keras.Model(pixels, [model(pixels), embedding])
    logits, vectors = both.predict(make_inference_batches(source, batch_size), verbose=0)
    return np.asarray(logits, np.float32)[:, 0], np.asarray(vectors, np.float32)
