"""From a folder of photographs to a trained, measured inspector: the line of flow, step by step."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.backend import seed_everything, set_precision, share_batches
from mvdefect.config import FitConfig, StageConfig
from mvdefect.data.groups import group_records
from mvdefect.data.layouts import check_layout
from mvdefect.data.pipeline import Source
from mvdefect.data.prepare import PreparedStore, prepare_images
from mvdefect.data.protocols import assign_closed_set, assign_given
from mvdefect.data.scan import Scan, scan_images
from mvdefect.data.sources import is_manifest, open_source, resolve_source
from mvdefect.data.splits import PARTS, SplitPlan, check_plan, read_split_plan, write_split_plan
from mvdefect.environment import describe_environment
from mvdefect.errors import ConfigError, ContractError, SplitError
from mvdefect.evaluation.contracts import parse_contract
from mvdefect.explain import explain_part
from mvdefect.models.backbones import BackboneSpec, find_backbone
from mvdefect.models.classifier import build_classifier
from mvdefect.models.features import build_features, share_features
from mvdefect.models.heads import choose_head
from mvdefect.models.normality import Normality, fit_normality, save_normality
from mvdefect.models.weights import find_weights
from mvdefect.outcome import Scores, write_outcome
from mvdefect.progress import logger
from mvdefect.report.html import write_report
from mvdefect.runs import (
    RunFolder,
    check_run_is_free,
    finish_run,
    start_run,
    write_json,
)
from mvdefect.training.fit import TrainingJob, train_classifier
from mvdefect.training.latency import measure_latency
from mvdefect.training.predictions import compile_features, iterate_features, predict_logits
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
    if config.data is None:
        raise ConfigError("data is needed: --data FOLDER, or `data: FOLDER` in the configuration")
    parse_contract(config.threshold)
    source, planned = config.data, read_plan_for_fit(config.split) if config.split else None
    spec = find_backbone(config.backbone)
    weights = find_weights(spec, config.weights)
    stages = plan_stages(config, spec)
    explicit = tuple(StageConfig(**asdict(stage)) for stage in stages)
    config = config.model_copy(update={"data": resolve_source(config.data), "stages": explicit})
    check_run_is_free(run, overwrite)
    layout = open_source(source, config.categories, config.group_pattern)
    records = check_layout(layout)
    seed_everything(config.seed, config.deterministic)
    policy = set_precision(config.precision)
    with share_batches(config.devices):
        model = build_classifier(spec, config.image_size_px, choose_head(config), config.taps, weights)
        scan = scan_images(records, config.skip_broken)
        plan = planned or _draw_plan(scan, config)
        check_plan(plan, dict(zip((record.id for record in scan.records), scan.sha256, strict=True)))
        store = prepare_images(records, config.image_size_px, config.resize, skip_broken=config.skip_broken)
        folder = start_run(run, config, plan.digest)
        with _logging_to(folder.log):
            write_split_plan(plan, folder.split_plan)
            _log_plan(plan)
            train, val = Source(store, plan, "train"), Source(store, plan, "val")
            logger.info("%s, weights: %s, %s", spec.describe, config.weights, policy)
            model = train_classifier(model, TrainingJob(spec, stages, config, train, val, folder))
            model.save(folder.model)
            features = _find_features(model, spec, weights)
            unmet = _measure(model, features, config, plan, store, folder, scan)
            write_json(folder.environment, describe_environment())
            write_report(folder, store)
    finished = finish_run(folder, run)
    if unmet is not None:
        raise ContractError(f"{unmet}. The run {run} is whole, with the threshold by f1 instead")
    return finished


def _find_features(model: Any, spec: BackboneSpec, weights: Path | None) -> Any:
    """Take features for the novelty from pre-trained weights; where there are none, from the classifier."""
    if weights is None:
        return share_features(model, spec)
    return build_features(spec, model.input.shape[1], weights)


def read_plan_for_fit(path: Path) -> SplitPlan:
    """Read a split plan that a classifier can be trained and measured on.

    Raises:
        SplitError: It cannot be read, or a part lacks what a fit needs of it.
    """
    plan = read_split_plan(path)
    _check_plan_for_fit(plan)
    return plan


def _check_plan_for_fit(plan: SplitPlan) -> None:
    needed = (("train", 0, "good"), ("train", 1, "defective"), ("val", 0, "good"), ("test", 0, "good"))
    for part, label, name in (*needed, ("test", 1, "defective")):
        if not any(row.label == label for row in plan.select(part)):
            raise SplitError(
                f"fit learns from good and defective images, and chooses its threshold on val, but the "
                f"{plan.protocol} plan has no {name} image in {part}"
            )


def _draw_plan(scan: Scan, config: FitConfig) -> SplitPlan:
    """Draw a closed-set plan, or take the parts that a manifest names."""
    groups = group_records(scan, config.near_duplicate_correlation)
    if is_manifest(str(config.data)) and all(record.part for record in scan.records):
        plan = assign_given(scan, groups)
        _check_plan_for_fit(plan)
        return plan
    return assign_closed_set(scan, groups, config.seed)


def _log_plan(plan: SplitPlan) -> None:
    logger.info(
        "%s: %d images (%d defective) in %d groups; split plan %s",
        plan.protocol,
        len(plan.rows),
        sum(row.label for row in plan.rows),
        len({row.group for row in plan.rows}),
        plan.digest[:12],
    )
    for note in plan.notes:
        logger.warning("%s", note)


def _measure(
    model: Any,
    features: Any,
    config: FitConfig,
    plan: SplitPlan,
    store: PreparedStore,
    folder: RunFolder,
    scan: Scan,
) -> ContractError | None:
    """Learn what good images look like, choose the operating point on validation, and evaluate on test.

    Returns:
        What is wrong with the contract, if it cannot be met; the run then has the threshold by F1.
    """
    sources = {part: Source(store, plan, part) for part in PARTS}
    run = compile_features(features)
    normality = fit_normality(config.one_class, _iterate_good(run, sources["train"], config), config.seed)
    save_normality(normality, folder.normality)
    features.save(folder.features)
    scores = {
        part: Scores(
            predict_logits(model, source, config.batch_size).astype(np.float64),
            _score_novelty(run, normality, source),
        )
        for part, source in sources.items()
    }
    write_json(folder.latency, measure_latency(model, features, normality))
    explain_part(model, sources["test"], scan, config.resize, config.batch_size, folder)
    try:
        write_outcome(folder, config, plan, scores, scan.defect_shares)
    except ContractError as error:
        fallback = config.model_copy(update={"threshold": "f1"})
        write_outcome(folder, fallback, plan, scores, scan.defect_shares)
        return error
    return None


def _iterate_good(run: Any, train: Source, config: FitConfig) -> Iterator[np.ndarray]:
    for labels, found in iterate_features(run, train, config.batch_size):
        if (labels == 0).any():
            yield found[labels == 0]


def _score_novelty(run: Any, normality: Normality, source: Source) -> np.ndarray:
    batches = iterate_features(run, source, NOVELTY_BATCH_SIZE)
    return np.concatenate([normality.score_images(found) for _, found in batches]).astype(np.float64)


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Copy the messages of the run into its log; one that goes on adds to it."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
