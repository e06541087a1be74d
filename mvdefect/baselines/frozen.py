"""The baseline between hand-made descriptors and fine-tuning: an SVM on what a frozen backbone sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mvdefect.baselines.feature_svm import FOLDS, GAMMA_FACTORS, PENALTIES, FeatureSVM
from mvdefect.baselines.networks import build_network, run_network
from mvdefect.data.images import Pixels
from mvdefect.models.features import build_pooled_features


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
        self.penalties = penalties
        self.gamma_factors = gamma_factors
        self.folds = folds
        self.seed = seed
        self.n_jobs = n_jobs

    def _prepare(self, pictures: Pixels) -> None:
        self.network_ = build_network(build_pooled_features, self.backbone, self.weights, pictures, self.seed)

    def _describe(self, pictures: Pixels) -> NDArray[np.float32]:
        return np.concatenate(list(run_network(self.network_, pictures)))
