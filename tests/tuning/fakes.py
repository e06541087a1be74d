"""Trials without training: what the processes of the tests run; they are pickled by name."""

from __future__ import annotations

import csv
import os
import signal
import time
from pathlib import Path

import numpy as np

from mvdefect.config import dump_config
from mvdefect.core.files import write_rows, write_text
from mvdefect.data.splits.plan import read_split_plan
from mvdefect.runs import EpochRow, PredictionRow, RunFolder
from tuning.choice.confirm import FitJob
from tuning.search.trials import TrialJob, TrialResult, write_result

PACE_SECONDS = "MVDEFECT_TEST_PACE"
RUNS = "MVDEFECT_TEST_RUNS"  # a file that gets a line for each process


def score_trial(job: TrialJob) -> None:
    """The nearer dropout is to 0.3, the better; each process leaves its mark."""
    if RUNS in os.environ:
        with Path(os.environ[RUNS]).open("a", encoding="utf-8") as stream:
            stream.write(f"{job.folder.name} {os.getpid()}\n")
    time.sleep(float(os.environ.get(PACE_SECONDS, 0)))
    config = job.hypermodel.space.configure(
        {k: v for k, v in job.hyperparameters["values"].items() if "/" not in k}
    )
    score = 1 - abs(config.dropout - 0.3)
    rows = tuple(EpochRow(n, 1, 0, 1e-3, 1 / n, 0.5 - 0.01 * n, score - 0.01 * (2 - n), 0.1) for n in (1, 2))
    logits: tuple[float, ...] = ()
    if job.with_logits:
        val = next(iter(job.hypermodel.parts.val.values()))
        noise = np.random.default_rng(config.seed).normal(0, 1, val.count)
        logits = tuple(map(float, (30 * score - 26) * val.labels + noise))
    learning = 100 * (1 + len(job.hyperparameters["values"]))
    write_result(job.folder, TrialResult("completed", rows, 1.0, 100.0, 1000, learning, logits))


def fail_every_third(job: TrialJob) -> None:
    """Every third trial runs out of memory, as Python says it."""
    if int(job.folder.name.removeprefix("trial_")) % 3 == 2:
        write_result(job.folder, TrialResult("failed", trouble="MemoryError: too large"))
    else:
        score_trial(job)


def be_killed(job: TrialJob) -> None:
    """The system's way when memory runs out."""
    del job
    os.kill(os.getpid(), signal.SIGKILL)


def find_a_wrong_setting(job: TrialJob) -> None:
    """What no other trial would do better."""
    write_result(job.folder, TrialResult("fatal", trouble="depth_blocks goes from 0 to 4"))


def fit_instantly(job: FitJob) -> None:
    """Leave of a run what is compared: the predictions."""
    folder = RunFolder(job.run)
    folder.path.mkdir(parents=True)
    assert job.config.split is not None
    plan = read_split_plan(job.config.split)
    noise = np.random.default_rng(job.config.seed).normal(0, 1, len(plan.rows))
    gain = 0.2 if job.config.dropout == 0.2 else 4  # that of the default is 0.2
    rows = [
        PredictionRow(
            row.id, row.part, row.label, row.category, row.defect_type, row.group,
            score, 0.0, score, 0.5, "good", 0.0,
        )
        for row, score in zip(plan.rows, gain * np.array([r.label for r in plan.rows]) + noise, strict=True)
    ]  # fmt: skip
    write_rows(folder.predictions, PredictionRow, rows)
    write_text(folder.config, dump_config(job.config))
    write_text(folder.metrics, "{}")


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a CSV file."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
