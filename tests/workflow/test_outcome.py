"""Another operating point for a run that is finished."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from mvdefect.config import FitConfig
from mvdefect.core.errors import ConfigError, ContractError
from mvdefect.evaluation.evaluate import evaluate_run, evaluation_to_json
from mvdefect.runs import RunFolder, read_predictions
from mvdefect.training import folds
from mvdefect.workflow.fit import fit_inspector
from mvdefect.workflow.outcome import change_operating_point


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
