"""What a search announces, what it keeps time for, and that a limit covers everything."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mvdefect.config import FitConfig
from tests.tuning.fakes import PACE_SECONDS, score_trial
from tests.tuning.test_search import run
from tests.tuning.test_tune import SETTINGS, make_search, tune
from tuning.progress import describe_running, show_life
from tuning.schedule import Pace, Schedule, describe_schedule, describe_time, plan_schedule
from tuning.search.probe import Cost, estimate_pace, measure_pace
from tuning.settings import SearchConfig
from tuning.tune import TuneOptions

PACE = Pace(first_s=30.0, next_s=10.0)


def test_all_that_is_done_counts() -> None:
    schedule = Schedule(trials=20, candidates=4, seeds=3, folds=2, fits=2)
    assert schedule.find_left(PACE, 5) == 5 * 10 + 6 * (30 + 3 * 10) + 2 * 2 * 30


@pytest.mark.parametrize(
    ("limit_s", "kept_s"),
    [(1000, 6 * 60 + 10), (500, 250 + 10), (90, 60 + 9)],  # all rounds; half of the time; one at least
)
def test_time_is_kept_for_the_refits(limit_s: float, kept_s: float) -> None:
    schedule = Schedule(trials=20, candidates=4, seeds=3, folds=2)
    assert schedule.find_reserve(PACE, limit_s) == kept_s


def test_a_search_says_all_that_it_will_do() -> None:
    search = SearchConfig.model_validate({"trials": 20, "refits": {"best": 3, "seeds": 3}})
    words = "\n".join(describe_schedule(plan_schedule(search, 3, 10, 0.0), "bayesian", 17))
    for part in ("at most 20 trials of up to 17 epochs", "36 trainings", "10 fits", "test part"):
        assert part in words


@pytest.mark.parametrize(
    ("minutes", "said"),
    [
        (None, "about 10 min on this machine"),  # 20 seconds to store, 3 * 10, 9 * 60
        (20.0, "That is within --minutes 20"),
        (5.0, "--minutes 5 covers everything"),
        (1.0, "--minutes 1 is too short"),
    ],
)
def test_the_time_is_told_before_anything_begins(minutes: float | None, said: str) -> None:
    schedule = Schedule(3, candidates=4, seeds=3, folds=3, minutes=minutes, pace=PACE)
    assert said in describe_time(schedule)


def test_an_estimate_adds_up() -> None:
    cost = Cost(build_s=2.0, frozen_s=0.01, learning_s=0.001)
    config = FitConfig.model_validate({**SETTINGS, "views": 4, "stages": [{"epochs": 10}]})
    pace = estimate_pace(cost, config, train=100, val=20)
    assert pace.next_s == pytest.approx(3 * 2 + 10 * (3 * 100 + 20) * 0.001)
    assert pace.first_s == pytest.approx(pace.next_s + (4 * 100 + 20) * 0.01)
    unstored = estimate_pace(cost, config.model_copy(update={"views": 0}), train=100, val=20)
    assert unstored.first_s == unstored.next_s == pytest.approx(pace.next_s + 10 * 120 * 0.01)


@pytest.mark.slow
def test_a_training_is_measured_on_this_machine() -> None:
    config = FitConfig.model_validate(
        {**SETTINGS, "resolution": [64, 64], "stages": [{"epochs": 1, "depth_blocks": 1}]}
    )
    pace = measure_pace(config, None, train=100, val=20)
    assert pace is not None
    assert 0 < pace.next_s < pace.first_s < 600
    assert measure_pace(config, Path("nowhere.h5"), 100, 20) is None


def test_trials_leave_time_for_what_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "warm", trials=1)
    monkeypatch.setenv(PACE_SECONDS, "0.2")
    schedule = Schedule(trials=50, candidates=2, seeds=1, folds=1, minutes=0.1)
    oracle = run(tmp_path / "out", trials=50, minutes=0.1, schedule=schedule).oracle
    assert oracle.ended == "the rest of the 0.1 minutes is needed to train the best again"
    assert oracle.pace is not None
    left_s = 6 - oracle.count_seconds()
    assert oracle.pace.next_s <= left_s < 4 * (oracle.pace.first_s + oracle.pace.next_s)


def test_a_limit_covers_everything_and_still_brings_an_answer(
    parts_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = {"minutes": 1e-6, "refits": {"best": 2, "seeds": 2, "folds": 2}}
    first = tune(make_search(parts_root, **least), tmp_path / "least")
    assert len(first.trials) == 1
    assert first.leaderboard is not None
    assert [len(one.refits) for one in first.leaderboard.candidates] == [1, 1]
    whole = tune(make_search(parts_root, **{**least, "minutes": None}), tmp_path / "least").leaderboard
    assert whole is not None
    assert {len(one.refits) for one in whole.candidates} == {4}
    # What is there already takes no time.
    assert tune(make_search(parts_root, **least, trials=4), tmp_path / "least").leaderboard == whole

    monkeypatch.setenv(PACE_SECONDS, "0.5")
    given = {"trials": 500, "minutes": 0.1, "refits": {"best": 1, "seeds": 50, "folds": 1}}
    started = time.monotonic()
    summary = tune(make_search(parts_root, **given), tmp_path / "small")
    assert time.monotonic() - started < 6 + 3  # five minutes of trials and refits were asked for
    assert 1 < len(summary.trials) < 20
    assert summary.leaderboard is not None
    (count,) = {len(one.refits) for one in summary.leaderboard.candidates}  # whole rounds
    assert 1 <= count < 20


def test_what_is_done_is_told_before_it_begins(parts_root: Path, tmp_path: Path, messages: list[str]) -> None:
    tune(make_search(parts_root), tmp_path / "out", TuneOptions(function=score_trial, later_fits=3))
    trial = next(place for place, words in enumerate(messages) if words.startswith("trial "))
    announced = "\n".join(messages[:trial])
    assert "at most 4 trials of up to 1 epochs" in announced
    assert "the 2 best and the default are trained again with 2 seed(s) on 3 fold(s)" in announced
    assert "18 trainings" in announced
    assert "3 fits" in announced
    news = [words for words in messages if words.startswith(("trial ", "refit "))]
    assert len(news) == 4 + 18
    assert all(" left" in words for words in news[:-1])


def test_nothing_is_silent(tmp_path: Path, messages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuning.progress.QUIET_SECONDS", 0.02)
    (tmp_path / "trial_03").mkdir()
    (tmp_path / "trial_03" / "history.csv").write_text("epoch\n1\n2\n")
    (tmp_path / "trial_02").mkdir()
    with show_life(lambda: describe_running(tmp_path, lambda path: path.name == "trial_02", 17)):
        time.sleep(0.3)
    assert messages[0].startswith("trial 03: epoch 3 of 17 (")
