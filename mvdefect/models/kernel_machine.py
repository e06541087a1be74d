"""Kernel machine: a scorer that is solved and not trained, on pooled features of a frozen backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np
from numpy.typing import NDArray

PENALTY = 10.0  # C of the support vector machine; from 3 to 30 it hardly matters
GAMMA = 3.0  # of the Gaussian part of the kernel, where the usual length of a feature vector is 1
LARGEST_STEP = 4.0  # standard deviations; a feature that is farther off counts no more
SMALLEST_SPREAD = 0.01  # of the usual one in a block, for features that never change
MAX_EXACT = 5000  # images; of more, the kernel is approximated
LANDMARKS = 1000  # images that approximate it

Vectors = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class KernelMachine:
    """A support vector machine (Cortes & Vapnik, 1995) whose kernel is linear plus Gaussian.

    The linear part finds what all defective images have in common, the Gaussian part what looks like some of
    them; see docs/experiments.md for what the sum is worth.

    Attributes:
        middle: What is subtracted from features, float32 (d,).
        spread: What they are divided by, above 0, float32 (d,); then they are limited to ±4.
        scale: What they are multiplied by at last, float32 (d,).
        landmarks: Images that others are compared with, scaled, float32 (m, d).
        coefficients: What likeness to each counts, above 0 for defective, float32 (m,).
        bias: Score of an image that is like none of them.
    """

    middle: Vectors
    spread: Vectors
    scale: Vectors
    landmarks: Vectors
    coefficients: Vectors
    bias: float

    @classmethod
    def fit(
        cls,
        vectors: Vectors,
        labels: NDArray[np.int64],
        weights: Vectors,
        scaling: tuple[Vectors, Vectors, Vectors],
        seed: int = 0,
        approximate: bool = False,
    ) -> Self:
        """Solve for the largest margin; above 5,000 images by 1,000 landmarks (Williams & Seeger, 2000).

        Args:
            vectors: Features, float32 (n, d).
            labels: 0 for good, 1 for defective, (n,), both present.
            weights: What each image counts, float32 (n,).
            scaling: What `find_scaling` returned, for these images or for more of them.
            seed: Draws the landmarks.
            approximate: Use them with fewer images too, so that the scores are those of a fit on more.
        """
        solve = _solve_approximately if approximate or len(vectors) > MAX_EXACT else _solve
        landmarks, coefficients, bias = solve(scale_vectors(vectors, *scaling), labels, weights, seed)
        return cls(*scaling, landmarks.astype(np.float32), coefficients.astype(np.float32), float(bias))

    def score(self, vectors: Vectors) -> Doubles:
        """Return the score of each image, float64 (n,); above 0 it is on the defective side."""
        scaled = scale_vectors(vectors, self.middle, self.spread, self.scale)
        found = compare(scaled, self.landmarks.astype(np.float64)) @ self.coefficients + self.bias
        return np.asarray(found, np.float64)


@keras.saving.register_keras_serializable("mvdefect")
class KernelScore(keras.layers.Layer):  # type: ignore[misc]
    """The score of a kernel machine as a layer; its weights are those of `KernelMachine`.

    Args:
        landmarks: How many images others are compared with.

    Input: float (b, d). Outputs: scores (b, 1), and their gradients towards the features (b, d), float32.
    """

    def __init__(self, landmarks: int, dtype: Any = "float32", **kwargs: Any) -> None:
        super().__init__(dtype=dtype, **{**kwargs, "trainable": False})
        self.count = landmarks

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights, in the order of the fields of `KernelMachine`."""
        size = input_shape[-1]
        for name in ("middle", "spread", "scale"):
            setattr(self, name, self.add_weight(shape=(size,), initializer="ones", name=name))
        self.landmarks = self.add_weight(shape=(self.count, size), initializer="zeros", name="landmarks")
        self.coefficients = self.add_weight(shape=(self.count,), initializer="zeros", name="coefficients")
        self.bias = self.add_weight(shape=(), initializer="zeros", name="bias")

    def call(self, vectors: Any) -> tuple[Any, Any]:
        """Return scores, and their gradients towards the features."""
        ops = keras.ops
        steps = (ops.cast(vectors, "float32") - self.middle) / self.spread
        scaled = ops.clip(steps, -LARGEST_STEP, LARGEST_STEP) * self.scale
        products = scaled @ ops.transpose(self.landmarks)
        lengths = ops.sum(scaled**2, axis=1, keepdims=True) + ops.sum(self.landmarks**2, axis=1)
        nearness = ops.exp(-GAMMA * ops.maximum(lengths - 2 * products, 0)) * self.coefficients
        linear = ops.matmul(self.coefficients, self.landmarks)
        scores = scaled @ linear[:, None] + ops.sum(nearness, axis=1, keepdims=True) + self.bias
        pull = nearness @ self.landmarks - ops.sum(nearness, axis=1, keepdims=True) * scaled
        within = ops.cast(ops.abs(steps) < LARGEST_STEP, "float32")
        return scores, (linear + 2 * GAMMA * pull) * within * self.scale / self.spread

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "landmarks": self.count}


