"""The baseline from before deep learning: hand-made descriptors and a support vector machine."""

from __future__ import annotations

from functools import partial
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from mvdefect.baselines.descriptors import DESCRIPTORS, describe_picture
from mvdefect.baselines.feature_svm import FOLDS, GAMMA_FACTORS, PENALTIES, FeatureSVM
from mvdefect.baselines.pictures import iterate_pictures
from mvdefect.data.images import Pixels
from mvdefect.errors import ConfigError, describe_unknown_name
from mvdefect.parallel import map_in_threads


class HandcraftedClassifier(FeatureSVM):
    """An SVM on hand-made descriptors; see `mvdefect.baselines.descriptors`.

    Args:
        descriptors: Names of those that are used.
        penalties: See `FeatureSVM`, as for all that follows.
        gamma_factors: The same.
        folds: The same.
        seed: The same.
        n_jobs: The same.
    """

    def __init__(
        self,
        descriptors: tuple[str, ...] = tuple(DESCRIPTORS),
        penalties: tuple[float, ...] = PENALTIES,
        gamma_factors: tuple[float, ...] = GAMMA_FACTORS,
        folds: int = FOLDS,
        seed: int = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.descriptors = descriptors
        self.penalties = penalties
        self.gamma_factors = gamma_factors
        self.folds = folds
        self.seed = seed
        self.n_jobs = n_jobs

    def _prepare(self, pictures: Pixels) -> None:  # noqa: ARG002, others build a network for their size
        if not self.descriptors:
            raise ConfigError(
                f"descriptors must name one at least of {', '.join(DESCRIPTORS)}. Received: none"
            )
        for name in self.descriptors:
            if name not in DESCRIPTORS:
                raise ConfigError(describe_unknown_name("descriptor", name, DESCRIPTORS))

    def _describe(self, pictures: Pixels) -> NDArray[np.float32]:
        single = chain.from_iterable(iterate_pictures(pictures))
        return np.stack(list(map_in_threads(partial(describe_picture, names=self.descriptors), single)))
