"""A baseline on a split plan: the same steps, figures and report as for an inspector."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from mvdefect.baselines.frozen import FrozenSVMClassifier
from mvdefect.baselines.handcrafted import HandcraftedClassifier
from mvdefect.baselines.majority import MajorityClassifier
from mvdefect.baselines.one_class import OneClassDetector
from mvdefect.baselines.registry import Baseline, check_baseline, find_baseline
from mvdefect.config import FitConfig
from mvdefect.core.errors import ConfigError, ContractError
from mvdefect.core.files import cache_dir, name_in_errors, replace_file
from mvdefect.core.parallel import count_cores
from mvdefect.core.progress import logger
from mvdefect.core.runtime import describe_environment, seed_everything, set_precision
from mvdefect.data.images import Pixels
from mvdefect.data.pipeline import Source, make_inference_batches
from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.evaluation.operating_point import OperatingPoint
from mvdefect.report.report import write_report
from mvdefect.runs import RunFolder, make_run, write_json
from mvdefect.training.predictions import keep_maps
from mvdefect.workflow.explain import explain_part
from mvdefect.workflow.fit import run_job
from mvdefect.workflow.job import FitJob
from mvdefect.workflow.outcome import FinishedRun, Scores, settle_outcome
from mvdefect.workflow.photographs import (
    Photographs,
    log_plan,
    logging_to,
    prepare_photographs,
    settle_size,
    write_plan,
)

BATCH_SIZE = 32


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
    return run_baseline_job(check_baseline(name, config, run, overwrite))


def run_baseline_job(job: FitJob) -> FinishedRun:
    """Run what `check_baseline` has checked; see `run_baseline`.

    Raises:
        MvdefectError: Of its many kinds, for whatever is wrong with images or settings.
    """
    baseline = find_baseline(str(job.config.baseline))
    if baseline.learner == "network":
        return run_job(job)
    config = settle_size(job.config, job.records)
    seed_everything(config.seed, config.deterministic)
    set_precision(config.precision)
    photographs = prepare_photographs(job.records, config, job.planned, job.needs)
    config, digest = photographs.note_bits(config), photographs.plan.digest
    place = replace(job, config=config).find_place(digest)
    with make_run(place, config, digest, job.overwrite) as folder, logging_to(folder.log):
        write_plan(photographs, folder)
        log_plan(photographs.plan)
        logger.info("%s: %s", baseline.name, baseline.describe)
        evaluation, unmet = _fit_and_measure(make_estimator(baseline, config), config, photographs, folder)
        write_json(folder.environment, describe_environment())
        write_report(folder, evaluation)
    if unmet is not None:
        raise unmet
    return FinishedRun(RunFolder(place), evaluation)


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
    """Yield the images of a part as one array, uint8 (n, height, width, 3), in the order of its rows.

    It lies in a file that vanishes with the block, so that memory does not grow with the part.
    """
    size_px = source.store.size_px
    with tempfile.TemporaryDirectory(dir=cache_dir("baselines")) as aside:
        shape, path = (source.count, *size_px, 3), Path(aside) / "pixels.bin"
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
        estimator.fit(pixels, train.labels, groups=train.groups)
    logger.info("fitted in %.1f s", time.monotonic() - started)
    with replace_file(folder.estimator) as partial:
        joblib.dump(estimator, partial, compress=3)
    scores = {part: score_part(estimator, source) for part, source in sources.items()}

    def explain(point: OperatingPoint) -> None:
        if isinstance(estimator, OneClassDetector):
            _explain(estimator, config, photographs, folder, point)

    return settle_outcome(folder, config, photographs.plan, scores, photographs.scan.defect_shares, explain)


def _explain(
    estimator: OneClassDetector,
    config: FitConfig,
    photographs: Photographs,
    folder: RunFolder,
    point: OperatingPoint,
) -> None:
    """Write the map of each image of the test part."""
    source = photographs.get_sources()["test"]
    maps = [estimator.map_distances(batch.numpy()) for batch in make_inference_batches(source, BATCH_SIZE)]
    explain_part(keep_maps(np.concatenate(maps)), source, photographs.scan, config.resize, folder, point)
