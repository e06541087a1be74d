"""Folds, refits and the choice among candidates, with figures worked out independently."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvdefect.config import FitConfig
from mvdefect.core.errors import SearchError, SplitError
from mvdefect.data.pipeline import Source
from mvdefect.data.splits.folds import choose_fold_count, draw_folds, leave_test_out
from mvdefect.data.splits.plan import PlanRow, SplitPlan
from mvdefect.evaluation.comparison import compare_repeats
from mvdefect.evaluation.figures import Sample, roc_auc
from mvdefect.runs import EpochRow
from tests.tuning.fakes import read_table, score_trial
from tuning.choice.confirm import compare_choice
from tuning.choice.leaderboard import make_leaderboard, write_leaderboard
from tuning.choice.refits import RefitRun, choose_candidates, refit_candidates
from tuning.records import Leaderboard, TrialRecord
from tuning.search.hypermodel import TrainingParts
from tuning.search.trials import TrialResult
from tuning.settings import SearchConfig
from tuning.space.space import make_space

BASE = FitConfig(backbone="small_cnn", weights="none", data="parts", resolution=(64, 64))
SPACE = make_space(BASE, {}, {})
SEARCH = SearchConfig()


def make_plan(groups: int, defective_every: int = 2) -> SplitPlan:
    """Two photographs a group; a third of the groups each in train, val and test."""
    rows = [
        PlanRow(
            f"{group:03}-{twin}",
            ("train", "val", "test")[group // defective_every % 3],
            "part",
            "scratch" if group % defective_every == 0 else "good",
            group,
            "",
        )
        for group in range(groups)
        for twin in range(2)
    ]
    return SplitPlan("closed-set", 0, tuple(rows))


def test_folds_validate_every_photograph_once_and_never_the_test_part() -> None:
    plan = make_plan(60)
    kept = {row.id for row in leave_test_out(plan).rows}
    folds = draw_folds(plan, 4, 0)
    validated = [row.id for fold in folds for row in fold.select("val")]
    assert sorted(validated) == sorted(kept)
    for fold in folds:
        assert {row.id for row in fold.rows} == kept
        assert not {r.group for r in fold.select("val")} & {r.group for r in fold.select("train")}
        assert {row.label for row in fold.select("val")} == {0, 1}
    assert draw_folds(plan, 4, 0) == folds
    assert draw_folds(plan, 1, 0) == (leave_test_out(plan),)


def test_folds_are_drawn_where_val_is_small() -> None:
    assert choose_fold_count(make_plan(150)) == 1
    assert choose_fold_count(make_plan(60)) == 3
    assert choose_fold_count(make_plan(6)) == 1  # two groups of defective ones in all: too few to divide
    with pytest.raises(SplitError, match="9 folds need as many groups of good"):
        draw_folds(make_plan(24), 9, 0)


def make_run(name: str, seed: int, logits: np.ndarray, parameters: int, score: float) -> RefitRun:
    rows = (EpochRow(1, 1, 0, 1e-3, 0.5, 0.4, score, 0.1),)
    result = TrialResult("completed", rows, 1.0, 100.0, parameters, 10, tuple(map(float, logits)))
    return RefitRun(name, seed, 0, result)


def judge(gains: dict[str, float], sizes: dict[str, int], groups: int = 300) -> tuple[Leaderboard, SplitPlan]:
    """Rank candidates whose logits are so far apart."""
    plan = leave_test_out(make_plan(groups))
    labels = np.array([row.label for row in plan.select("val")])
    runs = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        for name, gain in gains.items():
            noise = rng.normal(0, 1, len(labels))
            logits = gain * labels + noise
            score = float(roc_auc(_make_sample(plan, logits), np.ones((1, len(labels))))[0])
            runs.append(make_run(name, seed, logits, sizes[name], score))
    board = make_leaderboard(runs, {name: {} for name in gains}, (plan,), SPACE, SEARCH)
    return board, plan


def _make_sample(plan: SplitPlan, logits: np.ndarray) -> Sample:
    rows = plan.select("val")
    labels = np.array([bool(row.label) for row in rows])
    return Sample(labels, logits, np.zeros_like(labels), np.array([row.group for row in rows]))


def test_a_clear_winner_is_recommended() -> None:
    board, _ = judge({"01": 3.0, "default": 0.5}, {"01": 2000, "default": 1000})
    assert (board.winner, board.recommended) == ("01", "01")
    behind = board.find("default").behind
    assert behind is not None
    assert behind.low > 0
    assert "certainly better than the default" in board.reason
    assert "not certainly" not in board.reason


def test_the_simpler_is_recommended_where_the_two_cannot_be_told_apart() -> None:
    board, _ = judge({"01": 2.02, "02": 2.0, "default": 0.5}, {"01": 5000, "02": 1000, "default": 900})
    assert (board.winner, board.recommended) == ("01", "02")
    assert "simpler and not certainly worse" in board.reason
    assert [one.name for one in board.candidates] == ["01", "02", "default"]


def test_the_default_wins_where_nothing_is_better() -> None:
    board, _ = judge({"01": 1.0, "default": 3.0}, {"01": 1000, "default": 1000})
    assert board.recommended == "default"
    assert board.reason.startswith("The default configuration has the best mean")


def test_means_and_spread_are_those_of_the_refits() -> None:
    board, _ = judge({"01": 2.0, "default": 1.0}, {"01": 1, "default": 1})
    scores = [refit.score for refit in board.find("01").refits]
    assert len(scores) == 3
    assert board.find("01").mean == pytest.approx(np.mean(scores))
    assert board.find("01").spread == pytest.approx(np.std(scores, ddof=1))
    behind = board.find("default").behind
    assert behind is not None
    assert behind.value == pytest.approx(board.find("01").mean - board.find("default").mean)


def test_a_candidate_that_failed_is_last_and_says_why(tmp_path: Path) -> None:
    board, plan = judge({"01": 2.0, "default": 1.0}, {"01": 1, "default": 1})
    labels = np.array([row.label for row in plan.select("val")])
    runs = [
        make_run("default", 0, labels.astype(float), 1, 1.0),
        RefitRun("02", 0, 0, TrialResult("failed", trouble="it diverged")),
    ]
    board = make_leaderboard(runs, {"02": {"dropout": 0.5}, "default": {}}, (plan,), SPACE, SEARCH)
    assert [one.name for one in board.candidates] == ["default", "02"]
    write_leaderboard(board, SPACE.names, tmp_path)
    rows = read_table(tmp_path / "leaderboard.csv")
    assert [row["name"] for row in rows] == ["default", "02"]
    assert (rows[1]["trouble"], rows[1]["dropout"]) == ("it diverged", "0.5")
    with pytest.raises(SearchError, match="trained again: it diverged"):
        make_leaderboard(runs[1:], {"02": {}}, (plan,), SPACE, SEARCH)


@pytest.mark.parametrize(("folds", "groups"), [(1, 60), (1, 12), (3, 6), (3, 3)])
def test_the_interval_over_repeats_covers_what_it_should(folds: int, groups: int) -> None:
    """Two that are equally good in truth: the 95% interval holds 0 in 95 of 100 draws or more."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        drawn = [_draw_equal_pairs(rng, groups, 1000 * fold) for fold in range(folds)]
        figure = compare_repeats(drawn, roc_auc, replicates=300)
        hits += figure.low <= 0 <= figure.high
    assert hits >= 184


