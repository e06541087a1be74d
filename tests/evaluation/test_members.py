"""Members: who makes the logit."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mvdefect.evaluation.members import (
    NETWORK,
    PATCHES,
    SCORER,
    choose_members,
    find_small_gain,
    join_scores,
    join_solved,
)

COUNT = 200
LABELS = np.arange(COUNT) % 4 == 0
GROUPS = np.arange(COUNT)


def draw(strength: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=COUNT) + strength * LABELS


def list_used(scores: dict[str, np.ndarray], labels: np.ndarray = LABELS) -> set[str]:
    members = choose_members(labels, GROUPS, scores)
    assert [member.name for member in members] == list(scores)
    return {member.name for member in members if member.weight}


def test_two_that_know_different_things_are_used_together() -> None:
    scores = {SCORER: draw(1.0, 0), NETWORK: 100 * draw(1.0, 1)}  # however large the numbers of one
    members = choose_members(LABELS, GROUPS, scores)
    assert list_used(scores) == {SCORER, NETWORK}
    together = roc_auc_score(LABELS, join_scores(members, scores))
    assert together > max(roc_auc_score(LABELS, found) for found in scores.values()) + 0.03
    assert members[1].gain is not None
    assert members[1].gain.low > 0


@pytest.mark.parametrize(
    ("scores", "used"),
    [
        ({SCORER: draw(2.0, 0), NETWORK: draw(0.0, 3)}, SCORER),  # by chance alone
        ({SCORER: draw(2.0, 0), NETWORK: draw(-1.0, 1)}, SCORER),  # worse than chance
        ({SCORER: draw(2.0, 0), NETWORK: np.zeros(COUNT)}, SCORER),  # constant
        ({SCORER: draw(2.0, 0), NETWORK: np.full(COUNT, np.nan)}, SCORER),  # diverged
        ({SCORER: draw(2.0, 0), NETWORK: draw(2.0, 0) + 1e-6}, SCORER),  # no better
        ({SCORER: draw(0.3, 0), NETWORK: draw(4.0, 1)}, NETWORK),
        ({SCORER: draw(-2.0, 0), NETWORK: draw(2.0, 1)}, NETWORK),
        ({SCORER: draw(-2.0, 0), NETWORK: draw(-2.0, 1)}, SCORER),  # nothing helps: the simplest
        ({NETWORK: draw(-2.0, 1)}, NETWORK),
    ],
)
def test_what_does_not_help_is_left_out(scores: dict[str, np.ndarray], used: str) -> None:
    assert list_used(scores) == {used}


def test_where_no_image_is_defective_the_simplest_is_used() -> None:
    scores = {SCORER: draw(0.0, 0), NETWORK: draw(0.0, 1)}
    assert list_used(scores, np.zeros(COUNT, bool)) == {SCORER}


@pytest.mark.parametrize(
    ("strength", "other", "is_lost"),
    [
        (3.0, draw(0.0, 1), True),
        (3.0, draw(3.0, 0) + 1e-6, True),  # the same once more
        (2.0, draw(1.9, 1), False),
        (0.5, draw(0.4, 1), False),
    ],
)
def test_what_will_hardly_be_chosen_is_given_up(strength: float, other: np.ndarray, is_lost: bool) -> None:
    gain = find_small_gain(LABELS, GROUPS, draw(strength, 0), other, 3)
    assert (gain is not None) == is_lost
    assert find_small_gain(LABELS, GROUPS, draw(3.0, 0), np.full(COUNT, np.nan), 3) is None


def test_a_gain_that_more_folds_would_make_clear_is_worth_going_on() -> None:
    """Below its standard error on one fold, above it on as many images as nine folds hold out."""
    simple, other = draw(2.0, 0), draw(1.2, 3)
    alone = find_small_gain(LABELS, GROUPS, simple, other, 1)
    assert alone is not None
    assert 0 < alone.value < (alone.high - alone.low) / 3.92
    assert find_small_gain(LABELS, GROUPS, simple, other, 100) is None


@pytest.mark.parametrize(
    ("strength", "other", "used"),
    [
        (1.0, 100 * draw(1.0, 1), {SCORER, PATCHES}),
        (2.0, draw(1.8, 1), {SCORER, PATCHES}),
        (2.0, draw(2.0, 0) + 1e-6, {SCORER, PATCHES}),  # adds nothing, and costs nothing
        (0.4, draw(4.0, 1), {PATCHES}),
        (4.0, draw(0.2, 4), {SCORER}),
        (2.0, draw(-1.0, 1), {SCORER}),
        (-2.0, draw(2.0, 1), {PATCHES}),
        (2.0, np.full(COUNT, np.nan), {SCORER}),
    ],
)
def test_what_is_solved_is_used_together_unless_one_is_better_alone(
    strength: float, other: np.ndarray, used: set[str]
) -> None:
    scores = {SCORER: draw(strength, 0), PATCHES: other}
    members = join_solved(LABELS, GROUPS, scores)
    assert [member.name for member in members] == [SCORER, PATCHES]
    assert {member.name for member in members if member.weight} == used
    if len(used) == 2:
        found = [member.weight * scores[member.name].std() for member in members]
        np.testing.assert_allclose(found, 1)
