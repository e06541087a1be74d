"""Kernel machine: against scikit-learn, as a layer, and with landmarks."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from mvdefect.models import kernel_machine
from mvdefect.models.kernel_machine import (
    GAMMA,
    PENALTY,
    KernelMachine,
    KernelScore,
    find_scaling,
    put_machine,
)

BLOCKS = (30, 10)
RNG = np.random.default_rng(0)
LABELS = np.arange(120) % 3 // 2
VECTORS = RNG.normal(size=(120, 40)).astype(np.float32)
VECTORS[LABELS == 1, 35] += 3.0


def fit(
    vectors: np.ndarray = VECTORS, labels: np.ndarray = LABELS, blocks: tuple[int, ...] = BLOCKS
) -> KernelMachine:
    weights = np.ones(len(labels), np.float32)
    return KernelMachine.fit(vectors, labels, weights, find_scaling(vectors, blocks))


def make_layer(machine: KernelMachine) -> KernelScore:
    layer = KernelScore(len(machine.landmarks))
    layer.build((None, 40))
    put_machine(layer, machine)
    return layer


def test_scores_are_those_of_scikit_learn() -> None:
    machine = fit()
    steps = np.clip((VECTORS.astype(np.float64) - VECTORS.mean(0)) / VECTORS.std(0), -4, 4)
    scaled = steps / np.sqrt(2 * np.repeat(BLOCKS, BLOCKS))

    def compare(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        apart = np.square(first[:, np.newaxis] - second[np.newaxis]).sum(axis=-1)
        return np.asarray(first @ second.T + np.exp(-GAMMA * apart))

    reference = SVC(C=PENALTY, kernel=compare).fit(scaled, LABELS)
    np.testing.assert_allclose(machine.score(VECTORS), reference.decision_function(scaled), atol=2e-3)


def test_the_layer_scores_as_the_machine_does_and_its_gradient_is_right() -> None:
    machine = fit()
    fresh = RNG.normal(size=(6, 40)).astype(np.float32) / 2  # far from the limit of a feature
    scores, gradients = (keras.ops.convert_to_numpy(found) for found in make_layer(machine)(fresh))
    np.testing.assert_allclose(scores[:, 0], machine.score(fresh), atol=1e-4)
    nudge = RNG.normal(size=40).astype(np.float32) * 1e-2
    rise = (machine.score(fresh + nudge) - machine.score(fresh - nudge)) / 2
    np.testing.assert_allclose(gradients @ nudge, rise, rtol=0.02, atol=1e-4)


def test_each_block_counts_alike_however_long() -> None:
    """What tells defects apart lies in a short block, and a long one is noise."""
    noise = RNG.normal(size=(120, 1000)).astype(np.float32)
    joined, cut = np.concatenate([VECTORS[:, 30:], noise], axis=1), LABELS[60:]
    found = {
        blocks: fit(joined[:60], LABELS[:60], blocks).score(joined[60:]) for blocks in ((10, 1000), (1010,))
    }
    assert roc_auc_score(cut, found[10, 1000]) > roc_auc_score(cut, found[1010,]) + 0.05


def test_a_feature_that_never_changed_cannot_outweigh_all_others() -> None:
    still = VECTORS.copy()
    still[:, 3] = 1.0
    machine = fit(still)
    odd = still.copy()
    odd[:, 3] = 1000.0
    scores = machine.score(odd)
    assert np.isfinite(scores).all()
    assert roc_auc_score(LABELS, scores) > 0.95


def test_of_many_images_landmarks_come_close(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = np.random.default_rng(1).normal(size=(120, 40)).astype(np.float32)
    fresh[LABELS == 1, 35] += 3.0
    exact = roc_auc_score(LABELS, fit().score(fresh))
    monkeypatch.setattr(kernel_machine, "MAX_EXACT", 100)
    monkeypatch.setattr(kernel_machine, "LANDMARKS", 60)
    machine = fit()
    assert len(machine.landmarks) == 60
    assert roc_auc_score(LABELS, machine.score(fresh)) > exact - 0.05 > 0.7
    again = fit()
    np.testing.assert_array_equal(machine.coefficients, again.coefficients)


def test_a_fold_of_many_images_is_approximated_as_all_of_them_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise its scores would have another scale than those of the fit in use."""
    scaling, weights = find_scaling(VECTORS, BLOCKS), np.ones(len(LABELS), np.float32)
    half = np.arange(120) % 2 == 0
    few = KernelMachine.fit(VECTORS[half], LABELS[half], weights[half], scaling, approximate=True)
    monkeypatch.setattr(kernel_machine, "MAX_EXACT", 10)
    by_itself = KernelMachine.fit(VECTORS[half], LABELS[half], weights[half], scaling)
    np.testing.assert_array_equal(few.coefficients, by_itself.coefficients)
