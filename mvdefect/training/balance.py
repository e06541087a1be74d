"""Imbalance: what makes rare classes count, by weight or by how often they come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mvdefect.data.epochs import Integers
from mvdefect.data.pipeline import Source


def number_strata(source: Source) -> Integers:
    """Number each image by its category and class, int64 (n,)."""
    names = [(row.category, row.label) for row in source.rows]
    number_of = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([number_of[name] for name in names], np.int64)


def weigh_strata(strata: Integers) -> NDArray[np.float32]:
    """Return the loss weight of each image that makes all strata count alike, float32 (n,).

    `n / (strata * n_stratum)`, the "balanced" rule of scikit-learn (King & Zeng, 2001).
    """
    counts = np.bincount(strata)
    return np.asarray(len(strata) / (len(counts) * counts[strata]), np.float32)
