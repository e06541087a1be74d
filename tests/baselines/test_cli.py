"""The command: what it prints, and what it refuses in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdefect.baselines.registry import BASELINES
from mvdefect.runs import RunFolder, read_run_config
from tests.test_cli import check_one_line, run

TINY = ["--backbone", "small_cnn", "--weights", "none", "--resolution", "64"]


def test_a_baseline_is_measured_as_an_inspector_is(
    plain_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run"
    assert run("baseline", "one-class", "--data", plain_root, *TINY, "--kind", "gaussian", "--run", path) == 0
    printed = capsys.readouterr().out
    for words in ("Baseline ", "ROC-AUC", "Recall by defect type", "report.html"):
        assert words in printed
    config = read_run_config(RunFolder(path))
    assert (config.baseline, config.one_class, config.backbone) == ("one-class", "gaussian", "small_cnn")
    assert run("evaluate", path) == 0
    assert "ROC-AUC" in capsys.readouterr().out
    assert run("baseline", "one-class", "--data", plain_root, *TINY, "--run", path) == 2
    check_one_line(capsys, "replace it with --overwrite")
    assert run("baseline", "majority", "--data", plain_root, *TINY, "--run", path, "--overwrite") == 0
    assert read_run_config(RunFolder(path)).baseline == "majority"


def test_the_run_is_named_after_data_and_baseline(
    plain_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("baseline", "majority", "--data", plain_root, *TINY, "--seed", 3, "--prevalence", 0.01) == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["parts-majority-seed3"]
    assert read_run_config(RunFolder(tmp_path / "runs" / "parts-majority-seed3")).prevalence == 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["handcraft"], "unknown baseline 'handcraft'. Did you mean 'handcrafted'? Allowed: "),
        (["handcrafted", "--set", "bach_size=3"], "Did you mean 'batch_size'?"),
        (["one-class", "--kind", "patchcore"], "one_class: input should be 'padim', 'memory_bank' or"),
        (["frozen-svm", "--backbone", "mobilenet"], "Did you mean 'mobilenetv2'?"),
        (["frozen-svm", "--weights", "nowhere.h5"], "Received: nowhere.h5 (no such file)"),
        (["handcrafted", "--threshold", "most"], "most"),
        ([], "Missing argument 'NAME'"),
    ],
)
def test_what_is_unknown_is_told_in_one_line(
    arguments: list[str],
    message: str,
    plain_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_at = tmp_path / "run"
    assert run("baseline", "--data", plain_root, *TINY, "--run", run_at, *arguments) == 2
    check_one_line(capsys, message)
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("baseline", "x") == 2
    check_one_line(capsys, ", ".join(sorted(BASELINES)))


def test_the_help_names_every_baseline_with_its_description(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("baseline", "--help") == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for baseline in BASELINES.values():
        assert f"{baseline.name} {baseline.describe}" in lines
