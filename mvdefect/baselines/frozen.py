"""The baseline between hand-made descriptors and fine-tuning: an SVM on what a frozen backbone sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mvdefect.baselines.feature_svm import FOLDS, GAMMA_FACTORS, PENALTIES, FeatureSVM
from mvdefect.baselines.pictures import iterate_pictures
from mvdefect.config import Size
from mvdefect.data.images import Pixels
from mvdefect.models.backbones import BackboneSpec, find_backbone
from mvdefect.models.features import build_pooled_features
from mvdefect.models.weights import find_weights

Builder = Callable[[BackboneSpec, Size, Path | None], Any]


def build_network(build: Builder, backbone: str, weights: str, pictures: Pixels, seed: int) -> Any:
    """Build a network for pictures of a size.

    Args:
        build: Makes it from a backbone, a size and a weights file or None.
        backbone: Name of the backbone.
        weights: "imagenet", "none", or the path of a weights file.
        pictures: uint8 of shape (n, height, width, 3).
        seed: Draws random weights, where there are no others; Keras's global seed is then set to it.

    Raises:
        ConfigError: There is no such backbone.
        WeightsError: The weights cannot be had, or do not fit.
    """
    height, width = pictures.shape[1:3]
    spec = find_backbone(backbone)
    file = find_weights(spec, weights)
    if file is None:
        keras.utils.set_random_seed(seed)
    return build(spec, (height, width), file)


def run_network(
    network: Any, pictures: Pixels, numbers: NDArray[np.int64] | None = None
) -> Iterator[NDArray[np.float32]]:
    """Yield what the network makes of pictures, batch by batch.

    Args:
        network: What `build_network` returned.
        pictures: uint8 of shape (n, height, width, 3).
        numbers: Which of them, int64 (m,); None for all.
    """
    for batch in iterate_pictures(pictures, numbers):
        yield np.asarray(network.predict_on_batch(batch), np.float32)


class FrozenSVMClassifier(FeatureSVM):
    """An SVM on features of a backbone that does not learn, averaged over the picture.

    The features are those that a pooled head sees: the backbone's output, and the last ones at twice its
    resolution.

    Args:
        backbone: Its name, as `mvdefect fit` takes it.
        weights: "imagenet", "none" (random), or the path of a weights file.
        penalties: See `FeatureSVM`, as for all that follows.
        gamma_factors: The same.
        folds: The same.
        seed: The same; it also draws random weights.
        n_jobs: The same.

    Attributes:
        network_: From uint8 pictures to the features.
    """

    def __init__(
        self,
        backbone: str = "mobilenetv2",
        weights: str = "imagenet",
        penalties: tuple[float, ...] = PENALTIES,
        gamma_factors: tuple[float, ...] = GAMMA_FACTORS,
        folds: int = FOLDS,
        seed: int = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        super().__init__(penalties, gamma_factors, folds, seed, n_jobs)

    def _prepare(self, pictures: Pixels) -> None:
        self.network_ = build_network(build_pooled_features, self.backbone, self.weights, pictures, self.seed)

    def _name_eyes(self) -> str:
        drawn = f" drawn with seed {self.seed}" if self.weights == "none" else ""
        return super()._name_eyes() + drawn

    def _describe(self, pictures: Pixels) -> NDArray[np.float32]:
        return np.concatenate(list(run_network(self.network_, pictures)))
