"""The runs of a report side by side: their figures, and paired intervals of the differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mvdefect.evaluation.comparison import compare_samples
from mvdefect.evaluation.evaluate import FIGURES
from mvdefect.evaluation.metrics import Figure
from mvdefect.report.contents import RunContents
from mvdefect.report.sheets import Column, Sheet, join_figure
from mvdefect.report.wording import FIGURE_NAMES, format_signed

COMPARED = ("roc_auc", "average_precision", "recall", "false_alarm_rate", "f1", "brier")
LOWER_IS_BETTER = frozenset({"false_alarm_rate", "brier", "ece"})
LATENCY = "batch_1_p50_ms"


@dataclass(frozen=True)
class Difference:
    """By how much the inspector is above another run.

    Attributes:
        run: The other run.
        figures: By the name of the figure: the inspector's less the other's.
    """

    run: RunContents
    figures: dict[str, Figure]

    def judge(self, name: str) -> str:
        """Say whether the inspector is "better", "worse", or neither for certain: ""."""
        figure = self.figures[name]
        sign = -1 if name in LOWER_IS_BETTER else 1
        if math.isnan(figure.low):
            return ""
        if min(sign * figure.low, sign * figure.high) > 0:
            return "better"
        return "worse" if max(sign * figure.low, sign * figure.high) < 0 else ""


def compare_with_others(runs: Sequence[RunContents]) -> tuple[Difference, ...]:
    """Compare the first run with each of the others, by paired group bootstrap."""
    if len(runs) < 2:
        return ()
    sample = runs[0].sample
    return tuple(
        Difference(other, {name: compare_samples(sample, other.sample, FIGURES[name]) for name in COMPARED})
        for other in runs[1:]
    )


def make_run_sheet(runs: Sequence[RunContents]) -> Sheet:
    """The figures of every run, each at its own operating point."""
    rows = [
        (
            f"{run.name} ({run.kind})",
            *(join_figure(run.evaluation.figures[name]) for name in COMPARED),
            _format_latency(run),
        )
        for run in runs
    ]
    columns = (
        Column("run", "figure"),
        *(Column(FIGURE_NAMES[name], "figure") for name in COMPARED),
        Column("ms an image", "number"),
    )
    note = (
        "Each run at its own threshold, which was chosen on validation. 95% intervals in brackets. For "
        "false alarms and the Brier score, lower is better. Always naming the larger class is right for "
        f"{runs[0].evaluation.figures['majority_rate'].value:.1%} of the photographs."
    )
    return Sheet("The runs side by side", columns, tuple(rows), note)


def make_difference_sheet(runs: Sequence[RunContents], differences: Sequence[Difference]) -> Sheet:
    """The inspector less each other run, with paired intervals."""
    rows = [
        (
            f"against {found.run.name}",
            *(_format_difference(found, name) for name in COMPARED),
        )
        for found in differences
    ]
    columns = (Column("difference"), *(Column(FIGURE_NAMES[name], "figure") for name in COMPARED))
    note = (
        f"The figure of {runs[0].name} less the other's on the same photographs, with its 95% interval by "
        "paired group bootstrap. Better or worse: the interval does not hold zero."
    )
    return Sheet("Differences", columns, tuple(rows), note)


def _format_latency(run: RunContents) -> str:
    latency = run.evaluation.latency or {}
    return f"{latency[LATENCY]:.1f}" if LATENCY in latency else "not timed"


def _format_difference(found: Difference, name: str) -> str:
    figure = found.figures[name]
    if math.isnan(figure.value):
        return "not defined"
    if math.isnan(figure.low):
        return format_signed(figure.value)
    judged = found.judge(name)
    interval = f"({format_signed(figure.low)} to {format_signed(figure.high)})"
    return " ".join(filter(None, (format_signed(figure.value), judged, interval)))