def put_machine(layer: KernelScore, machine: KernelMachine) -> None:
    """Give a layer the weights of a machine."""
    bias = np.float32(machine.bias)
    scaling = [machine.middle, machine.spread, machine.scale]
    layer.set_weights([*scaling, machine.landmarks, machine.coefficients, bias])


def compare(first: Doubles, second: Doubles) -> Doubles:
    """Return the kernel: how alike two sets of scaled features are, (n, m)."""
    products = first @ second.T
    lengths = np.square(first).sum(axis=1)[:, np.newaxis] + np.square(second).sum(axis=1)
    return np.asarray(products + np.exp(-GAMMA * np.maximum(lengths - 2 * products, 0)), np.float64)


def scale_vectors(vectors: Vectors, middle: Vectors, spread: Vectors, scale: Vectors) -> Doubles:
    """Return features as the kernel takes them, float64 (n, d)."""
    steps = (vectors.astype(np.float64) - middle) / spread
    return np.asarray(np.clip(steps, -LARGEST_STEP, LARGEST_STEP) * scale, np.float64)


def find_scaling(vectors: Vectors, blocks: Sequence[int]) -> tuple[Vectors, Vectors, Vectors]:
    """Return middle, spread and scale of a kernel machine.

    Args:
        vectors: Features, float32 (n, d).
        blocks: Lengths of the blocks of features, which sum to d; all blocks count alike.
    """
    spread = vectors.std(axis=0)
    starts = np.cumsum([0, *blocks[:-1]])
    usual = np.sqrt(np.add.reduceat(spread**2, starts) / blocks)
    floor = np.maximum(SMALLEST_SPREAD * np.repeat(usual, blocks), 1e-12)
    scale = 1 / np.sqrt(np.repeat(blocks, blocks) * len(blocks))  # lengths of vectors are 1 on average
    return vectors.mean(axis=0), np.maximum(spread, floor).astype(np.float32), scale.astype(np.float32)


def _solve(
    scaled: Doubles, labels: NDArray[np.int64], weights: Vectors, _seed: int
) -> tuple[Doubles, Doubles, float]:
    from sklearn.svm import SVC

    machine = SVC(C=PENALTY, kernel="precomputed", cache_size=500)
    machine.fit(compare(scaled, scaled), labels, sample_weight=weights)
    return scaled[machine.support_], machine.dual_coef_[0], machine.intercept_[0]


def _solve_approximately(
    scaled: Doubles, labels: NDArray[np.int64], weights: Vectors, seed: int
) -> tuple[Doubles, Doubles, float]:
    from sklearn.kernel_approximation import Nystroem
    from sklearn.svm import LinearSVC

    places = np.random.default_rng(seed).permutation(len(scaled))[:LANDMARKS]
    chosen = scaled[np.sort(places)]
    likeness = Nystroem("precomputed", n_components=len(chosen), random_state=seed).fit(
        compare(chosen, chosen)
    )
    features = likeness.transform(compare(scaled, chosen)[:, likeness.component_indices_])
    machine = LinearSVC(C=PENALTY, dual=False).fit(features, labels, sample_weight=weights)
    return (
        chosen[likeness.component_indices_],
        likeness.normalization_.T @ machine.coef_[0],
        machine.intercept_[0],
    )
