"""The page of a search: what it says in each state, and that it shows the trials as they were."""

from __future__ import annotations

import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mvdefect.evaluation.bootstrap import Figure
from tests.tuning.conftest import fail, make_trials
from tuning.page.page import write_search_page
from tuning.page.wording import describe_fit, find_best, reach_answer
from tuning.records import DEFAULT, Importances, Leaderboard, SearchSummary

VOID = {"meta", "input", "br"}
SECTIONS = [
    "What the test part says",
    "Leaderboard",
    "All trials at a glance",
    "Learning curves",
    "What matters",
    "All trials",
    "To reproduce",
    "Notes",
]


class Page(HTMLParser):
    """Tags, and the text of headings and all; checks that tags are closed and ids are single."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []
        ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if not {"script", "style"} & set(self.open):
            self.words.append(data)


def render(summary: SearchSummary, folder: Path) -> Page:
    path = write_search_page(summary, folder / "deep" / "search.html")
    assert path == folder / "deep" / "search.html"
    return Page(path.read_text(encoding="utf-8"))


def test_it_answers_first_and_keeps_the_order(search: SearchSummary, tmp_path: Path) -> None:
    page = render(search, tmp_path)
    board = search.leaderboard
    assert board is not None
    assert page.headings == [f"Use the settings of trial {board.recommended}", *SECTIONS]
    answer = page.text[: page.text.index("What the test part says")]
    chosen, default = board.find(board.recommended), board.find(DEFAULT)
    assert board.reason in answer
    assert f"{chosen.mean:.4f} ± {chosen.spread:.4f}".split(" ")[0] in answer
    assert f"± {chosen.spread:.4f}" in answer
    assert f"better than the default: +{chosen.mean - default.mean:.4f}" in answer
    assert "+0.0210 (+0.0150 to +0.0270)" in answer
    assert "more than chance explains" in answer
    assert "22 completed, 2 failed" in answer
    assert search.confirmations[0].verdict in page.text
    assert "0.9440 ± 0.0030" in page.text  # by hand: 0.941, 0.947, 0.944


def test_it_needs_nothing_from_elsewhere_and_escapes_what_it_is_given(
    search: SearchSummary, tmp_path: Path
) -> None:
    page = render(search, tmp_path)
    for tag, attributes in page.tags:
        assert tag not in {"link", "img", "iframe", "b>"}
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    assert "tiles <one>" in page.text
    assert "OOM: <no> memory left for 64 images & more" in page.text
    assert "no" not in {tag for tag, _ in page.tags}
    assert "url(http" not in (tmp_path / "deep" / "search.html").read_text()


def test_where_less_is_better_the_least_is_the_best(search: SearchSummary) -> None:
    trials = tuple(replace(trial, score=1 - trial.score) for trial in search.trials)
    turned = replace(search, trials=trials, objective="val_loss", direction="min")
    best, other = find_best(turned), find_best(search)
    assert best is not None
    assert other is not None
    assert best.name == other.name


def test_the_plot_of_trials_says_what_it_shows(search: SearchSummary, tmp_path: Path) -> None:
    page = render(search, tmp_path)
    alts = [attributes.get("aria-label") or "" for tag, attributes in page.tags if tag == "svg"]
    assert sum(alt.startswith("val_roc_auc of 22 trials against") for alt in alts) == 1
    assert "22 completed trials, a dot in each panel" in page.text
    assert "The same in all trials: batch_size = 32." in page.text


def test_marks_do_not_rest_on_colour_alone(search: SearchSummary, tmp_path: Path) -> None:
    page, board = render(search, tmp_path), search.leaderboard
    assert board is not None
    for text in ("◆ recommended", "● winner, best trial", f"{board.recommended}: recommended"):
        assert text in page.text


def test_before_the_refits_nothing_is_recommended(search: SearchSummary, tmp_path: Path) -> None:
    early = replace(search, leaderboard=None, confirmations=(), best="", notes=())
    page, best = render(early, tmp_path), find_best(search)
    assert best is not None
    assert page.headings[0] == "Nothing is recommended yet"
    assert f"Trial {best.name} has the best score so far, {best.score:.4f}" in page.text
    assert "The test part was not opened" in page.text
    assert not {"Leaderboard", "Notes"} & set(page.headings)


def test_where_all_trials_failed_it_says_so(search: SearchSummary, tmp_path: Path) -> None:
    trials = tuple(fail(trial, "no memory") for trial in search.trials)
    nothing = Importances((), math.nan)
    failed = replace(search, trials=trials, importances=nothing, leaderboard=None, confirmations=(), best="")
    page = render(failed, tmp_path)
    assert page.headings[0] == "Nothing can be recommended: no trial completed"
    assert "24 of 24 failed" in page.text
    assert "(24 of 24): no memory" in page.text
    assert "All trials at a glance" not in page.headings
    assert reach_answer(failed).advice == "stop"


def test_before_the_first_trial_there_is_a_page_too(search: SearchSummary, tmp_path: Path) -> None:
    empty = SearchSummary("new", "val_roc_auc", "max", (), "", Importances((), math.nan), None, (), "", "")
    assert "No trial has begun." in render(empty, tmp_path).text


def test_one_trial_alone_can_be_shown(search: SearchSummary, tmp_path: Path) -> None:
    one = replace(search, trials=search.trials[:1], importances=Importances((), math.nan), leaderboard=None)
    page = render(one, tmp_path)
    assert "1 completed trial, and no hyperparameter that differed" in page.text
    assert f"backbone = {one.trials[0].values['backbone']}" in page.text


def test_where_the_default_wins_it_is_kept(search: SearchSummary) -> None:
    board = search.leaderboard
    assert board is not None
    keeps = replace(search, leaderboard=replace(board, recommended=DEFAULT, reason="it is the simplest."))
    answer = reach_answer(keeps)
    assert answer.headline == "Keep the default settings"
    assert answer.sentences == ("It is the simplest.",)


def test_a_difference_that_may_be_chance_is_called_so(search: SearchSummary) -> None:
    board = search.leaderboard
    assert board is not None
    near = replace(board.find(DEFAULT), behind=Figure(0.01, -0.002, 0.022))
    mixed = Leaderboard((*board.candidates[:3], near), board.winner, board.recommended, board.reason)
    assert "may be chance" in " ".join(reach_answer(replace(search, leaderboard=mixed)).sentences)


def test_refits_that_failed_are_told(search: SearchSummary, tmp_path: Path) -> None:
    board, nan = search.leaderboard, math.nan
    assert board is not None
    broken = replace(board.candidates[2], refits=(), mean=nan, spread=nan, behind=None, trouble="it broke")
    mixed = replace(board, candidates=(*board.candidates[:2], board.candidates[3], broken))
    page = render(replace(search, leaderboard=mixed), tmp_path)
    assert "it broke" in page.text
    assert "nan" not in page.text.lower().split()
    none = replace(board, candidates=(broken,), winner="", recommended="")
    answer = reach_answer(replace(search, leaderboard=none))
    assert answer.headline == "Nothing is recommended yet"
    assert "could be trained again" in answer.sentences[0]


@pytest.mark.parametrize("fit", [math.nan, 0.0, -0.4])
def test_importances_that_mean_nothing_are_called_so(search: SearchSummary, fit: float) -> None:
    assert describe_fit(Importances(search.importances.rows, fit)).startswith("The trials do not tell what ")


def test_many_trials_make_no_huge_page(search: SearchSummary, tmp_path: Path) -> None:
    many = replace(search, trials=make_trials(90), leaderboard=None)
    path = write_search_page(many, tmp_path / "search.html")
    assert path.stat().st_size < 1_500_000
    assert write_search_page(many, tmp_path / "again.html").read_text() == path.read_text()
