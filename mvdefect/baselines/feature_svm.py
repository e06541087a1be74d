"""A support vector machine on features of pictures, with settings searched in grouped inner folds."""

from __future__ import annotations

from typing import Any

import joblib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mvdefect.baselines.memory import describe_once
from mvdefect.baselines.pictures import CLASSES, check_labels, check_pictures, number_groups
from mvdefect.core.errors import ConfigError
from mvdefect.core.progress import logger
from mvdefect.data.images import Pixels

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
GAMMA_FACTORS = (0.1, 0.3, 1.0, 3.0)
FOLDS = 4
CACHE_MB = 500
SVM_SETTINGS = frozenset({"penalties", "gamma_factors", "folds", "seed", "n_jobs"})  # features need none

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


class FeatureSVM(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Scales features, and searches kernel, C and gamma of an SVM by ROC-AUC in grouped inner folds.

    Classes weigh alike however many images they have. An estimator derives from it, says by `_describe`
    what the features of pictures are, and takes these settings:

    Args:
        penalties: Values of C; for the linear kernel they are divided by the number of features, which
            brings both kernels to one scale.
        gamma_factors: Values of gamma, times the number of features.
        folds: Inner folds; fewer where a class has fewer groups.
        seed: Draws the folds.
        n_jobs: Threads of the search; no result depends on them.

    Attributes:
        classes_: 0 and 1.
        svm_: The fitted pipeline from features to the decision.
        best_params_: The settings that were found.
        best_score_: Their mean ROC-AUC on the inner folds; NaN where there were too few groups to search.
    """

    def __init__(
        self,
        penalties: tuple[float, ...],
        gamma_factors: tuple[float, ...],
        folds: int,
        seed: int,
        n_jobs: int | None,
    ) -> None:
        self.penalties = penalties
        self.gamma_factors = gamma_factors
        self.folds = folds
        self.seed = seed
        self.n_jobs = n_jobs

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> FeatureSVM:
        """Learn from pictures.

        Args:
            X: uint8 of shape (n, height, width, 3).
            y: 0 for good, 1 for defective, (n,).
            groups: What must not be torn apart by an inner fold, (n,); None: each picture is on its own.

        Raises:
            ConfigError: They are not as described, a class is missing, or a setting is out of range.
        """
        pictures = check_pictures(X)
        labels = check_labels(y, len(pictures))
        codes = number_groups(groups, len(pictures))
        self._check_settings()
        self._prepare(pictures)
        features = describe_once(self._name_eyes(), pictures, self._describe)
        self.classes_ = CLASSES
        self.n_features_in_ = int(np.prod(pictures.shape[1:]))
        grid = make_grid(features.shape[1], self.penalties, self.gamma_factors)
        folds = draw_folds(labels, codes, self.folds, self.seed)
        self.svm_, self.best_params_, self.best_score_ = search_svm(
            features, labels, folds, grid, self.n_jobs
        )
        logger.info("SVM on %d features: %s, inner ROC-AUC %.4f", features.shape[1], *self._tell())
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return how far on the defective side each picture lies, float64 (n,); below 0 it is good."""
        features = describe_once(self._name_eyes(), check_pictures(X), self._describe)
        return np.asarray(self.svm_.decision_function(features), np.float64)

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return 1 for defective, 0 for good, (n,)."""
        return self.classes_[(self.decision_function(X) >= 0).astype(np.int64)]

    def _check_settings(self) -> None:
        for name in ("penalties", "gamma_factors"):
            values = getattr(self, name)
            if not (len(values) and all(value > 0 for value in values)):
                raise ConfigError(f"{name} must be one or more numbers above 0. Received: {name}={values}")
        if self.folds < 2:
            raise ConfigError(f"folds must be at least 2. Received: folds={self.folds}")

    def _prepare(self, pictures: Pixels) -> None:
        """Make ready what `_describe` needs."""

    def _name_eyes(self) -> str:
        """Name all that decides the features of a picture, for `describe_once`."""
        own = {name: value for name, value in self.get_params().items() if name not in SVM_SETTINGS}
        return f"{type(self).__name__} {sorted(own.items())}"

    def _describe(self, pictures: Pixels) -> NDArray[np.float32]:
        """Return the features of pictures, float32 (n, d)."""
        raise NotImplementedError

    def _tell(self) -> tuple[str, float]:
        words = ", ".join(f"{name} {value}" for name, value in self.best_params_.items())
        return words, self.best_score_


def make_grid(
    features: int, penalties: tuple[float, ...], gamma_factors: tuple[float, ...]
) -> list[dict[str, list[Any]]]:
    """Return what is searched, as scikit-learn takes it; among equals the first wins."""
    return [
        {"svc__kernel": ["linear"], "svc__C": [penalty / features for penalty in penalties]},
        {
            "svc__kernel": ["rbf"],
            "svc__C": list(penalties),
            "svc__gamma": [factor / features for factor in gamma_factors],
        },
    ]


def draw_folds(labels: NDArray[np.int64], groups: NDArray[np.int64], count: int, seed: int) -> list[Fold]:
    """Draw inner folds that tear no group apart and hold about the same share of defective images.

    Args:
        labels: 0 or 1, (n,).
        groups: (n,).
        count: How many; fewer where a class has fewer groups.
        seed: Another seed, other folds.

    Returns:
        Numbers of the images to learn from and to score on; only folds with both classes on both sides,
        so there may be none.
    """
    by_class = [len(np.unique(groups[labels == label])) for label in CLASSES]
    folds = min(count, *by_class)
    if folds < 2:
        return []
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    drawn = splitter.split(np.zeros((len(labels), 1)), labels, groups)
    return [(fit, score) for fit, score in drawn if all(len(set(labels[side])) == 2 for side in (fit, score))]


def search_svm(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    folds: list[Fold],
    grid: list[dict[str, list[Any]]],
    n_jobs: int | None,
) -> tuple[Pipeline, dict[str, Any], float]:
    """Choose settings by the mean ROC-AUC on the folds, and fit with them on everything.

    Args:
        features: Of all images, (n, d).
        labels: 0 or 1, (n,).
        folds: What `draw_folds` returned; without any, an RBF kernel with scikit-learn's C and gamma is
            taken as it is.
        grid: What `make_grid` returned.
        n_jobs: Threads.

    Returns:
        The fitted pipeline, its settings and its mean ROC-AUC on the folds, NaN without any.
    """
    svm = make_pipeline(StandardScaler(), SVC(class_weight="balanced", cache_size=CACHE_MB))
    if not folds:
        logger.warning("too few groups to search settings of the SVM: the usual ones are taken")
        return svm.fit(features, labels), {"svc__kernel": "rbf", "svc__C": 1.0}, float("nan")
    search = GridSearchCV(svm, grid, scoring="roc_auc", cv=folds, n_jobs=n_jobs, error_score="raise")
    with joblib.parallel_config(backend="threading"):  # libsvm releases Python's lock
        search.fit(features, labels)
    return search.best_estimator_, dict(search.best_params_), float(search.best_score_)
