"""The inspection page in a real browser: photographs in, verdicts out, and nobody is shut out."""

from __future__ import annotations

import base64
import csv
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from mvdefect.data.sources.folders import check_layout
from mvdefect.data.sources.opening import open_source
from tests.browsing import DESK, MISSING, PHONE, list_requests, list_violations, open_browser, show
from tests.server.fakes import draw_photograph
from tests.server.process import start_server

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"no browser to test the page in: without {MISSING}")

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
TOKEN = "a secret"  # noqa: S105
HOSTILE_NAME = '=1+1,"<img src=x onerror=alert(1)>.png'
DROP = """
    const [name, text] = arguments;
    const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name));
    for (const kind of ["dragover", "drop"]) {
      const options = { dataTransfer: data, bubbles: true, cancelable: true };
      document.getElementById("drop").dispatchEvent(new DragEvent(kind, options));
    }
"""
HEAT = """
    const canvas = document.getElementById("heat");
    const [width, height] = [canvas.width, canvas.height];
    const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    const at = (x, y) => data[4 * (Math.floor(y * height) * width + Math.floor(x * width)) + 3];
    return [width, height, at(0.15, 0.2), at(0.85, 0.8)];
"""


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[Chrome]:
    with open_browser(tmp_path_factory.mktemp("chromium"), CAMERA) as driver:
        there = {"behavior": "allow", "downloadPath": str(downloads)}
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", there)
        yield driver


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with start_server(folder, max_upload_mb=3, max_megapixels=2.5) as server:
        yield server.url


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files by what they are; the defect of the spotted one is in its lower right corner."""
    place = tmp_path_factory.mktemp("photographs")
    spotted = np.full((60, 120, 3), 10, np.uint8)
    spotted[40:, 80:] = 255
    contents = {
        "good": draw_photograph(20),
        "defective": draw_photograph(200),
        "review": draw_photograph(122),
        "spotted": cv2.imencode(".png", spotted)[1].tobytes(),
        "broken": draw_photograph()[:90],
        "large": draw_photograph(20, 2000, 2000),
        "heavy": bytes(3_100_000),
    }
    for name, content in contents.items():
        (place / f"{name}.png").write_bytes(content)
    return {name: place / f"{name}.png" for name in contents}


def wait_for(condition: Callable[[], Any], seconds: float = 15) -> Any:
    """Return what a condition gives as soon as it holds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def read_text(browser: Any, name: str) -> str:
    return str(browser.find_element("id", name).text)


def choose(browser: Any, *paths: Path) -> None:
    """Choose files, and wait until the last has its row."""
    rows = "return document.querySelectorAll('#history tbody tr').length"
    before = browser.execute_script(rows)
    browser.find_element("id", "files").send_keys("\n".join(map(str, paths)))
    wait_for(lambda: browser.execute_script(rows) == before + len(paths))
    wait_for(lambda: read_text(browser, "file") == paths[-1].name)


def read_errors(browser: Any) -> str:
    return str(wait_for(lambda: read_text(browser, "errors"))).replace("Dismiss", "")


def open_page(browser: Any, url: str, **options: Any) -> None:
    show(browser, f"{url}/", **options)
    wait_for(lambda: read_text(browser, "contract"))


def test_a_photograph_is_dropped_and_its_verdict_is_seen(browser: Any, url: str) -> None:
    open_page(browser, url)
    assert browser.title == "Inspection: parts"
    assert not browser.find_element("id", "result").is_displayed()
    for grey, word, tone in ((20, "Good", "fine"), (200, "Defective", "stop"), (122, "A person", "care")):
        text = base64.b64encode(draw_photograph(grey)).decode()
        browser.execute_script(DROP, f"{grey}.png", text)
        wait_for(lambda grey=grey: read_text(browser, "file") == f"{grey}.png")
        assert word in read_text(browser, "headline")
        assert tone in browser.find_element("id", "result").get_attribute("class")
        assert float(read_text(browser, "probability")) == pytest.approx(grey / 255, abs=0.01)
        assert read_text(browser, "threshold") == "0.500"
        assert "between 0.450 and 0.500 a person decides" in read_text(browser, "threshold-words")
        assert "unusual from 12.5 on" in read_text(browser, "novelty-words")
        said = browser.execute_script("return document.getElementById('status').textContent")
        assert said.startswith(f"{grey}.png: {word}")
    assert browser.get_log("browser") == []


def test_the_operating_point_says_what_it_promises(browser: Any, url: str) -> None:
    open_page(browser, url)
    contract = read_text(browser, "contract")
    assert "to catch 99% of the defective photographs at least" in contract
    assert "validation" in contract
    assert read_text(browser, "guarantee").startswith("Recall of at least 0.97 on fresh images")
    assert "80% to 95.0%" in read_text(browser, "figures")
    assert "80 test photographs" in read_text(browser, "measured")


