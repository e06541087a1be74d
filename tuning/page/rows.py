"""The tables of a search's page: candidates side by side, what the test part says, all trials."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tuning.page.scales import list_hyperparameters, name_value
from tuning.page.wording import (
    describe_seeds,
    find_symbol,
    format_difference,
    format_mean,
    format_millions,
    name_candidate,
)
from tuning.records import COMPLETED, DEFAULT, Candidate, SearchSummary, TrialRecord

NOT_USED = "not used"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What it says.
        key: What the column is sorted by: a number, a text, or None, which always comes last.
        is_number: Whether it is set flush right.
        differs: Whether it is set apart, as it is not the default's.
        detail: What stands small below it; "" for nothing.
    """

    text: str
    key: float | str | None = None
    is_number: bool = False
    differs: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Head:
    """A candidate at the head of its column of the leaderboard.

    Attributes:
        title: What it is called.
        role: What is particular about it; "" for most.
        symbol: That as a symbol.
        place: Of its trial among all trials; None for what is no trial.
        is_recommended: Whether its column is set apart.
    """

    title: str
    role: str
    symbol: str
    place: int | None
    is_recommended: bool


@dataclass(frozen=True)
class Row:
    """A trial as a row.

    Attributes:
        name: Of the trial.
        role: What is particular about it; "" for most.
        symbol: That as a symbol.
        cells: The rest of the row.
    """

    name: str
    role: str
    symbol: str
    cells: tuple[Cell, ...]


def list_confirmations(summary: SearchSummary) -> list[tuple[str, ...]]:
    """List what came of the test part: name, trainings, tuned, default, difference."""
    return [
        (
            one.name,
            str(len(one.seeds)),
            describe_seeds(one.tuned),
            describe_seeds(one.default),
            format_difference(one.difference),
        )
        for one in summary.confirmations
    ]


def list_heads(summary: SearchSummary, roles: Mapping[str, str]) -> list[Head]:
    """List the candidates as the heads of their columns."""
    board = summary.leaderboard
    places = {trial.name: place for place, trial in enumerate(summary.trials)}
    return [
        Head(
            title=name_candidate(one.name),
            role=roles.get(one.name, ""),
            symbol=find_symbol(roles.get(one.name, "")),
            place=places.get(one.name),
            is_recommended=one.name == board.recommended,
        )
        for one in (() if board is None else board.candidates)
        if board is not None
    ]


def list_measured(summary: SearchSummary) -> list[tuple[str, list[Cell]]]:
    """List what the refits gave, one row a property and one cell a candidate."""
    found = () if summary.leaderboard is None else summary.leaderboard.candidates

    def collect(name: str, texts: list[str]) -> tuple[str, list[Cell]]:
        return name, [Cell(text, is_number=True) for text in texts]

    return [
        collect(f"{summary.objective}, mean ± spread", [format_mean(one.mean, one.spread) for one in found]),
        collect("refits", [str(len(one.refits)) for one in found]),
        collect("behind the winner in ROC-AUC (95% interval)", [_tell_distance(one) for one in found]),
        collect("parameters, millions", [format_millions(one.parameters) for one in found]),
        collect("of them learning", [format_millions(one.learning_parameters) for one in found]),
        collect("image size, pixels", [f"{one.size_px[1]}×{one.size_px[0]}" for one in found]),
    ]


def _tell_distance(one: Candidate) -> str:
    return "–" if one.behind is None else format_difference(one.behind)


def list_values(summary: SearchSummary, names: tuple[str, ...]) -> list[tuple[str, list[Cell]]]:
    """List the hyperparameters, one row each, one cell a candidate; what is not the default's stands out."""
    found = () if summary.leaderboard is None else summary.leaderboard.candidates
    default = next((one.values for one in found if one.name == DEFAULT), {})
    every = dict.fromkeys([*names, *list_hyperparameters(one.values for one in found)])
    return [
        (
            name,
            [
                Cell(
                    name_value(one.values[name]) if name in one.values else "–",
                    is_number=True,
                    differs=name in default and one.values.get(name) != default[name],
                )
                for one in found
            ],
        )
        for name in every
    ]


def list_columns(summary: SearchSummary, names: tuple[str, ...]) -> list[str]:
    """List the heads of the table of all trials, after the name."""
    other = "val_loss" if summary.objective == "val_roc_auc" else "val_roc_auc"
    return ["status", summary.objective, other, "epochs", "seconds", "memory, MB", *names]


def list_rows(summary: SearchSummary, names: tuple[str, ...], roles: Mapping[str, str]) -> list[Row]:
    """List all trials as rows, in the order in which they began."""
    return [
        Row(
            name=trial.name,
            role=roles.get(trial.name, ""),
            symbol=find_symbol(roles.get(trial.name, "")),
            cells=tuple(_list_cells(trial, summary.objective, names)),
        )
        for trial in summary.trials
    ]


def _list_cells(trial: TrialRecord, objective: str, names: tuple[str, ...]) -> list[Cell]:
    other = trial.val_loss if objective == "val_roc_auc" else trial.val_roc_auc
    cells = [
        Cell(trial.status, trial.status, detail=trial.trouble),
        _write_number(trial.score, 4),
        _write_number(other, 4),
        _write_number(len(trial.history), 0),
        _write_number(trial.seconds, 0 if trial.status == COMPLETED else 1),
        _write_number(trial.peak_memory_mb, 0),
    ]
    for name in names:
        value = trial.values.get(name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        key = None if value is None else float(value) if is_number else name_value(value)
        cells.append(Cell(NOT_USED if value is None else name_value(value), key, is_number))
    return cells


def _write_number(value: float, digits: int) -> Cell:
    if not math.isfinite(value):
        return Cell("–", None, True)
    return Cell(f"{value:.{digits}f}", value, True)
