"""What an inspector, or a baseline, came to: from scores to predictions, operating point and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import expit

from mvdefect.config import FitConfig, dump_config, validate_config
from mvdefect.core.errors import ConfigError, ContractError
from mvdefect.core.files import write_rows, write_text
from mvdefect.data.splits.plan import PARTS, SplitPlan, read_split_plan
from mvdefect.evaluation.bootstrap import Floats
from mvdefect.evaluation.evaluate import (
    Evaluation,
    evaluate_predictions,
    evaluation_to_json,
    judge_rows,
    read_measured,
)
from mvdefect.evaluation.operating_point import (
    HELD_OUT,
    OperatingPoint,
    add_foreign_threshold,
    choose_operating_point,
    operating_point_to_json,
)
from mvdefect.evaluation.parts import add_part_point, has_parts
from mvdefect.evaluation.requirement import settle_requirement
from mvdefect.runs import (
    PredictionRow,
    RunFolder,
    open_run,
    read_predictions,
    read_run_config,
    write_json,
)

SEEN_IN = ("train", "val")
Explain = Callable[[OperatingPoint], None]


@dataclass(frozen=True)
class Scores:
    """What was computed for the images of a part, in the order of the split plan.

    Attributes:
        logits: The classifier's, float64 (n,), or None without a classifier.
        novelty: Distance from good images, float64 (n,), or None where nothing measures it.
        mean_novelty: The same as a mean over the image, likewise.
    """

    logits: Floats | None
    novelty: Floats | None = None
    mean_novelty: Floats | None = None


@dataclass(frozen=True)
class FinishedRun:
    """A run and what was measured on its test part, which is measured once."""

    folder: RunFolder
    evaluation: Evaluation

    @property
    def path(self) -> Path:
        """Where the run lies."""
        return self.folder.path


def list_judged_parts(folds: int) -> tuple[str, ...]:
    """Return the parts that thresholds are chosen on: with several folds train is held out as well."""
    return ("train", "val") if folds > 1 else ("val",)


def settle_outcome(
    folder: RunFolder,
    config: FitConfig,
    plan: SplitPlan,
    scores: Mapping[str, Scores],
    defect_share: Mapping[str, float],
    explain: Explain | None = None,
) -> tuple[Evaluation, ContractError | None]:
    """Choose the operating point on held-out images, reach every verdict, and measure the test part.

    Where the contract cannot be met, the threshold is by F1: hours of training are not thrown away for a
    contract, but it must be told.

    Args:
        folder: Where predictions, operating point and metrics go.
        config: With the requirement, the contract, the verdict, the prevalence and the review budget.
        plan: Whose parts were scored.
        scores: One for each of train, val and test.
        defect_share: Share of defective pixels by id, where a mask tells.
        explain: Draws and measures heatmaps once the operating point is known; None: there are none.

    Returns:
        What was measured; and what is wrong with the contract, if it cannot be met.
    """
    rows, unmet = _make_all_rows(plan, scores, defect_share), None
    try:
        point, judged, evaluation = _evaluate(folder, config, plan, rows, explain=explain)
    except ContractError as error:
        unmet = ContractError(f"{error}. The run is whole, with the threshold by f1 instead")
        changed = config.model_copy(update={"threshold": "f1"})
        point, judged, evaluation = _evaluate(folder, changed, plan, rows, explain=explain)
        point, evaluation = _tell_unmet(f"{error}; the threshold is by f1 instead", point, evaluation)
        write_text(folder.config, dump_config(changed))
    _write(folder, point, judged, evaluation)
    return evaluation, unmet


def _tell_unmet(
    reason: str, point: OperatingPoint, evaluation: Evaluation
) -> tuple[OperatingPoint, Evaluation]:
    """Say what is wrong in the operating point that has the contract: that of parts, where there are any."""
    if point.by_part is None or evaluation.by_part is None:
        point = replace(point, guarantee=reason)
        return point, replace(evaluation, operating_point=point)
    parts = replace(point.by_part, point=replace(point.by_part.point, guarantee=reason))
    point = replace(point, by_part=parts)
    measured = replace(evaluation.by_part, operating_point=parts.point)
    return point, replace(evaluation, operating_point=point, by_part=measured)


def change_operating_point(
    run: Path, changes: Mapping[str, object], save: bool = False, require: str | None = None
) -> Evaluation:
    """Choose another operating point for a finished run, from what it said of its validation part.

    Args:
        run: A finished run.
        changes: Of the settings `threshold`, `verdict`, `prevalence` and `review_budget`, those that change.
        save: Whether the run keeps it.
        require: A requirement to answer instead of that of the fit; it is not kept.

    Raises:
        ConfigError: A setting or the requirement has a value that is not allowed, or the verdict needs a
            classifier that the run has not.
        ContractError: The contract cannot be met; the run stays as it was.
        RunError: `run` is no finished run.
    """
    folder = open_run(run)
    config = validate_config({**read_run_config(folder).model_dump(mode="json"), **changes})
    plan, rows = read_split_plan(folder.split_plan), read_predictions(folder)
    if "verdict" in changes and judge_rows(rows).logits is None:
        raise ConfigError(
            f"the run {run} was trained on good images alone, so its verdict is by novelty. "
            f"Received: verdict={changes['verdict']}"
        )
    point, judged, evaluation = _evaluate(folder, config, plan, rows, require)
    if save:
        _write(folder, point, judged, evaluation)
        write_text(folder.config, dump_config(config))
    return evaluation


def _write(
    folder: RunFolder, point: OperatingPoint, rows: tuple[PredictionRow, ...], evaluation: Evaluation
) -> None:
    write_rows(folder.predictions, PredictionRow, rows)
    write_json(folder.operating_point, operating_point_to_json(point))
    write_json(folder.metrics, evaluation_to_json(evaluation))


def _evaluate(
    folder: RunFolder,
    config: FitConfig,
    plan: SplitPlan,
    rows: tuple[PredictionRow, ...],
    require: str | None = None,
    explain: Explain | None = None,
) -> tuple[OperatingPoint, tuple[PredictionRow, ...], Evaluation]:
    point = _choose_point(config, rows, require or config.require)
    judged = _judge(rows, point)
    if has_parts(rows):
        point = add_part_point(
            point,
            _take(judged, list_judged_parts(config.folds or 1)),
            _take(judged, SEEN_IN),
            config.contract,
            config.prevalence,
            config.review_budget,
            require or config.require,
        )
    if explain is not None:
        explain(point)
    measured = read_measured(folder)
    requirement = settle_requirement(config.require, require)
    evaluation = evaluate_predictions(judged, plan, point, config.prevalence, measured, requirement)
    return point, judged, evaluation


def _choose_point(config: FitConfig, rows: tuple[PredictionRow, ...], require: str | None) -> OperatingPoint:
    """Choose the operating point of images; where parts have the contract, images need not meet it."""
    parts = list_judged_parts(config.folds or 1)
    judged, name = judge_rows(_take(rows, parts)), HELD_OUT if len(parts) > 1 else parts[0]
    settings = config.verdict, config.prevalence, config.review_budget
    try:
        point = choose_operating_point(judged, name, config.contract, *settings, require)
    except ContractError:
        if not has_parts(rows):
            raise
        point = choose_operating_point(judged, name, "f1", *settings)
    return add_foreign_threshold(point, judge_rows(_take(rows, SEEN_IN)))


def _take(rows: tuple[PredictionRow, ...], parts: Sequence[str]) -> list[PredictionRow]:
    return [row for row in rows if row.split in parts]


def _judge(rows: tuple[PredictionRow, ...], point: OperatingPoint) -> tuple[PredictionRow, ...]:
    """Give each row its score, probability and verdict."""
    found = judge_rows(rows)
    scores = point.find_scores(found.logits, found.novelty)
    verdicts = point.decide(found.logits, found.novelty)
    return tuple(
        replace(row, score=float(score), probability=float(expit(score)), verdict=str(verdict))
        for row, score, verdict in zip(rows, scores, verdicts, strict=True)
    )


def _make_all_rows(
    plan: SplitPlan, scores: Mapping[str, Scores], defect_share: Mapping[str, float]
) -> tuple[PredictionRow, ...]:
    rows = [row for part in PARTS for row in _make_rows(plan, part, scores[part], defect_share)]
    return tuple(sorted(rows, key=lambda row: row.id))


def _make_rows(
    plan: SplitPlan, part: str, scores: Scores, defect_share: Mapping[str, float]
) -> list[PredictionRow]:
    planned = plan.select(part)
    unknown = np.full(len(planned), np.nan)
    logits = unknown if scores.logits is None else scores.logits
    novelty = unknown if scores.novelty is None else scores.novelty
    means = unknown if scores.mean_novelty is None else scores.mean_novelty
    return [
        PredictionRow(
            id=row.id,
            split=part,
            label=row.label,
            category=row.category,
            defect_type=row.defect_type,
            group=row.group,
            logit=float(logit),
            novelty=float(distance),
            score=float("nan"),
            probability=float("nan"),
            verdict="",
            defect_share=defect_share.get(row.id, float("nan")) if row.label else 0.0,
            mean_novelty=float(mean),
            part_id=row.part_id,
            view=row.view,
        )
        for row, logit, distance, mean in zip(planned, logits, novelty, means, strict=True)
    ]
