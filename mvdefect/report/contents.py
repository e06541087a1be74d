"""What the report knows of a run, read from its folder."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mvdefect.config import FitConfig
from mvdefect.data.splits import SplitPlan, read_split_plan
from mvdefect.errors import RunError
from mvdefect.evaluation.evaluate import Evaluation, evaluate_folder
from mvdefect.evaluation.metrics import Sample
from mvdefect.evaluation.strata import make_sample
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
    """

    name: str
    folder: RunFolder
    config: FitConfig
    plan: SplitPlan
    rows: tuple[PredictionRow, ...]
    history: tuple[EpochRow, ...]
    evaluation: Evaluation
    environment: dict[str, Any]

    @property
    def kind(self) -> str:
        """What it is, as in "baseline handcrafted"."""
        if self.config.baseline is not None:
            return f"baseline {self.config.baseline}"
        return f"transfer learning, {self.config.backbone}"

    @property
    def sample(self) -> Sample:
        """The measured images as arrays."""
        return make_sample(self.rows)

    @property
    def command(self) -> str:
        """The command that made it, as a shell takes it."""
        return shlex.join(map(str, self.environment.get("command", ())))


def read_contents(folder: RunFolder, prevalence: float | None = None) -> RunContents:
    """Read a run that may not have its final place yet.

    Args:
        folder: The run.
        prevalence: Share of defective products on the line; None: that of the run's settings.

    Raises:
        RunError: A file is missing or damaged.
        SplitError: The split plan was changed.
    """
    evaluation = evaluate_folder(folder, prevalence=prevalence)
    return RunContents(
        name=folder.path.name.removesuffix(PARTIAL_SUFFIX),
        folder=folder,
        config=read_run_config(folder),
        plan=read_split_plan(folder.split_plan),
        rows=tuple(row for row in read_predictions(folder) if row.split == evaluation.part),
        history=read_history(folder) if folder.history.is_file() else (),
        evaluation=evaluation,
        environment=read_json(folder.environment) if folder.environment.is_file() else {},
    )


def read_comparable(paths: Sequence[Path]) -> tuple[RunContents, ...]:
    """Read finished runs that were measured on the same photographs.

    All are measured at the prevalence of the first one.

    Raises:
        RunError: There is none, one is not finished, or two have other split plans.
    """
    if not paths:
        raise RunError("a report needs one run at least. Received: none")
    first = read_contents(open_run(paths[0]))
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
