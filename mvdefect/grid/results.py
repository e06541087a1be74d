"""The rows of a benchmark: one figure with its intervals each, and how they are summed up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvdefect.core.files import read_rows, write_rows
from mvdefect.evaluation.figures import FIGURES
from mvdefect.evaluation.operating_point import DEFECTIVE
from mvdefect.runs import RunFolder, read_predictions

RESULTS = "results.csv"
COLUMNS = {name: kind.label for name, kind in FIGURES.items() if kind.in_grid}


@dataclass(frozen=True)
class ResultRow:
    """One run of a cell; a protocol that draws several plans has as many rows. NaN where it failed.

    Attributes:
        figures: Those of `COLUMNS`, by name; in the file each has a column.
        weighted_accuracy: Accuracy in which each image counts by the confidence of its label, as in Deitsch
            et al. (2019); the plain one where the data are sure of all labels.
    """

    cell: str
    data: str
    category: str
    protocol: str
    plan: str
    method: str
    seed: int
    digest: str
    images: int
    defective: int
    roc_auc_low: float
    roc_auc_high: float
    seconds: float
    trouble: str
    figures: dict[str, float]
    weighted_accuracy: float = float("nan")  # of earlier versions, which did not measure it


@dataclass(frozen=True)
class Summary:
    """One method under one protocol: means over everything that it was measured on.

    Attributes:
        data: The source.
        protocol: Name of the protocol, without the number of a plan.
        method: Name in the grid.
        measured: How many figures went in.
        failed: How many could not be measured.
        means: By name of figure.
        spread: Standard deviation of the mean over seeds, each a mean over categories and plans; NaN for one.
    """

    data: str
    protocol: str
    method: str
    measured: int
    failed: int
    means: dict[str, float]
    spread: dict[str, float]


def read_results(out: Path) -> tuple[ResultRow, ...]:
    """Read the rows of a benchmark; none where it has not begun.

    Raises:
        RunError: The file is damaged.
    """
    path = out / RESULTS
    return read_rows(path, ResultRow, {"figures": COLUMNS}) if path.is_file() else ()


def write_results(out: Path, rows: Sequence[ResultRow]) -> None:
    """Write the rows, whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    write_rows(out / RESULTS, ResultRow, rows, {"figures": COLUMNS})


def weigh_accuracy(run: Path, confidences: Mapping[str, float]) -> float:
    """Return the accuracy of a run on its test part, each image weighted by the confidence of its label.

    Args:
        run: A finished run.
        confidences: By id, above 0.

    Raises:
        RunError: The predictions are missing or damaged.
    """
    tested = [row for row in read_predictions(RunFolder(run)) if row.split == "test"]
    is_right = [(row.verdict == DEFECTIVE) == (row.label == 1) for row in tested]
    return float(np.average(is_right, weights=[confidences[row.id] for row in tested]))


def summarise(rows: Sequence[ResultRow]) -> tuple[Summary, ...]:
    """Average the figures of each method under each protocol, in the order in which they come."""
    together: defaultdict[tuple[str, str, str], list[ResultRow]] = defaultdict(list)
    for row in rows:
        together[row.data, name_protocol(row), row.method].append(row)
    return tuple(_summarise(*key, found) for key, found in together.items())


def _summarise(data: str, protocol: str, method: str, rows: Sequence[ResultRow]) -> Summary:
    sound = [row for row in rows if not row.trouble]
    by_seed = [
        [np.mean([row.figures[name] for row in sound if row.seed == seed]) for name in COLUMNS]
        for seed in sorted({row.seed for row in sound})
    ]
    table = np.array(by_seed, np.float64).reshape(-1, len(COLUMNS))
    means = table.mean(axis=0) if len(table) else np.full(len(COLUMNS), np.nan)
    spread = table.std(axis=0, ddof=1) if len(table) > 1 else np.full(len(COLUMNS), np.nan)
    return Summary(
        data=data,
        protocol=protocol,
        method=method,
        measured=len(sound),
        failed=len(rows) - len(sound),
        means=dict(zip(COLUMNS, map(float, means), strict=True)),
        spread=dict(zip(COLUMNS, map(float, spread), strict=True)),
    )


def name_protocol(row: ResultRow) -> str:
    """Return the protocol as the grid names it, from the name of the cell."""
    return row.cell.split("+")[-3]
