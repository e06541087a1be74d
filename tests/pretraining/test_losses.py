"""Losses of a pre-training, against values by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from mvdefect.pretraining.network import TEMPERATURE, compare_cells, contrast_views


def test_faulty_cells_weigh_as_much_as_all_flawless_ones() -> None:
    answers = np.array([[[0, 0], [0, 2]]], np.int32)
    logits = np.zeros((1, 2, 2, 3), np.float32)
    logits[0, 1, 1] = [0, 0, 3]
    right = np.log(2 + np.exp(3)) - 3
    assert float(compare_cells(answers, logits)) == pytest.approx(np.log(3) + right, rel=1e-4)


def test_cells_that_nobody_is_asked_about_do_not_count() -> None:
    answers = np.array([[[0, -1], [0, 1]]], np.int32)
    logits = np.zeros((1, 2, 2, 3), np.float32)
    before = float(compare_cells(answers, logits))
    logits[0, 0, 1] = [-50, 50, 0]
    assert float(compare_cells(answers, logits)) == pytest.approx(before)


def test_no_faulty_cell_is_no_trouble() -> None:
    assert np.isfinite(
        float(compare_cells(np.zeros((2, 2, 2), np.int32), np.zeros((2, 2, 2, 3), np.float32)))
    )


def test_contrast_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    first, second, flawed = vectors[0::3], vectors[1::3], vectors[2::3]
    expected = []
    for anchors, others in ((first, second), (second, first)):
        for number, anchor in enumerate(anchors):
            scores = np.concatenate([others @ anchor, flawed @ anchor]) / TEMPERATURE
            expected.append(logsumexp(scores) - scores[number])
    assert float(contrast_views(None, vectors)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_contrast_falls_when_a_fault_moves_its_view_away() -> None:
    surfaces = np.eye(4, dtype=np.float32)
    hidden = np.repeat(surfaces, 3, axis=0)
    seen = hidden.copy()
    seen[2::3] = -surfaces
    assert float(contrast_views(None, seen)) < float(contrast_views(None, hidden)) - 0.5
