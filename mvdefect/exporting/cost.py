"""What an engine of an export costs: how far it is from what the run said of its test part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from mvdefect.exporting.fresh_process import Said, Saying
from mvdefect.runs import PredictionRow

LARGEST_DIFFERENCE = 1e-4


@dataclass(frozen=True)
class Cost:
    """How far an engine is from its run.

    Attributes:
        photographs: Of the test part.
        flips: How many of them get another verdict.
        roc_auc: Of the engine; None where the part has one class.
        run_roc_auc: Of the run, on the same photographs.
        compared: Photographs that came in every way there is.
        largest_difference: Of a probability among those.
        compared_flips: How many of those get another verdict in one way at least.
    """

    photographs: int
    flips: int
    roc_auc: float | None
    run_roc_auc: float | None
    compared: int
    largest_difference: float
    compared_flips: int

    @property
    def flip_share(self) -> float:
        """The share of the test part that gets another verdict."""
        return self.flips / self.photographs

    @property
    def is_exact(self) -> bool:
        """Whether the engine says what the run said, to 1e-4 of a probability, in every way."""
        return self.compared_flips == 0 and self.largest_difference <= LARGEST_DIFFERENCE


def measure_cost(said: Saying, some: Sequence[PredictionRow], rows: Sequence[PredictionRow]) -> Cost:
    """Compare what an engine said with what the run said.

    Args:
        said: By the engine.
        some: The run's rows of the photographs that came in every way.
        rows: Those of all.
    """
    gaps = [
        abs(_probability(one) - row.probability)
        for way in said.some.values()
        for one, row in zip(way, some, strict=True)
    ]
    return Cost(
        photographs=len(rows),
        flips=count_flips(said.all, rows),
        roc_auc=_measure_roc_auc([_probability(one) for one in said.all], rows),
        run_roc_auc=_measure_roc_auc([row.probability for row in rows], rows),
        compared=len(some),
        largest_difference=max(gaps, default=0.0),
        compared_flips=sum(
            any(way[number][0] != row.verdict for way in said.some.values())
            for number, row in enumerate(some)
        ),
    )


def _probability(said: Said) -> float:
    return 1.0 if said[1] is None else said[1]  # what cannot be read is not passed as good


def count_flips(said: Sequence[Said], rows: Sequence[PredictionRow]) -> int:
    """Return how many verdicts differ."""
    return sum(one[0] != row.verdict for one, row in zip(said, rows, strict=True))


def _measure_roc_auc(scores: Sequence[float], rows: Sequence[PredictionRow]) -> float | None:
    labels = [bool(row.label) for row in rows]
    if len(set(labels)) < 2:
        return None
    return float(roc_auc_score(labels, np.array(scores, np.float32)))  # as precise as exports give them
