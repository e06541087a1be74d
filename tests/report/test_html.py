"""The report: self-contained, complete, and true to the run."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from mvdefect.evaluation.evaluate import evaluate_run
from mvdefect.report.table import make_evaluation_tables
from mvdefect.report.wording import describe_verdict, format_figure
from mvdefect.runs import RunFolder, read_predictions


class Tags(HTMLParser):
    """Collects every tag with its attributes, and checks that tags are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html(finished_run: Path) -> str:
    return (finished_run / "report.html").read_text(encoding="utf-8")


def test_it_asks_for_nothing_from_outside(html: str) -> None:
    for tag, attributes in Tags(html).found:
        assert tag not in {"script", "link", "iframe"}
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert "http" not in html
    assert "url(" not in html
    assert len(html) < 10_000_000


def test_every_tag_is_closed_and_every_picture_described(html: str) -> None:
    tags = Tags(html)
    assert tags.open == []
    assert all(attributes.get("alt") for tag, attributes in tags.found if tag == "img")


def test_it_says_what_was_measured(html: str, finished_run: Path) -> None:
    evaluation = evaluate_run(finished_run)
    text = re.sub(r"\s+", " ", html)
    assert describe_verdict(evaluation) in text
    assert evaluation.split_digest[:12] in text
    for figure in evaluation.figures.values():
        assert all(part in text for part in format_figure(figure))
    for entry in evaluation.recall_by_type:
        assert f"{entry.caught} of {entry.count}" in text


def test_every_miss_and_false_alarm_is_shown(html: str, finished_run: Path) -> None:
    rows = [row for row in read_predictions(RunFolder(finished_run)) if row.split == "test"]
    wrong = [row for row in rows if (row.verdict == "defective") != bool(row.label)]
    shown = {attributes.get("alt") for tag, attributes in Tags(html).found if tag == "img"}
    misses = [row for row in wrong if row.label]
    assert f"Missed defects ({len(misses)})" in html
    assert {row.id for row in misses[:24]} <= shown | {row.id for row in misses[24:]}


def test_the_figures_lie_beside_it(finished_run: Path) -> None:
    names = {path.name for path in (finished_run / "figures").iterdir()}
    assert {
        "roc_curve.png",
        "precision_and_recall.png",
        "confusion_matrix.png",
        "learning_curves.png",
    } <= names


def test_the_table_for_the_terminal(finished_run: Path) -> None:
    evaluation = evaluate_run(finished_run)
    console = Console(width=120, file=io.StringIO(), record=True)
    for table in make_evaluation_tables(evaluation, "Inspector"):
        console.print(table)
    text = console.export_text()
    assert "closed-set protocol" in text
    assert format_figure(evaluation.figures["roc_auc"])[0] in text
