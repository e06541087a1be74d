"""The page of a search in a real browser: sorts, asks for nothing, shuts nobody out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.browsing import DESK, MISSING, list_requests, list_violations, open_browser, show
from tuning.page.page import write_search_page
from tuning.records import COMPLETED, DEFAULT, SearchSummary

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"no browser to test the page in: without {MISSING}")

SMALL = (360, 780)
ORDER = """
    return [...document.querySelectorAll("#trial-table tbody th")].map((head) => Number(head.dataset.key));
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with open_browser(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture(scope="module")
def page(search: SearchSummary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_search_page(search, tmp_path_factory.mktemp("page") / "search.html")


def rank(search: SearchSummary) -> list[int]:
    """Return the places of the trials that completed, the best first."""
    done = [place for place, trial in enumerate(search.trials) if trial.status == COMPLETED]
    return sorted(done, key=lambda place: -search.trials[place].score)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, SMALL])
def test_it_is_whole_silent_and_open_to_all(
    browser: Any, page: Path, size: tuple[int, int], theme: str
) -> None:
    show(browser, page, size, theme)
    assert browser.title == "Search: tiles <one>"
    assert browser.get_log("browser") == []
    assert [url for url in list_requests(browser) if not url.startswith("data:")] == [page.as_uri()]
    root = "document.documentElement"
    needed, there = browser.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]")
    assert size[0] - 20 <= needed <= there <= size[0]
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    channels = [int(part) for part in background.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (np.mean(channels) < 128) == (theme == "dark")
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert list_violations(browser) == []


def test_the_answer_is_on_the_first_screen(browser: Any, page: Path) -> None:
    show(browser, page)
    answer = browser.find_element("id", "answer").rect
    assert answer["y"] + answer["height"] < DESK[1]
    show(browser, page, SMALL)
    headline = browser.find_element("id", "headline").rect
    assert headline["y"] + headline["height"] < SMALL[1] / 2


def test_a_candidate_leads_to_its_row(browser: Any, page: Path, search: SearchSummary) -> None:
    show(browser, page)
    board = search.leaderboard
    assert board is not None
    links = browser.find_elements("css selector", "#leaderboard thead a")
    assert [link.text for link in links] == [
        f"trial {one.name}" for one in board.candidates if one.name != DEFAULT
    ]
    links[1].click()
    row, head = (
        browser.find_element("css selector", f"#trial-table {name}") for name in ("tr:target", "thead")
    )
    assert row.find_element("tag name", "th").text.startswith(board.candidates[1].name)
    assert row.rect["y"] >= head.rect["y"] + head.rect["height"] - 1  # not beneath the heads


def test_heads_sort_and_what_is_not_known_stays_last(browser: Any, page: Path, search: SearchSummary) -> None:
    show(browser, page)
    heads = browser.find_elements("css selector", "#trial-table thead th")
    names = [head.text for head in heads]
    failed = [place for place, trial in enumerate(search.trials) if trial.trouble]
    head = heads[names.index("val_roc_auc")]
    button = head.find_element("tag name", "button")
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert browser.execute_script(ORDER) == [*reversed(rank(search)), *failed]
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert browser.execute_script(ORDER) == [*rank(search), *failed]
    other = heads[names.index("backbone")]
    other.find_element("tag name", "button").click()
    assert head.get_attribute("aria-sort") is None
    words = [str(search.trials[place].values["backbone"]) for place in browser.execute_script(ORDER)]
    assert words == sorted(words)


def test_without_javascript_and_on_paper_it_is_complete(
    browser: Any, page: Path, search: SearchSummary
) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, page, theme="dark", media="print")
        plot = browser.find_element("css selector", "#glance svg")
        assert plot.is_displayed()
        assert plot.rect["width"] <= DESK[0]
        assert not browser.find_element("css selector", ".scripted").is_displayed()
        assert len(browser.find_elements("css selector", "#trial-table tbody tr")) == len(search.trials)
        body = browser.find_element("tag name", "body")
        assert body.value_of_css_property("background-color") == "rgba(255, 255, 255, 1)"
        document = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
        assert document.startswith("JVBERi0")  # %PDF-
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
