"""What a benchmark is about to do, and how long that takes: from counts and known times, before it begins."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mvdefect.data.records import Record
from mvdefect.grid.results import ResultRow, name_protocol
from mvdefect.grid.settings import POOLED, Cell, Grid, Pace

PER_TYPE = ("unseen-type", "few-labels-unseen")
SHARE_TESTED = 0.2  # what most protocols test on


@dataclass(frozen=True)
class Forecast:
    """One source under one protocol.

    Attributes:
        title: Both names.
        methods: How many.
        figures: How many are measured in all.
        finished: How many of them are there already.
        seconds: Estimate of what is left; NaN where the time of a method is not known.
    """

    title: str
    methods: int
    figures: int
    finished: int
    seconds: float


def forecast(
    grid: Grid,
    cells: Sequence[Cell],
    records: Mapping[str, Sequence[Record]],
    earlier: Sequence[ResultRow] = (),
) -> tuple[Forecast, ...]:
    """Count figures and estimate their time, for each source and protocol in the order of the cells.

    The time of a figure is the mean of those of the same method, source and protocol that are measured
    already; without any it is by `Grid.seconds`.

    Args:
        grid: The grid.
        cells: Its cells.
        records: The images of each source, by its name.
        earlier: Rows of an earlier call.
    """
    together: defaultdict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        together[cell.source.name, str(cell.protocol)].append(cell)
    sound = [row for row in earlier if not row.trouble]
    return tuple(_forecast(grid, key, found, records, sound) for key, found in together.items())


def describe_forecast(found: Iterable[Forecast]) -> list[str]:
    """Return a line for each, and one for all."""
    found = list(found)
    lines = [f"{one.title}: {_count(one)}, {_tell(one.seconds)}" for one in found]
    figures, finished = (sum(getattr(one, name) for one in found) for name in ("figures", "finished"))
    together = Forecast("in all", 0, figures, finished, sum(one.seconds for one in found))
    return [*lines, f"{together.title}: {_count(together)}, {_tell(together.seconds)}"]


def count_plans(cell: Cell, records: Sequence[Record]) -> int:
    """Return how many plans a cell is measured on, about: types that cannot be held out are not known yet."""
    count = 1
    if cell.protocol.name == "kfold":
        count = cell.protocol.n or 1
    elif cell.protocol.name in PER_TYPE:
        count = max(1, len({record.stratum for record in records if record.label}))
    return min(cell.protocol.plans or count, count)


def _forecast(
    grid: Grid,
    key: tuple[str, str],
    cells: Sequence[Cell],
    records: Mapping[str, Sequence[Record]],
    earlier: Sequence[ResultRow],
) -> Forecast:
    figures = finished = 0
    seconds = 0.0
    known: defaultdict[str, list[float]] = defaultdict(list)
    for row in earlier:
        if (row.data, name_protocol(row)) == key and math.isfinite(row.seconds):
            known[row.method].append(row.seconds)
    for cell in cells:
        images = [one for one in records[key[0]] if cell.category in (POOLED, one.category)]
        plans = count_plans(cell, images)
        done = min(plans, sum(row.cell == cell.name for row in earlier))
        took = known.get(cell.method)
        each = float(np.mean(took)) if took else _estimate(grid, cell, images)
        figures, finished = figures + plans, finished + done
        seconds += each * (plans - done) if plans > done else 0.0
    methods = len({cell.method for cell in cells})
    return Forecast(", ".join(key), methods, figures, finished, seconds)


def _estimate(grid: Grid, cell: Cell, images: Sequence[Record]) -> float:
    pace = grid.seconds.get(cell.method)
    return float("nan") if pace is None else _add_up(pace, cell, images, grid.learn)


def _add_up(pace: Pace, cell: Cell, images: Sequence[Record], limit: int | None) -> float:
    counted = 0  # defective images of train, where the protocol says how many
    free = len(images)
    if cell.protocol.k is not None:
        types = len({image.stratum for image in images if image.label})
        free = sum(not image.label for image in images)
        counted = cell.protocol.k * (types if cell.protocol.name == "label-budget" else 1)
        counted = min(counted, len(images) - free)
    learned = round((1 - SHARE_TESTED) * free)
    tested = len(images) - learned - counted
    return pace.start + pace.learned * (min(learned, limit or learned) + counted) + pace.tested * tested


def _count(one: Forecast) -> str:
    methods = f" by {one.methods} method{'s' * (one.methods > 1)}" if one.methods else ""
    done = f" ({one.finished} finished)" if one.finished else ""
    return f"{one.figures} figure{'s' * (one.figures > 1)}{methods}{done}"


def _tell(seconds: float) -> str:
    if math.isnan(seconds):
        return "of unknown time"
    minutes = math.ceil(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    return f"about {minutes // 60} h {minutes % 60:02} min"
