"""Limits: what is too large, too much, too often or too slow is refused, and costs others nothing."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from collections.abc import AsyncIterator

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

from mvdefect.server.guard import RateLimit
from mvdefect.server.image_headers import read_header
from mvdefect.server.refusals import Refusal
from tests.server.fakes import (
    BYTES,
    FakeEngine,
    FaultyEngine,
    draw_photograph,
    in_loop,
    inspect,
    open_client,
    read_metric,
)

WARM_UP = 2  # batches


def make_bomb(width: int = 10_000, height: int = 10_000) -> bytes:
    """A PNG that says it has 100 megapixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_the_size_is_read_from_the_header(suffix: str) -> None:
    file = cv2.imencode(suffix, np.zeros((30, 50, 3), np.uint8))[1].tobytes()
    header = read_header(file)
    assert header is not None
    assert (header.suffix, header.width, header.height) == (suffix, 50, 30)
    for kind in ("VP8 ", "VP8L", "VP8X") if suffix == ".webp" else ():
        lossless, exif = kind != "VP8 ", Image.Exif()
        exif[271] = "a camera"
        stream = io.BytesIO()
        options = {"exif": exif} if kind == "VP8X" else {}
        Image.new("RGB", (50, 30)).save(stream, "WEBP", lossless=lossless, **options)
        assert stream.getvalue()[12:16] == kind.encode()
        assert read_header(stream.getvalue()) == header
    for length in range(0, 60, 7):
        assert read_header(file[:length]) is None or length > 24


@pytest.mark.parametrize("path", ["/api/inspect", "/api/correct?label=good"])
def test_a_decompression_bomb_is_never_decoded(path: str) -> None:
    @in_loop
    async def ask() -> None:
        engine = FakeEngine()
        async with open_client(engine) as client:
            answer = await client.post(path, content=make_bomb(), headers=BYTES)
            assert answer.status_code == 413
            assert "40 megapixels at most. Received: 100.0 megapixels" in answer.json()["error"]
            assert len(engine.batches) == WARM_UP
            assert await read_metric(client, 'mvdefect_refusals_total{kind="pixels"}') == 1

    ask()


@in_loop
async def test_a_bomb_among_good_photographs_is_told_of() -> None:
    async with open_client(max_megapixels=0.001) as client:
        answer = await inspect(client, draw_photograph())
        assert answer.status_code == 413
        assert "0.001 megapixels" in answer.json()["error"]


@in_loop
async def test_a_large_body_is_refused_by_its_length_or_when_it_grows() -> None:
    async def grow() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield bytes(1000)

    async with open_client(max_upload_mb=0.02) as client:
        for content in (bytes(30_000), grow()):
            answer = await client.post("/api/inspect", content=content, headers=BYTES)
            assert answer.status_code == 413
            assert "0.02 MB at most" in answer.json()["error"]
        assert (await inspect(client, draw_photograph())).status_code == 200
        assert await read_metric(client, "mvdefect_held_bytes") == 0


@in_loop
async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.05)

    async with open_client(receive_seconds=0.3) as client:
        answer = await client.post("/api/inspect", content=trickle(), headers=BYTES)
        assert answer.status_code == 408
        assert answer.headers["connection"] == "close"


@in_loop
async def test_a_full_queue_says_when_to_come_back() -> None:
    engine = FakeEngine()
    async with open_client(engine, queue_length=3, batch_size=1) as client:
        engine.is_open.clear()
        asked = [asyncio.create_task(inspect(client, draw_photograph()))]
        await asyncio.sleep(0.1)  # it is with the engine
        asked += [asyncio.create_task(inspect(client, draw_photograph(n))) for n in range(3)]
        await asyncio.sleep(0.1)
        refused = await inspect(client, draw_photograph())
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert "3 photographs wait already" in refused.json()["error"]
        engine.is_open.set()
        assert {(await one).status_code for one in asked} == {200}
        assert (await inspect(client, draw_photograph())).status_code == 200


@in_loop
async def test_an_answer_that_would_come_too_late_is_not_computed() -> None:
    engine = FakeEngine()
    async with open_client(engine, deadline_seconds=0.3, batch_size=1) as client:
        engine.is_open.clear()
        asked = [asyncio.create_task(inspect(client, draw_photograph(n))) for n in range(3)]
        answers = [await one for one in asked]
        assert {answer.status_code for answer in answers} == {504}
        assert "within 0.3 seconds" in answers[0].json()["error"]
        engine.is_open.set()
        assert (await inspect(client, draw_photograph())).status_code == 200
        assert len(engine.batches) == WARM_UP + 2  # the first, which it had begun, and the last
        assert await read_metric(client, "mvdefect_dropped_total") == 2


