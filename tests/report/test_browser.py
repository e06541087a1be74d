"""The report in a real browser: it renders, the slider computes, nothing is asked for, nobody is shut out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mvdefect.report.contents import read_contents
from mvdefect.report.report import compare_runs
from mvdefect.report.tradeoff import ScoredImages, collect_scores, compute_trade_off
from mvdefect.report.wording import format_percent
from mvdefect.runs import RunFolder
from tests.browsing import DESK, MISSING, PHONE, list_requests, list_violations, open_browser, show
from tests.report.test_report import HOSTILE_TYPE

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"no browser to test the report in: without {MISSING}")

SHARES = ("recall", "false_alarm_rate", "precision")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with open_browser(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture(scope="module")
def pages(
    inspector: Path, baseline: Path, hostile: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A requirement, answered beside another run; and images whose names are meant to break the page."""
    folder = tmp_path_factory.mktemp("pages")
    compare_runs([inspector, baseline], folder / "two.html", require="recall 0.9, false-alarms 0.1")
    compare_runs([hostile], folder / "hostile.html")
    return {"two": folder / "two.html", "hostile": folder / "hostile.html"}


@pytest.fixture
def images(inspector: Path) -> ScoredImages:
    return collect_scores(read_contents(RunFolder(inspector)))


def read_slider(browser: Any) -> dict[str, str]:
    cells = browser.find_elements("css selector", "[data-figure]")
    return {cell.get_attribute("data-figure"): cell.text for cell in cells}


def check_slider(
    browser: Any, images: ScoredImages, threshold: float, width: float, prevalence: float
) -> None:
    """Compare every figure on the page with what Python computes."""
    found = compute_trade_off(images, threshold, width, prevalence)
    shown = read_slider(browser)
    assert len(shown) == 12
    for name, text in shown.items():
        value = getattr(found, name)
        if name in SHARES:
            assert text == format_percent(value), name
        elif name.endswith("_ppt"):
            assert text == f"{value:.2f}", name
        else:
            assert int(text) == value, name


def move(browser: Any, name: str, value: float) -> float:
    """Move a control as the pointer would, and return where it stopped."""
    script = """
        const control = document.getElementById(arguments[0]);
        control.value = arguments[1];
        control.dispatchEvent(new Event("input", { bubbles: true }));
        return Number(control.value);
    """
    return float(browser.execute_script(script, name, value))


@pytest.mark.parametrize("name", ["two", "hostile"])
def test_it_renders_and_asks_for_nothing(browser: Any, pages: dict[str, Path], name: str) -> None:
    show(browser, pages[name])
    assert browser.title.startswith("Inspection report: ")
    assert browser.get_log("browser") == []
    outside = [url for url in list_requests(browser) if not url.startswith("data:")]
    assert outside == [pages[name].as_uri()]
    for plot in browser.find_elements("css selector", ".plot svg"):
        assert plot.size["width"] > 200
        assert plot.size["height"] > 60
    images = "return [...document.images].map((image) => [image.complete, image.naturalWidth])"
    drawn = browser.execute_script(images)
    assert drawn
    assert all(complete and width > 50 for complete, width in drawn)
    assert (HOSTILE_TYPE in browser.find_element("tag name", "body").text) == (name == "hostile")


def test_the_answer_is_on_the_first_screen(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["two"])
    verdict = browser.find_element("id", "verdict")
    assert verdict.rect["y"] + verdict.rect["height"] < DESK[1]
    text = verdict.text.lower()
    assert "the requirement was stated after the figures" in text
    assert "recall of at least 90%: too few images to say" in text
    assert "threshold" in text
    assert "ship" not in text
    show(browser, pages["two"], PHONE)
    headline = browser.find_element("id", "headline")
    assert headline.rect["y"] + headline.rect["height"] < PHONE[1] / 2
    show(browser, pages["hostile"])
    question = browser.find_element("css selector", "#verdict .question code").text
    assert shlex.split(question)[:2] == ["mvdefect", "report"]
    assert Path(shlex.split(question)[2]).name == "<i>run&"


