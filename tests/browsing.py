"""A real browser for pages: it writes down what it loads and what it complains of."""

from __future__ import annotations

import functools
import importlib.util
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


@contextmanager
def open_browser(folder: Path, flags: Sequence[str] = ()) -> Iterator[Chrome]:
    """Open Chromium without a window, with its profile in a folder."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, *flags, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(executable_path=str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def show(
    browser: Any, page: Path | str, size: tuple[int, int] = DESK, theme: str = "light", media: str = ""
) -> None:
    """Open a page on a screen of that size, for someone who prefers that theme."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page if isinstance(page, str) else page.as_uri())


def list_requests(browser: Any) -> list[str]:
    """Return the addresses that the page has asked for since it was opened."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [params["request"]["url"] for params in sent]


@functools.cache
def read_axe() -> str:
    """Return axe-core (Deque), as the package axe-playwright-python brings it; nothing is downloaded."""
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def list_violations(browser: Any) -> list[tuple[str, list[str]]]:
    """Return what axe finds serious on the page that is open: the rule, and some of the elements."""
    browser.execute_script(read_axe())
    result = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert len(result["passes"]) > 20  # it has looked
    return [
        (violation["id"], [node["html"][:200] for node in violation["nodes"]][:3])
        for violation in result["violations"]
        if violation["impact"] in {"serious", "critical"}
    ]
