"""A run's predictions on one part -> Evaluation: every figure, with interval and protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.data.records import GOOD
from mvdefect.data.splits import SplitPlan, read_split_plan
from mvdefect.errors import RunError, list_some
from mvdefect.evaluation.metrics import COUNTS, METRICS, Figure, Sample, measure, recall, specificity
from mvdefect.evaluation.thresholds import OperatingPoint
from mvdefect.runs import PredictionRow, open_run, read_json, read_predictions

DEFECTIVE = "defective"


@dataclass(frozen=True)
class TypeRecall:
    """How many images of one defect type are caught."""

    category: str
    defect_type: str
    count: int
    caught: int
    recall: Figure


@dataclass(frozen=True)
class VerdictFigures:
    """What one way of reaching a verdict catches, and at which cost.

    `verdict` is "classifier" (the logit alone), "novelty" (unlike good images) or "either".
    """

    verdict: str
    recall: Figure
    false_alarm_rate: Figure


@dataclass(frozen=True)
class Evaluation:
    """What was measured, on what, and under which protocol.

    `figures` goes by the names of `METRICS`, `confusion` by those of `COUNTS`; positive is defective.
    """

    part: str
    protocol: str
    split_digest: str
    images: int
    groups: int
    defective: int
    operating_point: OperatingPoint
    figures: dict[str, Figure]
    confusion: dict[str, Figure]
    recall_by_type: tuple[TypeRecall, ...]
    by_verdict: tuple[VerdictFigures, ...]
    notes: tuple[str, ...]


def evaluate_predictions(
    rows: Sequence[PredictionRow], plan: SplitPlan, operating_point: OperatingPoint, part: str = "test"
) -> Evaluation:
    """Measure the predictions of a part.

    Args:
        rows: Predictions of the images of the plan.
        plan: The split plan that they were made under.
        operating_point: The threshold behind the verdicts.
        part: Which part to measure.

    Raises:
        RunError: The predictions are not of that plan's images.
    """
    selected = [row for row in rows if row.split == part]
    if [row.id for row in selected] != [row.id for row in plan.select(part)]:
        raise RunError(f"the predictions are not those of the {part} part of the split plan")
    sample = make_sample(selected)
    return Evaluation(
        part=part,
        protocol=plan.protocol,
        split_digest=plan.digest,
        images=len(selected),
        groups=len(np.unique(sample.groups)),
        defective=int(sample.labels.sum()),
        operating_point=operating_point,
        figures={name: measure(sample, metric) for name, metric in METRICS.items()},
        confusion={name: measure(sample, metric) for name, metric in COUNTS.items()},
        recall_by_type=tuple(_measure_types(selected)),
        by_verdict=tuple(_measure_verdicts(selected, sample, operating_point)),
        notes=plan.notes,
    )


def evaluate_run(run: Path, split: Path | None = None) -> Evaluation:
    """Measure the predictions that a run made on its test part, or on that of another plan.

    Args:
        run: A finished run.
        split: Another split plan; the run must have tested on every image of its test part.

    Raises:
        RunError: `run` is no finished run, its files are damaged, or it was trained on images that `split`
            tests on.
        SplitError: A split plan was changed.
    """
    folder = open_run(run)
    plan = read_split_plan(folder.split_plan)
    point = OperatingPoint(**read_json(folder.operating_point))
    rows = read_predictions(folder)
    if split is None:
        return evaluate_predictions(rows, plan, point)
    other = read_split_plan(split)
    return evaluate_predictions(_take_tested(rows, plan, other), other, point)


def _take_tested(
    rows: Sequence[PredictionRow], plan: SplitPlan, other: SplitPlan, part: str = "test"
) -> list[PredictionRow]:
    """Return the predictions of another plan's test part, with its groups."""
    hashes = {row.id: row.sha256 for row in plan.select(part)}
    tested = {row.id: row for row in rows if row.split == part}
    wanted = other.select(part)
    others = [row.id for row in wanted if hashes.get(row.id) != row.sha256]
    if others:
        raise RunError(
            f"the run can be measured on images of its own test part alone, but {len(others)} of "
            f"the {len(wanted)} test images of the {other.protocol} plan are not (fit on it with --split): "
            f"{list_some(others, 5)}"
        )
    return [replace(tested[row.id], group=row.group) for row in wanted]


def make_sample(rows: Sequence[PredictionRow]) -> Sample:
    """Turn prediction rows into arrays."""
    return Sample(
        labels=np.array([row.label == 1 for row in rows], bool),
        scores=np.array([row.logit for row in rows], np.float64),
        verdicts=np.array([row.verdict == DEFECTIVE for row in rows], bool),
        groups=np.array([row.group for row in rows], np.int64),
    )


def evaluation_to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return the evaluation as a tree for JSON; a figure that is not defined is null."""
    tree = _replace_nan(asdict(evaluation))
    return dict(tree)


def _measure_types(rows: Sequence[PredictionRow]) -> list[TypeRecall]:
    strata = sorted({(row.category, row.defect_type) for row in rows if row.defect_type != GOOD})
    measured = []
    for category, defect_type in strata:
        sample = make_sample([r for r in rows if (r.category, r.defect_type) == (category, defect_type)])
        caught = int(sample.verdicts.sum())
        figure = measure(sample, recall)
        measured.append(TypeRecall(category, defect_type, len(sample.labels), caught, figure))
    return measured


def _measure_verdicts(
    rows: Sequence[PredictionRow], sample: Sample, point: OperatingPoint
) -> list[VerdictFigures]:
    novelty = np.array([row.novelty for row in rows], np.float64)
    measured = []
    for verdict in ("classifier", "novelty", "either"):
        judged = replace(sample, verdicts=point.find_defective(sample.scores, novelty, verdict))
        passed = measure(judged, specificity)
        alarms = Figure(1 - passed.value, 1 - passed.high, 1 - passed.low)
        measured.append(VerdictFigures(verdict, measure(judged, recall), alarms))
    return measured


def _replace_nan(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _replace_nan(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_replace_nan(value) for value in tree]
    return None if isinstance(tree, float) and not np.isfinite(tree) else tree
