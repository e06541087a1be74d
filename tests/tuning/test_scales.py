"""Values of hyperparameters: which are compared by ratio, which are fixed, how they are written."""

from __future__ import annotations

import numpy as np

from tuning.page.scales import find_fixed, list_hyperparameters, name_value, spans_decades


def test_rates_are_compared_by_ratio_and_shares_are_not() -> None:
    rng = np.random.default_rng(0)
    assert spans_decades((10 ** rng.uniform(-5, -2, 30)).tolist())
    assert spans_decades([1e-5, 1e-3])
    shares = [0.004, *rng.uniform(0.05, 0.5, 30)]
    assert max(shares) > 20 * min(shares)
    assert not spans_decades(shares)
    assert not spans_decades([0.0, 1.0, 100.0])
    assert not spans_decades([1.0, 2.0, 19.0])


def test_values_are_written_short() -> None:
    written = [name_value(value) for value in (True, False, 32, 1e-5, 0.00012345, 32.0, "a_b", float("inf"))]
    assert written == ["yes", "no", "32", "1e-5", "0.0001234", "32", "a_b", "inf"]


def test_what_a_tuner_keeps_for_itself_is_no_hyperparameter() -> None:
    names = list_hyperparameters([{"b": 1, "tuner/epochs": 2}, {"a": 1, "b": 2}])
    assert names == ("b", "a")


def test_what_all_trials_have_alike_is_fixed() -> None:
    trials = [{"a": 1e-5, "b": 1, "c": True, "tuner/epochs": 2}, {"a": 1e-5, "b": 2, "tuner/epochs": 2}]
    assert find_fixed(trials) == {"a": "1e-5"}
    assert find_fixed(trials[:1]) == {"a": "1e-5", "b": "1", "c": "yes"}
    assert find_fixed([]) == {}
