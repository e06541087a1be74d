"""Values of hyperparameters: which are compared by ratio, which never varied, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import TypeGuard

from tuning.records import Value

LOG_SPAN = 20.0  # from this factor between the least and the greatest on, steps are factors
INTERNAL = "tuner/"  # what a tuner keeps among the hyperparameters for itself


def spans_decades(numbers: Sequence[float]) -> bool:
    """Tell whether numbers are compared by their ratio: positive, far apart, and more even on such a scale.

    Shares drawn evenly between 0 and 1/2 can be far apart by ratio too; the median tells them from rates.
    """
    low, high = min(numbers), max(numbers)
    if low <= 0 or high < LOG_SPAN * low:
        return False
    linear = median((number - low) / (high - low) for number in numbers)
    ratio = median(math.log(number / low) / math.log(high / low) for number in numbers)
    return abs(ratio - 0.5) <= abs(linear - 0.5)


def list_hyperparameters(trials: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Return the names in the order in which they first come, without those that a tuner keeps for itself.

    Args:
        trials: The names of each trial, or mappings by name.
    """
    return tuple(dict.fromkeys(name for names in trials for name in names if not name.startswith(INTERNAL)))


def find_fixed(trials: Sequence[Mapping[str, Value]]) -> dict[str, str]:
    """Return the hyperparameters with the same value in all trials, and that value as it is written."""
    return {
        name: name_value(trials[0][name])
        for name in list_hyperparameters(trials)
        if len({values.get(name) for values in trials}) == 1
    }


def name_value(value: Value) -> str:
    """Write a value: numbers with up to 4 digits, true and false as yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isfinite(value):
        mantissa, _, exponent = f"{value:.4g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    return str(value)


def is_number(value: Value) -> TypeGuard[int | float]:
    """Tell whether a value is a finite number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