def _draw_equal_pairs(rng: np.random.Generator, groups: int, offset: int) -> list[tuple[Sample, Sample]]:
    """Two trainings; a third of the groups is defective, two photographs each."""
    labels = np.repeat(np.arange(groups) % 3 == 0, 2)
    code, empty = offset + np.repeat(np.arange(groups), 2), np.zeros_like(labels)
    shared = np.repeat(rng.normal(0, 1, groups), 2) + 1.5 * labels

    def draw() -> Sample:
        return Sample(labels, shared + np.repeat(rng.normal(0, 0.7, groups), 2), empty, code)

    return [(draw(), draw()) for _ in range(2)]


def test_of_one_group_nothing_is_said() -> None:
    labels, empty = np.array([True, True, False, False]), np.zeros(4, bool)
    samples = [
        Sample(labels, np.array(scores), empty, np.array([0, 0, 1, 2]))
        for scores in ([3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0])
    ]
    figure = compare_repeats([[(samples[0], samples[1])]], roc_auc)
    assert (figure.value, figure.low, figure.high) == (1.0, -1.0, 1.0)


def test_repeats_on_several_folds_are_averaged() -> None:
    rng = np.random.default_rng(1)
    folds, expected = [], []
    for fold in range(2):
        labels = np.array([True, False] * 20)
        groups = 100 * fold + np.arange(40)
        scores = [rng.normal(0, 1, 40) + labels for _ in range(2)]
        samples = [Sample(labels, score, np.zeros_like(labels), groups) for score in scores]
        folds.append([(samples[0], samples[1])])
        whole = np.ones((1, 40))
        expected.append(float(roc_auc(samples[0], whole)[0] - roc_auc(samples[1], whole)[0]))
    figure = compare_repeats(folds, roc_auc, replicates=200)
    assert figure.value == pytest.approx(np.mean(expected))
    assert figure.low < figure.value < figure.high


