"""A requirement from the command line to the run, the terminal, the JSON and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mvdefect
from mvdefect.audit.findings import Finding, Severity
from mvdefect.config import FitConfig
from mvdefect.core.errors import ConfigError
from mvdefect.data.scan import Scan
from mvdefect.data.splits.plan import SplitPlan
from mvdefect.evaluation.evaluate import evaluate_run, read_operating_point
from mvdefect.report import report as report_module
from mvdefect.report.audit_summary import AuditSummary
from mvdefect.runs import RunFolder, read_run_config
from tests.report.conftest import make_run
from tests.test_cli import TINY, check_one_line, run

ASKED = "recall 0.9, false-alarms 0.2"


def require(
    path: Path, photographs: tuple[Scan, SplitPlan], parts_root: Path, **settings: object
) -> RunFolder:
    config = FitConfig(data=str(parts_root), verdict="classifier", require=ASKED, **settings)
    return make_run(path, *photographs, config, strength=6.0)


def test_a_fit_with_a_requirement_chooses_the_threshold_and_answers(
    tmp_path: Path, photographs: tuple[Scan, SplitPlan], parts_root: Path
) -> None:
    folder = require(tmp_path / "run", photographs, parts_root)
    point = read_operating_point(folder)
    assert (point.contract, point.part) == (f"requirement ({ASKED})", "val")
    stored = json.loads(folder.metrics.read_text())["requirement"]
    assert stored["text"] == ASKED
    assert stored["stated"] == "before the figures"
    answer = evaluate_run(folder.path).requirement
    assert answer is not None
    assert [clause.answer for clause in answer.clauses] == [clause["answer"] for clause in stored["clauses"]]


@pytest.mark.parametrize(
    ("threshold", "contract"), [("0.9", "0.9"), ("f1", "f1"), ("min-recall 0.5", "min-recall 0.5")]
)
def test_a_threshold_that_is_given_stays(
    threshold: str, contract: str, tmp_path: Path, photographs: tuple[Scan, SplitPlan], parts_root: Path
) -> None:
    folder = require(tmp_path / "run", photographs, parts_root, threshold=threshold)
    assert read_operating_point(folder).contract == contract
    assert evaluate_run(folder.path).requirement is not None


@pytest.mark.parametrize(
    ("text", "code", "answer"),
    [("recall 0.3", 0, "met"), ("false-alarms 0.01", 1, "not met"), ("recall 0.95", 3, "too few")],
)
def test_the_exit_code_is_the_answer(
    text: str, code: int, answer: str, baseline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", baseline, "--require", text, "--json") == code
    found = json.loads(capsys.readouterr().out)["requirement"]
    assert (found["answer"], found["stated"]) == (answer, "after the figures")
    assert run("evaluate", baseline, "--require", text, "--exit-zero") == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "The requirement was stated after the figures." in words
    assert words.index("requirement") < words.index("ROC-AUC")


def test_without_a_requirement_the_command_that_answers_one_is_told(
    inspector: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", inspector) == 0
    out = capsys.readouterr().out
    assert f"mvdefect evaluate {inspector} --require 'recall 0.95, false-alarms 0.05'" in out
    assert "ship" not in out.lower()
    assert run("evaluate", inspector, "--json") == 0
    assert json.loads(capsys.readouterr().out)["requirement"] is None


def test_a_late_requirement_changes_nothing_in_the_run(
    tmp_path: Path, photographs: tuple[Scan, SplitPlan], parts_root: Path
) -> None:
    path = require(tmp_path / "run", photographs, parts_root).path
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    found = mvdefect.evaluate(path, require="recall 0.5")
    assert found.requirement is not None
    assert (found.requirement.stated, found.requirement.instead_of) == ("after the figures", ASKED)
    again = mvdefect.evaluate(path, require="false alarms at most 20%, recall 90%")
    assert again == evaluate_run(path)  # it is that of the fit
    chosen = mvdefect.evaluate(path, threshold="requirement", require="recall 0.5")
    assert chosen.operating_point.contract == "requirement (recall 0.5)"
    with pytest.raises(ConfigError, match="answered, not saved"):
        mvdefect.evaluate(path, require="recall 0.5", save=True)
    with pytest.raises(ConfigError, match="unknown figure 'recal'"):
        mvdefect.evaluate(path, require="recal 0.5")
    assert before == {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    mvdefect.evaluate(path, threshold="f1", save=True)
    assert read_run_config(RunFolder(path)).require == ASKED  # another threshold keeps it


def test_a_report_answers_for_its_first_run_alone(
    inspector: Path, baseline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, markdown = tmp_path / "report.html", tmp_path / "report.md"
    alone = run("report", inspector, "--require", ASKED, "--out", out, "--markdown", markdown)
    assert alone == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("requirement   Too few images to say whether the requirement is met.")
    assert "The requirement was stated after the figures." in said[0]
    page = out.read_text(encoding="utf-8")
    for text in (page, markdown.read_text(encoding="utf-8")):
        assert "The requirement was stated after the figures." in text
        assert "oo few images to say" in text
        assert "mvdefect report" not in text.partition("What to know first")[0]
    assert run("report", inspector, baseline, "--require", ASKED, "--out", out) == 0
    assert capsys.readouterr().out.splitlines()[0] == said[0]  # another run beside it decides nothing


def test_nonsense_is_refused_before_anything_is_read(
    tmp_path: Path, inspector: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for threshold in ((), ("--threshold", "0.5")):
        place = ("--run", tmp_path / "run")
        assert run("fit", tmp_path / "gone", *TINY, "--require", "recall 1.2", *threshold, *place) == 2
        check_one_line(capsys, "did you mean 1.2%")
    assert run("evaluate", inspector, "--require", "") == 2
    check_one_line(capsys, "it is empty")
    assert run("report", inspector, "--require", "f1 0.9", "--out", tmp_path / "r.html") == 2
    check_one_line(capsys, "unknown figure 'f1'")
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_data_check_comes_before_any_figure(
    baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    found = AuditSummary((Finding("blank", Severity.ERROR, "1 image is blank", "Remove it."),), ())
    monkeypatch.setattr(report_module, "summarise_audit", lambda *_: found)
    report_module.compare_runs([baseline], tmp_path / "report.html", tmp_path / "report.md", ASKED)
    words = "The data check has 1 error (blank). Mend the data and fit again"
    assert messages[0].startswith(words)  # on the terminal, too
    for name in ("report.html", "report.md"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert text.index("no figure can be believed yet") < text.index("recall of at least 90%")
        assert words in text.replace("\\", "").partition("recall of at least 90%")[0]
