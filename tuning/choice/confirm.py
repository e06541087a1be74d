"""Confirmation: the choice against the default on the test part, once everything else is settled."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvdefect.config import FitConfig, dump_config
from mvdefect.core.errors import SearchError
from mvdefect.core.progress import logger
from mvdefect.core.runtime import load_tensorflow
from mvdefect.evaluation.bootstrap import Figure
from mvdefect.evaluation.comparison import compare_repeats
from mvdefect.evaluation.figures import Sample, roc_auc
from mvdefect.evaluation.strata import make_sample
from mvdefect.runs import RunFolder, open_run, read_predictions
from tuning.progress import show_life
from tuning.records import Confirmation
from tuning.schedule import format_time
from tuning.search.processes import read_slot, run_isolated

FOLDER = "confirm"


@dataclass(frozen=True)
class FitJob:
    """A fit for a process of its own."""

    config: FitConfig
    run: Path


def confirm_choice(
    best: FitConfig, default: FitConfig, seeds: int, out: Path, workers: int = 1
) -> Confirmation:
    """Fit the choice and the default with several seeds, and compare them on the test part.

    Args:
        best: Settings that were chosen.
        default: Settings that the search began with.
        seeds: How many.
        out: The folder of the search.
        workers: How many fits at a time.

    Raises:
        SearchError: A fit failed.
    """
    numbers = [best.seed + number for number in range(seeds)]
    return compare_choice("test part", numbers, [fit_pairs(best, default, numbers, out, workers)])


def fit_pairs(
    best: FitConfig, default: FitConfig, seeds: Sequence[int], out: Path, workers: int = 1
) -> list[tuple[Sample, Sample]]:
    """Fit the choice and the default, and return what each says of the test part, for each seed.

    A run with just these settings that is there already is taken as it is.

    Args:
        best: Settings that were chosen.
        default: Settings that the search began with; where they are the same, they are fitted once.
        seeds: Of the fits.
        out: The folder of the search.
        workers: How many fits at a time.

    Raises:
        SearchError: A fit failed.
    """
    pairs = [(_make_job(best, seed, out), _make_job(default, seed, out)) for seed in seeds]
    jobs = {job.run: job for pair in pairs for job in pair if not RunFolder(job.run).is_finished}
    logs = [run.with_name(run.name + ".txt") for run in jobs]
    started, done = time.monotonic(), 0
    with show_life(lambda: f"fit {min(done + 1, len(jobs))} of {len(jobs)}"):
        for place, code in run_isolated(fit_run, list(zip(jobs.values(), logs, strict=True)), workers):
            run = list(jobs)[place]
            if code or not RunFolder(run).is_finished:
                raise SearchError(f"the fit {run} failed; {logs[place]} says why")
            done += 1
            left_s = (time.monotonic() - started) / done * (len(jobs) - done)
            logger.info("fit %d of %d: %s; about %s left", done, len(jobs), run, format_time(left_s))
    return [(_read_sample(tuned.run), _read_sample(usual.run)) for tuned, usual in pairs]


def _make_job(config: FitConfig, seed: int, out: Path) -> FitJob:
    """Name the run by all of its settings: what a prolonged search chooses is another run."""
    seeded = config.model_copy(update={"seed": seed})
    name = hashlib.sha256(dump_config(seeded).encode()).hexdigest()[:8]
    return FitJob(seeded, out / FOLDER / f"seed{seed}-{name}")


def _read_sample(run: Path) -> Sample:
    return make_sample([row for row in read_predictions(open_run(run)) if row.split == "test"])


def compare_choice(
    name: str, seeds: Sequence[int], folds: Sequence[Sequence[tuple[Sample, Sample]]]
) -> Confirmation:
    """Say by how much the choice is above the default.

    Args:
        name: On what.
        seeds: Of the trainings.
        folds: See `compare_repeats`; the choice first.
    """
    difference = compare_repeats(folds, roc_auc)
    pairs = [pair for fold in folds for pair in fold]
    return Confirmation(
        name,
        tuple(seeds),
        tuple(_measure(tuned) for tuned, _ in pairs),
        tuple(_measure(default) for _, default in pairs),
        difference,
        _judge(difference),
    )


def fit_run(job: FitJob) -> None:
    """Fit an inspector: what a process of its own does."""
    load_tensorflow(gpu=read_slot() if job.config.devices == 1 else None, devices=job.config.devices)
    from mvdefect.workflow.fit import fit_inspector

    fit_inspector(job.config, job.run)


def _measure(sample: Sample) -> float:
    return float(roc_auc(sample, np.ones((1, len(sample.labels))))[0])


def _judge(difference: Figure) -> str:
    if difference.low > 0:
        return "The tuned configuration beats the default."
    if difference.high < 0:
        return "The tuned configuration is worse than the default."
    return "The tuned configuration does not beat the default: the difference may be chance."
