"""The schedule of a search: all that it will do, how long that takes, and what fits into a time limit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tuning.settings import SearchConfig

LONGEST_CLOSING_S = 10.0  # what leaderboard, importances and report take, on two busy cores
CLOSING_SHARE = 0.1  # of a time limit, where that is less
FIT_COST = 2.0  # trainings that a fit on the test part takes: it also scores all parts and writes a report


@dataclass(frozen=True)
class Pace:
    """How long a training takes, in seconds, several at a time being counted as so many times faster.

    Attributes:
        first_s: The first one on images of which nothing is stored yet.
        next_s: Each one after it.
    """

    first_s: float
    next_s: float

    def count_round(self, trainings: int) -> float:
        """Return the seconds of some trainings on the same images, the first one included."""
        return self.first_s + (trainings - 1) * self.next_s


@dataclass(frozen=True)
class Schedule:
    """What a search does: trials, then rounds of refits, then fits on the test part.

    Attributes:
        trials: At most.
        candidates: Configurations that are trained again in every round, the default included.
        seeds: Trainings of each on every fold.
        folds: Parts of train and val that validate in turn.
        fits: Fits on the test part, at the end.
        minutes: Limit on everything together; None: no limit.
        pace: How long a training takes by a measurement before the search; None: it is not known.
        workers: Trainings at a time.
        began: When this session began, by `time.monotonic`.
    """

    trials: int
    candidates: int = 0
    seeds: int = 1
    folds: int = 1
    fits: int = 0
    minutes: float | None = None
    pace: Pace | None = None
    workers: int = 1
    began: float = field(default_factory=time.monotonic)

    @property
    def rounds(self) -> int:
        """How often every candidate is trained again."""
        return self.seeds * self.folds if self.candidates else 0

    def find_left(self, pace: Pace, trials: int) -> float:
        """Return the seconds that are left when so many trials are: refits and fits included."""
        refits = self.rounds * pace.count_round(self.candidates)
        return trials * pace.next_s + refits + self.find_fits(pace)

    def find_fits(self, pace: Pace) -> float:
        """Return the seconds of the fits on the test part."""
        return self.fits * FIT_COST * pace.first_s

    def find_reserve(self, pace: Pace, limit_s: float) -> float:
        """Return the seconds to keep for what follows the trials: refits, fits and report.

        All refits, where they fit into half of the time; otherwise as many rounds as do, but one at least.
        """
        fits, a_round = self.find_fits(pace), pace.count_round(self.candidates) if self.rounds else 0.0
        return find_closing(limit_s) + fits + min(self.rounds * a_round, max(a_round, (limit_s - fits) / 2))


def find_closing(limit_s: float) -> float:
    """Return the seconds to keep for leaderboard and report within a time limit."""
    return min(LONGEST_CLOSING_S, CLOSING_SHARE * limit_s)


def plan_schedule(search: SearchConfig, folds: int, fits: int, began: float, workers: int = 1) -> Schedule:
    """Return what a search will do.

    Args:
        search: Its settings.
        folds: On how many folds its best are trained again.
        fits: How many fits on the test part follow.
        began: When this session began, by `time.monotonic`.
        workers: Trainings at a time.
    """
    return Schedule(
        search.trials,
        candidates=min(search.refits.best, search.trials) + 1,
        seeds=search.refits.seeds,
        folds=folds,
        fits=fits,
        minutes=search.minutes,
        workers=workers,
        began=began,
    )


def describe_schedule(schedule: Schedule, strategy: str, epochs: int) -> Iterator[str]:
    """Yield what will be done, one sentence a step."""
    best, count = schedule.candidates - 1, schedule.candidates * schedule.rounds
    yield f"1. Search: at most {schedule.trials} trials of up to {epochs} epochs each ({strategy})."
    yield (
        f"2. Refits: the {best} best and the default are trained again with {schedule.seeds} seed(s) on "
        f"{schedule.folds} fold(s) of train and val: {count} trainings."
    )
    yield "3. Leaderboard, best.yaml and report."
    if schedule.fits:
        yield f"4. Confirmation: {schedule.fits} fits, choice and default, measured on the test part."
    else:
        yield "   The test part stays closed."


def describe_time(schedule: Schedule) -> str:
    """Say how long all of it takes, and what a time limit does to it; the pace must be known."""
    if schedule.pace is None:
        return "The time is told after the first trial."
    pace = schedule.pace
    one = pace.count_round(1) + pace.count_round(schedule.candidates) + schedule.find_fits(pace)
    whole = pace.first_s - pace.next_s + schedule.find_left(pace, schedule.trials)
    words = f"All of it takes about {format_time(whole)} on this machine, less where trials stop early."
    if schedule.minutes is None:
        return f"{words} --minutes sets a limit."
    limit_s = 60 * schedule.minutes
    if limit_s < one:
        return (
            f"--minutes {schedule.minutes:g} is too short: the least is one trial and one round of refits, "
            f"which takes about {format_time(one)}."
        )
    if limit_s < whole:
        return (
            f"Without a limit it would take about {format_time(whole)}. --minutes {schedule.minutes:g} "
            "covers everything: the search ends early enough for the refits, and these for the rest."
        )
    return f"{words} That is within --minutes {schedule.minutes:g}."


def format_time(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
