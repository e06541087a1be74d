"""Good images alone, or few defective ones: a run like any other, and what cannot be told is not told."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import mvdefect
from mvdefect.baselines.registry import find_baseline
from mvdefect.baselines.run import run_baseline
from mvdefect.cli import main
from mvdefect.config import FitConfig
from mvdefect.core.errors import ConfigError, ContractError, LayoutError, RunError, SplitError
from mvdefect.data.splits.plan import read_split_plan
from mvdefect.evaluation.evaluate import evaluate_run, read_operating_point
from mvdefect.evaluation.heatmaps import read_heatmaps
from mvdefect.exporting.export import ExportSettings, export_run
from mvdefect.grid.run import run_benchmark
from mvdefect.report.report import compare_runs
from mvdefect.runs import RunFolder, read_predictions
from mvdefect.workflow.fit import fit_inspector
from mvdefect.workflow.job import check_job
from mvdefect.workflow.photographs import divide_photographs, find_records, has_defects_to_learn
from tests.conftest import make_once, write_class_folders

FORMATS = ("savedmodel", "openvino")


def make_config(data: Path, **changes: object) -> FitConfig:
    settings = {"resolution": 64, "backbone": "small_cnn", "weights": "none", "tensorboard": False}
    return FitConfig(data=str(data), **(settings | changes))


def run_command(*args: object) -> int:
    """Run a command and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(arg) for arg in args])
    return int(ended.value.code or 0)


@pytest.fixture(scope="session")
def good_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of good parts alone."""
    return make_once(
        tmp_path_factory, "good_alone", lambda place: write_class_folders(place, good=30, defective=0)
    )


@pytest.fixture(scope="session")
def good_run(good_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on good images alone; tests read it and change nothing."""
    return make_once(
        tmp_path_factory, "good_run", lambda place: fit_inspector(make_config(good_folder), place)
    )


