"""The whole line of flow, and the promises that are made of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from mvdefect.config import FitConfig, load_config
from mvdefect.data.pipeline import Source
from mvdefect.data.sources.folders import read_records
from mvdefect.data.splits.plan import PARTS, read_split_plan
from mvdefect.data.store import prepare_images
from mvdefect.evaluation import evaluate
from mvdefect.evaluation.evaluate import evaluate_predictions as measure
from mvdefect.models.backbones import find_backbone
from mvdefect.models.classifier import load_classifier
from mvdefect.models.normality import load_normality
from mvdefect.runs import RunFolder, read_predictions
from mvdefect.training.predictions import compile_features, iterate_features, predict_logits
from mvdefect.training.stages import plan_stages
from mvdefect.workflow import outcome
from mvdefect.workflow.fit import fit_inspector


def test_a_run_directory_is_complete(finished_run: Path) -> None:
    names = {path.name for path in finished_run.iterdir()}
    assert names == {
        "config.yaml",
        "environment.json",
        "features.keras",
        "figures",
        "heat_scale.json",
        "heatmaps.npz",
        "history.csv",
        "latency.json",
        "localisation.json",
        "log.txt",
        "members.json",
        "metrics.json",
        "model.keras",
        "normality.npz",
        "operating_point.json",
        "predictions.csv",
        "report.html",
        "split_plan.csv",
        "split_plan.json",
        "tensorboard",
    }
    assert json.loads((finished_run / "environment.json").read_text())["packages"]["tensorflow"]
    assert "split plan" in (finished_run / "log.txt").read_text()


def test_the_saved_model_makes_the_predictions_of_the_run(finished_run: Path, tiny_config: FitConfig) -> None:
    model = load_classifier(finished_run / "model.keras")
    plan = read_split_plan(finished_run / "split_plan.csv")
    store = prepare_images(read_records(Path(tiny_config.data[0])), (64, 64), "letterbox")
    rows = {row.id: row for row in read_predictions(RunFolder(finished_run))}
    for part in PARTS:
        logits = predict_logits(model, Source(store, plan, part), 5)
        recorded = [rows[row.id] for row in plan.select(part)]
        assert np.allclose(logits, [row.logit for row in recorded], atol=1e-4)
        assert np.allclose([row.probability for row in recorded], expit([row.score for row in recorded]))
        assert {row.split for row in recorded} == {part}


def test_verdicts_are_those_of_the_operating_point(finished_run: Path) -> None:
    point = json.loads((finished_run / "operating_point.json").read_text())
    made = point["combined"] if point["verdict"] == "combined" else point["classifier"]
    for row in read_predictions(RunFolder(finished_run)):
        assert row.novelty > 0
        parts = made["logit_weight"] * row.logit, made["novelty_weight"] * np.log(row.novelty)
        assert row.score == pytest.approx(sum(parts) + made["bias"])
        assert row.verdict == ("defective" if row.score >= point["score"] else "good")
        assert (row.defect_share > 0) == (row.label == 1)


def test_the_saved_features_make_the_novelty_of_the_run(finished_run: Path, tiny_config: FitConfig) -> None:
    features = load_classifier(finished_run / "features.keras")
    normality = load_normality(finished_run / "normality.npz")
    store = prepare_images(read_records(Path(tiny_config.data[0])), (64, 64), "letterbox")
    test = Source(store, read_split_plan(finished_run / "split_plan.csv"), "test")
    batches = iterate_features(compile_features(features), test, 5)
    found = np.concatenate([normality.measure_images(batch) for _, batch in batches], axis=1)
    recorded = {row.id: (row.novelty, row.mean_novelty) for row in read_predictions(RunFolder(finished_run))}
    assert np.allclose(found.T, [recorded[row.id] for row in test.rows], rtol=1e-3)


def test_two_fits_with_one_seed_agree_and_are_measured_once(
    finished_run: Path, tiny_config: FitConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(
        outcome, "evaluate_predictions", lambda *a, **k: made.append(measure(*a, **k)) or made[0]
    )
    monkeypatch.setattr(evaluate, "evaluate_predictions", lambda *_, **__: pytest.fail("measured again"))
    finished = fit_inspector(tiny_config, tmp_path / "again")
    monkeypatch.undo()
    assert len(made) == 1
    assert repr(finished.evaluation) == repr(evaluate.evaluate_run(finished.path))  # NaN equals nothing
    again = finished.folder
    assert again.split_plan.read_text() == (finished_run / "split_plan.csv").read_text()
    pairs = zip(read_predictions(again), read_predictions(RunFolder(finished_run)), strict=True)
    assert all(one.id == two.id and abs(one.probability - two.probability) < 1e-4 for one, two in pairs)


def test_the_configuration_of_a_run_repeats_it(finished_run: Path, tiny_config: FitConfig) -> None:
    config = load_config(finished_run / "config.yaml", {})
    assert config.model_copy(update={"stages": ()}) == tiny_config.model_copy(
        update={"stages": (), "folds": 1}
    )
    spec = find_backbone(tiny_config.backbone)
    assert plan_stages(config, spec) == plan_stages(tiny_config, spec)
    assert all(stage.head_learning_rate for stage in config.stages)  # whatever was left open is named


def test_overwriting_replaces_a_run(tiny_config: FitConfig, tmp_path: Path) -> None:
    config = tiny_config.model_copy(update={"stages": tiny_config.stages[:1], "categories": ("washer",)})
    first = fit_inspector(config, tmp_path / "run").folder
    model = first.model.read_bytes()
    other = fit_inspector(config.model_copy(update={"seed": 3}), tmp_path / "run", overwrite=True).folder
    assert other.model.read_bytes() != model
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_broken_files_can_be_left_out_of_a_fit(
    tiny_config: FitConfig, tmp_path: Path, messages: list[str]
) -> None:
    from mvdefect.drawing.data_set import write_parts

    root = write_parts(tmp_path / "parts", good=12, defective_per_type=4, size_px=64)
    broken = root / "washer" / "train" / "good" / "007.png"
    broken.write_bytes(b"")
    config = tiny_config.model_copy(
        update={"data": str(root), "skip_broken": True, "stages": tiny_config.stages[:1]}
    )
    folder = fit_inspector(config, tmp_path / "run").folder
    ids = {row.id for row in read_predictions(folder)}
    assert "washer/train/good/007.png" not in ids
    assert len(ids) == 2 * (12 + 16) - 1
    assert any("left out 1 file(s)" in message for message in messages)


@pytest.mark.slow
def test_the_demo_is_quick_and_good(tmp_path: Path) -> None:
    started = time.monotonic()
    command = [sys.executable, "-m", "mvdefect", "demo", "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 600  # alone on two cores: under 300
    metrics = json.loads((tmp_path / "demo" / "run" / "metrics.json").read_text())
    assert metrics["figures"]["roc_auc"]["value"] >= 0.95
    found = json.loads((tmp_path / "demo" / "run" / "localisation.json").read_text())
    assert found["pointing"]["value"] >= 0.6  # by chance 0.05
    for text in ("always naming the larger class", "downloads nothing", "report.html"):
        assert text in done.stdout
    assert "Traceback" not in done.stderr
    assert "WARNING: All log messages before absl" not in done.stderr


@pytest.mark.slow
def test_real_tiles_from_real_weights(magnetic_tile: Path, mobilenet_weights: Path, tmp_path: Path) -> None:
    """A short fit on real photographs is already far better than the frozen features of chance."""
    config = FitConfig(
        data=magnetic_tile,
        backbone="mobilenetv2",
        weights=str(mobilenet_weights),
        resolution=(96, 96),
        stages=({"depth_blocks": 4, "epochs": 4, "learning_rate": 5e-4},),  # type: ignore[arg-type]
    )
    folder = fit_inspector(config, tmp_path / "run").folder
    metrics = json.loads(folder.metrics.read_text())
    assert metrics["figures"]["roc_auc"]["value"] > 0.8
    assert metrics["figures"]["roc_auc"]["low"] > 0.5
