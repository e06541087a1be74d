"""Parallel coordinates: one upright axis a hyperparameter, the score last, one line a completed trial.

After Inselberg, "The plane with parallel coordinates" (1985). Everything is placed here, so that the page is
complete on paper and without JavaScript; `templates/search.js` adds highlighting and filters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuning.page.scales import Scale, choose_scale, list_hyperparameters, name_value, shorten, split_name
from tuning.records import COMPLETED, Importances, SearchSummary, TrialRecord

TOP, BOTTOM, ABSENT = 64.0, 330.0, 372.0
HEIGHT = 392.0
LEFT, RIGHT = 76.0, 172.0
MIN_GAP, FULL_WIDTH = 98.0, 1096.0
SHADES = 5
FAN = 11.0  # lines of one category lie within this distance of its label
STEP = 15.0  # from one line of text to the next


@dataclass(frozen=True)
class Tick:
    """A label of an axis.

    Attributes:
        y: Where it is.
        label: What it says.
    """

    y: float
    label: str


@dataclass(frozen=True)
class Axis:
    """One upright axis.

    Attributes:
        name: The hyperparameter, or the objective.
        x: Where it stands.
        scale: Where values lie on it.
        ticks: Its labels.
        heading: Its name in short pieces, one above the other.
        may_lack: Whether a trial does without it.
        is_score: Whether it is the last one.
    """

    name: str
    x: float
    scale: Scale
    ticks: tuple[Tick, ...]
    heading: tuple[Tick, ...]
    may_lack: bool
    is_score: bool


@dataclass(frozen=True)
class Line:
    """One completed trial.

    Attributes:
        trial: Its name.
        place: Its place among all trials, which makes anchors.
        shade: 1, the worst fifth of the trials, to 5, the best.
        points: Where it meets each axis, as SVG writes points.
        marks: The same, one by one.
        words: What the trial is, for who cannot see it.
        role: What is particular about it, as in "recommended, best trial"; "" for most.
        end: Where its label is, at the right of the last axis.
    """

    trial: str
    place: int
    shade: int
    points: str
    marks: tuple[tuple[float, float], ...]
    words: str
    role: str
    end: float


@dataclass(frozen=True)
class Parallel:
    """The whole plot.

    Attributes:
        width: Of the drawing; its height is `HEIGHT`.
        axes: From left to right.
        lines: The worst first, so that the best lie on top.
        fixed: Hyperparameters with the same value in all trials, with that value.
    """

    width: float
    axes: tuple[Axis, ...]
    lines: tuple[Line, ...]
    fixed: tuple[tuple[str, str], ...]

    def to_json(self, trials: Sequence[TrialRecord]) -> dict[str, Any]:
        """Return what the page's script needs: axes, and the number that each trial has on each."""
        axes = [
            {
                "name": axis.name,
                "kind": axis.scale.kind,
                "bottom": axis.scale.bottom,
                "top": axis.scale.top,
                "categories": axis.scale.categories,
                "lacks": axis.may_lack,
                "x": axis.x,
            }
            for axis in self.axes
        ]
        rows = [
            {"place": place, "numbers": [_measure(axis, trial) for axis in self.axes]}
            for place, trial in enumerate(trials)
        ]
        return {"axes": axes, "trials": rows, "plot": {"top": TOP, "bottom": BOTTOM, "absent": ABSENT}}


def lay_out(summary: SearchSummary, roles: Mapping[str, str]) -> Parallel | None:
    """Place the axes and lines of a search.

    Args:
        summary: The search.
        roles: What is particular about some trials, by name.

    Returns:
        The plot, or None where no trial completed.
    """
    done = [trial for trial in summary.trials if trial.status == COMPLETED and math.isfinite(trial.score)]
    if not done:
        return None
    scales, fixed = _choose_scales(done, summary.importances)
    gap = max(MIN_GAP, (FULL_WIDTH - LEFT - RIGHT) / max(len(scales), 1))
    axes = [
        _make_axis(name, LEFT + gap * number, scale, any(name not in trial.values for trial in done))
        for number, (name, scale) in enumerate(scales.items())
    ]
    scores = choose_scale(trial.score for trial in done)
    if summary.direction == "min":
        scores = replace(scores, bottom=scores.top, top=scores.bottom)
    last = _make_axis(summary.objective, LEFT + gap * len(scales), scores, False)
    axes.append(replace(last, is_score=True))
    ranked = sorted(done, key=lambda trial: trial.score if summary.direction == "max" else -trial.score)
    places = {trial.name: place for place, trial in enumerate(summary.trials)}
    lines = [
        _draw_line(trial, places[trial.name], (rank + 0.5) / len(ranked), axes, roles.get(trial.name, ""))
        for rank, trial in enumerate(ranked)
    ]
    return Parallel(LEFT + gap * len(scales) + RIGHT, tuple(axes), _part_ends(lines), fixed)


