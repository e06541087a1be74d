"""Every shipped configuration is a test case: it is valid, and a fit with it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdefect.config import load_config
from mvdefect.workflow import fit as fit_module
from mvdefect.workflow.demo import make_demo_config
from mvdefect.workflow.fit import fit_inspector
from tests.tuning.fakes import score_trial
from tuning import tune as tune_module
from tuning.settings import load_search
from tuning.tune import TuneOptions, tune_inspector

FILES = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
GRIDS = [path for path in FILES if "\nmethods:" in path.read_text()]
SEARCHES = [path for path in FILES if "\nspace:" in path.read_text()]
CONFIGS = [path for path in FILES if path not in [*GRIDS, *SEARCHES]]


def test_the_three_backbones_and_the_demo_are_there() -> None:
    names = {path.stem for path in CONFIGS}
    assert {"resnet50", "efficientnetb0", "densenet121", "mobilenetv2", "demo"} <= names


def test_the_demo_config_is_that_of_the_demo() -> None:
    config = load_config(Path(__file__).parents[1] / "configs" / "demo.yaml", {"data": "parts"})
    assert config == make_demo_config(Path("parts"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_header_gives_command_seeds_and_result(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for key in ("Command:", "Seeds:", "Result:"):
        assert any(line.startswith(f"# {key}") for line in header), key


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if path.stem != "demo"], ids=lambda path: path.stem
)
def test_a_fit_runs(path: Path, parts_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the demo is run as it is elsewhere; reports do not depend on a backbone."""
    monkeypatch.setattr(fit_module, "write_report", lambda *_: None)
    shrunk = ["weights=none", "resolution=64", "batch_size=16"]
    config = load_config(path, {"data": str(parts_root), "categories": ["washer"]}, shrunk)
    # The last stage, which trains blocks, where that is cheap to build; the first elsewhere.
    chosen = config.stages[-1:] if path.stem == "mobilenetv2" else config.stages[:1]
    stages = tuple(stage.model_copy(update={"epochs": 1}) for stage in chosen)
    folder = fit_inspector(config.model_copy(update={"stages": stages}), tmp_path / "run").folder
    assert folder.is_finished


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.stem)
def test_a_search_runs(path: Path, parts_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_module, "find_weights", lambda *_: None)
    search = load_search(path, {"settings.data": str(parts_root), "trials": 4})
    summary = tune_inspector(search, tmp_path / "out", TuneOptions(function=score_trial))
    assert summary is not None
    assert summary.leaderboard is not None
    assert len(summary.leaderboard.candidates) == search.refits.best + 1


def test_the_searches_are_those_for_a_processor_and_for_a_gpu() -> None:
    assert [path.stem for path in SEARCHES] == ["tune", "tune_gpu"]
    search = load_search(SEARCHES[1], {})
    assert len(search.space["backbone"]) == 3
    assert search.trials == 100