@pytest.mark.parametrize(("gain", "said"), [(4.0, "beats"), (1.0, "does not beat"), (-3.0, "is worse than")])
def test_a_confirmation_says_what_the_difference_means(gain: float, said: str) -> None:
    labels = np.array([True, False] * 60)
    noise = np.random.default_rng(0).normal(0, 1, (2, 120))
    empty, groups = np.zeros_like(labels), np.arange(120)
    tuned, default = (
        Sample(labels, by * labels + row, empty, groups) for by, row in zip((gain, 1.0), noise, strict=True)
    )
    found = compare_choice("test part", [0], [[(tuned, default)]])
    assert said in found.verdict
    assert found.tuned[0] - found.default[0] == pytest.approx(found.difference.value)


def make_trial(name: str, score: float, loss: float = 0.1, **values: float) -> TrialRecord:
    status = "failed" if np.isnan(score) else "completed"
    return TrialRecord(name, status, values, score, score, loss, (), 1.0, 1.0, 1, 1)


def test_candidates_are_the_best_that_differ_and_the_default() -> None:
    trials = [
        make_trial("0", 0.8, dropout=0.1),
        make_trial("1", 0.9, dropout=0.2, **{"tuner/epochs": 3}),
        make_trial("2", 0.95, dropout=0.2, **{"tuner/epochs": 9}),
        make_trial("3", float("nan"), dropout=0.3),
        make_trial("4", 0.8, 0.05, dropout=0.4),
        make_trial("5", 0.7, dropout=0.5),
    ]
    found = choose_candidates(trials, SEARCH, {"dropout": 0.7})
    best = {"2": {"dropout": 0.2}, "4": {"dropout": 0.4}, "0": {"dropout": 0.1}}
    assert found == {**best, "default": {"dropout": 0.7}}


def test_every_candidate_meets_every_seed_and_fold(sources: dict[str, Source], tmp_path: Path) -> None:
    folds = draw_folds(sources["train"].plan, 2, 0)
    parts = [
        TrainingParts({}, {((64, 64), "letterbox"): replace(sources["val"], plan=fold)}, {}) for fold in folds
    ]
    candidates = {"07": {"dropout": 0.3}, "default": {}}
    search = SearchConfig.model_validate({"refits": {"seeds": 2}})
    runs = refit_candidates(candidates, SPACE, parts, search, tmp_path, 2, score_trial)
    met = {(run.candidate, run.seed, run.fold) for run in runs}
    assert met == {(name, seed, fold) for name in candidates for seed in (0, 1) for fold in (0, 1)}
    assert all(len(run.result.logits) == len(folds[run.fold].select("val")) for run in runs)
    board = make_leaderboard(runs, candidates, folds, SPACE, search)
    assert board.winner == "07"
    assert board.find("07").mean == pytest.approx(1.0)
    assert board.find("default").mean == pytest.approx(1 - abs(BASE.dropout - 0.3))
