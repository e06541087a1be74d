"""What a contract promises holds for the whole procedure: folds, weights, threshold, and the fit in use."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from mvdefect.evaluation.operating_point import HELD_OUT, Judged, choose_operating_point
from mvdefect.models.kernel_machine import KernelMachine, find_scaling
from mvdefect.models.normality import fit_normality

SIZE, GOOD, DEFECTIVE, SETS = 24, 140, 70, 40
Scores = tuple[np.ndarray, np.ndarray]


def draw(rng: np.random.Generator, good: int, defective: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of images; some of those of defective ones lie higher."""
    labels = np.repeat([0, 1], [good, defective])
    vectors = rng.normal(size=(len(labels), SIZE)) + 0.9 * labels[:, np.newaxis] * (np.arange(SIZE) < 5)
    return vectors.astype(np.float32), labels


def learn_and_score(vectors: np.ndarray, labels: np.ndarray, new: np.ndarray) -> Scores:
    weights = np.ones(len(labels), np.float32)
    machine = KernelMachine.fit(vectors, labels, weights, find_scaling(vectors, (SIZE,)))
    normality = fit_normality("gaussian", vectors[labels == 0][:, np.newaxis, np.newaxis])
    return machine.score(new), normality.score_images(new[:, np.newaxis, np.newaxis])


def keeps_promise(rng: np.random.Generator, contract: str) -> bool:
    vectors, labels = draw(rng, GOOD, DEFECTIVE)
    held = np.zeros((2, len(labels)))
    for fit, out in StratifiedKFold(3, shuffle=True, random_state=0).split(vectors, labels):
        held[:, out] = learn_and_score(vectors[fit], labels[fit], vectors[out])
    judged = Judged(labels == 1, np.arange(len(labels)), *held)
    point = choose_operating_point(judged, HELD_OUT, contract)
    assert point.verdict == "combined"
    assert "fresh" in point.guarantee
    fresh, truth = draw(rng, 2000, 2000)
    called = point.find_defective(*learn_and_score(vectors, labels, fresh))
    limit, rates = float(contract.split()[1]), [called[truth == label].mean() for label in (0, 1)]
    return bool(rates[1] >= limit if "recall" in contract else rates[0] <= limit)


@pytest.mark.parametrize("contract", ["max-fpr 0.1", "min-recall 0.8"])
def test_a_contract_holds_on_fresh_images_nine_times_of_ten(contract: str) -> None:
    rng = np.random.default_rng(0)
    kept = np.mean([keeps_promise(rng, contract) for _ in range(SETS)])
    assert kept > 0.9 - 2 * np.sqrt(0.9 * 0.1 / SETS), kept
