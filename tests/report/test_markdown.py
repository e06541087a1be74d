"""The report as Markdown: the same figures, pictures that exist, and names that mean themselves."""

from __future__ import annotations

import re
from pathlib import Path

import cv2

from mvdefect import cli
from mvdefect.evaluation.evaluate import evaluate_run
from mvdefect.report.report import compare_runs, escape
from mvdefect.report.wording import format_figure
from tests.test_cli import run


def test_tables_sentences_and_pictures(inspector: Path, baseline: Path, tmp_path: Path, capsys) -> None:
    out, markdown = tmp_path / "deep" / "report.html", tmp_path / "other" / "report.md"
    assert run("report", inspector, baseline, "--out", out, "--markdown", markdown) == 0
    assert capsys.readouterr().out == f"report        {out}\nmarkdown      {markdown}\n"
    assert out.is_file()
    text = markdown.read_text(encoding="utf-8")
    evaluation = evaluate_run(inspector)
    for figure in evaluation.figures.values():
        assert " | ".join(format_figure(figure)) in text
    assert f"{evaluation.defective} defective ones" in text
    links = re.findall(r"!\[[^]]+\]\((figures/[\w.]+)\)", text)
    assert len(links) == text.count("](") > 10
    for link in links:
        assert cv2.imread(str(markdown.parent / link)) is not None
    assert {path.name for path in (markdown.parent / "figures").iterdir()} == {
        Path(link).name for link in links
    }


def test_every_row_has_as_many_cells_as_its_head(hostile: Path, tmp_path: Path) -> None:
    compare_runs([hostile], tmp_path / "report.html", tmp_path / "report.md")
    cells = 0
    for line in (tmp_path / "report.md").read_text(encoding="utf-8").splitlines():
        count = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("| ") else 0
        assert not cells or count in (0, cells)
        cells = count
    assert "\n```\n" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_no_name_is_markup(hostile: Path, tmp_path: Path) -> None:
    compare_runs([hostile], tmp_path / "report.html", tmp_path / "report.md")
    text = re.sub(r"```.*?```", "", (tmp_path / "report.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not re.search(r"(?<!\\)<(b|i|img)\b", text)
    assert escape("a|b*c_d`e\nf") == r"a\|b\*c\_d\`e f"


def test_a_run_that_is_none_is_told_in_one_line(tmp_path: Path, capsys) -> None:
    assert run("report", tmp_path, "--out", tmp_path / "report.html") == cli.EXIT_TROUBLE
    assert "Error: a run is a folder that" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()
