"""Asking again: what may pass is tried until an answer comes, tries run out, or the deadline passes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mvdefect.core.errors import ConfigError, ServerError
from mvdefect.core.progress import logger

Result = TypeVar("Result")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 16.0


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        timeout_s: For all that a batch takes, pauses included.
        retries: How often a request is sent again.

    Raises:
        ConfigError: A number is out of range.
    """

    timeout_s: float = 60.0
    retries: int = 5

    def __post_init__(self) -> None:
        if not self.timeout_s > 0 or self.retries < 0:
            raise ConfigError(
                "timeout_s must be above 0 and retries at least 0. "
                f"Received: timeout_s={self.timeout_s}, retries={self.retries}"
            )


class RefusedError(Exception):
    """A request was not answered; what sends requests raises it, and it does not leave this package.

    Attributes:
        may_pass: Whether the same request may be answered later.
        pause_s: After which time the server wants to be asked again; None: it says nothing.
        is_too_large: Whether a smaller request may be answered.
    """

    def __init__(
        self, reason: str, may_pass: bool = False, pause_s: float | None = None, is_too_large: bool = False
    ) -> None:
        super().__init__(reason)
        self.may_pass = may_pass
        self.pause_s = pause_s
        self.is_too_large = is_too_large


@dataclass(frozen=True)
class Deadline:
    """Until when an answer has to be there.

    Attributes:
        ends: On `clock`.
        clock: Seconds that never go back.
        sleep: What waits.
    """

    ends: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @property
    def left_s(self) -> float:
        """The time that is left; below 0 when it has passed."""
        return self.ends - self.clock()


def keep_asking(ask: Callable[[float], Result], deadline: Deadline, patience: Patience, who: str) -> Result:
    """Send a request, and again after pauses that double, each shortened by chance so that clients spread.

    Args:
        ask: Sends it, given the seconds that are left, and raises `RefusedError`.
        deadline: When it ends.
        patience: How often it is sent again.
        who: The server, for messages.

    Raises:
        ServerError: There was no answer in time, or one that will not change.
        RefusedError: The request was too large.
    """
    for attempt in range(patience.retries + 1):
        try:
            return ask(max(deadline.left_s, 1e-3))
        except RefusedError as error:
            if error.is_too_large:
                raise
            pause_s = _choose_pause(attempt, error.pause_s)
            if not error.may_pass:
                raise ServerError(f"{who}: {error}") from error
            if attempt == patience.retries:
                raise ServerError(f"{who}: {error} (asked {attempt + 1} times)") from error
            if pause_s >= deadline.left_s:
                raise ServerError(
                    f"{who}: {error} (no answer within {patience.timeout_s:g} seconds, see --timeout)"
                ) from error
            logger.info("%s: %s; asking again in %.1f s", who, error, pause_s)
            deadline.sleep(pause_s)
    raise AssertionError("the last try returns or raises")


def _choose_pause(attempt: int, asked_s: float | None) -> float:
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
    jittered = longest * random.uniform(0.5, 1.0)  # noqa: S311 (it keeps no secret)
    return jittered if asked_s is None else asked_s + random.uniform(0, FIRST_PAUSE_S)  # noqa: S311
