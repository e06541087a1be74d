"""Running: killed and gone on with, on two devices, at half precision, with flat memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mvdefect.drawing.data_set import write_parts

ROOT = Path(__file__).parents[2]
FIT = """
import json, os, resource, signal, sys
from contextlib import contextmanager
from pathlib import Path

settings = json.loads(sys.argv[1])
from mvdefect.core.runtime import load_tensorflow
load_tensorflow(devices=settings["config"].get("devices", 1))
from mvdefect.workflow import fit as workflow
from mvdefect.config import FitConfig
from mvdefect.training import activations, fit

counts = {}

def count_steps(module, name):
    @contextmanager
    def show_steps(title, total):
        def advance(steps=1):
            counts[name] = counts.get(name, 0) + 1
            if settings.get("kill") == [name, counts[name]]:
                os.kill(os.getpid(), signal.SIGKILL)
        yield advance
    module.show_steps = show_steps

count_steps(fit, "step")
count_steps(activations, "activations")
peaks = []
run_epoch = fit._run_epoch

def note_peak(*arguments):
    state = run_epoch(*arguments)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return state

fit._run_epoch = note_peak
workflow.write_report = lambda *_: None
workflow.measure_latency = lambda *_: {}
workflow.fit_inspector(FitConfig(**settings["config"]), Path(settings["run"]))
print(json.dumps({"steps": counts, "peaks": peaks}))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One drawn product, 32 photographs of 64 pixels."""
    root = tmp_path_factory.mktemp("running") / "parts"
    return write_parts(root, good=16, defective_per_type=4, size_px=64)


def describe(data: Path, epochs: tuple[int, int] = (2, 2), **changes: object) -> dict[str, object]:
    stages = [
        {"depth_blocks": depth, "epochs": count, "learning_rate": 1e-3}
        for depth, count in zip((0, 2), epochs, strict=True)
    ]
    return {
        "data": str(data),
        "resolution": 64,
        "backbone": "small_cnn",
        "weights": "none",
        "head": "patch",
        "stages": stages,
        "batch_size": 8,
        "views": 3,
        "patience": 100,
        "dropout": 0.0,
        "clip_norm": None,  # devices clip each its own gradient, so two would not do as one does
        **changes,
    }


def fit(run: Path, config: dict[str, object], kill: tuple[str, int] | None = None) -> dict[str, object]:
    """Fit in a process of its own with a cache of its own, to be killed at a step."""
    settings = {"config": config, "run": str(run), "kill": kill}
    done = subprocess.run(
        [sys.executable, "-c", FIT, json.dumps(settings)],
        cwd=ROOT,
        env={**os.environ, "MVDEFECT_CACHE": str(run.parent / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    if kill:
        assert done.returncode == -signal.SIGKILL, done.stderr
        return {}
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def read_logits(run: Path) -> np.ndarray:
    lines = (run / "predictions.csv").read_text().splitlines()
    column = lines[0].split(",").index("logit")
    return np.array([float(line.split(",")[column]) for line in lines[1:]])


def read_losses(run: Path) -> np.ndarray:
    lines = (run / "history.csv").read_text().splitlines()
    column = lines[0].split(",").index("loss")
    return np.array([float(line.split(",")[column]) for line in lines[1:]])


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    run = tmp_path_factory.mktemp("whole") / "run"
    return run, fit(run, describe(data))


def test_killed_at_any_step_and_gone_on_with_it_ends_as_uninterrupted(
    data: Path, whole: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    """Killed in the middle of writing activations, then of the first stage, then of the second epoch."""
    expected, counted = whole
    per_epoch = int(counted["steps"]["step"]) // 4
    run = tmp_path / "run"
    for kill in (("activations", 1), ("step", per_epoch + 1), ("step", per_epoch + 2)):
        fit(run, describe(data), kill)
        assert not run.exists()
    fit(run, describe(data))
    assert np.allclose(read_losses(run), read_losses(expected), atol=1e-4)
    assert np.allclose(read_logits(run), read_logits(expected), atol=1e-4)


def test_two_devices_share_a_batch(data: Path, whole: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    one, two = whole[0], tmp_path / "run"
    fit(two, describe(data, devices=2))
    assert np.allclose(read_losses(two), read_losses(one), atol=1e-3)
    assert np.allclose(read_logits(two), read_logits(one), atol=5e-3)


def test_half_precision_learns_much_the_same(
    data: Path, whole: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    fit(run, describe(data, precision="mixed_bfloat16"))
    losses, expected = read_losses(run), read_losses(whole[0])
    assert not np.array_equal(losses, expected)
    assert np.allclose(losses, expected, atol=0.1)


def test_memory_does_not_grow_over_epochs(data: Path, tmp_path: Path) -> None:
    peaks = fit(tmp_path / "run", describe(data, epochs=(1, 40)))["peaks"]
    assert len(peaks) == 41
    assert peaks[-1] < 1.05 * peaks[10]
