"""Confirmation: the choice against the default on the test part, once everything else is settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvdefect.backend import load_tensorflow
from mvdefect.config import FitConfig
from mvdefect.errors import SearchError
from mvdefect.evaluation.comparison import compare_repeats
from mvdefect.evaluation.metrics import Figure, Sample, roc_auc
from mvdefect.evaluation.strata import make_sample
from mvdefect.progress import logger
from mvdefect.runs import RunFolder, open_run, read_predictions
from tuning.processes import run_isolated
from tuning.records import Confirmation

FOLDER = "confirm"
TUNED, DEFAULT = "tuned", "default"


@dataclass(frozen=True)
class FitJob:
    """A fit for a process of its own."""

    config: FitConfig
    run: Path
    number: int


def confirm_choice(
    best: FitConfig, default: FitConfig, seeds: int, out: Path, workers: int = 1
) -> Confirmation:
    """Fit the choice and the default with several seeds, and compare them on the test part.

    Args:
        best: Settings that were chosen.
        default: Settings that the search began with.
        seeds: How many.
        out: The folder of the search; runs that are there already are taken as they are.
        workers: How many fits at a time.

    Raises:
        SearchError: A fit failed.
    """
    numbers = [best.seed + number for number in range(seeds)]
    pairs = [(seed, name) for seed in numbers for name in (TUNED, DEFAULT)]
    configs = {TUNED: best, DEFAULT: default}
    jobs = [
        FitJob(configs[name].model_copy(update={"seed": seed}), out / FOLDER / f"{name}-seed{seed}", place)
        for place, (seed, name) in enumerate(pairs)
    ]
    left = [job for job in jobs if not RunFolder(job.run).is_finished]
    logs = [job.run.with_name(job.run.name + ".txt") for job in left]
    for place, code in run_isolated(fit_run, list(zip(left, logs, strict=True)), workers):
        if code or not RunFolder(left[place].run).is_finished:
            raise SearchError(f"the fit {left[place].run} failed; {logs[place]} says why")
        logger.info("fitted %s", left[place].run)
    return compare_choice("test part", numbers, [read_pairs(out, numbers)])


def read_pairs(out: Path, seeds: Sequence[int]) -> list[tuple[Sample, Sample]]:
    """Return what the choice and the default say of the test part, for each seed.

    Args:
        out: The folder of a search that was confirmed.
        seeds: Of the fits.
    """

    def read(name: str, seed: int) -> Sample:
        rows = read_predictions(open_run(out / FOLDER / f"{name}-seed{seed}"))
        return make_sample([row for row in rows if row.split == "test"])

    return [(read(TUNED, seed), read(DEFAULT, seed)) for seed in seeds]


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
    load_tensorflow(gpu=job.number if job.config.devices == 1 else None, devices=job.config.devices)
    from mvdefect.workflow import fit_inspector

    fit_inspector(job.config, job.run)


def _measure(sample: Sample) -> float:
    return float(roc_auc(sample, np.ones((1, len(sample.labels))))[0])


def _judge(difference: Figure) -> str:
    if difference.low > 0:
        return "The tuned configuration beats the default."
    if difference.high < 0:
        return "The tuned configuration is worse than the default."
    return "The tuned configuration does not beat the default: the difference may be chance."
