"""The page of a search in a real browser: highlights, filters, sorts, asks for nothing, shuts nobody out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.browsing import DESK, MISSING, list_requests, list_violations, open_browser, show
from tuning.page.page import write_search_page
from tuning.records import COMPLETED, SearchSummary

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"no browser to test the page in: without {MISSING}")

SMALL = (360, 780)
SHOWN = """
    const seen = (selector) => [...document.querySelectorAll(selector)]
        .filter((element) => getComputedStyle(element).display !== "none")
        .map((element) => Number(element.dataset.trial)).sort((one, two) => one - two);
    return [seen("#lines .trial"), seen("#trial-table tbody tr")];
"""
ORDER = """
    return [...document.querySelectorAll("#trial-table tbody tr")].map((row) => Number(row.dataset.trial));
"""
LIT = """
    return [...document.querySelectorAll("#lines .trial.lit, #trial-table tr.lit")]
        .map((element) => [element.tagName.toLowerCase(), Number(element.dataset.trial)]);
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


def find_axis(browser: Any, name: str) -> int:
    script = "return [...document.querySelectorAll('#filters legend')].map((legend) => legend.textContent)"
    found = browser.execute_script(script)
    return int(found.index(name))


def set_field(browser: Any, axis: str, name: str, value: str | bool, among: int = 0) -> None:
    """Fill in a field of the filter as a user would."""
    script = """
        const [axis, name, value, among] = arguments;
        const fields = document.querySelectorAll(`#filters fieldset[data-axis="${axis}"] [name="${name}"]`);
        if (typeof value === "boolean") fields[among].checked = value; else fields[among].value = value;
        fields[among].dispatchEvent(new Event("input", { bubbles: true }));
    """
    browser.execute_script(script, find_axis(browser, axis), name, value, among)


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


def test_keys_go_from_line_to_line_and_light_the_row(browser: Any, page: Path, search: SearchSummary) -> None:
    from selenium.webdriver.common.keys import Keys

    show(browser, page)
    order = rank(search)
    assert browser.execute_script(LIT) == []
    browser.execute_script("document.getElementById('parallel-scroll').focus()")
    first = browser.find_element("css selector", "#lines .trial[tabindex='0']")
    assert len(browser.find_elements("css selector", "#lines .trial[tabindex='0']")) == 1
    browser.execute_script("arguments[0].focus()", first)
    steps = ((None, 0), (Keys.ARROW_DOWN, 1), (Keys.ARROW_RIGHT, 2), (Keys.ARROW_UP, 1), (Keys.END, -1))
    for key, place in steps:
        if key:
            browser.switch_to.active_element.send_keys(key)
        assert sorted(browser.execute_script(LIT)) == [["g", order[place]], ["tr", order[place]]]
        told = browser.find_element("id", "told").text
        trial = search.trials[order[place]]
        assert told.startswith(f"Trial {trial.name}")
        assert f"val_roc_auc {trial.score:.4f}" in told
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.execute_script(LIT) == []


def test_a_row_lights_its_line_and_leads_to_it(browser: Any, page: Path, search: SearchSummary) -> None:
    from selenium.webdriver.common.keys import Keys

    show(browser, page)
    place = rank(search)[3]
    link = browser.find_element("css selector", f"#trial-table a[href='#line-{place}']")
    browser.execute_script("arguments[0].focus()", link)
    assert ["g", place] in browser.execute_script(LIT)
    link.send_keys(Keys.ENTER)
    browser.execute_async_script("setTimeout(arguments[0], 30)")
    assert browser.switch_to.active_element.get_attribute("id") == f"line-{place}"
    failed = next(place for place, trial in enumerate(search.trials) if trial.trouble)
    assert not browser.find_elements("css selector", f"#trial-table a[href='#line-{failed}']")


def test_the_pointer_lights_a_line(browser: Any, page: Path, search: SearchSummary) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    show(browser, page)
    row = browser.find_element("css selector", "#trial-table tbody tr[data-trial='3']")
    ActionChains(browser).move_to_element(row).perform()
    assert ["g", 3] in browser.execute_script(LIT)


def test_fields_filter_lines_and_rows(browser: Any, page: Path, search: SearchSummary) -> None:
    show(browser, page)
    done = sorted(rank(search))
    assert browser.execute_script(SHOWN) == [done, list(range(len(search.trials)))]
    set_field(browser, "learning_rate", "from", "0.0005")
    rates = {place: trial.values.get("learning_rate") for place, trial in enumerate(search.trials)}
    fit = [place for place, rate in rates.items() if rate is None or float(rate) >= 0.0005]
    lines = [place for place in fit if place in done]
    assert browser.execute_script(SHOWN) == [lines, fit]
    assert browser.find_element("id", "kept").text == f"{len(lines)} of {len(done)} are shown"
    set_field(browser, "learning_rate", "absent", False)
    fit = [place for place in fit if rates[place] is not None]
    assert browser.execute_script(SHOWN)[1] == fit
    set_field(browser, "head", "category", False, among=0)
    fit = [place for place in fit if search.trials[place].values["head"] == "pooled"]
    assert browser.execute_script(SHOWN)[1] == fit
    assert 0 < len(fit) < len(done)
    browser.find_element("css selector", ".controls-box summary").click()
    browser.find_element("id", "show-all").click()
    browser.execute_async_script("setTimeout(arguments[0], 30)")
    assert browser.execute_script(SHOWN) == [done, list(range(len(search.trials)))]
    set_field(browser, "learning_rate", "used", False)
    assert browser.execute_script(SHOWN)[1] == [place for place, rate in rates.items() if rate is None]


def test_a_stroke_along_an_axis_filters_and_a_click_shows_all(
    browser: Any, page: Path, search: SearchSummary
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    show(browser, page)
    areas = browser.find_elements("css selector", ".brush-area")
    browser.execute_script("arguments[0].scrollIntoView({ block: 'center' })", areas[-1])
    middle = areas[-1].rect["height"] / 2
    stroke = ActionChains(browser).move_to_element_with_offset(areas[-1], 0, int(-middle) + 2)
    stroke.click_and_hold().move_by_offset(0, 90).release().perform()
    lines, rows = browser.execute_script(SHOWN)
    order = rank(search)
    assert 0 < len(lines) < len(order)
    assert set(lines) == set(order[: len(lines)])  # the best ones, for the stroke began above the axis
    assert rows == lines
    low = search.trials[order[len(lines) - 1]].score
    field = f"#filters fieldset[data-axis='{len(areas) - 1}'] [name='from']"
    bound = float(browser.find_element("css selector", field).get_attribute("value"))
    assert search.trials[order[len(lines)]].score < bound <= low
    assert len(browser.find_elements("css selector", ".brush")) == 1
    ActionChains(browser).move_to_element(areas[-1]).click().perform()
    assert browser.execute_script(SHOWN)[0] == sorted(order)
    assert not browser.find_elements("css selector", ".brush")
    assert browser.get_log("browser") == []


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
        shown = [line.is_displayed() for line in browser.find_elements("css selector", "#lines .stroke")]
        assert shown == [True] * len(rank(search))
        assert not browser.find_element("id", "told").is_displayed()
        assert not browser.find_element("css selector", ".controls-box").is_displayed()
        assert len(browser.find_elements("css selector", "#trial-table tbody tr")) == len(search.trials)
        body = browser.find_element("tag name", "body")
        assert body.value_of_css_property("background-color") == "rgba(255, 255, 255, 1)"
        document = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
        assert document.startswith("JVBERi0")  # %PDF-
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
