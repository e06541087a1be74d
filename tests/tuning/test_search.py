"""The search itself: limits, failures, kills and resumption, on trials that train nothing."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras_tuner
import pytest

from mvdefect.config import FitConfig
from mvdefect.core.errors import SearchError
from tests.tuning.fakes import (
    PACE_SECONDS,
    RUNS,
    be_killed,
    fail_every_third,
    find_a_wrong_setting,
    score_trial,
)
from tuning.schedule import Schedule
from tuning.search.hypermodel import InspectorHyperModel, TrainingParts
from tuning.search.search import FOLDER, InspectorTuner, make_tuner, read_trials
from tuning.search.trials import TrialFunction
from tuning.settings import SearchConfig
from tuning.space.space import make_space

ROOT = Path(__file__).parents[2]
BASE = FitConfig(backbone="small_cnn", weights="none", data="parts")


def make(
    out: Path, function: TrialFunction = score_trial, schedule: Schedule | None = None, **changes: object
) -> InspectorTuner:
    search = SearchConfig.model_validate({"strategy": "random", "trials": 6, "seed": 4, **changes})
    inspector = InspectorHyperModel(make_space(BASE, {}, {}), TrainingParts({}, {}, {}))
    return make_tuner(search, inspector, out, function, schedule)


def run(
    out: Path, function: TrialFunction = score_trial, schedule: Schedule | None = None, **changes: object
) -> InspectorTuner:
    tuner = make(out, function, schedule, **changes)
    tuner.search()
    return tuner


def test_every_trial_is_recorded_with_what_it_came_to(tmp_path: Path) -> None:
    trials = read_trials(run(tmp_path))
    assert [trial.name for trial in trials] == list("012345")
    for trial in trials:
        assert trial.status == "completed"
        assert (
            trial.score == trial.val_roc_auc == pytest.approx(1 - abs(float(trial.values["dropout"]) - 0.3))
        )
        assert trial.val_loss == pytest.approx(0.48)  # of the same epoch
        assert len(trial.history) == 2


def test_the_objective_has_its_direction(tmp_path: Path) -> None:
    oracle = run(tmp_path, objective="val_loss").oracle
    assert oracle.objective.direction == "min"
    assert oracle.get_best_trials()[0].score == min(trial.score for trial in oracle.trials.values())


@pytest.mark.parametrize(
    ("changes", "ended", "count"),
    [
        ({}, "all 6 trials are done", 6),
        ({"patience": 1}, "1 trials in a row brought nothing better", None),
        ({"minutes": 0.001}, "0.001 minutes are over", 1),
    ],
)
def test_a_search_ends_by_its_limits(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    ended: str,
    count: int | None,
) -> None:
    monkeypatch.setenv(PACE_SECONDS, "0.1")
    tuner = run(tmp_path, **changes)
    scores = [trial.score for trial in read_trials(tuner)]
    assert tuner.oracle.ended == ended
    if count is None:
        assert max(scores[:-1]) >= scores[-1]
        assert all(later > earlier for earlier, later in itertools.pairwise(scores[:-1]))
    else:
        assert len(scores) == count


def test_what_fails_is_recorded_and_skipped(tmp_path: Path) -> None:
    trials = read_trials(run(tmp_path, fail_every_third))
    assert [trial.status for trial in trials] == ["completed", "completed", "failed"] * 2
    assert trials[2].trouble == "MemoryError: too large"


def test_a_process_that_is_killed_is_a_failed_trial_and_three_in_a_row_end_the_search(tmp_path: Path) -> None:
    tuner = run(tmp_path, be_killed)
    trials = read_trials(tuner)
    assert [trial.status for trial in trials] == ["failed"] * 3
    assert "out of memory" in trials[0].trouble
    assert tuner.oracle.ended == "3 trials in a row failed"


def test_three_failures_count_in_one_session_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, be_killed)
    assert "Traceback" not in capfd.readouterr().err
    trials = read_trials(run(tmp_path))
    assert [trial.status for trial in trials] == ["failed"] * 3 + ["completed"] * 3


def test_what_the_process_that_proposes_leaves_of_two_trials_at_once_is_taken_up(tmp_path: Path) -> None:
    """A kill between the two files of a trial that ended while another one ran."""
    tuner = make(tmp_path)
    first, second = (tuner.oracle.create_trial(name) for name in ("tuner0", "tuner1"))
    tuner.run_trial(first)
    tuner.oracle.update_trial(first.trial_id, {"val_roc_auc": 0.9, "val_loss": 0.1})
    first.status = "COMPLETED"
    state = (tmp_path / "trials" / "oracle.json").read_text()
    tuner.oracle.end_trial(first)
    (tmp_path / "trials" / "oracle.json").write_text(state)
    assert second.status == "RUNNING"
    resumed = run(tmp_path)
    assert sorted(resumed.oracle.end_order) == list("012345")
    assert {trial.status for trial in read_trials(resumed)} == {"completed"}


def test_a_wrong_setting_stops_the_search_and_may_be_mended(tmp_path: Path) -> None:
    with pytest.raises(keras_tuner.errors.FatalValueError, match="depth_blocks goes from 0 to 4"):
        run(tmp_path, find_a_wrong_setting)
    trials = read_trials(run(tmp_path))
    assert [trial.status for trial in trials] == ["completed"] * 6


def test_a_finished_search_runs_nothing_again_and_can_be_prolonged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = tmp_path / "marks"
    monkeypatch.setenv(RUNS, str(marks))
    first = read_trials(run(tmp_path / "out"))
    assert read_trials(run(tmp_path / "out")) == first
    assert len(marks.read_text().splitlines()) == 6
    assert len(run(tmp_path / "out").oracle.end_order) == 6
    longer = read_trials(run(tmp_path / "out", trials=8))
    assert longer[:6] == first
    assert longer == read_trials(run(tmp_path / "other", trials=8))


@pytest.mark.parametrize("strategy", ["random", "hyperband", "bayesian"])
def test_an_interrupt_between_any_two_writes_loses_nothing(tmp_path: Path, strategy: str) -> None:
    """A kill leaves the files as they were at some moment; each of those moments is tried."""
    whole = read_trials(run(tmp_path / "whole", strategy=strategy))
    for moment in range(9, 16):
        out = tmp_path / str(moment)
        tuner = make(out, strategy=strategy)
        _stop_after_writes(tuner, moment)
        with pytest.raises(KeyboardInterrupt):
            tuner.search()
        resumed = run(out, strategy=strategy)
        assert [trial.values for trial in read_trials(resumed)] == [trial.values for trial in whole]
        assert sorted(resumed.oracle.end_order) == [trial.name for trial in whole]


def _stop_after_writes(tuner: InspectorTuner, count: int) -> None:
    oracle, left = tuner.oracle, [count]

    def spend(write):  # type: ignore[no-untyped-def]
        def wrapped(*args: object) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            write(*args)

        return wrapped

    oracle.save, oracle._save_trial = spend(oracle.save), spend(oracle._save_trial)


SCRIPT = """
import sys
from pathlib import Path
from tests.tuning.test_search import run
if __name__ == "__main__":
    run(Path(sys.argv[1]), trials=12)
