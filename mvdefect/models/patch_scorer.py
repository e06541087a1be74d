"""The patch scorer: a linear score of each position, learned from labels of whole images or from masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import keras
import numpy as np
from numpy.typing import NDArray

from mvdefect.models.classifier import HEAD, chain_parts, copy_classifier
from mvdefect.models.feature_maps import Maps, average_neighbourhoods
from mvdefect.models.features import Trunk
from mvdefect.models.freezing import BACKBONE
from mvdefect.models.gaussians import draw_channels
from mvdefect.models.heads import LOGIT, LOGIT_MAP, TopPooling
from mvdefect.models.scorer import list_depths, pool_depths

SHARE = 0.02  # of an image's positions: the highest ones, which its score is the mean of
MAX_CHANNELS = 100  # of each layer; more are not looked at
ROUNDS = 6  # of choosing positions and fitting
PENALTY = 1e-3  # C of the logistic regression: strong, since neighbouring positions are alike
MAX_USUAL, USUAL_EACH = 40_000, 40  # positions that are drawn from all good images, and from each
RIDGE = 1e-3  # of the usual variance, added to that of good positions
MARKED_TIMES = 4  # so many times as many positions are learned from where a mask marks them

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class PatchMachine:
    """A linear score of each position; the score of an image is the mean of its highest ones.

    It learns from multiple instances (Andrews et al., 2003): all positions of a good image are good; of a
    defective one those are taken for defective that score highest, at first by their distance from good
    ones, then by what the last round learned. Where a mask is known, they are taken from inside it.
    Highest positions of good images are added in each round. Features are whitened by good positions, so that
    one penalty suits all of them.

    Attributes:
        kernel: Weights of the features of a position, float32 (c,).
        bias: What is added to their sum.
    """

    kernel: Vectors
    bias: float

    @classmethod
    def fit(
        cls,
        maps: Maps,
        labels: NDArray[np.int64],
        weights: Vectors,
        marked: NDArray[np.bool_] | None = None,
        seed: int = 0,
    ) -> Self:
        """Learn from images.

        Args:
            maps: Features, float32 (n, h, w, c).
            labels: 0 for good, 1 for defective, (n,), both present.
            weights: What each image counts, float32 (n,).
            marked: Positions that a mask marks, (n, h, w); an image without any has no mask. None: no masks.
            seed: Draws the good positions that the covariance is of.
        """
        images = average_neighbourhoods(maps).reshape(len(maps), -1, maps.shape[-1])
        masks = [None] * len(images) if marked is None else list(marked.reshape(images.shape[:2]))
        good, bad = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
        usual, middle, turn = _draw_usual(images[good], seed)
        balance = float(weights[bad].sum() / weights[good].sum())
        against: list[NDArray[np.floating[Any]]] = [(usual - middle) @ turn]
        shares = [np.repeat(weights[good], len(usual) // len(good))]
        kernel: Vectors | None = None
        for _ in range(ROUNDS):
            found, chosen = [], []
            for number in bad:
                whitened = (images[number] - middle) @ turn
                scores = np.square(whitened).sum(axis=1) if kernel is None else whitened @ kernel
                places = _choose_places(scores, masks[number])
                found.append(whitened[places])
                chosen.append(np.full(len(places), weights[number] / len(places)))
            kernel, bias = _solve(against, shares, found, chosen, balance)
            direction = turn @ kernel
            highest = [images[number][_choose_places(images[number] @ direction)] for number in good]
            against.append((np.concatenate(highest) - middle) @ turn)
            shares.append(np.repeat(weights[good], len(highest[0])))
        return cls(direction, bias - float(middle @ direction))

    def score(self, maps: Maps) -> NDArray[np.float64]:
        """Return the score of each image, float64 (n,), from features, float32 (n, h, w, c)."""
        found = average_neighbourhoods((maps @ self.kernel)[..., np.newaxis]).reshape(len(maps), -1)
        count = count_highest(found.shape[1])
        highest = np.partition(found, -count, axis=1)[:, -count:]
        return np.asarray(highest.mean(axis=1, dtype=np.float64) + self.bias)


def count_highest(positions: int) -> int:
    """Return how many of an image's positions make its score."""
    return max(1, round(SHARE * positions))


