"""From scores to a measured run: the threshold, a verdict an image, and the figures on the test part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from mvdefect.config import FitConfig
from mvdefect.data.records import GOOD
from mvdefect.data.splits import PARTS, SplitPlan
from mvdefect.evaluation.evaluate import DEFECTIVE, Evaluation, evaluate_predictions, evaluation_to_json
from mvdefect.evaluation.metrics import Floats
from mvdefect.evaluation.thresholds import OperatingPoint, choose_max_novelty, choose_threshold
from mvdefect.runs import PredictionRow, RunFolder, write_json, write_rows


@dataclass(frozen=True)
class Scores:
    """What is said of the images of a part, in the order of the split plan.

    Attributes:
        logits: Rise with suspicion, float64 (n,).
        novelty: Distance from good images, float64 (n,), or None where nothing measures it.
    """

    logits: NDArray[np.float64]
    novelty: NDArray[np.float64] | None = None


def write_outcome(
    folder: RunFolder,
    config: FitConfig,
    plan: SplitPlan,
    scores: Mapping[str, Scores],
    defect_share: Mapping[str, float],
) -> Evaluation:
    """Choose the threshold on validation, and write predictions, operating point and figures.

    Args:
        folder: The run.
        config: Its settings.
        plan: Its split plan.
        scores: By part.
        defect_share: Share of pixels in the mask, by id.
    """
    del defect_share
    point = _choose_point(config, plan, scores["val"])
    rows = [row for part in PARTS for row in _make_rows(plan, part, scores[part], point)]
    rows.sort(key=lambda row: row.id)
    write_rows(folder.predictions, rows)
    write_json(folder.operating_point, asdict(point))
    evaluation = evaluate_predictions(rows, plan, point)
    write_json(folder.metrics, evaluation_to_json(evaluation))
    return evaluation


def _choose_point(config: FitConfig, plan: SplitPlan, scores: Scores) -> OperatingPoint:
    labels = np.array([row.label == 1 for row in plan.select("val")])
    if config.threshold == "f1":
        point = choose_threshold(labels, scores.logits, "val")
    else:
        probability = float(config.threshold)
        threshold = float(logit(probability))
        rate = float(((scores.logits >= threshold) == labels).mean())
        point = OperatingPoint(threshold, probability, config.threshold, "val", rate)
    if scores.novelty is None:
        return point
    return replace(point, novelty=choose_max_novelty(scores.novelty[~labels]), verdict=config.verdict)


def _make_rows(plan: SplitPlan, part: str, scores: Scores, point: OperatingPoint) -> list[PredictionRow]:
    novelty: Floats = np.full(len(scores.logits), np.nan) if scores.novelty is None else scores.novelty
    defective = point.find_defective(scores.logits, novelty)
    return [
        PredictionRow(
            id=row.id,
            split=part,
            label=row.label,
            category=row.category,
            defect_type=row.defect_type,
            group=row.group,
            logit=float(score),
            probability=float(expit(score)),
            verdict=DEFECTIVE if is_defective else GOOD,
            novelty=float(distance),
        )
        for row, score, distance, is_defective in zip(
            plan.select(part), scores.logits, novelty, defective, strict=True
        )
    ]
