"""A search that nobody ran: trials whose score depends on two hyperparameters, and refits of the best."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mvdefect.evaluation.bootstrap import Figure
from mvdefect.runs import EpochRow
from tuning.choice.importance import measure_importances
from tuning.records import (
    COMPLETED,
    DEFAULT,
    FAILED,
    Candidate,
    Confirmation,
    Leaderboard,
    Refit,
    SearchSummary,
    TrialRecord,
    Value,
)

TRIALS, FAILED_PLACES = 24, (9, 17)
BACKBONES = {
    "densenet121": (7_040_000, 0.02),
    "mobilenetv3_small": (940_000, 0.0),
    "small_cnn": (95_000, -0.06),
}
SETTINGS = "tuner: hyperband\ntrials: 24\nobjective: val_roc_auc\nseed: 0\n"
BEST = "backbone: densenet121\nhead: patch\nstages:\n- epochs: 1\n- epochs: 16\n"


def draw_values(rng: np.random.Generator) -> dict[str, Value]:
    """Draw hyperparameters; some play a part only where another one has a certain value."""
    head, depth = str(rng.choice(["patch", "pooled"])), int(rng.choice([0, 1, 2, 4]))
    values: dict[str, Value] = {"backbone": str(rng.choice(list(BACKBONES))), "head": head}
    if head == "patch":
        values["sharpness"] = float(np.exp(rng.uniform(0, np.log(60))))
    values["depth_blocks"] = depth
    if depth > 0:
        values["learning_rate"] = float(10 ** rng.uniform(-5, -2))
    values |= {"head_learning_rate": float(10 ** rng.uniform(-4, -2)), "dropout": float(rng.uniform(0, 0.5))}
    return values | {"flip": bool(rng.integers(2)), "batch_size": 32, "tuner/epochs": 3}


def find_score(values: dict[str, Value], noise: float) -> float:
    """Return a score that the backbone and the learning rate decide."""
    _, bonus = BACKBONES[str(values["backbone"])]
    rate = math.log10(float(values.get("learning_rate", 1e-5)))
    return min(0.93 + bonus - 0.02 * (rate + 3.5) ** 2 + noise, 0.999)


def make_history(score: float, epochs: int = 12) -> tuple[EpochRow, ...]:
    """Make a history that climbs to a score."""
    return tuple(
        EpochRow(
            number, 1 + (number > 1), 2 * (number > 1), 1e-3, 0.7 * 0.8**number, 0.75 * 0.85**number,
            score - (score - 0.5) * 0.7**number, 4.0,
        )
        for number in range(1, epochs + 1)
    )  # fmt: skip


def make_trial(number: int, values: dict[str, Value], score: float) -> TrialRecord:
    """Make a trial that completed."""
    parameters, _ = BACKBONES[str(values["backbone"])]
    seconds, memory = 40.0 + 7 * (number % 5), 1800.0 + 90 * (number % 7)
    history, learning = make_history(score), 12_000 + 300_000 * int(values["depth_blocks"])
    return TrialRecord(
        f"{number:02d}",
        COMPLETED,
        values,
        score,
        score,
        0.6 - score / 2,
        history,
        seconds,
        memory,
        parameters,
        learning,
    )


def fail(trial: TrialRecord, trouble: str) -> TrialRecord:
    """Return a trial as one that stopped after two epochs."""
    nan, begun = math.nan, trial.history[:2]
    return replace(
        trial, status=FAILED, score=nan, val_roc_auc=nan, val_loss=nan, history=begun, seconds=9.5,
        peak_memory_mb=nan, parameters=0, learning_parameters=0, trouble=trouble,
    )  # fmt: skip


def make_trials(count: int = TRIALS) -> tuple[TrialRecord, ...]:
    """Draw trials, two of which fail."""
    rng = np.random.default_rng(4)
    trials = []
    for number in range(count):
        values = draw_values(rng)
        trial = make_trial(number, values, find_score(values, float(rng.normal(0, 0.004))))
        failed = number in FAILED_PLACES
        trials.append(fail(trial, "OOM: <no> memory left for 64 images & more") if failed else trial)
    return tuple(trials)


def make_candidate(trial: TrialRecord, offsets: tuple[float, ...], behind: float | None) -> Candidate:
    """Refit a trial with three seeds."""
    scores = [trial.score - 0.004 + offset for offset in offsets]
    refits = tuple(Refit(seed, 0, score, score, 0.2) for seed, score in enumerate(scores))
    figure = None if behind is None else Figure(behind, behind - 0.006, behind + 0.006)
    return Candidate(
        trial.name, trial.values, refits, float(np.mean(scores)), float(np.std(scores, ddof=1)),
        trial.parameters, trial.learning_parameters, (224, 224), figure,
    )  # fmt: skip


def make_leaderboard(trials: tuple[TrialRecord, ...]) -> Leaderboard:
    """Make candidates of the three best and of the default; the second best is recommended."""
    best = sorted((trial for trial in trials if trial.status == COMPLETED), key=lambda trial: -trial.score)
    found = [
        make_candidate(trial, (-0.003, 0.001, 0.002), behind)
        for trial, behind in zip(best[:3], (None, 0.002, 0.009), strict=True)
    ]
    values = {"backbone": "densenet121", "head": "pooled", "depth_blocks": 2, "learning_rate": 1e-4}
    values |= {"head_learning_rate": 1e-3, "dropout": 0.2, "flip": True, "batch_size": 32}
    default = make_candidate(make_trial(99, values, 0.925), (-0.005, 0.0, 0.004), 0.021)
    reason = (
        f"Trial {best[1].name} cannot be told from trial {best[0].name}, which has the best mean, "
        "and there is less in it to learn."
    )
    candidates = (*found, replace(default, name=DEFAULT))
    return Leaderboard(candidates, best[0].name, best[1].name, reason)


@pytest.fixture(scope="session")
def search() -> SearchSummary:
    """A search of 24 trials with two failures, four candidates and one confirmation."""
    trials = make_trials()
    confirmation = Confirmation(
        "test part", (0, 1, 2), (0.941, 0.947, 0.944), (0.921, 0.930, 0.926), Figure(0.018, 0.006, 0.031),
        "The tuned configuration is better than the default on photographs that no choice was made on.",
    )  # fmt: skip
    return SearchSummary(
        "tiles <one>", "val_roc_auc", "max", trials, "all 24 trials were made", measure_importances(trials),
        make_leaderboard(trials), (confirmation,), SETTINGS, BEST, ("Trials ran on 2 cores.",),
    )  # fmt: skip
