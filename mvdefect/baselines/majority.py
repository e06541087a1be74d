"""The baseline that looks at nothing: it always names the larger class."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from mvdefect.baselines.pictures import CLASSES, check_labels, check_pictures


class MajorityClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Calls every picture what most of those in train are; where they are even, defective.

    Attributes:
        classes_: 0 and 1.
        log_odds_: Logarithm of how many defective pictures there are for each good one.
    """

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> MajorityClassifier:
        """Count the classes.

        Args:
            X: uint8 of shape (n, height, width, 3).
            y: 0 for good, 1 for defective, (n,).
            groups: They make no difference.

        Raises:
            ConfigError: They are not as described, or a class is missing.
        """
        del groups
        pictures = check_pictures(X)
        labels = check_labels(y, len(pictures))
        self.classes_ = CLASSES
        self.n_features_in_ = int(np.prod(pictures.shape[1:]))
        defective = int(labels.sum())
        self.log_odds_ = float(np.log(defective / (len(labels) - defective)))
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the log-odds for every picture, float64 (n,)."""
        return np.full(len(check_pictures(X)), self.log_odds_)

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the larger class for every picture, (n,)."""
        return self.classes_[(self.decision_function(X) >= 0).astype(np.int64)]
