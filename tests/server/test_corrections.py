"""Corrections: a photograph marked as wrong becomes data that `fit` accepts."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from mvdefect.data.scan import scan_images
from mvdefect.data.sources.folders import check_layout
from mvdefect.data.sources.opening import open_source
from tests.server.fakes import BYTES, draw_photograph, in_loop, open_client


async def correct(client: httpx.AsyncClient, file: bytes, label: str, said: str = "") -> httpx.Response:
    return await client.post(
        "/api/correct", params={"label": label, "said": said}, content=file, headers=BYTES
    )


def list_stored(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.is_file())


@in_loop
async def test_what_is_marked_can_be_learned_from(tmp_path: Path) -> None:
    folder = tmp_path / "corrections"
    async with open_client(corrections=folder) as client:
        for number, (label, suffix) in enumerate(
            [("good", ".png"), ("good", ".jpg"), ("defective", ".bmp"), ("defective", ".png")]
        ):
            file = draw_photograph(10 * number, suffix=suffix)
            answer = await correct(client, file, label, "review")
            assert answer.status_code == 200
            place = folder / answer.json()["file"]
            assert place.read_bytes() == file
            assert (place.parent.name, place.suffix) == (label, suffix)
    records = check_layout(open_source(str(folder)))
    assert [record.label for record in records] == [1, 1, 0, 0]
    assert scan_images(records).records == records  # all can be read
    lines = [json.loads(line) for line in (folder / "corrections.jsonl").read_text().splitlines()]
    assert [line["label"] for line in lines] == ["good", "good", "defective", "defective"]
    assert {(line["said"], line["inspector"]) for line in lines} == {("review", "parts/3")}


@in_loop
async def test_a_second_thought_moves_the_photograph(tmp_path: Path) -> None:
    file = draw_photograph()
    async with open_client(corrections=tmp_path) as client:
        first = (await correct(client, file, "good")).json()["file"]
        again = (await correct(client, file, "good")).json()["file"]
        assert first == again
        second = (await correct(client, file, "defective")).json()["file"]
    assert second == first.replace("good/", "defective/")
    assert list_stored(tmp_path) == ["corrections.jsonl", second]


@pytest.mark.parametrize(
    ("file", "label", "said", "status"),
    [
        (draw_photograph(), "../../etc", "", 400),
        (draw_photograph(), "good/..", "", 400),
        (draw_photograph(), "", "", 400),
        (draw_photograph(), "good", "=HYPERLINK()", 400),
        (b"#!/bin/sh", "good", "", 422),
        (draw_photograph()[:80], "good", "", 422),
        (b"", "good", "", 422),
    ],
)
def test_what_is_no_photograph_or_class_is_not_stored(
    tmp_path: Path, file: bytes, label: str, said: str, status: int
) -> None:
    @in_loop
    async def ask() -> None:
        async with open_client(corrections=tmp_path / "inner") as client:
            answer = await correct(client, file, label, said)
            assert answer.status_code == status
            assert answer.json()["error"]

    ask()
    assert list_stored(tmp_path) == []


@in_loop
async def test_a_folder_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    async with open_client(corrections=tmp_path / "taken") as client:
        answer = await correct(client, draw_photograph(), "good")
        assert answer.status_code == 507
        assert "cannot be written" in answer.json()["error"]
