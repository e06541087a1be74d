"""A baseline's run: the same plan, the same files and the same figures as an inspector's."""

from __future__ import annotations

import json
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mvdefect.baselines.registry import BASELINES, adapt_config, find_baseline
from mvdefect.baselines.run import make_estimator, read_pixels, run_baseline
from mvdefect.config import FitConfig, StageConfig
from mvdefect.core.errors import ConfigError, RunExistsError, SplitError
from mvdefect.data.groups.grouping import group_records
from mvdefect.data.pipeline import Source
from mvdefect.data.scan import scan_images
from mvdefect.data.sources.folders import read_records
from mvdefect.data.splits.plan import PARTS, PlanRow, SplitPlan, read_split_plan, write_split_plan
from mvdefect.data.splits.protocols import draw_plans, hold_out_val
from mvdefect.data.store import prepare_images
from mvdefect.evaluation.evaluate import evaluate_run
from mvdefect.evaluation.heatmaps import read_heatmaps
from mvdefect.runs import RunFolder, read_history, read_predictions, read_run_config
from tests.conftest import read_stored

ESTIMATORS = [name for name, baseline in BASELINES.items() if baseline.learner != "network"]


@pytest.fixture(scope="session")
def plain_config(plain_root: Path) -> FitConfig:
    """One drawn product with plain defects, at 64 pixels, for the small CNN from random weights."""
    return FitConfig(
        data=plain_root, resolution=(64, 64), backbone="small_cnn", weights="none", batch_size=16
    )