def test_the_heatmap_lies_where_the_defect_is_and_follows_the_slider(
    browser: Any, url: str, photographs: dict[str, Path]
) -> None:
    from selenium.webdriver.common.keys import Keys

    open_page(browser, url)
    choose(browser, photographs["spotted"])
    width, height, quiet, loud = wait_for(lambda: browser.execute_script(HEAT))
    assert width == 2 * height
    assert quiet < 20 < 100 < loud
    slider = browser.find_element("id", "opacity")
    slider.send_keys(Keys.HOME)
    assert browser.execute_script(HEAT)[3] == 0
    assert slider.get_attribute("aria-valuetext") == "0 percent"
    for _ in range(4):
        slider.send_keys(Keys.ARROW_RIGHT)
    assert 0 < browser.execute_script(HEAT)[3] < loud
    assert read_text(browser, "regions-title") == "1 suspicious region, in pixels of the photograph:"
    assert re.fullmatch(r"\d+ × \d+ \(.* × .* mm\) at \d+, \d+; peak .*", read_text(browser, "regions"))
    slider.send_keys(Keys.END)
    assert browser.execute_script(HEAT)[3] > loud
    assert read_text(browser, "opacity-shown") == "100%"


def test_the_history_is_kept_and_downloaded(
    browser: Any, url: str, photographs: dict[str, Path], downloads: Path, tmp_path: Path
) -> None:
    open_page(browser, url)
    hostile = tmp_path / HOSTILE_NAME.replace("/", "")
    hostile.write_bytes(photographs["good"].read_bytes())
    choose(browser, hostile, photographs["defective"])
    assert "2 inspected" in read_text(browser, "history")
    browser.find_elements("css selector", "#history th button")[1].click()
    wait_for(lambda: read_text(browser, "file") == hostile.name)
    assert "Good" in read_text(browser, "headline")
    browser.find_element("id", "download").click()
    found = wait_for(lambda: list(downloads.glob("inspection-*.csv")))[0]
    wait_for(lambda: found.stat().st_size)
    with found.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == [f"'{hostile.name}", "defective.png"]
    assert [row["label"] for row in rows] == ["good", "defective"]
    assert float(rows[1]["probability"]) == pytest.approx(200 / 255, abs=0.01)
    assert {(row["inspector"], row["threshold"]) for row in rows} == {("parts/3", "0.5")}
    browser.find_element("id", "clear").click()
    assert not browser.find_element("id", "history").is_displayed()
    assert browser.get_log("browser") == []


def test_what_is_marked_as_wrong_becomes_data(
    browser: Any, url: str, photographs: dict[str, Path], folder: Path
) -> None:
    open_page(browser, url)
    choose(browser, photographs["defective"], photographs["good"])
    buttons = [one for one in browser.find_elements("css selector", "#marks button") if one.is_displayed()]
    assert [one.text for one in buttons] == ["Mark as wrong: it is defective"]
    buttons[0].click()
    wait_for(lambda: "Marked as defective" in read_text(browser, "marked"))
    browser.find_elements("css selector", "#history th button")[1].click()
    wait_for(lambda: "Defective" in read_text(browser, "headline"))
    browser.find_element("css selector", "#marks button[data-label=good]").click()
    wait_for(lambda: "Marked as good" in read_text(browser, "marked"))
    records = check_layout(open_source(str(folder / "corrections")))
    assert [record.path.read_bytes() for record in records] == [
        photographs[name].read_bytes() for name in ("good", "defective")
    ]
    assert [record.defect_type for record in records] == ["defective", "good"]
    cells = [one.text for one in browser.find_elements("css selector", "#history td:last-child")]
    assert cells == ["defective", "good"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken", "no PNG, JPEG or BMP of a kind that TensorFlow reads, or it is broken"),
        ("large", "2.5 megapixels at most"),
        ("heavy", "more than 3 MB"),
    ],
)
def test_what_cannot_be_inspected_is_told_in_plain_words(
    browser: Any, url: str, photographs: dict[str, Path], name: str, reason: str
) -> None:
    open_page(browser, url)
    browser.find_element("id", "files").send_keys(str(photographs[name]))
    errors = read_errors(browser)
    assert errors.startswith(f"{name}.png: ")
    assert reason in errors
    browser.find_element("css selector", "#errors button").click()
    assert not read_text(browser, "errors")


def test_a_photograph_comes_from_the_camera(browser: Any, url: str) -> None:
    open_page(browser, url)
    browser.find_element("id", "camera-start").click()
    wait_for(lambda: browser.execute_script("return document.getElementById('video').videoWidth"))
    browser.find_element("id", "camera-take").click()
    wait_for(lambda: read_text(browser, "file").startswith("camera-"))
    browser.find_element("id", "camera-stop").click()
    assert not browser.find_element("id", "camera").is_displayed()


