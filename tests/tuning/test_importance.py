"""Importance of hyperparameters: what decides the score comes first, whatever it looks like."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.tuning.conftest import fail
from tuning.choice.importance import MIN_TRIALS, measure_importances
from tuning.records import COMPLETED, Importances, TrialRecord, Value


def make_trials(
    decide: Callable[[dict[str, Value]], float], count: int = 40, seed: int = 0
) -> list[TrialRecord]:
    """Draw trials with one hyperparameter of each kind, scored by a function of them."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        values: dict[str, Value] = {
            "rate": float(10 ** rng.uniform(-5, -1)),
            "dropout": float(rng.uniform(0, 0.5)),
            "depth": int(rng.integers(5)),
            "backbone": str(rng.choice(["large", "medium", "small"])),
            "flip": bool(rng.integers(2)),
            "same": 32,
            "tuner/bracket": int(rng.integers(4)),
        }
        if values["depth"] == 0:
            del values["rate"]
        score = decide(values) + float(rng.normal(0, 0.002))
        trials.append(TrialRecord(f"{number:03d}", COMPLETED, values, score, score, 0.1, (), 1.0, 1.0, 1, 1))
    return trials


def list_names(found: Importances) -> list[str]:
    return [row.name for row in found.rows]


DECIDERS: dict[str, Callable[[dict[str, Value]], float]] = {
    "rate": lambda values: -abs(math.log10(float(values["rate"])) + 3) / 5 if "rate" in values else -0.2,
    "dropout": lambda values: -float(values["dropout"]),
    "depth": lambda values: float(values["depth"]) / 5,
    "backbone": lambda values: {"large": 0.9, "medium": 0.5, "small": 0.7}[str(values["backbone"])],
    "flip": lambda values: 0.2 * bool(values["flip"]),
}


@pytest.mark.parametrize("name", DECIDERS)
def test_what_decides_the_score_comes_first_and_the_rest_is_near_nought(name: str) -> None:
    found = measure_importances(make_trials(DECIDERS[name]))
    assert found.rows[0].name == name
    assert found.rows[0].value > 0.5
    assert found.fit > 0.5
    others = [row.value for row in found.rows[1:]]
    assert max(others) < 0.15 < found.rows[0].value / 3
    assert set(list_names(found)) == set(DECIDERS)  # not what never changes, nor what the tuner keeps


def test_to_be_absent_is_a_value_of_its_own() -> None:
    """The score depends on whether there is a rate and a kind, on nothing else."""
    rng = np.random.default_rng(1)
    trials = make_trials(lambda values: 0.3 * ("rate" in values))
    trials = [replace(t, values={k: v for k, v in t.values.items() if k != "depth"}) for t in trials]
    assert measure_importances(trials).rows[0].name == "rate"
    kinds = [
        replace(
            trial,
            values={"dropout": trial.values["dropout"]}
            | ({"kind": str(rng.choice(["a", "b"]))} if "rate" in trial.values else {}),
        )
        for trial in trials
    ]
    found = measure_importances(kinds)
    assert list_names(found) == ["kind", "dropout"]
    assert found.rows[0].value > 10 * abs(found.rows[1].value)


def test_the_order_of_trials_does_not_matter_and_a_seed_gives_the_same() -> None:
    trials = make_trials(lambda values: DECIDERS["rate"](values) + DECIDERS["backbone"](values))
    first = measure_importances(trials, seed=3)
    shuffled = [trials[place] for place in np.random.default_rng(0).permutation(len(trials))]
    assert measure_importances(shuffled, seed=3) == first
    assert measure_importances(trials, seed=4) != first
    assert [row.value for row in first.rows] == sorted((row.value for row in first.rows), reverse=True)
    assert list_names(first)[:2] in (["rate", "backbone"], ["backbone", "rate"])


def test_where_nothing_matters_the_forest_says_so() -> None:
    assert measure_importances(make_trials(lambda _: 0.5)).fit < 0.1


def test_too_little_to_tell_gives_no_rows() -> None:
    trials = make_trials(DECIDERS["dropout"], MIN_TRIALS)
    assert measure_importances(trials).rows
    few = [fail(replace(trials[0], history=()), "it broke"), *trials[1:]]
    level = [replace(trial, score=0.9) for trial in trials]
    bare = [replace(trial, values={"same": 1}) for trial in trials]
    for found in map(measure_importances, (few, level, bare, [])):
        assert found.rows == ()
        assert math.isnan(found.fit)


def test_numbers_and_words_under_one_name_are_categories() -> None:
    trials = make_trials(lambda _: 0.0)
    mixed = [
        replace(
            trial, values={"clip": "none" if n % 2 else 1.0, "dropout": trial.values["dropout"]}, score=n % 2
        )
        for n, trial in enumerate(trials)
    ]
    assert measure_importances(mixed).rows[0].name == "clip"
