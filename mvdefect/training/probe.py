"""Linear probing: a head that is solved on frozen features; fine-tuning begins there (Kumar et al., 2022)."""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np

from mvdefect.models.classifier import HEAD
from mvdefect.models.heads import LOGIT, POOLED
from mvdefect.models.kernel_machine import find_scaling, scale_vectors
from mvdefect.training.activations import ActivationStore
from mvdefect.training.batches import TrainingSet

PENALTY = 30.0  # C of the logistic regression, where vectors have a length of 1 on average
MAX_ITERATIONS = 1000


def can_be_solved(store: ActivationStore | None) -> TypeGuard[ActivationStore]:
    """Whether a classifier's head is linear on pooled features, and these are stored."""
    return store is not None and store.frozen.cut.names == (POOLED,)


def solve_head(model: Any, data: TrainingSet, store: ActivationStore) -> float:
    """Give a classifier's head the weights of a logistic regression on one view of each training image.

    Args:
        model: A classifier of `mvdefect.models.classifier` whose head pools.
        data: What it learns from.
        store: Its pooled features.

    Returns:
        The mean loss of the training images, weighed as in training.
    """
    from sklearn.linear_model import LogisticRegression

    (stored,) = store.open_slot(0)
    vectors = np.asarray(stored[data.places], np.float32)
    inputs = [tensor.shape[-1] for tensor in model.get_layer(HEAD).inputs]
    blocks = inputs * (vectors.shape[1] // sum(inputs))  # averages, and maxima if the head takes them
    middle, spread, scale = find_scaling(vectors, blocks)
    scaled = scale_vectors(vectors, middle, spread, scale)
    solved = LogisticRegression(C=PENALTY, max_iter=MAX_ITERATIONS)
    solved.fit(scaled, data.source.labels, sample_weight=data.weights)
    kernel = solved.coef_[0] * scale / spread
    bias = solved.intercept_[0] - kernel @ middle
    logit = model.get_layer(HEAD).get_layer(LOGIT)
    logit.set_weights([kernel[:, np.newaxis].astype(np.float32), np.array([bias], np.float32)])
    signed = np.where(data.source.labels == 1, 1, -1) * solved.decision_function(scaled)
    return float(np.average(np.logaddexp(0, -signed), weights=data.weights))
