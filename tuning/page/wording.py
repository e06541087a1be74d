"""How a search is put to people: what is recommended, how it compares, what the trials tell."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mvdefect.evaluation.bootstrap import Figure
from mvdefect.report.wording import format_signed
from tuning.records import (
    COMPLETED,
    DEFAULT,
    FAILED,
    RUNNING,
    Candidate,
    Importances,
    Leaderboard,
    SearchSummary,
    TrialRecord,
    list_completed,
)

RECOMMENDED, WINNER, BEST = "recommended", "winner", "best trial"
SYMBOLS = {RECOMMENDED: "◆", WINNER: "●", BEST: "▲"}
OBJECTIVES = {"val_roc_auc": "validation ROC-AUC", "val_loss": "validation loss"}
GOOD_FIT = 0.5
MILLION = 1e6


@dataclass(frozen=True)
class Fact:
    """A figure under the headline.

    Attributes:
        name: What it is.
        value: The figure.
        detail: What it rests on.
    """

    name: str
    value: str
    detail: str


@dataclass(frozen=True)
class Answer:
    """What the page says first.

    Attributes:
        advice: "fine" where something is recommended, "care" where not yet, "stop" where all failed.
        headline: The answer.
        sentences: Why.
        facts: The figures that it rests on.
    """

    advice: str
    headline: str
    sentences: tuple[str, ...]
    facts: tuple[Fact, ...] = ()


def reach_answer(summary: SearchSummary) -> Answer:
    """Say what is recommended and why, or that nothing is."""
    board = summary.leaderboard
    if board is not None and any(one.refits for one in board.candidates):
        return _recommend(summary, board)
    best = find_best(summary)
    if best is None:
        return _tell_failure(summary)
    why = (
        "The best trials are trained again before one is recommended; that is not done yet."
        if board is None
        else "None of the best trials could be trained again; the leaderboard says why."
    )
    warning = (
        f"Trial {best.name} has the best score so far, {best.score:.4f}. It is the best of many, each "
        "trained once, so part of that is luck: do not expect it again."
    )
    return Answer("care", "Nothing is recommended yet", (why, warning), _count_trials(summary))


def find_best(summary: SearchSummary) -> TrialRecord | None:
    """Return the completed trial with the best score, the first of equals."""
    sign = 1 if summary.direction == "max" else -1
    return max(list_completed(summary.trials), key=lambda trial: sign * trial.score, default=None)


def name_roles(summary: SearchSummary) -> dict[str, str]:
    """Return what is particular about some trials or candidates, by name, the most important first."""
    board, best = summary.leaderboard, find_best(summary)
    found: dict[str, list[str]] = {}
    if board is not None:
        found.setdefault(board.recommended, []).append(RECOMMENDED)
        found.setdefault(board.winner, []).append(WINNER)
    if best is not None:
        found.setdefault(best.name, []).append(BEST)
    return {name: ", ".join(roles) for name, roles in found.items() if name}


def find_symbol(role: str) -> str:
    """Return the symbol of the first of some roles; "" for none."""
    return SYMBOLS.get(role.split(", ")[0], "")


def name_candidate(name: str) -> str:
    """Return what a candidate is called."""
    return "default" if name == DEFAULT else f"trial {name}"


def format_mean(mean: float, spread: float) -> str:
    """Return a mean and the standard deviation, where there is one."""
    if math.isnan(mean):
        return "not known"
    return f"{mean:.4f}" if math.isnan(spread) else f"{mean:.4f} ± {spread:.4f}"


def format_difference(figure: Figure) -> str:
    """Return a difference and its 95% interval, with signs."""
    interval = "" if math.isnan(figure.low) else f" ({_sign(figure.low)} to {_sign(figure.high)})"
    return f"{_sign(figure.value)}{interval}"


def format_millions(count: int) -> str:
    """Return a number in millions, with enough digits for a small one."""
    return f"{count / MILLION:.3f}" if count < MILLION else f"{count / MILLION:.2f}"


def describe_fit(importances: Importances) -> str:
    """Say whether the importances can be believed."""
    fit = importances.fit
    if math.isnan(fit):
        return (
            "The trials do not tell what matters: too few completed, their scores are all equal, or nothing "
            "varied among them."
        )
    told = f"R² {fit:.2f} on trials that it did not see (out of bag)".replace("-", "−")
    if fit <= 0:
        return (
            f"The trials do not tell what matters: a random forest on the hyperparameters does not predict "
            f"the score ({told}). The bars below mean nothing."
        )
    strength = "well" if fit >= GOOD_FIT else "in part only, so take the order with caution"
    return f"A random forest on the hyperparameters predicts the score {strength}: {told}."


def _recommend(summary: SearchSummary, board: Leaderboard) -> Answer:
    chosen = board.find(board.recommended)
    default = next((one for one in board.candidates if one.name == DEFAULT and one.refits), None)
    keeps = chosen.name == DEFAULT
    headline = "Keep the default settings" if keeps else f"Use the settings of trial {chosen.name}"
    reason = board.reason[:1].upper() + board.reason[1:]
    facts = [_measure(chosen, RECOMMENDED, summary)]
    if default is not None and not keeps:
        facts.append(_measure(default, "default", summary))
    facts += [_size(chosen), *_count_trials(summary)]
    compared = () if keeps else (_compare(chosen, default, summary),)
    return Answer("fine", headline, (reason, *compared), tuple(facts))


def _compare(chosen: Candidate, default: Candidate | None, summary: SearchSummary) -> str:
    """Say how the recommended candidate compares with the default."""
    if default is None:
        return "How it compares with the default is not known: the default was not refitted."
    sign = 1 if summary.direction == "max" else -1
    gain = chosen.mean - default.mean
    side = "better" if sign * gain > 0 else "worse" if sign * gain < 0 else "neither better nor worse"
    objective = OBJECTIVES.get(summary.objective, summary.objective)
    words = f"In the mean of the refits it is {side} than the default: {_sign(gain)} in {objective}."
    if default.behind is None:
        return words
    behind = format_difference(default.behind)
    against = "it" if chosen.behind is None else "the winner"
    certain = (
        "more than chance explains"
        if default.behind.low > 0
        else "which may be chance: the interval reaches 0"
    )
    return f"{words} The default is behind {against} in ROC-AUC by {behind}, {certain}."


def _measure(one: Candidate, name: str, summary: SearchSummary) -> Fact:
    objective = OBJECTIVES.get(summary.objective, summary.objective)
    count = len(one.refits)
    spread = "" if math.isnan(one.spread) else f" ± {one.spread:.4f},"
    return Fact(name, f"{one.mean:.4f}", f"{spread} {objective}, {_count(count, 'refit')}".strip())


def _size(one: Candidate) -> Fact:
    size = f"{one.size_px[1]}×{one.size_px[0]} px"
    detail = f"parameters, {format_millions(one.learning_parameters)} M of them learn; {size}"
    return Fact("size", f"{format_millions(one.parameters)} M", detail)


def _count_trials(summary: SearchSummary) -> tuple[Fact, ...]:
    counts = Counter(trial.status for trial in summary.trials)
    parts = [f"{counts[status]} {status}" for status in (COMPLETED, FAILED, RUNNING) if counts[status]]
    return (Fact("trials", str(len(summary.trials)), ", ".join([*parts, summary.ended])),)


def _tell_failure(summary: SearchSummary) -> Answer:
    counts = Counter(trial.status for trial in summary.trials)
    if not counts[FAILED]:
        why = "No trial has completed yet." if summary.trials else "No trial has begun."
        return Answer("care", "Nothing is recommended yet", (why,), _count_trials(summary))
    still = f", and {counts[RUNNING]} still run" if counts[RUNNING] else ""
    trouble, times = Counter(one.trouble for one in summary.trials if one.status == FAILED).most_common(1)[0]
    sentences = (
        f"No trial completed: {counts[FAILED]} of {len(summary.trials)} failed{still}.",
        f"The most frequent trouble ({times} of {counts[FAILED]}): {trouble}",
    )
    return Answer("stop", "Nothing can be recommended: no trial completed", sentences, _count_trials(summary))


def describe_seeds(values: tuple[float, ...]) -> str:
    """Return mean and standard deviation of some trainings' figures."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return format_mean(float(np.mean(values)), spread)


def describe_fixed(fixed: Mapping[str, str]) -> str:
    """Say which hyperparameters were the same in all trials; "" for none."""
    listed = ", ".join(f"{name} = {value}" for name, value in fixed.items())
    return f"The same in all trials: {listed}." if listed else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _sign(value: float) -> str:
    return format_signed(value, 4)
