"""The region that counts: a mask that is painted on the page becomes one that `fit` takes."""

from __future__ import annotations

import shlex
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from mvdefect.data.counted_region import read_drawing
from tests.server.fakes import BYTES, draw_photograph, in_loop, open_client


def encode(mask: np.ndarray, suffix: str = ".png") -> bytes:
    return bytes(cv2.imencode(suffix, mask)[1].tobytes())


async def send(client: httpx.AsyncClient, file: bytes) -> httpx.Response:
    return await client.post("/api/region", content=file, headers=BYTES)


@in_loop
async def test_a_painted_mask_is_one_that_fit_takes(tmp_path: Path) -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 15:45] = 255
    async with open_client(corrections=tmp_path / "a b") as client:
        answer = await send(client, encode(mask))
    assert answer.status_code == 200
    assert answer.json()["share"] == 0.25
    *command, path = shlex.split(answer.json()["command"])
    assert command == ["mvdefect", "fit", "IMAGES", "--region"]
    assert (read_drawing(Path(path)).draw((40, 60)) == (mask > 0)).all()


@in_loop
async def test_a_second_mask_takes_the_place_of_the_first(tmp_path: Path) -> None:
    async with open_client(corrections=tmp_path) as client:
        for value in (255, 7):
            await send(client, encode(np.full((8, 8), value, np.uint8)))
    assert [path.name for path in tmp_path.iterdir()] == ["region.png"]
    assert cv2.imread(str(tmp_path / "region.png"), cv2.IMREAD_GRAYSCALE).max() == 7


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (encode(np.zeros((8, 8), np.uint8)), "black"),
        (encode(np.full((8, 8), 255, np.uint8), ".jpg"), "PNG"),
        (b"no image", "image"),
        (encode(np.full((8, 8), 255, np.uint8))[:60], "mask"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path: Path, file: bytes, reason: str) -> None:
    @in_loop
    async def ask() -> None:
        async with open_client(corrections=tmp_path) as client:
            answer = await send(client, file)
        assert answer.status_code == 422
        assert reason in answer.json()["error"]
        assert not list(tmp_path.iterdir())

    ask()


@in_loop
async def test_a_form_of_another_page_cannot_store_a_mask(tmp_path: Path) -> None:
    async with open_client(corrections=tmp_path) as client:
        answer = await client.post(
            "/api/region", content=draw_photograph(), headers={"Content-Type": "text/plain"}
        )
    assert answer.status_code == 415
    assert not list(tmp_path.iterdir())