@pytest.fixture(scope="module")
def few_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on good images and three defective ones."""
    root = tmp_path_factory.mktemp("few")
    images = write_class_folders(root / "images", good=30, defective=3)
    return fit_inspector(make_config(images, one_class="gaussian"), root / "run").path


def test_a_run_on_good_images_alone_is_whole(good_run: Path) -> None:
    folder = RunFolder(good_run)
    assert folder.is_finished
    assert not folder.model.exists()
    assert not folder.history.exists()
    rows = read_predictions(folder)
    assert all(math.isnan(row.logit) and row.novelty > 0 for row in rows)
    point = read_operating_point(folder)
    assert (point.verdict, point.contract) == ("novelty", "max-fpr 0.05")
    for row in rows:
        assert (row.verdict == "defective") == (row.novelty >= point.thresholds["novelty"])
        assert (row.probability >= 0.5) == (row.verdict == "defective")
    assert not [row for row in rows if row.split == "val" and row.verdict == "defective"]
    heatmaps = read_heatmaps(folder)
    test = [row for row in rows if row.split == "test"]
    assert heatmaps is not None
    assert np.allclose(heatmaps.maps.max(axis=(1, 2)), [row.novelty for row in test], rtol=2e-3)


def test_what_cannot_be_told_is_not_told(good_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = json.loads((good_run / "metrics.json").read_text())["figures"]
    assert {name for name, one in figures.items() if one["value"] is not None} == {
        "specificity",
        "false_alarm_rate",
    }
    assert run_command("evaluate", good_run) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "What share of defects it catches cannot be told" in said
    assert "chosen on 9 good images held out of training" in said
    assert "nan" not in re.findall(r"\w+", said.lower())
    page = (good_run / "report.html").read_text()
    for shown in (said, page):
        assert "what defects define, as recall and ROC-AUC, is left out." in shown
        assert not re.search(r"[│>] *- *[│<]", shown)
        assert "no image is defective" not in shown
    assert "what share of defects this inspector catches cannot be told" in page
    assert "trade-off-data" not in page


def test_another_threshold_can_be_chosen_from_good_images(good_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(good_run, tmp_path / "run"))
    point = mvdefect.evaluate(run, threshold="max-fpr 0.5", save=True).operating_point
    assert point.guarantee.endswith(
        "at most 0.5 of fresh good images like these are rejected, with 90% confidence"
    )
    verdicts = [row.verdict for row in read_predictions(RunFolder(run)) if row.split == "val"]
    assert 1 <= verdicts.count("defective") <= len(verdicts) / 2
    assert point == evaluate_run(run).operating_point
    for contract in ("cost 1:20", "min-recall 0.9"):
        with pytest.raises(ContractError, match="needs defective images"):
            mvdefect.evaluate(run, threshold=contract)
    with pytest.raises(ConfigError, match="trained on good images alone, so its verdict is by novelty"):
        mvdefect.evaluate(run, verdict="either")
    assert evaluate_run(run).operating_point == point


def test_every_engine_of_its_export_says_what_the_run_said(
    good_run: Path, good_folder: Path, tmp_path: Path
) -> None:
    rows = {row.id: row for row in read_predictions(RunFolder(good_run))}
    paths = sorted((good_folder / "good").iterdir())
    expected = [rows[f"good/{path.name}"] for path in paths]
    exported = export_run(good_run, tmp_path, ExportSettings(formats=FORMATS, name="good"))
    assert set(exported.costs) == set(FORMATS)
    maps = {}
    for engine in (None, *FORMATS):
        inspector = mvdefect.load(good_run if engine is None else exported.path, engine)
        answers = inspector.predict(paths, heatmaps=True)
        assert [answer.label for answer in answers] == [row.verdict for row in expected]
        assert np.allclose([one.novelty for one in answers], [row.novelty for row in expected], rtol=1e-3)
        maps[engine] = np.stack([answer.heatmap for answer in answers])
        assert np.allclose(maps[engine], maps[None], rtol=1e-2, atol=1e-2)
    card = (exported.path / "model_card.md").read_text()
    assert "its probability is no calibrated one" in card
    assert "| recall: share of defective products that are caught | not known | |" in card


def test_few_defective_images_test_and_do_not_train(few_run: Path) -> None:
    plan = read_split_plan(RunFolder(few_run).split_plan)
    assert {row.part for row in plan.rows if row.label} == {"test"}
    evaluation = evaluate_run(few_run)
    assert (evaluation.protocol, evaluation.defective) == ("good-only", 3)
    assert evaluation.operating_point.verdict == "novelty"
    assert 0 <= evaluation.figures["recall"].value <= 1
    assert [entry.count for entry in evaluation.recall_by_type] == [3]
    assert "3 defective images are too few to learn from" in (few_run / "report.html").read_text()


def test_as_defects_come_the_same_settings_train_a_classifier(tmp_path: Path) -> None:
    protocols = {}
    for defective in (9, 10):
        config = make_config(write_class_folders(tmp_path / "images", good=20, defective=defective))
        plan = divide_photographs(find_records(config), config)
        protocols[defective] = plan.protocol, has_defects_to_learn(plan)
    assert protocols == {9: ("good-only", False), 10: ("closed-set", True)}
    asked = config.model_copy(update={"protocol": "good-only"})
    assert divide_photographs(find_records(asked), asked).protocol == "good-only"


def test_a_report_compares_runs_that_learned_from_good_images(
    good_run: Path, good_folder: Path, tmp_path: Path
) -> None:
    other = run_baseline("one-class", make_config(good_folder), tmp_path / "one-class").path
    compare_runs([good_run, other], tmp_path / "page.html", tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text().partition("## What to know first")[2]
    assert "distance from good images, small\\_cnn" in text
    assert "nan" not in re.findall(r"\w+", text.lower())


def test_a_contract_that_needs_defects_is_refused_before_any_image_is_read(good_folder: Path) -> None:
    with pytest.raises(ContractError, match="there is none in val; 'max-fpr 0.05' needs good ones alone"):
        check_job(make_config(good_folder, threshold="cost 1:20"))


def test_what_learns_from_defects_says_so_before_it_begins(good_folder: Path, tmp_path: Path) -> None:
    for name in ("handcrafted", "scratch"):
        assert find_baseline(name).needs_defective
        with pytest.raises(LayoutError, match="none of the 30 images in .* is defective; mvdefect fit takes"):
            run_baseline(name, make_config(good_folder), tmp_path / "run")
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        f"data: ['{good_folder}']\nprotocols: [{{name: closed-set}}]\nmethods: {{a: {{baseline: majority}}}}"
    )
    with pytest.raises(LayoutError, match="protocol closed-set needs defective images, but none of the 30"):
        run_benchmark(grid, tmp_path / "out")
    settings = ("--backbone", "small_cnn", "--weights", "none")
    assert run_command("tune", "--data", good_folder, *settings, "--out", tmp_path / "search") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.yaml"]


def test_defective_images_alone_are_refused(tmp_path: Path) -> None:
    images = write_class_folders(tmp_path / "images", good=1, defective=12)
    (images / "good" / "000.png").unlink()
    with pytest.raises(LayoutError, match="good images are needed"):
        check_job(make_config(images))
    images = write_class_folders(tmp_path / "few", good=9, defective=0)
    with pytest.raises(SplitError, match="at least 10 good images are needed.*Received: 9"):
        fit_inspector(make_config(images), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_of_a_baseline_says_what_to_do_instead(
    good_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(good_run, tmp_path / "one-class"))
    with (run / "config.yaml").open("a") as config:
        config.write("baseline: one-class\n")
    run_text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(run_text.replace("baseline: null\n", ""))
    with pytest.raises(RunError, match="run of the baseline one-class.*; mvdefect fit makes one"):
        export_run(run, tmp_path / "exports")
    assert run_command("predict", run, tmp_path) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line for line in lines if line.startswith("Error: ")] == lines[-1:]
    assert "holds no inspector to predict with or export; mvdefect fit makes one" in lines[-1]
