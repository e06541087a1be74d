"""One-class score: how far an image lies from the good ones, whatever the classifier makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class GaussianNormality:
    """A Gaussian around the embeddings of good images.

    Attributes:
        mean: float64 of shape (d,).
        precision: Inverse covariance, float64 of shape (d, d).
    """

    mean: NDArray[np.float64]
    precision: NDArray[np.float64]

    def score(self, embeddings: Vectors) -> NDArray[np.float64]:
        """Return the Mahalanobis distance of each embedding (n, d) from the good ones, (n,)."""
        centred = embeddings.astype(np.float64) - self.mean
        squares = np.einsum("nd,de,ne->n", centred, self.precision, centred, optimize=True)
        return np.asarray(np.sqrt(np.maximum(squares, 0)))


def fit_gaussian(embeddings: Vectors) -> GaussianNormality:
    """Fit a Gaussian with a shrunken covariance (Ledoit & Wolf, 2004), as Rippel et al. (2020) do.

    Args:
        embeddings: Of good images, float32 (n, d); n may be smaller than d.
    """
    from sklearn.covariance import LedoitWolf

    fitted = LedoitWolf(store_precision=True).fit(embeddings.astype(np.float64))
    return GaussianNormality(fitted.location_, fitted.precision_)
