"""Scales of hyperparameters: linear, logarithmic or a list of categories; and how values are written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal, TypeGuard

from matplotlib.ticker import MaxNLocator

from tuning.records import Value

LOG_SPAN = 20.0  # from this factor between the least and the greatest on, steps are factors
MAX_TICKS = 7
NEAREST_TICKS = 0.07  # of the axis: labels nearer to each other than this would touch
LABEL_LENGTH = 14
ROUND_STEPS = (1.0, 2.0, 5.0)
INTERNAL = "tuner/"  # what a tuner keeps among the hyperparameters for itself


@dataclass(frozen=True)
class Scale:
    """Where values of one hyperparameter, or scores, lie on an axis.

    Attributes:
        kind: "linear" and "log" are for numbers, "category" for all else.
        bottom: The number at position 0; with `top` below it, the axis runs downwards.
        top: The number at position 1.
        ticks: Labelled numbers; the index of each category.
        categories: Names of the categories, from position 0 on; empty for numbers.
    """

    kind: Literal["linear", "log", "category"]
    bottom: float
    top: float
    ticks: tuple[float, ...]
    categories: tuple[str, ...] = ()

    def measure(self, value: Value) -> float:
        """Return the number that stands for a value: itself, or the index of its category."""
        return float(self.categories.index(name_value(value))) if self.categories else float(value)

    def place(self, number: float) -> float:
        """Return the position of such a number: 0 at the bottom, 1 at the top."""
        ends = (self.bottom, self.top)
        if self.kind == "log":
            number, ends = math.log(number), (math.log(self.bottom), math.log(self.top))
        return (number - ends[0]) / (ends[1] - ends[0])

    def name_tick(self, tick: float) -> str:
        """Return the label of a tick."""
        return self.categories[int(tick)] if self.categories else name_value(tick)


def choose_scale(values: Iterable[Value]) -> Scale:
    """Choose the scale that shows these values, of which there is at least one."""
    found = list(values)
    numbers = [float(value) for value in found if is_number(value)]
    if len(numbers) < len(found):
        names = tuple(sorted({name_value(value) for value in found}))
        return Scale("category", -0.5, len(names) - 0.5, tuple(float(n) for n in range(len(names))), names)
    distinct = sorted(set(numbers))
    return _choose_log(distinct) if spans_decades(distinct) else _choose_linear(distinct)


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


def name_value(value: Value) -> str:
    """Write a value: numbers with up to 4 digits, true and false as yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isfinite(value):
        mantissa, _, exponent = f"{value:.4g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    return str(value)


def split_name(name: str) -> tuple[str, ...]:
    """Break a long name at underscores and points into at most three pieces."""
    pieces = [""]
    for part in re.findall(r"[^_.]+[_.]?|[_.]", name):
        if pieces[-1] and len(pieces[-1] + part) > LABEL_LENGTH and len(pieces) < 3:
            pieces.append("")
        pieces[-1] += part
    return tuple(map(shorten, pieces))


def shorten(text: str) -> str:
    """Cut a text that is longer than a label may be."""
    return text if len(text) <= LABEL_LENGTH + 2 else f"{text[:LABEL_LENGTH]}…"


def is_number(value: Value) -> TypeGuard[int | float]:
    """Tell whether a value is a finite number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _choose_linear(distinct: Sequence[float]) -> Scale:
    low, high = distinct[0], distinct[-1]
    if low == high:
        pad = abs(low) / 10 or 1.0
        return Scale("linear", low - pad, low + pad, (low,))
    if _fit_as_ticks([(number - low) / (high - low) for number in distinct]):
        return Scale("linear", low, high, tuple(distinct))
    ticks = [float(tick) for tick in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    return Scale("linear", min(low, ticks[0]), max(high, ticks[-1]), tuple(ticks))


def _choose_log(distinct: Sequence[float]) -> Scale:
    low, high = distinct[0], distinct[-1]
    if _fit_as_ticks([math.log(number / low) / math.log(high / low) for number in distinct]):
        return Scale("log", low, high, tuple(distinct))
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [float(f"{step:g}e{decade}") for decade in decades for step in ROUND_STEPS]
    bottom = max((step for step in steps if step <= low), default=low)
    top = min((step for step in steps if step >= high), default=high)
    ticks = [step for step in steps if bottom <= step <= top]
    if len(ticks) > MAX_TICKS:
        ticks = [step for step in ticks if f"{step:e}".startswith("1.0")]
    return Scale("log", bottom, top, tuple(ticks))


def _fit_as_ticks(positions: Sequence[float]) -> bool:
    """Tell whether each value can have a label of its own."""
    near = any(after - before < NEAREST_TICKS for before, after in pairwise(positions))
    return len(positions) <= MAX_TICKS and not near
