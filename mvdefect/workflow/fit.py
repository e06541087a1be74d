"""From a folder of photographs to a trained, measured inspector: the line of flow, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.config import FitConfig, StageConfig
from mvdefect.core.errors import ContractError
from mvdefect.core.progress import logger, show_phase
from mvdefect.core.runtime import describe_environment, seed_everything, set_precision, share_batches
from mvdefect.data.pipeline import Source
from mvdefect.data.splits.plan import write_split_plan
from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.models.backbones import BackboneSpec, find_backbone
from mvdefect.models.classifier import build_classifier
from mvdefect.models.features import build_features, share_features
from mvdefect.models.heads import choose_head
from mvdefect.models.normality import fit_normality, save_normality
from mvdefect.models.one_class import Normality
from mvdefect.report.report import write_report
from mvdefect.runs import RunFolder, make_run, write_json
from mvdefect.training.fit import TrainingJob, train_classifier
from mvdefect.training.predictions import (
    compile_features,
    iterate_features,
    keep_maps,
    measure_latency,
    predict_heatmaps,
    predict_logits,
)
from mvdefect.training.stages import plan_stages
from mvdefect.workflow.explain import explain_part
from mvdefect.workflow.job import FitJob, check_contract, check_job
from mvdefect.workflow.outcome import CHOSEN_ON, FinishedRun, Scores, settle_outcome
from mvdefect.workflow.photographs import (
    FIT_NEEDS,
    Needs,
    Photographs,
    log_plan,
    logging_to,
    prepare_photographs,
)

NOVELTY_BATCH_SIZE = 32


def fit_inspector(
    config: FitConfig, run: Path | None = None, overwrite: bool = False, needs: Needs = FIT_NEEDS
) -> FinishedRun:
    """Check what a fit needs, and run it; see `check_job` and `run_job`."""
    return run_job(check_job(config, run, overwrite, needs))


def run_job(job: FitJob) -> FinishedRun:
    """Train an inspector, choose its threshold, measure it on the test part, and write the report.

    If train has no defective image there is no classifier: the distance from good images decides. An
    interrupted fit resumes when it is called again with the same settings.

    Raises:
        MvdefectError: Of its many kinds, for whatever is wrong with images, settings or weights.
    """
    spec = find_backbone(job.config.backbone)
    stages = plan_stages(job.config, spec)
    explicit = tuple(StageConfig(**asdict(stage)) for stage in stages)
    config = job.config.model_copy(update={"stages": explicit})
    seed_everything(config.seed, config.deterministic)
    policy = set_precision(config.precision)
    with share_batches(config.devices):
        with show_phase("Building the network"):
            model = build_classifier(
                spec, config.image_size_px, choose_head(config), config.taps, job.weights
            )
        photographs = prepare_photographs(job.records, config, job.planned, job.needs)
        config = photographs.note_bits(config)
        check_contract(config, photographs.plan.select(CHOSEN_ON))
        run = replace(job, config=config).find_place(photographs.plan.digest)
        with make_run(run, config, photographs.plan.digest, job.overwrite) as folder, logging_to(folder.log):
            write_split_plan(photographs.plan, folder.split_plan)
            log_plan(photographs.plan)
            logger.info("%s, weights: %s, %s", spec.describe, config.weights, policy)
            parts = photographs.get_sources()
            training = TrainingJob(spec, stages, config, parts["train"], parts["val"], folder)
            classifier = train_classifier(model, training) if training.train.labels.any() else None
            with show_phase("Saving the network"):
                if classifier is not None:
                    classifier.save(folder.model)
                features = _find_features(classifier or model, spec, job.weights)
            evaluation, unmet = _measure(classifier, features, config, photographs, folder)
            write_json(folder.environment, describe_environment())
            with show_phase("Writing the report"):
                write_report(folder, evaluation)
    if unmet is not None:
        raise unmet
    return FinishedRun(RunFolder(run), evaluation)


def _find_features(model: Any, spec: BackboneSpec, weights: Path | None) -> Any:
    """Take features for the novelty from pre-trained weights; if there are none, from the classifier."""
    if weights is None:
        return share_features(model, spec)
    return build_features(spec, model.input.shape[1], weights)


def _measure(
    classifier: Any | None, features: Any, config: FitConfig, photographs: Photographs, folder: RunFolder
) -> tuple[Evaluation, ContractError | None]:
    """Learn what good images look like, choose the operating point on validation, and evaluate on test.

    Without a classifier the novelty decides, and its maps are the heatmaps.

    Returns:
        What was measured; and what is wrong with the contract, if it cannot be met: the run then has the
        threshold by F1.
    """
    plan, sources = photographs.plan, photographs.get_sources()
    run = compile_features(features)
    with show_phase("Learning what good images look like"):
        normality = fit_normality(config.one_class, _iterate_good(run, sources["train"], config), config.seed)
        save_normality(normality, folder.normality)
        features.save(folder.features)
    with show_phase("Scoring all images"):
        scores = {
            part: Scores(
                None if classifier is None else _score_logits(classifier, source, config),
                _score_novelty(run, normality, source),
            )
            for part, source in sources.items()
        }
    with show_phase("Measuring the time per image"):
        write_json(folder.latency, measure_latency(classifier, features, normality))
    with show_phase("Drawing heatmaps of the test images"):
        if classifier is None:
            maps = keep_maps(_map_novelty(run, normality, sources["test"]))
        else:
            maps = predict_heatmaps(classifier, sources["test"], config.batch_size)
        explain_part(maps, sources["test"], photographs.scan, config.resize, folder)
    with show_phase("Choosing the threshold and measuring the test images"):
        return settle_outcome(folder, config, plan, scores, photographs.scan.defect_shares)


def _iterate_good(run: Any, train: Source, config: FitConfig) -> Iterator[np.ndarray]:
    for labels, found in iterate_features(run, train, config.batch_size):
        if (labels == 0).any():
            yield found[labels == 0]


def _score_logits(classifier: Any, source: Source, config: FitConfig) -> np.ndarray:
    return predict_logits(classifier, source, config.batch_size).astype(np.float64)


def _score_novelty(run: Any, normality: Normality, source: Source) -> np.ndarray:
    batches = iterate_features(run, source, NOVELTY_BATCH_SIZE)
    return np.concatenate([normality.score_images(found) for _, found in batches]).astype(np.float64)


def _map_novelty(run: Any, normality: Normality, source: Source) -> np.ndarray:
    batches = iterate_features(run, source, NOVELTY_BATCH_SIZE)
    return np.concatenate([normality.score_positions(found) for _, found in batches])