def test_everything_can_be_reached_by_keys(browser: Any, url: str, photographs: dict[str, Path]) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(key: str) -> Any:
        ActionChains(browser).send_keys(key).perform()
        return browser.switch_to.active_element

    open_page(browser, url)
    choose(browser, photographs["good"])
    browser.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    reached = []
    for _ in range(20):
        active = press(Keys.TAB)
        reached.append(active.get_attribute("id") or active.text)
        if active.text == "Mark as wrong: it is defective":
            press(Keys.ENTER)
            wait_for(lambda: "Marked as defective" in read_text(browser, "marked"))
            assert browser.switch_to.active_element.text == "No: it is good"
            break
    for name in ("To the photograph", "files", "camera-start", "opacity"):
        assert name in reached
    for _ in range(8):
        reached.append(press(Keys.TAB).get_attribute("id"))
    assert {"download", "clear"} <= set(reached)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE])
def test_axe_finds_no_serious_violation_and_nothing_overflows(
    browser: Any, url: str, photographs: dict[str, Path], size: tuple[int, int], theme: str
) -> None:
    open_page(browser, url, size=size, theme=theme)
    assert list_violations(browser) == []
    choose(browser, *(photographs[name] for name in ("good", "review", "spotted", "defective")))
    browser.find_element("id", "files").send_keys(str(photographs["broken"]))
    read_errors(browser)
    root = "document.documentElement"
    needed, there = browser.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]")
    assert needed <= there <= size[0]
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    channels = [int(part) for part in background.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (np.mean(channels) < 128) == (theme == "dark")
    assert list_violations(browser) == []
    asked = [one for one in list_requests(browser) if not one.startswith(("blob:", "data:"))]
    assert asked
    assert all(one.startswith(f"{url}/") for one in asked)


def test_the_token_is_asked_for_once(browser: Any, tmp_path: Path, photographs: dict[str, Path]) -> None:
    with start_server(tmp_path, token=TOKEN) as server:
        show(browser, f"{server.url}/")
        field = browser.find_element("id", "token")
        wait_for(field.is_displayed)
        assert list_violations(browser) == []
        field.send_keys("wrong\n")
        assert "not the right one" in read_errors(browser)
        assert field.is_displayed()
        field.send_keys(f"{TOKEN}\n")
        wait_for(lambda: read_text(browser, "contract"))
        choose(browser, photographs["good"])
        browser.refresh()
        wait_for(lambda: read_text(browser, "contract"))
        assert not browser.find_element("id", "token").is_displayed()
        assert TOKEN not in browser.page_source
        browser.get_log("browser")  # it complains of the 401


def test_a_server_that_is_gone_is_told_of(browser: Any, tmp_path: Path, photographs: dict[str, Path]) -> None:
    with start_server(tmp_path) as server:
        open_page(browser, server.url)
    browser.find_element("id", "files").send_keys(str(photographs["good"]))
    assert "the server cannot be reached" in read_errors(browser)
    browser.get_log("browser")


def test_a_region_is_painted_and_stored(
    browser: Any, url: str, folder: Path, photographs: dict[str, Path]
) -> None:
    from selenium.webdriver import ActionChains

    show(browser, url, DESK)
    choose(browser, photographs["spotted"])
    browser.find_element("id", "region-start").click()
    canvas = browser.find_element("id", "region")
    assert canvas.is_displayed()
    browser.find_element("id", "region-save").click()
    assert "nothing is painted" in read_errors(browser)
    width = canvas.size["width"]
    ActionChains(browser).move_to_element_with_offset(canvas, -width // 4, 0).click_and_hold().move_by_offset(
        width // 2, 0
    ).release().perform()
    browser.find_element("id", "region-save").click()
    wait_for(lambda: "mvdefect fit IMAGES --region" in read_text(browser, "region-saved"))
    (stored,) = folder.rglob("region.png")
    mask = cv2.imread(str(stored), cv2.IMREAD_GRAYSCALE)
    assert mask.shape == (60, 120)
    assert set(np.unique(mask)) == {0, 255}
    assert mask[30, 30:90].all()
    assert not mask[:10].any()
    assert not list_violations(browser)
    browser.find_element("id", "region-erase").click()
    ActionChains(browser).move_to_element(canvas).click().perform()
    browser.find_element("id", "region-save").click()
    wait_for(lambda: not cv2.imread(str(stored), cv2.IMREAD_GRAYSCALE)[30, 60])
    browser.find_element("id", "region-none").click()
    browser.find_element("id", "region-all").click()
    browser.find_element("id", "region-save").click()
    wait_for(lambda: cv2.imread(str(stored), cv2.IMREAD_GRAYSCALE).all())