@pytest.fixture(scope="session")
def runs(plain_config: FitConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    root = tmp_path_factory.mktemp("baselines")
    return {name: run_baseline(name, plain_config, root / name).folder for name in ESTIMATORS}


@pytest.fixture(scope="session")
def official(plain_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plan of the folders that the data has, which names no val."""
    path = tmp_path_factory.mktemp("plans") / "official.csv"
    scan = scan_images(read_records(plain_root))
    (plan,) = draw_plans(scan, group_records(scan), "official", 0)
    write_split_plan(plan, path)
    return path


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_run_is_whole_and_can_be_measured(name: str, runs: dict[str, RunFolder]) -> None:
    folder = runs[name]
    needed = {"config.yaml", "log.txt", "metrics.json", "model.joblib", "operating_point.json"}
    assert needed | {"predictions.csv", "report.html", "split_plan.csv"} <= {
        path.name for path in folder.path.iterdir()
    }
    assert not folder.model.exists()
    assert read_run_config(folder).baseline == name
    evaluation = evaluate_run(folder.path)
    assert json.loads(folder.metrics.read_text())["images"] == evaluation.images
    assert evaluation.protocol == "closed-set"
    text = folder.log.read_text()
    assert f"{name}: {BASELINES[name].describe}" in text
    assert "fitted in" in text
    assert name in folder.report.read_text()


def test_all_are_measured_on_one_plan(runs: dict[str, RunFolder]) -> None:
    assert len({read_split_plan(folder.split_plan).digest for folder in runs.values()}) == 1


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_kept_estimator_makes_the_predictions_of_the_run(
    name: str, runs: dict[str, RunFolder], plain_config: FitConfig
) -> None:
    """Pictures are read by another way, one by one, and in order of their ids."""
    folder = runs[name]
    plan = read_split_plan(folder.split_plan)
    store = prepare_images(read_records(Path(plain_config.data[0])), (64, 64), "letterbox")
    stored = read_stored(store)
    estimator = joblib.load(folder.estimator)
    rows = {row.id: row for row in read_predictions(folder)}
    assert len(rows) == len(plan.rows)
    for part in PARTS:
        ids = [row.id for row in plan.select(part)]
        logits = estimator.decision_function(np.stack([stored[id_]["image"] for id_ in ids]))
        assert np.allclose(logits, [rows[id_].logit for id_ in ids], atol=1e-4)
        assert {rows[id_].split for id_ in ids} == {part}


@pytest.mark.parametrize("name", ["handcrafted", "one-class"])
def test_plain_defects_are_found(name: str, runs: dict[str, RunFolder]) -> None:
    tested = [row for row in read_predictions(runs[name]) if row.split == "test"]
    auc = roc_auc_score([row.label for row in tested], [row.score for row in tested])
    assert auc > 0.8
    assert evaluate_run(runs[name].path).figures["roc_auc"].value == pytest.approx(auc)


def test_the_majority_says_one_thing_of_every_photograph(runs: dict[str, RunFolder]) -> None:
    rows = read_predictions(runs["majority"])
    trained = [row.label for row in rows if row.split == "train"]
    larger = "defective" if sum(trained) * 2 >= len(trained) else "good"
    assert {row.verdict for row in rows} == {larger}
    figures = evaluate_run(runs["majority"].path).figures
    assert figures["roc_auc"].value == 0.5


def test_the_distances_of_one_class_are_its_heatmaps(
    runs: dict[str, RunFolder], plain_config: FitConfig
) -> None:
    heatmaps = read_heatmaps(runs["one-class"])
    rows = {row.id: row for row in read_predictions(runs["one-class"]) if row.split == "test"}
    assert set(heatmaps.ids) == set(rows)
    highest = heatmaps.maps.astype(float).max(axis=(1, 2))
    assert np.corrcoef(highest, [rows[id_].logit for id_ in heatmaps.ids])[0, 1] > 0.9999
    assert not runs["handcrafted"].heatmaps.exists()


@pytest.mark.parametrize("name", ["handcrafted", "one-class"])
def test_two_runs_with_one_seed_agree(
    name: str, runs: dict[str, RunFolder], plain_config: FitConfig, tmp_path: Path
) -> None:
    again = run_baseline(name, plain_config, tmp_path / "again").folder
    assert again.predictions.read_text() == runs[name].predictions.read_text()
    assert again.split_plan.read_text() == runs[name].split_plan.read_text()


def test_one_class_is_blind_to_the_defective_photographs_of_train(
    runs: dict[str, RunFolder], plain_config: FitConfig, tmp_path: Path
) -> None:
    """Without them it says the same of all others; those of train only come in other batches."""
    plan = read_split_plan(runs["one-class"].split_plan)
    kept = tuple(row for row in plan.rows if not (row.part == "train" and row.label))
    assert len(kept) < len(plan.rows)
    write_split_plan(SplitPlan(plan.protocol, plan.seed, kept, plan.notes), tmp_path / "plan.csv")
    config = plain_config.model_copy(update={"split": tmp_path / "plan.csv"})
    rows = {
        row.id: row for row in read_predictions(run_baseline("one-class", config, tmp_path / "run").folder)
    }
    compared = [row for row in read_predictions(runs["one-class"]) if row.id in rows]
    assert len(compared) == len(kept)
    for row in compared:
        assert row.logit == pytest.approx(rows[row.id].logit, abs=1e-3)
        if row.split != "train":
            assert repr(row) == repr(rows[row.id])  # every figure to its last digit, and NaN is NaN


def test_one_class_runs_on_the_official_parts(
    official: Path, plain_config: FitConfig, tmp_path: Path
) -> None:
    config = plain_config.model_copy(update={"split": official, "one_class": "gaussian"})
    folder = run_baseline("one-class", config, tmp_path / "run").folder
    asked, used = read_split_plan(official), read_split_plan(folder.split_plan)
    assert used.protocol == "official"
    assert used.select("test") == asked.select("test")
    assert not asked.select("val")
    assert len(used.select("val")) == round(len(asked.select("train")) / 5)
    assert {row.label for part in ("train", "val") for row in used.select(part)} == {0}
    evaluation = evaluate_run(folder.path)
    assert any("were moved to val" in note for note in evaluation.notes)
    assert evaluation.operating_point.contract == "max-fpr 0.05"
    good = [row for row in read_predictions(folder) if row.split == "val"]
    assert np.mean([row.verdict == "defective" for row in good]) <= 0.05
    distances = {row.id: row.logit for row in read_predictions(folder)}
    heatmaps = read_heatmaps(folder)
    means = heatmaps.maps.astype(float).mean(axis=(1, 2))
    assert np.corrcoef(means, [distances[id_] for id_ in heatmaps.ids])[0, 1] > 0.999


@pytest.mark.parametrize("name", ["majority", "handcrafted", "frozen-svm", "scratch"])
def test_what_learns_from_defects_refuses_the_official_parts(
    name: str, official: Path, plain_config: FitConfig, tmp_path: Path
) -> None:
    config = plain_config.model_copy(update={"split": official})
    with pytest.raises(SplitError, match="the official plan has no defective image in train"):
        run_baseline(name, config, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_whole_groups_are_held_out_for_val() -> None:
    rng = np.random.default_rng(0)
    rows = [
        PlanRow(f"{number:03}", "train" if number < 80 else "test", "nut", "good", int(group), "")
        for number, group in enumerate(rng.integers(0, 30, 100))
    ]
    plan = hold_out_val(SplitPlan("given", 0, tuple(rows)), seed=0)
    assert [row.id for row in plan.rows] == [row.id for row in rows]
    assert [row.id for row in plan.select("test")] == [row.id for row in rows[80:]]
    groups = [{row.group for row in plan.select(part)} for part in ("train", "val")]
    assert not groups[0] & groups[1]
    assert 12 <= len(plan.select("val")) <= 20
    assert hold_out_val(SplitPlan("given", 0, tuple(rows)), seed=1).digest != plan.digest


def test_pixels_lie_in_the_order_of_the_plan_and_vanish(sources: dict[str, Source]) -> None:
    train = sources["train"]
    with read_pixels(train) as pixels:
        assert pixels.shape == (train.count, 64, 64, 3)
        path = Path(pixels.filename)  # type: ignore[attr-defined]
        stored = read_stored(train.store)
        for number, row in enumerate(train.rows):
            assert np.array_equal(pixels[number], stored[row.id]["image"])
        assert path.is_file()
    assert not path.parent.exists()


def test_a_network_from_scratch_is_trained_as_an_inspector_is(
    plain_config: FitConfig, runs: dict[str, RunFolder], tmp_path: Path
) -> None:
    config = plain_config.model_copy(
        update={"stages": (StageConfig(epochs=1),), "backbone": "resnet50", "weights": "imagenet"}
    )
    folder = run_baseline("scratch", config, tmp_path / "run").folder
    kept = read_run_config(folder)
    assert (kept.baseline, kept.backbone, kept.weights) == ("scratch", "small_cnn", "none")
    assert folder.model.is_file()
    assert [row.depth_blocks for row in read_history(folder)] == [4]
    assert read_split_plan(folder.split_plan).digest == read_split_plan(runs["majority"].split_plan).digest


def test_from_random_weights_every_block_learns_at_a_rate_for_that() -> None:
    config = FitConfig(backbone="mobilenetv2")
    adapted = adapt_config(find_baseline("scratch-backbone"), config)
    assert (adapted.backbone, adapted.weights, adapted.bn_policy) == ("mobilenetv2", "none", "adapt")
    assert [(stage.depth_blocks, stage.learning_rate) for stage in adapted.stages] == [(None, 1e-3)]
    assert adapted.stages[0].epochs == config.stages[-1].epochs
    head_only = config.model_copy(update={"stages": (StageConfig(depth_blocks=0, epochs=3),)})
    assert adapt_config(find_baseline("scratch"), head_only).stages == (StageConfig(epochs=3),)
    given = config.model_copy(update={"stages": (StageConfig(depth_blocks=2, epochs=3, learning_rate=0.1),)})
    (stage,) = adapt_config(find_baseline("scratch-backbone"), given).stages
    assert (stage.depth_blocks, stage.epochs, stage.learning_rate) == (None, 3, 0.1)


def test_settings_reach_the_estimator() -> None:
    config = FitConfig(one_class="memory_bank", backbone="resnet50", weights="none", seed=3)
    detector = make_estimator(find_baseline("one-class"), config)
    expected = {"kind": "memory_bank", "backbone": "resnet50", "weights": "none", "contamination": 0.05}
    assert detector.get_params() == {**expected, "seed": 3}
    frozen = make_estimator(find_baseline("frozen-svm"), config)
    assert (frozen.backbone, frozen.weights, frozen.seed) == ("resnet50", "none", 3)
    assert make_estimator(find_baseline("handcrafted"), config).seed == 3
    with pytest.raises(ConfigError, match="scratch is trained as an inspector is"):
        make_estimator(find_baseline("scratch"), config)


def test_nothing_is_replaced_unasked(
    runs: dict[str, RunFolder], plain_config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = runs["majority"].estimator.read_bytes()
    with pytest.raises(RunExistsError, match="replace it with --overwrite"):
        run_baseline("majority", plain_config, runs["majority"].path)
    assert runs["majority"].estimator.read_bytes() == before


def test_data_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="data is needed"):
        run_baseline("majority", FitConfig(), tmp_path / "run")
