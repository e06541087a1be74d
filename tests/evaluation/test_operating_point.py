"""The operating point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import f1_score

from mvdefect.evaluation.thresholds import OperatingPoint, choose_max_f1, choose_max_novelty


@given(st.lists(st.tuples(st.booleans(), st.integers(-8, 8)), min_size=2, max_size=40))
def test_no_threshold_has_a_higher_f1(rows: list[tuple[bool, int]]) -> None:
    labels = np.array([label for label, _ in rows])
    labels[0] = True
    logits = np.array([score / 2 for _, score in rows])
    point = choose_max_f1(labels, logits, "val")
    candidates = [*np.unique(logits), np.inf]
    best = max(f1_score(labels, logits >= candidate, zero_division=0) for candidate in candidates)
    assert f1_score(labels, logits >= point.logit) == pytest.approx(best)
    assert point.achieved == pytest.approx(best)
    assert point.probability == pytest.approx(expit(point.logit))
    assert point.logit not in logits  # halfway between two, so that rounding tips nothing over


def test_between_two_classes_that_are_apart_it_lies_in_the_middle() -> None:
    labels = np.array([False, False, True, True])
    point = choose_max_f1(labels, np.array([-3.0, -1.0, 2.0, 5.0]), "val")
    assert point.logit == pytest.approx(0.5)
    assert (point.achieved, point.contract, point.part) == (1.0, "f1", "val")


def test_among_equals_the_lowest_wins() -> None:
    # Calling the first one, or all but the last, defective gives the same F1.
    labels = np.array([True, False, True, False, False])
    logits = np.array([4.0, 3.0, 2.0, 1.0, 0.0])
    f1 = {cut: f1_score(labels, logits >= cut) for cut in logits}
    assert choose_max_f1(labels, logits, "val").logit == pytest.approx(1.5)
    assert f1[2.0] == max(f1.values())


def test_at_most_the_allowed_share_of_good_images_is_novel() -> None:
    novelty = np.arange(100.0)
    threshold = choose_max_novelty(novelty, 0.05)
    assert (novelty >= threshold).sum() == 5
    assert threshold not in novelty
    assert (np.full(10, 3.0) >= choose_max_novelty(np.full(10, 3.0))).sum() == 0


def test_each_verdict_by_hand() -> None:
    point = OperatingPoint(0.0, 0.5, "f1", "val", 1.0, novelty=2.0, verdict="either")
    logits, novelty = np.array([-1.0, 1.0, -1.0, 1.0]), np.array([0.0, 0.0, 3.0, 2.0])
    assert point.find_defective(logits, novelty).tolist() == [False, True, True, True]
    assert point.find_defective(logits, novelty, "classifier").tolist() == [False, True, False, True]
    assert point.find_defective(logits, novelty, "novelty").tolist() == [False, False, True, True]