def _draw_usual(images: Vectors, seed: int) -> tuple[Vectors, Vectors, Vectors]:
    """Draw positions of good images, of each the same number; and find what whitens them.

    Returns:
        The positions, float32 (m, c); their middle, (c,); and what turns differences from it into features of
        variance 1 that do not go together, (c, c).
    """
    count, positions, channels = images.shape
    each = min(positions, USUAL_EACH, max(1, MAX_USUAL // count))
    random = np.random.default_rng(seed)
    usual = np.concatenate([image[random.choice(positions, each, replace=False)] for image in images])
    middle = usual.mean(axis=0, dtype=np.float64)
    covariance = np.atleast_2d(np.cov((usual - middle).T))
    spread = max(RIDGE * float(np.trace(covariance)) / channels, 1e-12)
    factor = np.linalg.cholesky(covariance + spread * np.eye(channels))
    return usual, middle.astype(np.float32), np.linalg.inv(factor).T.astype(np.float32)


def _choose_places(scores: Vectors, mask: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Return the positions that are learned from: the highest ones, of those that a mask marks if it does."""
    count = count_highest(len(scores))
    if mask is None or not mask.any():
        return np.argpartition(scores, -count)[-count:]
    inside = np.flatnonzero(mask)
    count = min(MARKED_TIMES * count, len(inside))
    return inside[np.argpartition(scores[inside], -count)[-count:]]


def _solve(
    against: Sequence[NDArray[np.floating[Any]]],
    shares: Sequence[Vectors],
    found: Sequence[NDArray[np.floating[Any]]],
    chosen: Sequence[NDArray[np.float64]],
    balance: float,
) -> tuple[Vectors, float]:
    """Return kernel and bias of the logistic regression that tells positions found from those against.

    Args:
        against: Good positions, float32 (m, c) each.
        shares: What each of them counts.
        found: Defective positions.
        chosen: What each of them counts.
        balance: What all of the defective ones count together, if all good ones count 1.
    """
    from sklearn.linear_model import LogisticRegression

    good, defective = np.concatenate(shares), np.concatenate(chosen)
    total = len(good) / (1 + balance)
    counted = [good * (total / good.sum()), defective * (total * balance / defective.sum())]
    labels = np.repeat([0, 1], [len(good), len(defective)])
    model = LogisticRegression(C=PENALTY, solver="newton-cholesky", tol=1e-3, max_iter=50)
    vectors = np.concatenate([*against, *found]).astype(np.float64)
    model.fit(vectors, labels, sample_weight=np.concatenate(counted))
    return model.coef_[0].astype(np.float32), float(model.intercept_[0])


def list_patch_taps(trunk: Trunk) -> tuple[str, str]:
    """Return the layers that are looked at: the fine tap, and where the block before it ends."""
    spec, order = trunk.spec, [layer.name for layer in trunk.network.layers]
    before = [name for name in spec.boundaries if order.index(name) < order.index(spec.fine_tap)]
    return before[-1], spec.fine_tap


def build_patch_look(trunk: Trunk, seed: int) -> keras.Model:
    """Build the network whose one pass serves the patch scorer and the scorer of whole images.

    Args:
        trunk: The backbone.
        seed: Draws the channels that are looked at, of layers with more than 100.

    Returns:
        A model from uint8 pixels (b, height, width, 3) to a list: features at the resolution of the fine tap,
        float32 (b, h, w, c); and the averages and maxima of `mvdefect.models.scorer`, float32 (b, d).
    """
    taps = list_patch_taps(trunk)
    found = trunk.tap((*taps, *list_depths(trunk.spec)))
    drawn = [
        keras.ops.take(feature, draw_channels(feature.shape[-1], MAX_CHANNELS, seed), axis=-1)
        for feature in _bring_to_one_size(found[: len(taps)])
    ]
    joined = keras.layers.Concatenate(dtype="float32", name="patches")(drawn)
    return keras.Model(trunk.pixels, [joined, pool_depths(found[len(taps) :])], name="patch_look")


def _bring_to_one_size(features: Sequence[Any]) -> list[Any]:
    """Average features over as many neighbours as bring them to the resolution of the last ones."""
    rows = features[-1].shape[1]
    pooled = []
    for feature in features:
        ratio = feature.shape[1] // rows
        pooled.append(keras.layers.AveragePooling2D(ratio)(feature) if ratio > 1 else feature)
    return pooled


def build_patch_scorer(trunk: Trunk, machine: PatchMachine, seed: int) -> keras.Model:
    """Put a fitted patch machine on its backbone.

    Returns:
        A model from uint8 pixels (b, height, width, 3) to float32 logits (b, 1), of the same three parts as a
        classifier that is trained; the layer `logit_map` has the scores of positions. It shares no layer with
        the trunk, since Keras stores a layer that two networks share in one of them alone.
    """
    outputs = [trunk.network.get_layer(name).output for name in list_patch_taps(trunk)]
    backbone = keras.Model(trunk.network.input, outputs, name=BACKBONE)
    features = [keras.Input(tensor.shape[1:]) for tensor in outputs]
    scores, start = [], 0
    for number, feature in enumerate(_bring_to_one_size(features), start=1):
        channels = draw_channels(feature.shape[-1], MAX_CHANNELS, seed)
        layer = keras.layers.Conv2D(1, 1, trainable=False, dtype="float32", name=f"scores_{number}")
        scores.append(layer(feature))
        kernel = np.zeros((1, 1, feature.shape[-1], 1), np.float32)
        kernel[0, 0, channels, 0] = machine.kernel[start : start + len(channels)]
        layer.set_weights([kernel, np.array([machine.bias / len(features)], np.float32)])
        start += len(channels)
    summed = keras.layers.Add(dtype="float32", name="sum")(scores)
    smooth = keras.layers.AveragePooling2D(3, 1, padding="same", dtype="float32", name=LOGIT_MAP)(summed)
    count = count_highest(smooth.shape[1] * smooth.shape[2])
    ending = keras.Model(features, TopPooling(count, name=LOGIT)(smooth), name=HEAD)
    return copy_classifier(chain_parts(trunk.scaling, backbone, ending, f"{trunk.spec.name}_patch_scorer"))
