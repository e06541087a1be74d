"""The report: self-contained, complete, true to the run, whatever photographs are called."""

from __future__ import annotations

import base64
import html
import io
import itertools
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from mvdefect.config import FitConfig
from mvdefect.core.errors import RunError
from mvdefect.data.groups.grouping import group_records
from mvdefect.data.scan import Scan
from mvdefect.data.splits.plan import SplitPlan
from mvdefect.data.splits.protocols import assign_closed_set
from mvdefect.evaluation.evaluate import evaluate_folder, evaluate_run
from mvdefect.report.report import compare_runs
from mvdefect.report.sheets import make_evaluation_tables
from mvdefect.report.wording import format_figure
from mvdefect.runs import RunFolder, read_predictions
from tests.report.conftest import HOSTILE_NAME, HOSTILE_TYPE, make_run

VOID = {"meta", "img", "br", "input"}
ORDER = [
    "What to know first",
    "What was measured",
    "Against the baselines",
    "Figures",
    "Ranking: ROC, precision and recall",
    "Verdicts, scores and probabilities",
    "Which defects are caught",
    "Learning curves",
    "Trade-off: escapes, overkill and review",
    "Images to look at",
    "To reproduce",
    "Release",
]


class Page(HTMLParser):
    """Tags with attributes, and the text; checks that tags are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.headings: list[tuple[int, str]] = []
        self.feed(text)
        self.close()
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"style", "script"}:
            return
        self.text += f"{data} "
        if self.open and re.fullmatch("h[1-6]", self.open[-1]):
            level, words = self.headings[-1]
            self.headings[-1] = (level, words + data)


@pytest.fixture(scope="module")
def page(inspector: Path, baseline: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "page.html"
    compare_runs([inspector, baseline], out)
    return out.read_text(encoding="utf-8")


def check_self_contained(text: str) -> None:
    page = Page(text)
    assert page.open == []
    for tag, attributes in page.found:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        assert "src" not in attributes or (attributes["src"] or "").startswith("data:image/")
        href = attributes.get("href")
        assert href is None or href.startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert "http" not in text.replace("http-equiv", "")
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert len(text.encode()) < 10_000_000


def test_it_asks_for_nothing_from_outside(page: str, finished_run: Path) -> None:
    check_self_contained(page)
    check_self_contained((finished_run / "report.html").read_text(encoding="utf-8"))


def test_its_parts_come_in_order_under_headings_in_order(page: str) -> None:
    parsed = Page(page)
    assert [words for level, words in parsed.headings if level == 2][1:] == ORDER
    assert [words for level, words in parsed.headings if level == 1] == ["inspector"]
    levels = [level for level, _ in parsed.headings]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_ids_are_there_once_and_links_lead_somewhere(page: str) -> None:
    ids = [attributes["id"] for _, attributes in Page(page).found if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"][1:] for _, attributes in Page(page).found if attributes.get("href")}
    assert targets <= set(ids)
    assert len(targets) > len(ORDER) - 2


def test_every_picture_and_plot_is_described_and_every_table_named(page: str) -> None:
    parsed = Page(page)
    names = [tag for tag, _ in parsed.found]
    assert all(attributes.get("alt") for tag, attributes in parsed.found if tag == "img")
    plots = [attributes for tag, attributes in parsed.found if tag == "svg"]
    assert len(plots) == 9  # the histogram of the slider among them
    assert all(attributes.get("role") == "img" and attributes.get("aria-label") for attributes in plots)
    assert names.count("table") == names.count("caption") > 10


def test_it_says_what_was_measured(page: str, inspector: Path, baseline: Path) -> None:
    evaluation, text = evaluate_run(inspector), Page(page).text
    for run in (evaluation, evaluate_folder(RunFolder(baseline), prevalence=0.02)):
        for name in ("roc_auc", "average_precision", "recall", "false_alarm_rate", "f1"):
            value, interval = format_figure(run.figures[name])
            assert f"{value} ({interval})" in text
    for figure in evaluation.figures.values():
        assert " ".join(format_figure(figure)) in text
    for entry in evaluation.recall_by_type:
        assert f"{entry.category}: {entry.defect_type} {entry.caught} of {entry.count}" in text
    for size in evaluation.recall_by_size:
        assert f"{size.name} {size.low_share:.2%} to {size.high_share:.2%}" in text
    assert evaluation.split_digest in text
    assert "what goes to a person is not counted in it" in text
    assert "protocol closed-set" in text
    caught = int(evaluation.confusion["true_positive"].value)
    assert f"this inspector caught {caught} of {evaluation.defective} defective ones" in text
    for note in evaluation.notes:
        assert note in text
    assert "mvdefect fit --run 'a folder/inspector' mvdefect fit --run 'a folder/handcrafted'" in text
    assert "review_budget: 0.3" in text


def test_the_difference_is_the_paired_one(page: str, inspector: Path, baseline: Path) -> None:
    from mvdefect.evaluation.comparison import compare_samples
    from mvdefect.evaluation.figures import roc_auc
    from mvdefect.evaluation.strata import make_sample

    samples = [
        make_sample([row for row in read_predictions(RunFolder(path)) if row.split == "test"])
        for path in (inspector, baseline)
    ]
    found = compare_samples(*samples, roc_auc)
    signed = [f"{value:+.3f}".replace("-", "−") for value in (found.value, found.low, found.high)]
    pattern = rf"against handcrafted {re.escape(signed[0])}( better)? \({re.escape(signed[1])} to"
    assert re.search(pattern, Page(page).text)


def test_every_miss_and_false_alarm_is_shown_with_its_heatmap(page: str, inspector: Path) -> None:
    rows = [row for row in read_predictions(RunFolder(inspector)) if row.split == "test"]
    misses = [row.id for row in rows if row.label and row.verdict == "good"]
    alarms = [row.id for row in rows if not row.label and row.verdict == "defective"]
    assert misses
    assert alarms
    caught = [row.id for row in rows if row.label and row.verdict == "defective"]
    text = page[page.index("Caught: ") : page.index('id="reproduce"')]
    assert f"Missed defects ({len(misses)})" in text
    assert f"False alarms ({len(alarms)})" in text
    shown = re.findall(r"<figcaption><b>[^<]*</b><br>([^<]*)</figcaption>", text)
    assert set(misses + alarms) <= set(shown)
    assert set(shown) & set(caught)
    assert len(shown) == len(set(shown))
    pictures = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="([^"]+)"', text)
    defective = len([row for row in rows if row.label and row.id in shown])
    assert len(pictures) == 2 * len(shown) + defective  # which have masks
    assert len(page) < 3e6
    assert all(base64.b64decode(data)[:2] == b"\xff\xd8" for data, _ in pictures)
    assert sum("under its heatmap" in alt for _, alt in pictures) == len(shown)
    assert any("with the defect outlined" in alt for _, alt in pictures)


def test_the_slider_holds_the_scores_of_the_run(page: str, inspector: Path) -> None:
    data = json.loads(re.search(r'id="trade-off-data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    rows = [row for row in read_predictions(RunFolder(inspector)) if row.split == "test"]
    assert data["scores"] == [row.score for row in rows]
    assert data["labels"] == [row.label for row in rows]
    assert data["threshold"] == json.loads((inspector / "operating_point.json").read_text())["score"]
    assert data["prevalence"] == 0.02


def test_names_that_would_break_a_page_are_shown_as_they_are(
    hostile: Path, write_page: Callable[..., str]
) -> None:
    text = write_page(hostile)
    check_self_contained(text)
    parsed = Page(text)
    assert "i" not in {tag for tag, _ in parsed.found}
    assert "x" not in [attributes.get("src") for _, attributes in parsed.found]
    assert "<i>run&" in parsed.text
    assert HOSTILE_TYPE in parsed.text
    assert any(HOSTILE_NAME.format(number=number) in parsed.text for number in range(15))


def test_photographs_that_are_gone_leave_a_report_all_the_same(
    photographs: tuple[Scan, SplitPlan], tmp_path: Path, write_page: Callable[..., str]
) -> None:
    run = make_run(tmp_path / "run", *photographs, FitConfig(data=str(tmp_path / "gone")))
    text = write_page(run.path)
    check_self_contained(text)
    assert "The photographs are not at hand" in text
    assert "the image is not there any more" in text
    assert "What a property alone tells" not in text
    for note in photographs[1].notes:
        assert html.escape(note) in text


def test_a_baseline_has_a_report_of_its_own(baseline: Path, write_page: Callable[..., str]) -> None:
    text = write_page(baseline)
    check_self_contained(text)
    assert "baseline handcrafted" in text
    assert "Learning curves" not in text
    assert "under its heatmap" not in text


def test_runs_of_other_plans_cannot_be_compared(
    inspector: Path, photographs: tuple[Scan, SplitPlan], parts_root: Path, tmp_path: Path
) -> None:
    scan, plan = photographs
    other = assign_closed_set(scan, group_records(scan), 7)
    run = make_run(tmp_path / "other", scan, other, FitConfig(data=str(parts_root)))
    with pytest.raises(RunError) as raised:
        compare_runs([inspector, run.path], tmp_path / "page.html")
    for word in (str(inspector), str(run.path), plan.digest[:12], other.digest[:12], "same split plan"):
        assert word in str(raised.value)
    assert not (tmp_path / "page.html").exists()
    with pytest.raises(RunError, match="one run at least"):
        compare_runs([], tmp_path / "page.html")


def test_two_runs_of_one_name_go_by_their_paths(
    inspector: Path, tmp_path: Path, write_page: Callable[..., str]
) -> None:
    twin = shutil.copytree(inspector, tmp_path / "inspector")
    text = write_page(inspector, twin)
    assert f"against {twin.parent.name}/inspector" in text
    assert f"<h1>{inspector.parent.name}/inspector</h1>" in text


def test_a_fit_leaves_its_report_and_plots(finished_run: Path) -> None:
    evaluation = evaluate_run(finished_run)
    text = Page((finished_run / "report.html").read_text(encoding="utf-8")).text
    assert " ".join(format_figure(evaluation.figures["roc_auc"])) in text
    assert "Inspection report run " in text  # not run.partial, where it was made
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
