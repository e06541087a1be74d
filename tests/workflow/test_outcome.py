"""Another operating point for a run that is finished."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mvdefect.config import FitConfig, dump_config
from mvdefect.core.errors import ConfigError, ContractError
from mvdefect.data.splits.plan import PARTS, PlanRow, SplitPlan, write_split_plan
from mvdefect.evaluation.evaluate import (
    Evaluation,
    evaluate_folder,
    evaluate_run,
    evaluation_to_json,
    read_operating_point,
)
from mvdefect.runs import RunFolder, read_predictions
from mvdefect.training import folds
from mvdefect.workflow.fit import fit_inspector
from mvdefect.workflow.outcome import Scores, change_operating_point, settle_outcome


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def test_asking_changes_nothing_and_saving_does(run: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    asked = change_operating_point(run, {"threshold": "0.99", "prevalence": 0.02, "verdict": "classifier"})
    assert before == {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    saved = change_operating_point(
        run, {"threshold": "0.99", "prevalence": 0.02, "verdict": "classifier"}, save=True
    )
    assert asked == saved == evaluate_run(run)
    assert saved.operating_point.probability == pytest.approx(0.99)
    assert saved.line is not None
    assert saved.line.prevalence == 0.02
    assert json.loads((run / "metrics.json").read_text()) == evaluation_to_json(saved)
    assert {row.verdict for row in read_predictions(RunFolder(run)) if row.probability < 0.99} == {"good"}
    assert change_operating_point(
        run, {"threshold": None, "prevalence": None, "verdict": "combined"}, save=True
    )
    restored = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert restored == before


def test_a_run_that_measured_no_mean_goes_by_the_largest_novelty(run: Path) -> None:
    """As version 0.1.0 left it."""
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    with (run / "predictions.csv").open("w", encoding="utf-8", newline="") as stream:
        names = [name for name in table[0] if name != "mean_novelty"]
        writer = csv.DictWriter(stream, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(table)
    assert evaluate_run(run).operating_point.foreign[0] == "mean_novelty"  # nothing is lost by reading it
    change_operating_point(run, {}, save=True)
    seen = [float(row["novelty"]) for row in table if row["split"] != "test"]
    again = change_operating_point(run, {}).operating_point
    assert again.foreign == ("foreign", pytest.approx(1.2 * max(seen)))


def test_the_least_certain_go_to_a_person(run: Path) -> None:
    evaluation = change_operating_point(run, {"review_budget": 0.5}, save=True)
    verdicts = [row.verdict for row in read_predictions(RunFolder(run)) if row.split == "test"]
    assert evaluation.reviewed == verdicts.count("review") > 0


def test_a_value_that_is_not_allowed_costs_nothing(run: Path) -> None:
    before = (run / "predictions.csv").read_bytes()
    for changes in ({"prevalence": 2.0}, {"verdict": "maybe"}, {"threshold": "most"}):
        with pytest.raises(ConfigError, match="Received"):
            change_operating_point(run, changes, save=True)
    assert (run / "predictions.csv").read_bytes() == before


def test_a_contract_that_cannot_be_met_leaves_a_whole_run(
    tiny_config: FitConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An inspector that knows nothing cannot reach every defect without rejecting all."""
    monkeypatch.setattr(folds, "predict_logits", lambda _model, source, _size: -source.labels.astype(float))
    config = tiny_config.model_copy(
        update={"threshold": "min-recall 0.9", "verdict": "classifier", "stages": tiny_config.stages[:1]}
    )
    with pytest.raises(ContractError, match="cannot be met.*run is whole, with the threshold by f1"):
        fit_inspector(config, tmp_path / "run")
    point = evaluate_run(tmp_path / "run").operating_point
    assert point.contract == "f1"
    assert "min-recall 0.9 cannot be met" in point.guarantee  # and the report says so
    assert "in-recall 0.9 cannot be met" in (tmp_path / "run" / "report.html").read_text()
    assert change_operating_point(tmp_path / "run", {"prevalence": 0.01}).line is not None
    assert (tmp_path / "run" / "report.html").is_file()


def settle_parts(
    folder: RunFolder, first: float, second: float
) -> tuple[Evaluation, Evaluation, ContractError | None]:
    """Settle a run of parts of two views, both labelled as the part is; good images score about -1.

    `first` and `second` are what the views of defective parts score. Figures of images come first.
    """
    rows = []
    logits: dict[str, list[float]] = {part: [] for part in PARTS}
    rng = np.random.default_rng(0)
    for number in range(150):
        part, is_bad = PARTS[number % 3], number % 2 == 0
        for view in ("a", "b"):
            kind = "dent" if is_bad else "good"
            id_ = f"SN{number:03}_{view}.png"
            rows.append(PlanRow(id_, part, "nut", kind, number, f"{number}{view}", f"SN{number:03}", view))
            score = first if view == "a" else second
            logits[part].append((score if is_bad else -1.0) + 0.1 * rng.normal())
    plan = SplitPlan("closed-set", 0, tuple(rows))
    folder.path.mkdir(parents=True)
    write_split_plan(plan, folder.split_plan)
    config = FitConfig(threshold="min-recall 0.9", verdict="classifier")
    folder.config.write_text(dump_config(config))
    scores = {part: Scores(np.array(found), None) for part, found in logits.items()}
    evaluation, unmet = settle_outcome(folder, config, plan, scores, {})
    assert evaluation.by_part is not None
    return evaluation, evaluation.by_part, unmet


def test_a_contract_of_parts_need_not_be_met_by_images(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    images, parts, unmet = settle_parts(folder, 5.0, -5.0)
    assert unmet is None
    assert images.operating_point.contract == "f1"  # to catch 90% every good image would be rejected
    assert parts.operating_point.contract == "min-recall 0.9"
    assert (parts.figures["recall"].value, parts.figures["false_alarm_rate"].value) == (1.0, 0.0)
    assert {row.view for row in read_predictions(folder)} == {"a", "b"}
    assert evaluate_folder(folder) == images


def test_a_contract_that_parts_cannot_meet_is_told_with_the_parts(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    _, parts, unmet = settle_parts(folder, -5.0, -5.0)  # below all good ones, however they are pooled
    assert "min-recall 0.9 cannot be met" in str(unmet)
    assert "min-recall 0.9 cannot be met" in parts.operating_point.guarantee
    stored = read_operating_point(folder).by_part
    assert stored is not None
    assert "the threshold is by f1 instead" in stored.point.guarantee