@in_loop
async def test_a_client_that_has_gone_is_not_worked_for() -> None:
    engine = FakeEngine()
    async with open_client(engine, batch_size=1) as client:
        engine.is_open.clear()
        first = asyncio.create_task(inspect(client, draw_photograph(1)))
        await asyncio.sleep(0.1)
        await leave(client, draw_photograph(2))
        engine.is_open.set()
        assert (await first).status_code == 200
        assert (await inspect(client, draw_photograph(3))).status_code == 200
        seen = [file for batch in engine.batches[WARM_UP:] for file in batch]
        assert seen == [draw_photograph(1), draw_photograph(3)]
        assert await read_metric(client, 'mvdefect_requests_total{route="inspect",status="499"}') == 1


async def leave(client: httpx.AsyncClient, file: bytes) -> None:
    """Send a photograph and go."""
    messages = iter([{"type": "http.request", "body": file, "more_body": False}, {"type": "http.disconnect"}])
    scope = {"type": "http", "method": "POST", "path": "/api/inspect", "query_string": b"", "root_path": ""}
    scope["headers"] = [(b"host", b"localhost"), (b"content-type", b"application/octet-stream")]
    sent: list[object] = []

    async def receive() -> object:
        return next(messages)

    async def send(message: object) -> None:
        sent.append(message)

    await client._transport.app(scope, receive, send)  # type: ignore[attr-defined]
    assert sent == []


@in_loop
async def test_photographs_of_many_clients_are_inspected_together() -> None:
    engine = FakeEngine(seconds=0.05)
    async with open_client(engine, batch_size=8, batch_wait_ms=50) as client:
        greys = range(0, 240, 10)
        answers = await asyncio.gather(*(inspect(client, draw_photograph(grey)) for grey in greys))
        found = [answer.json()["probability"] for answer in answers]
        assert found == sorted(found)  # each client gets its own answer
        assert len(set(found)) == len(greys)
        sizes = [len(batch) for batch in engine.batches[WARM_UP:]]
        assert max(sizes) == 8
        assert len(sizes) <= 5


@in_loop
async def test_one_client_alone_waits_for_nobody_and_many_are_waited_for() -> None:
    engine = FakeEngine()
    async with open_client(engine, batch_wait_ms=3000) as client:
        started = asyncio.get_running_loop().time()
        for _ in range(5):
            assert (await inspect(client, draw_photograph())).status_code == 200
        assert asyncio.get_running_loop().time() - started < 2.5
        engine.seconds = 0.1
        await asyncio.gather(*(inspect(client, draw_photograph()) for _ in range(6)))
        engine.batches.clear()
        again = [asyncio.create_task(inspect(client, draw_photograph()))]
        await asyncio.sleep(0.3)  # the others are slower, and are waited for
        assert engine.batches == []
        again += [asyncio.create_task(inspect(client, draw_photograph())) for _ in range(5)]
        await asyncio.gather(*again)
        assert [len(batch) for batch in engine.batches] == [6]


@in_loop
async def test_large_photographs_are_not_decoded_together() -> None:
    engine = FakeEngine(seconds=0.05)
    large = draw_photograph(20, 100, 100)
    async with open_client(engine, max_megapixels=0.025, batch_size=8, batch_wait_ms=50) as client:
        await asyncio.gather(*(inspect(client, large) for _ in range(6)))
        assert max(len(batch) for batch in engine.batches) == 2


@in_loop
async def test_a_photograph_that_breaks_the_engine_costs_the_others_nothing() -> None:
    async with open_client(FaultyEngine(), batch_wait_ms=50) as client:
        asked = (inspect(client, draw_photograph(grey)) for grey in (10, 77, 20, 30))
        statuses = [answer.status_code for answer in await asyncio.gather(*asked)]
        assert statuses == [200, 500, 200, 200]
        assert (await inspect(client, draw_photograph())).status_code == 200


def test_a_client_may_ask_steadily_and_in_bursts_but_not_more() -> None:
    now = [0.0]
    rates = RateLimit(20, clock=lambda: now[0])
    for _ in range(20):
        rates.admit("a")
    with pytest.raises(Refusal, match="20 times a second") as refused:
        rates.admit("a")
    assert refused.value.retry_seconds == pytest.approx(0.05)
    rates.admit("b")
    for _ in range(100):
        now[0] += 0.051
        rates.admit("a")


@in_loop
async def test_who_asks_too_often_is_told_when_to_come_back() -> None:
    async with open_client(requests_per_second=5) as client:
        statuses = [(await client.get("/v1/models/parts")).status_code for _ in range(12)]
        assert statuses[:10] == [200] * 10
        assert statuses[-1] == 429
        assert (await client.get("/healthz")).status_code == 200
