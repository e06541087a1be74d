"""A baseline on a split plan: the same steps, figures and report as for an inspector."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from mvdefect.baselines.frozen import FrozenSVMClassifier
from mvdefect.baselines.handcrafted import HandcraftedClassifier
from mvdefect.baselines.majority import MajorityClassifier
from mvdefect.baselines.one_class import OneClassDetector
from mvdefect.baselines.registry import Baseline, find_baseline
from mvdefect.config import FitConfig, StageConfig
from mvdefect.core.errors import ConfigError, ContractError
from mvdefect.core.files import cache_dir, name_in_errors, replace_file
from mvdefect.core.parallel import count_cores
from mvdefect.core.progress import logger
from mvdefect.core.runtime import describe_environment, seed_everything, set_precision
from mvdefect.data.images import Pixels
from mvdefect.data.pipeline import Source, make_inference_batches
from mvdefect.data.sources.opening import resolve_sources
from mvdefect.data.splits.plan import write_split_plan
from mvdefect.evaluation.contracts import parse_contract
from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.models.backbones import find_backbone
from mvdefect.models.choice import choose_network
from mvdefect.models.weights import find_weights
from mvdefect.report.report import write_report
from mvdefect.runs import RunFolder, check_run_is_free, make_run, write_json
from mvdefect.training.predictions import keep_maps
from mvdefect.workflow.explain import explain_part
from mvdefect.workflow.fit import fit_inspector
from mvdefect.workflow.outcome import FinishedRun, Scores, settle_outcome
from mvdefect.workflow.photographs import (
    TO_BE_MEASURED,
    Needs,
    Photographs,
    find_records,
    log_plan,
    logging_to,
    prepare_photographs,
    read_plan_for_fit,
    require_data,
)

BATCH_SIZE = 32
SCRATCH_LEARNING_RATE = 1e-3  # rates of backbones are for weights that know something already


def run_baseline(name: str, config: FitConfig, run: Path, overwrite: bool = False) -> FinishedRun:
    """Fit a baseline, choose its threshold, measure it on the test part, and write the report.

    Args:
        name: One of `mvdefect.baselines.registry.BASELINES`.
        config: All settings; `config.data` is needed. Those of training count for networks alone.
        run: Where the run directory goes.
        overwrite: Replace a finished run there, once the new one is finished.

    Raises:
        MvdefectError: Of its many kinds, for whatever is wrong with name, settings, data or `run`.
    """
    parse_contract(config.contract, config.require)
    baseline = find_baseline(name)
    config = adapt_config(baseline, config)
    needs = _name_needs(baseline)
    if baseline.learner == "network":
        return fit_inspector(config, run, overwrite, needs)
    source = require_data(config)
    planned = read_plan_for_fit(config.split, needs, config.seed) if config.split else None
    if baseline.learner == "features":
        config = choose_network(config)
        find_weights(find_backbone(config.backbone), config.weights)  # fail before anything is read
    check_run_is_free(run, overwrite)
    records = find_records(config, needs)
    config = config.model_copy(update={"data": resolve_sources(source)})
    seed_everything(config.seed, config.deterministic)
    set_precision(config.precision)
    photographs = prepare_photographs(records, config, planned, needs)
    config = photographs.note_bits(config)
    with make_run(run, config, photographs.plan.digest, overwrite) as folder, logging_to(folder.log):
        write_split_plan(photographs.plan, folder.split_plan)
        log_plan(photographs.plan)
        logger.info("%s: %s", baseline.name, baseline.describe)
        evaluation, unmet = _fit_and_measure(make_estimator(baseline, config), config, photographs, folder)
        write_json(folder.environment, describe_environment())
        write_report(folder, evaluation)
    if unmet is not None:
        raise unmet
    return FinishedRun(RunFolder(run), evaluation)


def adapt_config(baseline: Baseline, config: FitConfig) -> FitConfig:
    """Return the settings that a baseline runs with.

    From random weights every block learns from the first epoch on, at a rate for that, and batch
    normalisation follows the photographs: it has nothing to keep. What always names the larger class
    needs no threshold but a half.
    """
    changes: dict[str, Any] = {"baseline": baseline.name}
    if baseline.name == "majority":
        changes["threshold"] = "0.5"
    if baseline.learner == "network":
        changes["weights"] = "none"
        deep = [stage for stage in config.stages if stage.depth_blocks != 0]
        stages = deep or [StageConfig(epochs=sum(stage.epochs for stage in config.stages))]
        if baseline.name == "scratch":
            changes["backbone"] = "small_cnn"
        else:
            changes["bn_policy"] = "adapt"
            stages = [_set_rate(stage) for stage in stages]
        changes["stages"] = tuple(stage.model_copy(update={"depth_blocks": None}) for stage in stages)
    return config.model_copy(update=changes)


def make_estimator(baseline: Baseline, config: FitConfig) -> Any:
    """Make the estimator of a baseline, not fitted.

    Args:
        baseline: Whose learner is not a network.
        config: Backbone, weights, kind of one-class score and seed.

    Raises:
        ConfigError: The baseline is a network.
    """
    threads = count_cores()
    if baseline.name == "majority":
        return MajorityClassifier()
    if baseline.name == "handcrafted":
        return HandcraftedClassifier(seed=config.seed, n_jobs=threads)
    if baseline.name == "frozen-svm":
        return FrozenSVMClassifier(config.backbone, config.weights, seed=config.seed, n_jobs=threads)
    if baseline.name == "one-class":
        return OneClassDetector(config.one_class, config.backbone, config.weights, seed=config.seed)
    raise ConfigError(f"an estimator is asked for, but {baseline.name} is trained as an inspector is")


@contextmanager
def read_pixels(source: Source) -> Iterator[Pixels]:
    """Yield the images of a part as one array, uint8 (n, size, size, 3), in the order of its rows.

    It lies in a file that vanishes with the block, so that memory does not grow with the part.
    """
    size_px = source.store.size_px
    with tempfile.TemporaryDirectory(dir=cache_dir("baselines")) as aside:
        shape, path = (source.count, size_px, size_px, 3), Path(aside) / "pixels.bin"
        with name_in_errors(path), path.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, math.prod(shape))  # or a full disk would end the process
        pixels = np.memmap(path, np.uint8, "r+", shape=shape)
        start = 0
        for batch in make_inference_batches(source, BATCH_SIZE):
            pixels[start : start + len(batch)] = batch
            start += len(batch)
        yield pixels


def score_part(estimator: Any, source: Source) -> Scores:
    """Return what a fitted estimator says of the images of a part, batch by batch."""
    batches = make_inference_batches(source, BATCH_SIZE)
    found = [estimator.decision_function(batch.numpy()) for batch in batches]
    return Scores(np.concatenate([np.zeros(0), *found]))


def _fit_and_measure(
    estimator: Any, config: FitConfig, photographs: Photographs, folder: RunFolder
) -> tuple[Evaluation, ContractError | None]:
    sources = photographs.get_sources()
    train = sources["train"]
    started = time.monotonic()
    with read_pixels(train) as pixels:
        estimator.fit(pixels, train.labels, groups=np.array([row.group for row in train.rows]))
    logger.info("fitted in %.1f s", time.monotonic() - started)
    with replace_file(folder.estimator) as partial:
        joblib.dump(estimator, partial, compress=3)
    scores = {part: score_part(estimator, source) for part, source in sources.items()}
    if isinstance(estimator, OneClassDetector):
        _explain(estimator, config, photographs, folder)
    return settle_outcome(folder, config, photographs.plan, scores, photographs.scan.defect_shares)


def _explain(
    estimator: OneClassDetector, config: FitConfig, photographs: Photographs, folder: RunFolder
) -> None:
    """Write the map of each image of the test part."""
    source = photographs.get_sources()["test"]
    maps = [estimator.map_distances(batch.numpy()) for batch in make_inference_batches(source, BATCH_SIZE)]
    explain_part(keep_maps(np.concatenate(maps)), source, photographs.scan, config.resize, folder)


def _name_needs(baseline: Baseline) -> Needs:
    if baseline.needs_defective:
        reason = f"{baseline.name} learns from good and defective images, and chooses its threshold on val"
        return Needs(reason, (("train", 0), ("train", 1), *TO_BE_MEASURED))
    reason = f"{baseline.name} learns from good images, and chooses its threshold on val"
    return Needs(reason, (("train", 0), *TO_BE_MEASURED), takes_good_alone=True)


def _set_rate(stage: StageConfig) -> StageConfig:
    if stage.learning_rate is not None:
        return stage
    return stage.model_copy(update={"learning_rate": SCRATCH_LEARNING_RATE})