"""


@pytest.mark.slow
def test_kill_9_after_the_seventh_of_twelve_trials(tmp_path: Path) -> None:
    script, out, marks = tmp_path / "script.py", tmp_path / "out", tmp_path / "marks"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), PACE_SECONDS: "0.3", RUNS: str(marks)}
    command = [sys.executable, str(script), str(out)]
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    while not (out / "trials/trial_06/result.json").is_file():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    started = len(marks.read_text().splitlines())
    assert started <= 9  # the orphan of the trial that ran has ended too, and nothing began after it
    subprocess.run(command, env={**environment, PACE_SECONDS: "0"}, cwd=ROOT, check=True)
    resumed, whole = read_trials(make(out, trials=12)), read_trials(run(tmp_path / "whole", trials=12))
    assert len(resumed) == 12
    assert [trial.values for trial in resumed] == [trial.values for trial in whole]
    assert [trial.score for trial in resumed] == [trial.score for trial in whole]


def test_progress_tells_best_what_is_left_and_how_long(tmp_path: Path, messages: list[str]) -> None:
    best = run(tmp_path).oracle.get_best_trials()[0]
    lines = [message for message in messages if message.startswith("trial ")]
    assert len(lines) == 6
    assert lines[0].startswith("trial 0, 1 of 6: val_roc_auc ")
    assert re.search(r"; about \d+ s left, refits included$", lines[0])
    assert lines[-1].endswith(f"best {best.score:.4f} (trial {best.trial_id})")


def test_files_are_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill in the middle of a write leaves what was there before."""
    run(tmp_path)
    state = (tmp_path / "trials" / "oracle.json").read_text()
    tuner = make(tmp_path)

    def write_half(path: Path, text: str, **_: object) -> None:
        with path.open("w") as stream:
            stream.write(text[: len(text) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", write_half)
    with pytest.raises(KeyboardInterrupt):
        tuner.oracle.save()
    assert (tmp_path / "trials" / "oracle.json").read_text() == state
    json.loads(state)


def test_hyperband_gives_short_trials_first(tmp_path: Path) -> None:
    trials = read_trials(run(tmp_path, strategy="hyperband", trials=100))
    epochs = [int(trial.values["tuner/epochs"]) for trial in trials]
    assert epochs[0] == 2  # 16 epochs, a third of a third
    assert max(epochs) == 16
    assert len(trials) == 100  # bracket after bracket
    promoted = next(trial for trial in trials if trial.values["tuner/round"] == 1)
    origin = next(trial for trial in trials if trial.name == promoted.values["tuner/trial_id"])
    assert origin.values["dropout"] == promoted.values["dropout"]


def test_a_failure_costs_hyperband_no_promotion(tmp_path: Path) -> None:
    rounds = [
        [trial.values["tuner/round"] for trial in read_trials(run(tmp_path / name, function, **changes))]
        for name, function, changes in (
            ("sound", score_trial, {"strategy": "hyperband", "trials": 18}),
            ("broken", fail_every_third, {"strategy": "hyperband", "trials": 18}),
        )
    ]
    assert rounds[0] == rounds[1]


def test_bayesian_search_repeats_nothing(tmp_path: Path) -> None:
    tuner = make(tmp_path, strategy="bayesian", trials=12)
    tuner.oracle.hyperparameters = keras_tuner.HyperParameters()
    for name in ("dropout", "taps", "head"):
        tuner.oracle.hyperparameters.Choice(name, [0.0, 0.1, 0.2])
    proposed = []
    for number in range(12):
        trial = tuner.oracle.create_trial("tuner0")
        proposed.append(tuple(sorted(trial.hyperparameters.values.items())))
        tuner.oracle.update_trial(trial.trial_id, {"val_roc_auc": 0.5 + number / 100, "val_loss": 0.1})
        trial.status = "COMPLETED"
        tuner.oracle.end_trial(trial)
    assert len(set(proposed)) == 12


def test_the_memory_of_the_search_stays_level(tmp_path: Path) -> None:
    """Resident memory after trial 50 is at most 1.1 times that after trial 5."""
    sizes: list[int] = []

    class Watched(InspectorTuner):
        def on_trial_end(self, trial: object) -> None:
            super().on_trial_end(trial)
            sizes.append(_read_resident_kb())

    tuner = make(tmp_path, trials=50)
    tuner.__class__ = Watched
    tuner.search()
    assert len(sizes) == 50
    assert sizes[49] <= 1.1 * sizes[4]


def _read_resident_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@pytest.mark.parametrize(
    "damage", [b"", b"\xb5", b"[" * 200_000, b"{}", b"[1]", b"9" * 5000], ids=lambda damage: str(damage[:3])
)
@pytest.mark.parametrize("name", ["oracle.json", "trial_0/trial.json"])
def test_a_damaged_search_says_so_in_one_line(tmp_path: Path, name: str, damage: bytes) -> None:
    run(tmp_path, trials=1)
    (tmp_path / FOLDER / name).write_bytes(damage)
    with pytest.raises(SearchError, match=r"cannot continue because a file in .*trials is damaged"):
        make(tmp_path, trials=2)