def _choose_scales(
    trials: Sequence[TrialRecord], importances: Importances
) -> tuple[dict[str, Scale], tuple[tuple[str, str], ...]]:
    """Choose a scale for each hyperparameter that varies; the most important one stands beside the score."""
    order = {row.name: -number for number, row in enumerate(importances.rows)}
    names = list_hyperparameters(trial.values for trial in trials)
    scales: dict[str, Scale] = {}
    fixed = []
    for name in sorted(names, key=lambda name: order.get(name, -len(order))):
        values = [trial.values[name] for trial in trials if name in trial.values]
        if len(set(values)) > 1 or len(values) < len(trials):
            scales[name] = choose_scale(values)
        else:
            fixed.append((name, name_value(values[0])))
    return scales, tuple(fixed)


def _make_axis(name: str, x: float, scale: Scale, may_lack: bool) -> Axis:
    ticks = tuple(Tick(_find_y(scale.place(tick)), shorten(scale.name_tick(tick))) for tick in scale.ticks)
    pieces = split_name(name)
    heading = tuple(
        Tick(TOP - 16 - STEP * (len(pieces) - 1 - number), piece) for number, piece in enumerate(pieces)
    )
    return Axis(name, x, scale, ticks, heading, may_lack, False)


def _find_y(position: float) -> float:
    return BOTTOM - position * (BOTTOM - TOP)


def _measure(axis: Axis, trial: TrialRecord) -> float | None:
    if axis.is_score:
        return trial.score if math.isfinite(trial.score) else None
    value = trial.values.get(axis.name)
    if value is None or (axis.scale.categories and name_value(value) not in axis.scale.categories):
        return None  # only a trial that failed can have a category that is on no axis
    try:
        return axis.scale.measure(value)
    except ValueError:  # a word where all that completed have numbers
        return None


def _draw_line(trial: TrialRecord, place: int, share: float, axes: Sequence[Axis], role: str) -> Line:
    """Draw a trial that is better than a share of all; lines of one category are fanned out by that share."""
    fan = FAN * (1 - 2 * share)
    marks = []
    for axis in axes:
        number = _measure(axis, trial)
        if number is None:
            marks.append((axis.x, ABSENT + fan / 2))
        else:
            marks.append((axis.x, _find_y(axis.scale.place(number)) + fan * bool(axis.scale.categories)))
    words = ", ".join(f"{name} {value}" for name, value in _list_values(trial, axes))
    return Line(
        trial=trial.name,
        place=place,
        shade=1 + int(SHADES * share),
        points=" ".join(f"{x:.1f},{y:.1f}" for x, y in marks),
        marks=tuple(marks),
        words=f"Trial {trial.name}{role and f', {role}'}: {axes[-1].name} {trial.score:.4f}; {words}",
        role=role,
        end=marks[-1][1],
    )


def _list_values(trial: TrialRecord, axes: Sequence[Axis]) -> list[tuple[str, str]]:
    """List what a trial has on each axis, the most important first."""
    names = [axis.name for axis in reversed(axes[:-1])]
    return [(name, name_value(trial.values.get(name, "not used"))) for name in names]


def _part_ends(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Move the labels at the ends of lines apart; the better one stands above."""
    parted = []
    above = -math.inf
    for line in sorted(lines, key=lambda line: line.end):
        if line.role:
            above = max(line.end, above + STEP)
            line = replace(line, end=above)
        parted.append(line)
    ends = {line.place: line.end for line in parted}
    return tuple(replace(line, end=ends[line.place]) for line in lines)
