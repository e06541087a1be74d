"""Another version of an export is served without a restart, if it works."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from mvdefect.inspector.answers import Answer
from mvdefect.server import versions as versions_module
from mvdefect.server.app import make_app
from mvdefect.server.settings import ServerSettings
from mvdefect.server.versions import Version, Watch, check_version
from tests.server.fakes import MANIFEST, FakeEngine, draw_photograph, in_loop, inspect


class NumberedEngine(FakeEngine):
    """Says which version it is; a version 13 is broken."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def __call__(self, files: Sequence[bytes], with_heatmaps: bool = False) -> list[Answer]:
        if self.number == 13:
            raise RuntimeError("its weights are damaged")
        return super().__call__(files, with_heatmaps)

    def answer(self, file: bytes, with_heatmap: bool) -> Answer:
        del file, with_heatmap
        return Answer("good", self.number / 100, 1.0, np.zeros((2, self.number), np.float32))


def write_version(root: Path, number: int, name: str = "parts") -> Path:
    folder = root / str(number)
    folder.mkdir()
    manifest = {**MANIFEST, "name": name, "version": number}
    (folder / "inspector.json").write_text(json.dumps(manifest))
    return folder


def load(path: Path) -> Version:
    manifest = json.loads((path / "inspector.json").read_text())
    return check_version(NumberedEngine(manifest["version"]), manifest)


@asynccontextmanager
async def serve(root: Path) -> AsyncIterator[tuple[httpx.AsyncClient, NumberedEngine]]:
    path = max(root.iterdir(), key=lambda one: int(one.name))
    version = load(path)
    app = make_app(version.engine, version.manifest, ServerSettings(), Watch(root, path, load))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8501") as client:
            assert isinstance(version.engine, NumberedEngine)
            yield client, version.engine


async def wait_for_version(client: httpx.AsyncClient, number: int) -> None:
    async with asyncio.timeout(10):
        while (await client.get("/healthz")).json()["version"] != number:
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions_module, "LOOK_SECONDS", 0.02)


@in_loop
async def _serve_versions(root: Path, messages: list[str]) -> None:
    write_version(root, 1)
    async with serve(root) as (client, first):
        first.is_open.clear()
        under_way = asyncio.create_task(inspect(client, draw_photograph()))
        await asyncio.sleep(0.1)
        shutil.copytree(write_version(root, 2), root / ".part")  # unfinished, and so not yet a version
        await wait_for_version(client, 2)
        waiting = asyncio.create_task(inspect(client, draw_photograph()))
        await asyncio.sleep(0.05)
        first.is_open.set()
        old, new = (await under_way).json(), (await waiting).json()
        assert (old["probability"], old["heatmap"]["width"]) == (0.01, 1)  # as it began
        assert (new["probability"], new["heatmap"]["width"]) == (0.02, 2)
        status = (await client.get("/v1/models/parts")).json()
        assert status["model_version_status"][0]["version"] == "2"
        assert (await client.get("/v1/models/parts/versions/1")).status_code == 404
        assert (await client.get("/api/inspector")).json()["version"] == 2

        broken = write_version(root, 13)
        async with asyncio.timeout(10):
            while not any("version 2 stays: its weights are damaged" in message for message in messages):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert sum("its weights are damaged" in message for message in messages) == 1  # tried once
        assert (await client.get("/healthz")).json()["version"] == 2
        os.utime(broken / "inspector.json", (0, 0))  # it has changed: another try
        async with asyncio.timeout(10):
            while sum("its weights are damaged" in message for message in messages) < 2:
                await asyncio.sleep(0.01)
        shutil.rmtree(broken)
        write_version(root, 14, name="others")
        async with asyncio.timeout(10):
            while not any("it is called others, not parts" in message for message in messages):
                await asyncio.sleep(0.01)
        shutil.rmtree(root / "14")

        shutil.rmtree(root / "2")  # the way back
        await wait_for_version(client, 1)
        assert (await inspect(client, draw_photograph())).json()["probability"] == 0.01
        shutil.rmtree(root / "1")  # the last one stays in memory
        await asyncio.sleep(0.1)
        assert (await inspect(client, draw_photograph())).status_code == 200


def test_versions_come_and_go(tmp_path: Path, messages: list[str]) -> None:
    _serve_versions(tmp_path, messages)
