"""Make the pictures of the documentation anew, of today's pages: needs Chromium, its driver and selenium.

    python benchmarks/pictures.py --work work [--only report serve search surfaces]

It fits the demo, exports and serves it, searches for settings, and shows each page to a
browser without a window.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import cv2
import numpy as np

PICTURES = Path(__file__).parents[1] / "docs" / "images"
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
SCENE_PX, SCENE_COLUMNS, SCENE_ROWS = 128, 4, 6


def main() -> None:
    """Make the pictures that are asked for."""
    makers = {
        "report": photograph_report,
        "serve": photograph_server,
        "search": photograph_search,
        "surfaces": draw_surfaces,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="Folder for runs.")
    parser.add_argument("--only", nargs="+", choices=makers, default=list(makers), help="Pictures to make.")
    args = parser.parse_args()
    for name in args.only:
        makers[name](args.work)
        print(name, flush=True)


def run(*words: object) -> None:
    """Run a command of mvdefect."""
    subprocess.run([sys.executable, "-m", "mvdefect", *map(str, words)], check=True)


def make_demo(work: Path) -> Path:
    """Return the run of the demo, made if it is not there."""
    if not (work / "demo" / "run").exists():
        run("demo", "--out", work / "demo")
    return work / "demo" / "run"


def photograph_report(work: Path) -> None:
    """Show the first screen of the demo's report, with a requirement that it answers."""
    page = work / "report.html"
    run("report", make_demo(work), "--require", "recall 0.9, false alarms 0.1", "--out", page)
    with open_browser(work, 1100, 1000) as browser:
        browser.get(page.absolute().as_uri())
        browser.save_screenshot(str(PICTURES / "report.png"))


def photograph_server(work: Path) -> None:
    """Show the page of the server after a defective and two good images."""
    demo = make_demo(work)
    if not (work / "exports" / "run").exists():
        run("export", demo, "--out", work / "exports")
    test = work / "demo" / "data" / "washer" / "test"
    chosen = [*sorted((test / "good").glob("*.png"))[:2], sorted((test / "scratch").glob("*.png"))[0]]
    with serve(work) as address, open_browser(work, 900, 1050) as browser:
        browser.get(address)
        browser.find_element("id", "files").send_keys("\n".join(str(path.absolute()) for path in chosen))
        rows = "return document.querySelectorAll('#history tbody tr').length"
        wait_for(lambda: browser.execute_script(rows) == len(chosen))
        browser.save_screenshot(str(PICTURES / "serve.png"))


def photograph_search(work: Path) -> None:
    """Show the whole page of a short search."""
    data, out = make_demo(work).parent / "data", work / "search"
    if not (out / "report.html").exists():
        size = ("--weights", "texture", "--resolution", 64, "--trials", 8)
        run("tune", "--data", data, *size, "--epochs", 4, "--out", out)
    with open_browser(work, 1200, 1825) as browser:
        browser.get((out / "report.html").absolute().as_uri())
        browser.save_screenshot(str(PICTURES / "search.png"))


def draw_surfaces(_: Path) -> None:
    """Draw pairs of surfaces with a fault: as they are, and with the cells that count as defective in red."""
    from mvdefect.drawing.surfaces import draw_surface
    from mvdefect.pretraining.scenes import MARGIN, draw_scene

    pairs = []
    for recipe in range(SCENE_COLUMNS * SCENE_ROWS):
        place = np.random.default_rng(recipe)
        surface = draw_surface(recipe, 0, place, round(SCENE_PX * MARGIN))
        scene = draw_scene(surface, recipe, place, SCENE_PX)
        plain = scene.pixels[-1]
        cell = SCENE_PX // len(scene.position[-1])
        is_faulty = np.kron(scene.position[-1] > 0, np.ones((cell, cell), bool))
        marked = np.where(is_faulty[..., None], plain // 2 + np.array([127, 0, 0]), plain).astype(np.uint8)
        pairs.append(np.concatenate([plain, marked], axis=1))
    rows = [np.concatenate(pairs[first : first + SCENE_COLUMNS], axis=1) for first in range(0, len(pairs), 4)]
    cv2.imwrite(str(PICTURES / "surfaces.jpg"), np.concatenate(rows)[..., ::-1])


@contextmanager
def open_browser(work: Path, width: int, height: int) -> Iterator[Any]:
    """Open Chromium without a window, with a screen of that size."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*FLAGS, f"--window-size={width},{height}", f"--user-data-dir={work.absolute() / 'browser'}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        yield browser
    finally:
        browser.quit()


@contextmanager
def serve(work: Path) -> Iterator[str]:
    """Serve the export of the demo, and yield the address of its page."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["serve", work / "exports" / "run", "--port", port, "--corrections", work / "corrections"]
    with subprocess.Popen([sys.executable, "-m", "mvdefect", *map(str, words)]) as server:
        address = f"http://127.0.0.1:{port}/"
        try:
            wait_for(lambda: answers(address))
            yield address
        finally:
            server.terminate()


def answers(address: str) -> bool:
    """Whether a server is there."""
    with suppress(OSError), urlopen(address, timeout=1) as answer:  # noqa: S310 (an address of this machine)
        return bool(answer.status == 200)
    return False


def wait_for(holds: Any, seconds: float = 60) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing happened for {seconds:g} seconds")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
