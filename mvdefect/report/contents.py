"""What the report knows of runs, read from their folders: each alone, and compared side by side."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mvdefect.config import FitConfig
from mvdefect.core.errors import RunError
from mvdefect.data.splits.plan import SplitPlan, read_split_plan
from mvdefect.evaluation.bootstrap import Bootstrap, Figure
from mvdefect.evaluation.comparison import compare_samples
from mvdefect.evaluation.evaluate import Evaluation, evaluate_folder
from mvdefect.evaluation.figures import FIGURES, Sample
from mvdefect.evaluation.members import Member, parse_members
from mvdefect.evaluation.parts import judge_parts
from mvdefect.evaluation.strata import make_sample
from mvdefect.report.sheets import Column, Sheet, join_figure
from mvdefect.report.shift import Shift, find_shifts
from mvdefect.report.wording import format_signed
from mvdefect.runs import (
    PARTIAL_SUFFIX,
    EpochRow,
    PredictionRow,
    RunFolder,
    open_run,
    read_history,
    read_json,
    read_predictions,
    read_run_config,
)

COMPARED = tuple(name for name, kind in FIGURES.items() if kind.in_comparison)
LATENCY = "batch_1_p50_ms"


@dataclass(frozen=True)
class RunContents:
    """A run, its figures, and what they were measured on.

    Attributes:
        name: The folder's.
        folder: Where the run lies.
        config: Its settings.
        plan: Its split plan.
        rows: Predictions of the part that was measured, sorted by id.
        history: Its epochs; empty for what does not learn in epochs.
        evaluation: Its figures.
        environment: What it was made with.
        shifts: Where scores differ between the parts, and why.
        members: What the logit is made of, and what was left out; empty where nobody chose.
        parts: Predictions of parts that several images show; empty where each image is a part.
    """

    name: str
    folder: RunFolder
    config: FitConfig
    plan: SplitPlan
    rows: tuple[PredictionRow, ...]
    history: tuple[EpochRow, ...]
    evaluation: Evaluation
    environment: dict[str, Any]
    shifts: tuple[Shift, ...] = ()
    members: tuple[Member, ...] = ()
    parts: tuple[PredictionRow, ...] = ()

    @property
    def judged(self) -> tuple[PredictionRow, ...]:
        """What verdicts and contracts are of: parts where they are known, otherwise images."""
        return self.parts or self.rows

    @property
    def kind(self) -> str:
        """What it is, as in "baseline handcrafted"."""
        if self.config.baseline is not None:
            return f"baseline {self.config.baseline}"
        if self.evaluation.operating_point.verdict == "novelty":
            return f"distance from good images, {self.config.backbone}"
        return f"transfer learning, {self.config.backbone}"

    @property
    def sample(self) -> Sample:
        """The measured images as arrays."""
        return make_sample(self.rows)

    @property
    def command(self) -> str:
        """The command that made it, as a shell takes it."""
        return shlex.join(map(str, self.environment.get("command", ())))


def read_contents(
    folder: RunFolder,
    prevalence: float | None = None,
    evaluation: Evaluation | None = None,
    require: str | None = None,
) -> RunContents:
    """Read a run that may not have its final place yet.

    Args:
        folder: The run.
        prevalence: Share of defective products on the line; None: that of the run's settings.
        evaluation: What was measured already; None: it is measured.
        require: A requirement to answer instead of that of the fit.

    Raises:
        ConfigError: `require` is no requirement.
        RunError: A file is missing or damaged.
        SplitError: The split plan was changed.
    """
    evaluation = evaluation or evaluate_folder(folder, prevalence=prevalence, require=require)
    rows = read_predictions(folder)
    tested = tuple(row for row in rows if row.split == evaluation.part)
    return RunContents(
        name=folder.path.name.removesuffix(PARTIAL_SUFFIX),
        folder=folder,
        config=read_run_config(folder),
        plan=read_split_plan(folder.split_plan),
        rows=tested,
        history=read_history(folder) if folder.history.is_file() else (),
        evaluation=evaluation,
        environment=read_json(folder.environment) if folder.environment.is_file() else {},
        shifts=find_shifts(rows, evaluation.operating_point, evaluation.protocol),
        members=parse_members(read_json(folder.members)) if folder.members.is_file() else (),
        parts=_judge_parts(tested, evaluation),
    )


def _judge_parts(rows: tuple[PredictionRow, ...], evaluation: Evaluation) -> tuple[PredictionRow, ...]:
    point = evaluation.operating_point
    if evaluation.by_part is None or point.by_part is None:
        return ()
    return judge_parts(rows, point, point.by_part).pooled


def read_comparable(paths: Sequence[Path], require: str | None = None) -> tuple[RunContents, ...]:
    """Read finished runs that were measured on the same photographs.

    All are measured at the prevalence of the first one, of which `require` is asked.

    Raises:
        ConfigError: `require` is no requirement.
        RunError: There is none, one is not finished, or two have other split plans.
    """
    if not paths:
        raise RunError("a report needs one run at least. Received: none")
    first = read_contents(open_run(paths[0]), require=require)
    others = [read_contents(open_run(path), first.config.prevalence) for path in paths[1:]]
    for path, other in zip(paths[1:], others, strict=True):
        if other.plan.digest != first.plan.digest:
            raise RunError(
                "runs must be of the same split plan to be compared. Received: "
                f"{paths[0]} on {first.plan.protocol} {first.plan.digest[:12]}, "
                f"{path} on {other.plan.protocol} {other.plan.digest[:12]}"
            )
    return _name_apart((first, *others), paths)


def _name_apart(runs: tuple[RunContents, ...], paths: Sequence[Path]) -> tuple[RunContents, ...]:
    """Let runs go by as much of their paths as it takes to tell them apart."""
    parts = [path.absolute().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            break
    return tuple(replace(run, name=name) for run, name in zip(runs, names, strict=True))


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
        sign = -1 if FIGURES[name].lower_is_better else 1
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
    draws = Bootstrap(sample.groups)

    def compare(other: Sample) -> dict[str, Figure]:
        return {name: compare_samples(sample, other, FIGURES[name].compute, draws) for name in COMPARED}

    return tuple(Difference(other, compare(other.sample)) for other in runs[1:])


def _list_shown(run: RunContents) -> tuple[str, ...]:
    """Name the compared figures that are defined for the images of a run."""
    has_defects = run.evaluation.defective > 0
    return tuple(name for name in COMPARED if has_defects or FIGURES[name].of_good)


def make_run_sheet(runs: Sequence[RunContents]) -> Sheet:
    """The figures of every run, each at its own operating point."""
    shown = _list_shown(runs[0])
    rows = [
        (
            f"{run.name} ({run.kind})",
            *(join_figure(run.evaluation.figures[name]) for name in shown),
            _format_latency(run),
        )
        for run in runs
    ]
    columns = (
        Column("run", "figure"),
        *(Column(FIGURES[name].label, "figure") for name in shown),
        Column("ms an image", "number"),
    )
    note = (
        "Each run at its own threshold, which was chosen on validation. 95% intervals in brackets. For "
        f"false alarms{' and the Brier score' if len(shown) > 1 else ''}, lower is better."
    )
    if runs[0].evaluation.defective:
        majority = runs[0].evaluation.figures["majority_rate"].value
        note += f" Always naming the larger class is right for {majority:.1%} of the photographs."
    return Sheet("The runs side by side", columns, tuple(rows), note)


def make_difference_sheet(runs: Sequence[RunContents], differences: Sequence[Difference]) -> Sheet:
    """The inspector less each other run, with paired intervals."""
    shown = _list_shown(runs[0])
    rows = [
        (
            f"against {found.run.name}",
            *(_format_difference(found, name) for name in shown),
        )
        for found in differences
    ]
    columns = (Column("difference"), *(Column(FIGURES[name].label, "figure") for name in shown))
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
