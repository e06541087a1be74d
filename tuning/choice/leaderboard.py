"""The leaderboard: the winner by mean, and the simplest configuration that is not certainly worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mvdefect.core.errors import SearchError
from mvdefect.core.files import write_table
from mvdefect.data.splits.plan import SplitPlan
from mvdefect.evaluation.bootstrap import Figure
from mvdefect.evaluation.comparison import compare_repeats
from mvdefect.evaluation.figures import Sample, roc_auc
from tuning.choice.refits import RefitRun
from tuning.records import COMPLETED, DEFAULT, Candidate, Leaderboard, Refit, TrialRecord, Value
from tuning.settings import SearchConfig
from tuning.space.space import SearchSpace

LEADERBOARD = "leaderboard.csv"
TRIALS = "trials.csv"


def make_leaderboard(
    runs: Sequence[RefitRun],
    candidates: Mapping[str, Mapping[str, Value]],
    folds: Sequence[SplitPlan],
    space: SearchSpace,
    search: SearchConfig,
) -> Leaderboard:
    """Rank candidates by the mean of their refits, and recommend one.

    The recommended one is the simplest of those whose ROC-AUC is not certainly below the winner's: the
    paired 95% interval of the difference reaches 0. Simpler is what takes less work at the line (numbers of
    the classifier times pixels of its input), then what has fewer numbers to learn.

    Args:
        runs: All refits.
        candidates: The hyperparameters of each.
        folds: The plan of each fold.
        space: What the hyperparameters mean.
        search: Which objective, in which direction.

    Raises:
        SearchError: Every refit failed.
    """
    sign = 1 if search.direction == "max" else -1
    found = [_make_candidate(name, values, runs, space, search) for name, values in candidates.items()]
    sound = sorted((one for one in found if not one.trouble), key=lambda one: (-sign * one.mean, one.cost))
    if not sound:
        raise SearchError(f"no configuration could be trained again: {found[0].trouble}")
    winner = sound[0]
    compared = [winner, *(_compare(one, winner, runs, folds) for one in sound[1:])]
    level = [one for one in compared if one.behind is None or not one.behind.low > 0]
    simplest = min(level, key=lambda one: one.cost)
    reason = _explain(winner, simplest, compared, search)
    reason = reason[0].upper() + reason[1:]
    failed = [one for one in found if one.trouble]
    return Leaderboard((*compared, *failed), winner.name, simplest.name, reason)


def _make_candidate(
    name: str,
    values: Mapping[str, Value],
    runs: Sequence[RefitRun],
    space: SearchSpace,
    search: SearchConfig,
) -> Candidate:
    mine = [run for run in runs if run.candidate == name]
    broken = [run.result.trouble for run in mine if run.result.status != COMPLETED]
    refits = tuple(_make_refit(run, search) for run in mine if run.result.status == COMPLETED)
    scores = np.array([refit.score for refit in refits])
    size = space.configure(values).size_px
    return Candidate(
        name,
        values,
        refits,
        float(scores.mean()) if len(scores) else float("nan"),
        float(scores.std(ddof=1)) if len(scores) > 1 else float("nan"),
        mine[0].result.parameters,
        mine[0].result.learning_parameters,
        size,
        trouble=broken[0] if broken else "",
    )


def _make_refit(run: RefitRun, search: SearchConfig) -> Refit:
    best = run.result.find_best_epoch()
    score = float(getattr(best, search.objective))
    return Refit(run.seed, run.fold + 1, score, best.val_roc_auc, best.val_loss)


def _compare(
    one: Candidate, winner: Candidate, runs: Sequence[RefitRun], folds: Sequence[SplitPlan]
) -> Candidate:
    logits = {(run.candidate, run.fold, run.seed): run.result.logits for run in runs}
    pairs = []
    for fold, plan in enumerate(folds):
        seeds = sorted({run.seed for run in runs if run.fold == fold})
        pairs.append(
            [
                (
                    _make_sample(plan, logits[winner.name, fold, seed]),
                    _make_sample(plan, logits[one.name, fold, seed]),
                )
                for seed in seeds
            ]
        )
    return replace(one, behind=compare_repeats([found for found in pairs if found], roc_auc))


def _make_sample(plan: SplitPlan, logits: Sequence[float]) -> Sample:
    rows = plan.select("val")
    labels = np.array([bool(row.label) for row in rows])
    return Sample(labels, np.array(logits), np.zeros_like(labels), np.array([row.group for row in rows]))


def _explain(
    winner: Candidate, simplest: Candidate, ranked: Sequence[Candidate], search: SearchConfig
) -> str:
    mean = f"the best mean ({search.objective} {winner.mean:.4f})"
    if simplest.behind is not None:
        return (
            f"{_name(winner)} has {mean}, but {_name(simplest)} is simpler and not certainly worse on these "
            f"images (ROC-AUC lower by {_format(simplest.behind)}). Prefer the simpler one."
        )
    said = f"{_name(winner)} has {mean}, and nothing simpler equals it."
    default = next((one for one in ranked if one.name == DEFAULT), winner)
    if default.behind is None:
        return said
    certainly = "certainly" if default.behind.low > 0 else "not certainly"
    return (
        f"{said} It is {certainly} better than the default settings: by {_format(default.behind)} in ROC-AUC."
    )


def _name(one: Candidate) -> str:
    return "the default configuration" if one.name == DEFAULT else f"trial {one.name}"


def _format(figure: Figure) -> str:
    return f"{figure.value:+.4f}, 95% interval {figure.low:+.4f} to {figure.high:+.4f}"


def write_leaderboard(board: Leaderboard, names: Sequence[str], out: Path) -> None:
    """Write `leaderboard.csv`, one row a candidate, the best first.

    Args:
        board: The leaderboard.
        names: The hyperparameters, a column each; empty where one played no part or is the default's.
        out: The folder of the search.
    """
    head = ("rank", "name", "winner", "recommended", "mean", "spread", "refits")
    tail = ("behind", "behind_low", "behind_high", "parameters", "learning_parameters", "size_px")
    rows = []
    for rank, one in enumerate(board.candidates, start=1):
        behind = one.behind or Figure(float("nan"), float("nan"), float("nan"))
        row = (rank, one.name, one.name == board.winner, one.name == board.recommended, one.mean, one.spread)
        figures = (behind.value, behind.low, behind.high)
        sizes = (one.parameters, one.learning_parameters, one.size_px)
        rows.append((*row, len(one.refits), *figures, *sizes, *_pick(one.values, names), one.trouble))
    write_table(out / LEADERBOARD, (*head, *tail, *names, "trouble"), rows)


def write_trials(trials: Sequence[TrialRecord], names: Sequence[str], out: Path) -> None:
    """Write `trials.csv`, one row a trial in the order in which they began; see `write_leaderboard`."""
    head = ("name", "status", "score", "val_roc_auc", "val_loss", "epochs", "seconds", "peak_memory_mb")
    tail = ("parameters", "learning_parameters")
    rows = [
        (
            *(one.name, one.status, one.score, one.val_roc_auc, one.val_loss, len(one.history), one.seconds),
            *(one.peak_memory_mb, one.parameters, one.learning_parameters),
            *_pick(one.values, names),
            one.trouble,
        )
        for one in trials
    ]
    write_table(out / TRIALS, (*head, *tail, *names, "trouble"), rows)


def _pick(values: Mapping[str, Value], names: Sequence[str]) -> list[Value]:
    return [values.get(name, "") for name in names]
