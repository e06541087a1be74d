"""A chief and two workers on loopback, by KerasTuner's own protocol."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from mvdefect.config import FitConfig
from mvdefect.core.errors import SearchError
from tests.tuning.fakes import PACE_SECONDS, RUNS, find_a_wrong_setting, score_trial
from tuning.search.cluster import ClusterJob, search_with_workers
from tuning.search.hypermodel import InspectorHyperModel, TrainingParts
from tuning.search.search import make_tuner, read_trials
from tuning.search.trials import TrialFunction
from tuning.settings import SearchConfig
from tuning.space.space import make_space


def make_job(out: Path, function: TrialFunction, trials: int = 8) -> ClusterJob:
    search = SearchConfig(strategy="random", trials=trials)
    base = FitConfig(backbone="small_cnn", weights="none", data="parts")
    inspector = InspectorHyperModel(make_space(base, {}, {}), TrainingParts({}, {}, {}))
    return ClusterJob(search, inspector, out, 2, function)


@pytest.mark.slow
def test_a_worker_that_is_killed_in_the_middle_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    marks, out = tmp_path / "marks", tmp_path / "out"
    monkeypatch.setenv(RUNS, str(marks))
    monkeypatch.setenv(PACE_SECONDS, "0.5")
    killed: list[str] = []

    def kill_a_worker() -> None:
        while not marks.is_file() or len(marks.read_text().splitlines()) < 4:
            time.sleep(0.02)
        name, pid = marks.read_text().splitlines()[-1].split()
        killed.append(name)
        os.kill(_find_parent(_find_parent(int(pid))), signal.SIGKILL)  # between them is the server that forks

    thread = threading.Thread(target=kill_a_worker)
    thread.start()
    job = make_job(out, score_trial)
    search_with_workers(job)
    thread.join()
    trials = read_trials(make_tuner(job.search, job.inspector, out))
    assert [trial.status for trial in trials] == ["completed"] * 8
    begun = [line.split()[0] for line in marks.read_text().splitlines()]
    assert capfd.readouterr().out == ""
    assert sorted(begun) == sorted([*(f"trial_{trial.name}" for trial in trials), *killed])


def test_a_wrong_setting_in_a_worker_stops_all_of_them(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="depth_blocks goes from 0 to 4"):
        search_with_workers(make_job(tmp_path, find_a_wrong_setting))


def _find_parent(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("PPid"))
