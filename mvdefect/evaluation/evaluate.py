"""A run's predictions on one part -> Evaluation: every figure, with interval and protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mvdefect.core.errors import RunError, list_some
from mvdefect.data.splits.plan import SplitPlan, read_split_plan
from mvdefect.evaluation.bootstrap import Bootstrap, Figure
from mvdefect.evaluation.calibration import (
    ReliabilityBin,
    list_reliability,
)
from mvdefect.evaluation.figures import COUNTS, FIGURES, Sample, false_alarm_rate, measure, recall
from mvdefect.evaluation.localisation import Localisation, parse_localisation
from mvdefect.evaluation.operating_point import (
    Judged,
    OperatingPoint,
    operating_point_to_json,
    parse_operating_point,
)
from mvdefect.evaluation.parts import AnyView, compare_with_any_view, has_parts, judge_parts
from mvdefect.evaluation.production import LineFigures, measure_line
from mvdefect.evaluation.requirement import (
    Requirement,
    RequirementAnswer,
    answer_requirement,
    settle_requirement,
)
from mvdefect.evaluation.strata import (
    CategoryFigures,
    SizeRecall,
    TypeRecall,
    make_sample,
    measure_categories,
    measure_sizes,
    measure_types,
)
from mvdefect.runs import PredictionRow, RunFolder, open_run, read_json, read_predictions, read_run_config


@dataclass(frozen=True)
class Measured:
    """What needs the model itself, and is measured once, when it is fitted.

    Attributes:
        latency: Milliseconds an image; None where there is no model to time.
        localisation: How well heatmaps find the defects; None where there are none, or no masks.
    """

    latency: dict[str, float] | None
    localisation: Localisation | None


@dataclass(frozen=True)
class VerdictFigures:
    """What one way of reaching a verdict catches, and at which cost, with no grey zone.

    `verdict` is "classifier" (the logit alone), "novelty" (unlike good images), "combined" (both weighed)
    or "either" (one of the first two).
    """

    verdict: str
    recall: Figure
    false_alarm_rate: Figure


@dataclass(frozen=True)
class Evaluation:
    """What was measured, on what, and under which protocol.

    `figures` goes by the names of `FIGURES`, `confusion` by those of `COUNTS`; positive is defective. If no
    image is defective, only the figures of good images are defined.
    `reviewed` images are in the grey zone; a person decides, so no figure of verdicts counts them.
    `latency` is in milliseconds an image. `requirement` is the answer to what the line needs; None: nobody
    said it.

    `by_part` is the same of parts, where several images show one: then `images` counts parts, its `unit` is
    "part", and `line` and `requirement` are by part in both. `any_view` is what parts would come to if one
    image decided.
    """

    part: str
    protocol: str
    split_digest: str
    images: int
    groups: int
    defective: int
    reviewed: int
    operating_point: OperatingPoint
    figures: dict[str, Figure]
    confusion: dict[str, Figure]
    line: LineFigures | None
    recall_by_type: tuple[TypeRecall, ...]
    recall_by_size: tuple[SizeRecall, ...]
    by_category: tuple[CategoryFigures, ...]
    by_verdict: tuple[VerdictFigures, ...]
    reliability: tuple[ReliabilityBin, ...]
    localisation: Localisation | None
    latency: dict[str, float] | None
    notes: tuple[str, ...]
    requirement: RequirementAnswer | None = None
    unit: Literal["image", "part"] = "image"
    by_part: Evaluation | None = None
    any_view: AnyView | None = None

    @property
    def decisive(self) -> Evaluation:
        """What a decision rests on: the evaluation by part, where parts are known."""
        return self.by_part or self


def evaluate_predictions(
    rows: Sequence[PredictionRow],
    plan: SplitPlan,
    operating_point: OperatingPoint,
    prevalence: float | None = None,
    measured: Measured | None = None,
    requirement: Requirement | None = None,
) -> Evaluation:
    """Measure the predictions of the test part.

    Args:
        rows: Predictions of the images of the plan.
        plan: The split plan that they were made under.
        operating_point: The threshold behind the verdicts.
        prevalence: Share of defective products on the line; None: that of the images.
        measured: What needed more than predictions, where it was measured.
        requirement: What the line needs, to be answered; None: nobody said it.

    Raises:
        RunError: The predictions are not of that plan's images.
    """
    selected = [row for row in rows if row.split == "test"]
    if [row.id for row in selected] != [row.id for row in plan.select("test")]:
        raise RunError("the predictions are not those of the test part of the split plan")
    found = _measure(selected, plan, operating_point, prevalence, measured, requirement)
    by_part = operating_point.by_part
    if by_part is None or not has_parts(selected):
        return found
    part_rows = judge_parts(selected, operating_point, by_part)
    parts = _measure(part_rows.pooled, plan, by_part.point, prevalence, None, requirement)
    draws = Bootstrap(make_sample(part_rows.pooled).groups)
    parts = replace(parts, unit="part", any_view=compare_with_any_view(part_rows, draws))
    return replace(found, by_part=parts, line=parts.line, requirement=parts.requirement)


def _measure(
    selected: Sequence[PredictionRow],
    plan: SplitPlan,
    operating_point: OperatingPoint,
    prevalence: float | None,
    measured: Measured | None,
    requirement: Requirement | None,
) -> Evaluation:
    sample = make_sample(selected)
    draws = Bootstrap(sample.groups)
    figures = {name: measure(sample, kind.compute, draws) for name, kind in FIGURES.items()}
    return Evaluation(
        part="test",
        protocol=plan.protocol,
        split_digest=plan.digest,
        images=len(selected),
        groups=len(np.unique(sample.groups)),
        defective=int(sample.labels.sum()),
        reviewed=int((~sample.decided).sum()),
        operating_point=operating_point,
        figures=figures,
        confusion={name: measure(sample, kind.compute, draws) for name, kind in COUNTS.items()},
        line=measure_line(sample, prevalence, draws),
        recall_by_type=measure_types(selected),
        recall_by_size=measure_sizes(selected),
        by_category=measure_categories(selected, draws),
        by_verdict=tuple(_measure_verdicts(selected, sample, operating_point, draws)),
        reliability=list_reliability(sample) if sample.labels.any() else (),
        localisation=measured.localisation if measured else None,
        latency=measured.latency if measured else None,
        notes=plan.notes,
        requirement=answer_requirement(requirement, figures, sample) if requirement else None,
    )


def evaluate_run(run: Path, split: Path | None = None, require: str | None = None) -> Evaluation:
    """Measure the predictions that a run made on its test part, or on that of another plan.

    Args:
        run: A finished run.
        split: Another split plan; the run must have tested on every image of its test part.
        require: A requirement to answer instead of that of the fit.

    Raises:
        ConfigError: `require` is no requirement.
        RunError: `run` is no finished run, its files are damaged, or it was trained on images that `split`
            tests on.
        SplitError: A split plan was changed.
    """
    return evaluate_folder(open_run(run), split, require=require)


def evaluate_folder(
    folder: RunFolder,
    split: Path | None = None,
    prevalence: float | None = None,
    require: str | None = None,
) -> Evaluation:
    """Do as `evaluate_run` does for the folder of a run that may not be finished.

    The prevalence is the share of defective products on the line; None: that of the run's settings.
    """
    plan, rows = read_split_plan(folder.split_plan), read_predictions(folder)
    point = read_operating_point(folder)
    config = read_run_config(folder)
    requirement = settle_requirement(config.require, require)
    share = config.prevalence if prevalence is None else prevalence
    measured = read_measured(folder)
    if split is not None:
        other = read_split_plan(split)
        rows, plan = tuple(_take_tested(rows, plan, other)), other
        measured = replace(measured, localisation=None)  # that of all test images of the run
    return evaluate_predictions(rows, plan, point, share, measured, requirement)


def read_measured(folder: RunFolder) -> Measured:
    """Read what a fit measured beside its predictions.

    Raises:
        RunError: A file is damaged.
    """
    latency = read_json(folder.latency) if folder.latency.is_file() else None
    localisation = None
    if folder.localisation.is_file():
        localisation = parse_localisation(read_json(folder.localisation))
    return Measured(latency, localisation)


def read_operating_point(folder: RunFolder) -> OperatingPoint:
    """Read the operating point of a run.

    Raises:
        RunError: The file is missing or damaged.
    """
    return parse_operating_point(read_json(folder.operating_point))


def judge_rows(rows: Sequence[PredictionRow]) -> Judged:
    """Return what the images were found to be, for choosing an operating point anew."""
    logits = np.array([row.logit for row in rows], np.float64)
    novelty = np.array([row.novelty for row in rows], np.float64)
    means = np.array([row.mean_novelty for row in rows], np.float64)
    return Judged(
        labels=np.array([row.label == 1 for row in rows], bool),
        groups=np.array([row.group for row in rows], np.int64),
        logits=None if np.isnan(logits).any() else logits,
        novelty=None if np.isnan(novelty).any() else novelty,
        mean_novelty=None if np.isnan(means).any() else means,
    )


def is_foreign(row: PredictionRow, point: OperatingPoint) -> bool:
    """Return whether the image of a row is called 'not this product'."""
    return bool(point.find_foreign(np.array([row.novelty]), np.array([row.mean_novelty]))[0])


def _take_tested(rows: Sequence[PredictionRow], plan: SplitPlan, other: SplitPlan) -> list[PredictionRow]:
    """Return the predictions of another plan's test part, with its groups."""
    hashes = {row.id: row.sha256 for row in plan.select("test")}
    tested = {row.id: row for row in rows if row.split == "test"}
    wanted = other.select("test")
    others = [row.id for row in wanted if hashes.get(row.id) != row.sha256]
    if others:
        raise RunError(
            f"the run can be measured on images of its own test part alone, but {len(others)} of "
            f"the {len(wanted)} test images of the {other.protocol} plan are not (fit on it with --split): "
            f"{list_some(others, 5)}"
        )
    return [replace(tested[row.id], group=row.group) for row in wanted]


