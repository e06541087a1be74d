"""The baseline that knows no defect: how far a picture lies from good ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from mvdefect.baselines.frozen import build_network, run_network
from mvdefect.baselines.pictures import CLASSES, check_labels, check_pictures, number_groups
from mvdefect.config import Size
from mvdefect.core.errors import ConfigError
from mvdefect.data.images import Pixels
from mvdefect.data.resolution import list_scales
from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.classifier import build_classifier
from mvdefect.models.features import build_features, load_trunk, share_trunk
from mvdefect.models.heads import HeadSettings
from mvdefect.models.normality import fit_normality
from mvdefect.models.one_class import Normality

SHARE_ASIDE = 0.2
MIN_GROUPS = 5
MIN_SCALE = 1e-12


class OneClassDetector(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Learns from good pictures alone, and calls defective what is unlike them.

    As everywhere in mvdefect, 1 is defective and scores rise with suspicion; outlier detectors of
    scikit-learn have it the other way round.

    Distances are measured on pre-trained features that do not learn; see `mvdefect.models.normality`.
    Those of pictures that a fit has seen are too small, so the scale of the decision comes from a first
    fit that a fifth of the good groups is kept out of; the fit that counts has them all.

    Args:
        kind: "padim" where parts always lie the same way, "memory_bank" where they lie in any way,
            "gaussian" where the whole picture counts and not a place in it.
        backbone: Its name, as `mvdefect fit` takes it.
        weights: "imagenet", "none" (random), or the path of a weights file.
        contamination: Share of good pictures that the decision calls defective, above 0 and below 0.5.
        seed: Of every random choice.

    Attributes:
        classes_: 0 and 1.
        network_: From uint8 pictures to feature maps.
        normality_: How good pictures look.
        limit_: The distance at which the decision is 0.
        scale_: Distance from the usual one of good pictures to the limit; the decision goes by it.
    """

    def __init__(
        self,
        kind: str = "padim",
        backbone: str = "mobilenetv2",
        weights: str = "imagenet",
        contamination: float = 0.05,
        seed: int = 0,
    ) -> None:
        self.kind = kind
        self.backbone = backbone
        self.weights = weights
        self.contamination = contamination
        self.seed = seed

    def fit(
        self, X: ArrayLike, y: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> OneClassDetector:
        """Learn from the good ones among pictures.

        Args:
            X: uint8 of shape (n, height, width, 3).
            y: 0 for good, 1 for defective, (n,); defective ones are never looked at. None: all are good.
            groups: What belongs together, (n,); None: each picture is on its own.

        Raises:
            ConfigError: They are not as described, or too few are good.
        """
        pictures = check_pictures(X)
        labels = np.zeros(len(pictures), np.int64) if y is None else check_labels(y, len(pictures), (0,))
        if not 0 < self.contamination < 0.5:
            raise ConfigError(
                f"contamination must be above 0 and below 0.5. Received: contamination={self.contamination}"
            )
        good = np.flatnonzero(labels == 0)
        aside = draw_aside(number_groups(groups, len(pictures))[good], self.seed)
        self.classes_ = CLASSES
        self.n_features_in_ = int(np.prod(pictures.shape[1:]))
        self.network_ = build_network(_build_maps, self.backbone, self.weights, pictures, self.seed)
        first = self._fit_normality(pictures, good[~aside])
        distances = first.score_images(run_network(self.network_, pictures, good[aside]))
        self.limit_ = float(np.quantile(distances, 1 - self.contamination))
        self.scale_ = max(self.limit_ - float(np.median(distances)), MIN_SCALE)
        self.normality_ = self._fit_normality(pictures, good)
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return how far beyond the limit each picture lies, float64 (n,); usual good ones: -1."""
        maps = run_network(self.network_, check_pictures(X))
        return np.asarray((self.normality_.score_images(maps) - self.limit_) / self.scale_, np.float64)

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return 1 for defective, 0 for good, (n,)."""
        return self.classes_[(self.decision_function(X) >= 0).astype(np.int64)]

    def map_distances(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the score of each position, float32 (n, h, w); see `Normality.score_positions`."""
        return self.normality_.score_positions(run_network(self.network_, check_pictures(X)))

    def _fit_normality(self, pictures: Pixels, numbers: NDArray[np.int64]) -> Normality:
        return fit_normality(self.kind, run_network(self.network_, pictures, numbers), self.seed)


def draw_aside(groups: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Choose a fifth of the groups; return which pictures belong to them, (n,).

    Raises:
        ConfigError: There are fewer than 5 groups.
    """
    names = np.unique(groups)
    if len(names) < MIN_GROUPS:
        raise ConfigError(
            f"one-class needs good images of at least {MIN_GROUPS} groups in train. "
            f"Received: {len(groups)} images of {len(names)} groups"
        )
    count = round(SHARE_ASIDE * len(names))
    return np.isin(groups, np.random.default_rng(seed).permutation(names)[:count])


def _build_maps(spec: BackboneSpec, size_px: Size, weights: Path | None) -> Any:
    shrink = list_scales(size_px)[0]
    if weights is None:
        network = build_classifier(spec, size_px, HeadSettings(), 1, None, shrink)
        return build_features(share_trunk(network, spec))
    return build_features(load_trunk(spec, size_px, weights, shrink))
