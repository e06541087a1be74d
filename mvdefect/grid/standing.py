"""Whether the default is at least as good as the best of its own baselines, on each source and protocol."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mvdefect.evaluation.bootstrap import Figure
from mvdefect.evaluation.comparison import compare_repeats
from mvdefect.evaluation.figures import Sample, roc_auc
from mvdefect.evaluation.strata import make_sample
from mvdefect.grid.results import ResultRow, name_protocol
from mvdefect.grid.settings import SEPARATOR
from mvdefect.runs import RunFolder, read_predictions

CATEGORY_STEP = 10**9  # no category has as many groups
LEAST_EACH, LEAST_MEAN = -0.01, 0.0  # of the default's ROC-AUC less that of the best baseline
HEADINGS = ("data, protocol", "figures", "default", "best baseline", "its ROC-AUC", "difference", "wins")


@dataclass(frozen=True)
class Standing:
    """The default beside the best of its baselines, on one source under one protocol.

    Attributes:
        title: Source and protocol.
        figures: Plans and seeds on which both are measured.
        roc_auc: The default's, the mean over them.
        baseline: The baseline with the highest mean; "" where none is measured with the default, or where
            that one failed.
        baseline_roc_auc: Its mean.
        difference: Of the two, paired by group over the same images; of all categories together.
    """

    title: str
    figures: int
    roc_auc: float
    baseline: str
    baseline_roc_auc: float
    difference: Figure

    @property
    def wins(self) -> bool:
        """Whether the default is hardly worse, and not surely worse."""
        return self.difference.value >= LEAST_EACH and not self.is_surely_worse

    @property
    def is_surely_worse(self) -> bool:
        """Whether the interval lies wholly below 0."""
        return self.difference.high < 0


def find_standings(
    rows: Iterable[ResultRow], default: str, baselines: Sequence[str], out: Path
) -> tuple[Standing, ...]:
    """Hold the default against the baseline with the highest mean ROC-AUC, on each source and protocol.

    Plans that one of the two was not measured on do not count for either.

    Args:
        rows: Results of a benchmark.
        default: Name of the method that has to win.
        baselines: Names of those that it is held against.
        out: The benchmark's folder, with the predictions of all runs.

    Raises:
        RunError: The predictions of a run are missing or damaged.
    """
    together: defaultdict[str, dict[str, dict[str, ResultRow]]] = defaultdict(lambda: defaultdict(dict))
    asked: dict[str, None] = {}
    for row in rows:
        title = f"{row.data}, {name_protocol(row)}"
        if row.method == default:
            asked[title] = None
        if not row.trouble and np.isfinite(row.figures["roc_auc"]):
            together[title][row.method][_name_plan(row)] = row
    return tuple(_compare(title, together[title], default, baselines, out) for title in asked)


def _name_plan(row: ResultRow) -> str:
    """Name what a figure was measured on, within its source and protocol: the same for all methods."""
    return f"{row.category}+{row.cell.rpartition(SEPARATOR)[2]}{row.plan.removeprefix(row.cell)}"


def _compare(
    title: str,
    by_method: Mapping[str, Mapping[str, ResultRow]],
    default: str,
    baselines: Sequence[str],
    out: Path,
) -> Standing:
    own = by_method.get(default, {})
    means = {
        name: (_average(own, shared), _average(by_method[name], shared), shared)
        for name in baselines
        if (shared := sorted(own.keys() & by_method.get(name, {}).keys()))
    }
    if not means:
        unknown = Figure(math.nan, math.nan, math.nan, "not measured")
        return Standing(title, len(own), _average(own, sorted(own)), "", math.nan, unknown)
    best = max(means, key=lambda name: means[name][1] - means[name][0])
    roc, other, shared = means[best]
    pairs = [(own[plan], by_method[best][plan]) for plan in shared]
    return Standing(title, len(shared), roc, best, other, _measure_difference(pairs, out))


def _average(rows: Mapping[str, ResultRow], plans: Sequence[str]) -> float:
    return float(np.mean([rows[plan].figures["roc_auc"] for plan in plans])) if plans else math.nan


def _measure_difference(pairs: Sequence[tuple[ResultRow, ResultRow]], out: Path) -> Figure:
    """Compare over all plans; groups of different categories are numbered apart."""
    numbers: dict[str, int] = {}
    folds = []
    for pair in pairs:
        offset = numbers.setdefault(pair[0].category, len(numbers))
        first, second = (_read_sample(row, out, offset) for row in pair)
        folds.append([(first, second)])
    return compare_repeats(folds, roc_auc)


def _read_sample(row: ResultRow, out: Path, category: int) -> Sample:
    predictions = read_predictions(RunFolder(out / "runs" / row.plan))
    sample = make_sample([one for one in predictions if one.split == "test"])
    return replace(sample, groups=sample.groups + category * CATEGORY_STEP)


def list_standing_cells(standings: Sequence[Standing]) -> list[list[str]]:
    """Return the table, one row per source and protocol; see `HEADINGS`."""
    return [
        [
            one.title,
            str(one.figures),
            f"{one.roc_auc:.3f}" if one.figures else "not measured",
            one.baseline or "none is measured",
            f"{one.baseline_roc_auc:.3f}" if one.baseline else "",
            _describe(one.difference) if one.baseline else "",
            _answer(one),
        ]
        for one in standings
    ]


def _describe(difference: Figure) -> str:
    return f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


def _answer(one: Standing) -> str:
    if not one.baseline:
        return ""
    if one.is_surely_worse:
        return "no: interval below 0"
    return "yes" if one.wins else f"no: below {LEAST_EACH:+.2f}"


def describe_verdict(standings: Sequence[Standing]) -> str:
    """Say in one sentence whether the default wins as a whole."""
    measured = [one for one in standings if one.baseline]
    if not measured:
        return "No baseline is measured beside the default."
    mean = float(np.mean([one.difference.value for one in measured]))
    least = min(measured, key=lambda one: one.difference.value)
    worse = [one.title for one in measured if one.is_surely_worse]
    wins = mean >= LEAST_MEAN and all(one.wins for one in standings)
    unknown = len(standings) - len(measured)
    return (
        f"The default {'wins' if wins else 'does not win'}: its ROC-AUC less that of the best baseline is "
        f"{mean:+.3f} on average over {len(measured)} rows (at least {LEAST_MEAN:g} is asked); the smallest "
        f"is {least.difference.value:+.3f} ({least.title}; at least {LEAST_EACH:g} is asked); the interval "
        f"lies below 0 on: {'; '.join(worse) or 'none'}."
        + (f" {unknown} rows are not measured." if unknown else "")
    )
