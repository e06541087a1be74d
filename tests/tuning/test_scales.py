"""Scales: numbers, ratios and words each lie where a reader looks for them."""

from __future__ import annotations

import numpy as np
import pytest

from tuning.page.scales import choose_scale, list_hyperparameters, name_value, spans_decades, split_name


def test_rates_are_compared_by_ratio_and_shares_are_not() -> None:
    rng = np.random.default_rng(0)
    rates = 10 ** rng.uniform(-5, -2, 30)
    scale = choose_scale(rates.tolist())
    assert scale.kind == "log"
    assert scale.place(1e-4) - scale.place(1e-5) == pytest.approx(scale.place(1e-3) - scale.place(1e-4))
    assert choose_scale([1e-5, 1e-3]).kind == "log"
    shares = [0.004, *rng.uniform(0.05, 0.5, 30)]
    assert max(shares) > 20 * min(shares)
    assert choose_scale(shares).kind == "linear"
    assert not spans_decades([0.0, 1.0, 100.0])
    assert not spans_decades([1.0, 2.0, 19.0])


@pytest.mark.parametrize(
    "values", [[0.1, 0.37, 0.52], [3], [0.0], [32, 64], [1e-6, 3e-2], [160, 224, 288], [-2.0, 7.5] * 9]
)
def test_every_number_and_every_tick_lies_on_the_axis(values: list[float]) -> None:
    scale = choose_scale(values)
    for number in (*values, *scale.ticks):
        assert -1e-9 <= scale.place(scale.measure(number)) <= 1 + 1e-9
    assert 1 <= len(scale.ticks) <= 12
    assert list(scale.ticks) == sorted(set(scale.ticks))


def test_few_values_are_ticks_themselves() -> None:
    assert choose_scale([288, 160, 224, 160]).ticks == (160, 224, 288)


def test_words_are_categories_with_room_around_them() -> None:
    scale = choose_scale(["patch", "pooled", "patch", True])
    assert scale.categories == ("patch", "pooled", "yes")
    assert [scale.place(scale.measure(word)) for word in ("patch", "pooled", True)] == pytest.approx(
        [1 / 6, 3 / 6, 5 / 6]
    )
    assert [scale.name_tick(tick) for tick in scale.ticks] == ["patch", "pooled", "yes"]


def test_values_are_written_short() -> None:
    written = [name_value(value) for value in (True, False, 32, 1e-5, 0.00012345, 32.0, "a_b", float("inf"))]
    assert written == ["yes", "no", "32", "1e-5", "0.0001234", "32", "a_b", "inf"]


def test_what_a_tuner_keeps_for_itself_is_no_hyperparameter() -> None:
    names = list_hyperparameters([{"b": 1, "tuner/epochs": 2}, {"a": 1, "b": 2}])
    assert names == ("b", "a")


def test_long_names_are_broken_where_words_end() -> None:
    assert split_name("depth_blocks") == ("depth_blocks",)
    assert split_name("head_learning_rate") == ("head_learning_", "rate")
    assert split_name("augment.quarter_turns") == ("augment.", "quarter_turns")
    assert split_name("x" * 40) == (f"{'x' * 14}…",)