def test_the_slider_starts_at_the_operating_point(
    browser: Any, pages: dict[str, Path], images: ScoredImages
) -> None:
    show(browser, pages["two"])
    assert browser.find_element("id", "controls").is_displayed()
    check_slider(browser, images, images.threshold, images.review_width, images.prevalence)
    assert images.review_width > 0


def test_the_slider_computes_what_python_computes(
    browser: Any, pages: dict[str, Path], images: ScoredImages
) -> None:
    show(browser, pages["two"])
    seen = set()
    for threshold in np.linspace(images.scores.min() - 1, images.scores.max() + 1, 9):
        for width, percent in ((0.0, 0.5), (0.7, 30.0)):
            at = move(browser, "threshold", float(threshold))
            near = move(browser, "review", width)
            share = move(browser, "prevalence", percent) / 100
            check_slider(browser, images, at, near, share)
            seen.add(tuple(read_slider(browser).values()))
    assert len(seen) > 9
    assert browser.get_log("browser") == []


def test_keys_move_one_photograph_at_a_time(
    browser: Any, pages: dict[str, Path], images: ScoredImages
) -> None:
    from selenium.webdriver.common.keys import Keys

    show(browser, pages["two"])
    move(browser, "review", 0.0)
    slider = browser.find_element("id", "threshold")
    rejected = [int(read_slider(browser)["caught"]) + int(read_slider(browser)["rejected_good"])]
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT):
        slider.send_keys(key)
        shown = read_slider(browser)
        rejected.append(int(shown["caught"]) + int(shown["rejected_good"]))
    steps = np.abs(np.diff(rejected))
    assert steps.max() == 1
    assert rejected[1] < rejected[0] < rejected[-1] or len(set(rejected)) >= 3
    slider.send_keys(Keys.PAGE_UP)
    assert int(read_slider(browser)["caught"]) + int(read_slider(browser)["rejected_good"]) < rejected[-1]
    assert slider.get_attribute("aria-valuetext").startswith("probability ")
    browser.find_element("id", "reset").click()
    check_slider(browser, images, images.threshold, images.review_width, images.prevalence)


def test_a_prevalence_that_is_none_is_refused(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["two"])
    before = read_slider(browser)
    for bad in ("0", "100", "-3", ""):
        move(browser, "prevalence", bad)  # type: ignore[arg-type]
        assert read_slider(browser) == before
        assert browser.find_element("id", "prevalence").get_attribute("aria-invalid") == "true"
        assert "between 0 and 100" in browser.find_element("id", "prevalence-fault").text
    move(browser, "prevalence", 5)
    assert browser.find_element("id", "prevalence-fault").text == ""
    assert read_slider(browser) != before


def test_without_javascript_it_is_complete(
    browser: Any, pages: dict[str, Path], images: ScoredImages
) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show(browser, pages["two"])
        assert not browser.find_element("id", "controls").is_displayed()
        check_slider(browser, images, images.threshold, images.review_width, images.prevalence)
        assert "the table below has the thresholds" in browser.find_element("id", "trade-off").text
        assert "catch 100% of the defects" in browser.find_element("id", "trade-off").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE])
@pytest.mark.parametrize("name", ["two", "hostile"])
def test_axe_finds_no_serious_violation_and_nothing_overflows(
    browser: Any, pages: dict[str, Path], name: str, size: tuple[int, int], theme: str
) -> None:
    show(browser, pages[name], size, theme)
    root = "document.documentElement"
    needed, there = browser.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]")
    assert size[0] - 20 <= needed <= there <= size[0]  # a scroll bar takes some
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    channels = [int(part) for part in background.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (np.mean(channels) < 128) == (theme == "dark")
    assert list_violations(browser) == []


def test_plots_follow_the_theme(browser: Any, pages: dict[str, Path]) -> None:
    inks = []
    for theme in ("light", "dark"):
        show(browser, pages["two"], theme=theme)
        text = "return getComputedStyle(document.querySelector('#roc_curve-figure_1 text')).fill"
        inks.append(browser.execute_script(text))
    assert len(set(inks)) == 2


def test_it_prints(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["two"], theme="dark", media="print")
    assert not browser.find_element("id", "controls").is_displayed()
    assert (
        browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    document = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    assert document.startswith("JVBERi0")  # %PDF-
    assert len(document) > 50_000
