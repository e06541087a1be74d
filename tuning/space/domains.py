"""Domains: the values that one hyperparameter may have, and how they are written in YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mvdefect.core.errors import ConfigError
from tuning.records import Value


@dataclass(frozen=True)
class Choice:
    """One of several values, all of one type."""

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Range:
    """A number between two others.

    Attributes:
        low: The smallest.
        high: The largest.
        log: Whether each factor is as likely as any other of its size.
    """

    low: float
    high: float
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def list_steps(self, step: int) -> Choice:
        """Return the whole numbers in it that are `step` apart, from the lowest.

        Raises:
            ConfigError: Its ends are no whole numbers.
        """
        if not self.is_whole:
            raise ConfigError(f"min and max must be whole numbers. Received: min={self.low}, max={self.high}")
        return Choice(tuple(range(int(self.low), int(self.high) + 1, step)))


Domain = Choice | Range


def read_range(name: str, value: Mapping[str, Any], log: bool) -> Range:
    """Read `{min: ..., max: ..., log: ...}`.

    Args:
        name: The name in the space, for messages.
        value: What stands in YAML.
        log: What holds where `log` is not said.

    Raises:
        ConfigError: It is nothing of that kind, or empty.
    """
    log = value.get("log", log)
    low, high = value.get("min"), value.get("max")
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if set(value) - {"min", "max", "log"} or not numbers or not isinstance(log, bool):
        raise ConfigError(
            f"space.{name} takes {{min: NUMBER, max: NUMBER, log: true or false}}. Received: {dict(value)!r}"
        )
    if low >= high or (log and low <= 0):  # type: ignore[operator]
        raise ConfigError(
            f"space.{name}: min must be below max{', and above 0 where log is true' if log else ''}. "
            f"Received: min={low}, max={high}"
        )
    return Range(low, high, log)  # type: ignore[arg-type]


def read_choice(name: str, values: Sequence[Any]) -> Choice:
    """Read a list of values; whole numbers among others become such.

    Args:
        name: The name in the space, for messages.
        values: What stands in YAML.

    Raises:
        ConfigError: They are not all different and of one type.
    """
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        return Choice(tuple(map(float, values)))
    if len(kinds) != 1 or not kinds <= {str, int, float, bool} or len(set(values)) < len(values):
        raise ConfigError(
            f"space.{name} takes a list of different values, all texts, all numbers or all true and false. "
            f"Received: {list(values)!r}"
        )
    return Choice(tuple(values))
