"""From a folder of photographs to a trained, measured inspector: the line of flow, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from mvdefect.backend import seed_everything, set_precision, share_batches
from mvdefect.config import FitConfig, StageConfig
from mvdefect.data.pipeline import Source
from mvdefect.data.prepare import PreparedStore
from mvdefect.data.records import GOOD
from mvdefect.data.sources import resolve_source
from mvdefect.data.splits import PARTS, SplitPlan, write_split_plan
from mvdefect.environment import describe_environment
from mvdefect.evaluation.evaluate import DEFECTIVE, evaluate_predictions, evaluation_to_json
from mvdefect.evaluation.thresholds import OperatingPoint, choose_max_novelty, choose_threshold
from mvdefect.models.backbones import BackboneSpec, find_backbone
from mvdefect.models.classifier import build_classifier
from mvdefect.models.features import build_features, share_features
from mvdefect.models.heads import choose_head
from mvdefect.models.normality import Normality, fit_normality, save_normality
from mvdefect.models.weights import find_weights
from mvdefect.preparation import (
    find_records,
    log_plan,
    logging_to,
    prepare_photographs,
    read_plan_for_fit,
    require_data,
)
from mvdefect.progress import logger
from mvdefect.report.html import write_report
from mvdefect.runs import (
    PredictionRow,
    RunFolder,
    check_run_is_free,
    finish_run,
    start_run,
    write_json,
    write_rows,
)
from mvdefect.training.fit import TrainingJob, train_classifier
from mvdefect.training.predictions import iterate_features, predict_logits
from mvdefect.training.stages import plan_stages

NOVELTY_BATCH_SIZE = 32


def fit_inspector(config: FitConfig, run: Path, overwrite: bool = False) -> RunFolder:
    """Train an inspector, choose its threshold, measure it on the test part, and write the report.

    An interrupted fit goes on where it stopped when it is called again with the same settings.

    Args:
        config: All settings; `config.data` is needed.
        run: Where the run directory goes.
        overwrite: Replace a finished run there, once the new one is finished.

    Raises:
        MvdefectError: Of its many kinds, for whatever is wrong with settings, data, weights or `run`.
    """
    source, planned = require_data(config), read_plan_for_fit(config.split) if config.split else None
    spec = find_backbone(config.backbone)
    weights = find_weights(spec, config.weights)
    stages = plan_stages(config, spec)
    check_run_is_free(run, overwrite)
    records = find_records(config)
    explicit = tuple(StageConfig(**asdict(stage)) for stage in stages)
    config = config.model_copy(update={"data": resolve_source(source), "stages": explicit})
    seed_everything(config.seed, config.deterministic)
    policy = set_precision(config.precision)
    with share_batches(config.devices):
        model = build_classifier(spec, config.image_size_px, choose_head(config), config.taps, weights)
        photographs = prepare_photographs(records, config, planned)
        plan, store = photographs.plan, photographs.store
        folder = start_run(run, config, plan.digest)
        with logging_to(folder.log):
            write_split_plan(plan, folder.split_plan)
            log_plan(plan)
            train, val = Source(store, plan, "train"), Source(store, plan, "val")
            logger.info("%s, weights: %s, %s", spec.describe, config.weights, policy)
            model = train_classifier(model, TrainingJob(spec, stages, config, train, val, folder))
            model.save(folder.model)
            features = _find_features(model, spec, weights)
            _measure(model, features, config, plan, store, folder)
            write_json(folder.environment, describe_environment())
            write_report(folder, store)
    return finish_run(folder, run)


def _find_features(model: Any, spec: BackboneSpec, weights: Path | None) -> Any:
    """Take features for the novelty from pre-trained weights; where there are none, from the classifier."""
    if weights is None:
        return share_features(model, spec)
    return build_features(spec, model.input.shape[1], weights)


def _measure(
    model: Any, features: Any, config: FitConfig, plan: SplitPlan, store: PreparedStore, folder: RunFolder
) -> None:
    """Learn what good images look like, choose thresholds on validation, and evaluate on test."""
    sources = {part: Source(store, plan, part) for part in PARTS}
    normality = fit_normality(
        config.one_class, _iterate_good(features, sources["train"], config), config.seed
    )
    save_normality(normality, folder.normality)
    features.save(folder.features)
    outputs = {
        part: (predict_logits(model, source, config.batch_size), _score_novelty(features, normality, source))
        for part, source in sources.items()
    }
    point = _choose_point(config, sources["val"].labels == 1, *outputs["val"])
    rows = [row for part in PARTS for row in _make_rows(sources[part], *outputs[part], point)]
    rows.sort(key=lambda row: row.id)
    write_rows(folder.predictions, rows)
    write_json(folder.operating_point, asdict(point))
    write_json(folder.metrics, evaluation_to_json(evaluate_predictions(rows, plan, point)))


def _iterate_good(features: Any, train: Source, config: FitConfig) -> Iterator[np.ndarray]:
    for labels, found in iterate_features(features, train, config.batch_size):
        if (labels == 0).any():
            yield found[labels == 0]


def _score_novelty(features: Any, normality: Normality, source: Source) -> np.ndarray:
    batches = iterate_features(features, source, NOVELTY_BATCH_SIZE)
    return np.concatenate([normality.score_images(found) for _, found in batches])


def _choose_point(
    config: FitConfig, labels: np.ndarray, logits: np.ndarray, novelty: np.ndarray
) -> OperatingPoint:
    point = choose_threshold(labels, logits.astype(np.float64), "val")
    return replace(point, novelty=choose_max_novelty(novelty[~labels]), verdict=config.verdict)


def _make_rows(
    source: Source, logits: np.ndarray, novelty: np.ndarray, point: OperatingPoint
) -> Sequence[PredictionRow]:
    defective = point.find_defective(logits.astype(np.float64), novelty)
    return [
        PredictionRow(
            id=row.id,
            split=source.part,
            label=row.label,
            category=row.category,
            defect_type=row.defect_type,
            group=row.group,
            logit=float(logit),
            probability=float(expit(float(logit))),
            verdict=DEFECTIVE if is_defective else GOOD,
            novelty=float(distance),
        )
        for row, logit, distance, is_defective in zip(source.rows, logits, novelty, defective, strict=True)
    ]
