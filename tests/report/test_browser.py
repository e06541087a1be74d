"""The report in a real browser: it renders, the slider computes, nothing is asked for, nobody is shut out."""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mvdefect.report.contents import read_contents
from mvdefect.report.html import compare_runs
from mvdefect.report.tradeoff import ScoredImages, collect_scores, compute_trade_off
from mvdefect.report.wording import format_percent
from mvdefect.runs import RunFolder
from tests.report.test_html import HOSTILE_TYPE

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = [
    name
    for name, there in (
        ("chromium", CHROMIUM),
        ("chromedriver", DRIVER),
        ("the package selenium", importlib.util.find_spec("selenium")),
        ("the package axe-playwright-python", importlib.util.find_spec("axe_playwright_python")),
    )
    if not there
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"no browser to test the report in: without {MISSING}")

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
)
PHONE, DESK = (390, 844), (1200, 900)
SHARES = ("recall", "false_alarm_rate", "precision")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Chromium without a window; it writes down what it loads and what it complains of."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(executable_path=str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(
    inspector: Path, baseline: Path, hostile: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A comparison of two runs, and a run on photographs with names that are meant to break the page."""
    folder = tmp_path_factory.mktemp("pages")
    compare_runs([inspector, baseline], folder / "two.html")
    compare_runs([hostile], folder / "hostile.html")
    return {"two": folder / "two.html", "hostile": folder / "hostile.html"}


@pytest.fixture
def images(inspector: Path) -> ScoredImages:
    return collect_scores(read_contents(RunFolder(inspector)))


def show(
    browser: Any, page: Path, size: tuple[int, int] = DESK, theme: str = "light", media: str = ""
) -> None:
    """Open a page on a screen of that size, for someone who prefers that theme."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page.as_uri())


def list_requests(browser: Any) -> list[str]:
    """Return the addresses that the page has asked for since it was opened."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [params["request"]["url"] for params in sent]


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
    assert "ship" in text
    assert "threshold" in text
    show(browser, pages["two"], PHONE)
    headline = browser.find_element("id", "headline")
    assert headline.rect["y"] + headline.rect["height"] < PHONE[1] / 2


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


@functools.cache
def read_axe() -> str:
    """Return axe-core (Deque), as the package axe-playwright-python brings it; nothing is downloaded."""
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


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
    browser.execute_script(read_axe())
    result = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert len(result["passes"]) > 20  # it has looked
    serious = [
        (violation["id"], [node["html"][:200] for node in violation["nodes"]][:3])
        for violation in result["violations"]
        if violation["impact"] in {"serious", "critical"}
    ]
    assert serious == []


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