def evaluation_to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return the evaluation as a tree for JSON; a figure that is not defined is null."""
    tree = asdict(evaluation)
    tree["operating_point"] = operating_point_to_json(evaluation.operating_point)
    for name in ("by_part", "any_view"):  # where parts are not known, nothing is said of them
        if tree[name] is None:
            del tree[name]
    if evaluation.by_part is not None:
        parts = evaluation_to_json(evaluation.by_part)
        tree["by_part"] = {"parts": parts.pop("images"), **parts}
    return dict(replace_nan(tree))


def _measure_verdicts(
    rows: Sequence[PredictionRow], sample: Sample, point: OperatingPoint, draws: Bootstrap
) -> list[VerdictFigures]:
    judged = judge_rows(rows)
    measured = []
    for verdict in point.verdicts:
        found = point.find_defective(judged.logits, judged.novelty, verdict)
        alone = replace(sample, verdicts=found, reviewed=None)
        figures = (measure(alone, metric, draws) for metric in (recall, false_alarm_rate))
        measured.append(VerdictFigures(verdict, *figures))
    return measured


def replace_nan(tree: Any) -> Any:
    """Return a tree for JSON with null in place of numbers that are not finite."""
    if isinstance(tree, dict):
        return {key: replace_nan(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [replace_nan(value) for value in tree]
    return None if isinstance(tree, float) and not np.isfinite(tree) else tree
