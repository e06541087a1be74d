"""Requests that are small to send and dear to read are refused before they cost anything."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
import zlib
from pathlib import Path

import pytest

from mvdefect.core.errors import ImageError
from mvdefect.data.images import decode_image
from mvdefect.server.image_headers import read_header
from mvdefect.server.predict_request import count_values, parse_predict
from mvdefect.server.refusals import Refusal
from mvdefect.server.settings import Limits
from tests.server.fakes import BYTES, FakeEngine, draw_photograph, in_loop, inspect, open_client

PREDICT = "/v1/models/parts:predict"
LIMITS = Limits(max_json_values=20_000)
PIXELS = b'{"signature_name": "pixels", "instances": ['


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (PIXELS + b"[[[1,2,3]]]," * 20_000 + b"[[[1,2,3]]]]}", 413, "20,000 values. Received: about 1"),
        (b'{"instances": [' + b'"",' * 300 + b'""]}', 413, "may hold 256 photographs. Received: 301"),
        (b'{"instances": [' + b'"",' * 30_000 + b'""]}', 413, "20,000 values"),
        (b'{"instances": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", 413, "20,000 values"),
        (b'{"instances": [' + b"[" * 15_000 + b"]" * 15_000 + b"]}", 400, "no JSON"),
        (b'{"instances": ["' + b"\\n" * 30_000 + b'"]}', 413, "20,000 values"),
        (b'{"instances": [' + b"7" * 5_000 + b"]}", 400, "no JSON"),
        (PIXELS + b'"' + b"a" * 30_000_000 + b'",' + b'"",' * 200 + b'""]}', 400, "whole numbers"),
        (PIXELS + b"[[[1,2,3]]],[]]}", 400, "whole numbers"),
        (PIXELS + b"[[[true,2,3]]]]}", 400, "whole numbers"),
        (PIXELS + b'[[["1",2,3]]]]}', 400, "whole numbers"),
        (PIXELS + b"[[]]]}", 400, "whole numbers"),
        (PIXELS + b"[[[1,2," + b"9" * 400 + b"]]]]}", 400, "whole numbers"),
        (
            b'{"signature_name": "explain", "instances": [' + b'"",' * 21 + b'""]}',
            413,
            "may hold 20 photographs. Received: 22",
        ),
    ],
)
def test_dear_json_is_refused_at_once(body: bytes, status: int, said: str) -> None:
    started = time.process_time()

    def read() -> None:
        count_values(body, LIMITS)
        parse_predict(body, LIMITS, heatmap_values=10_000)

    with pytest.raises(Refusal, match=said) as refused:
        read()
    assert refused.value.status == status
    assert time.process_time() - started < 1


@in_loop
async def test_the_loop_answers_others_while_json_is_read() -> None:
    row = "[" + ",".join(["[1,2,3]"] * 1000) + "]"
    body = (PIXELS.decode() + "[" + ",".join([row] * 450) + "]]}").encode()
    async with open_client(FakeEngine(), max_json_values=2_000_000) as client:
        asked = [asyncio.create_task(client.post(PREDICT, content=body)) for _ in range(3)]
        longest = 0.0
        while not all(one.done() for one in asked):
            started = time.monotonic()
            assert (await client.get("/healthz")).status_code == 200
            longest = max(longest, time.monotonic() - started)
            await asyncio.sleep(0.01)
        assert [one.result().status_code for one in asked] == [200] * 3
    assert longest < 1


@in_loop
async def test_unreadable_photographs_count_as_the_others_do() -> None:
    body = json.dumps({"instances": [{"b64": base64.b64encode(b"no image").decode()}] * 257})
    async with open_client() as client:
        answer = await client.post(PREDICT, content=body)
    assert answer.status_code == 413
    assert "may hold 256 photographs. Received: 257" in answer.json()["error"]


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def make_tiff(tags: list[tuple[int, int, int, int]], with_size: bool = True) -> bytes:
    """Return the beginning of a TIFF with these tags: number, type, count and value."""
    size = [(256, 3, 1, 40), (257, 3, 1, 40)] if with_size else []
    entries = b"".join(struct.pack("<HHII", *tag) for tag in [*size, *tags])
    return b"II*\0" + struct.pack("<IH", 8, len(size) + len(tags)) + entries + bytes(4)


def make_files() -> dict[str, bytes]:
    """Files whose decoding would take long: many tiny chunks, segments, or scans of a progressive JPEG."""
    png, jpeg = draw_photograph(), draw_photograph(suffix=".jpg")
    tables = jpeg.index(b"\xff\xdb")
    scan = jpeg[jpeg.index(b"\xff\xda") : -2]
    return {
        "text chunks": png[:33] + chunk(b"tIME", bytes(7)) * 100_000 + png[33:],
        "empty chunks": png[:33] + chunk(b"IDAT") * 100_000 + png[33:],
        "segments": jpeg[:tables] + b"\xff\xfe\0\2" * 100_000 + jpeg[tables:],
        "filling": jpeg[:tables] + b"\xff" * 100_000 + jpeg[tables:],
        "scans": jpeg[:-2] + scan * 200 + jpeg[-2:],
        "no size": jpeg[:tables] + scan,
        "tags of the same bytes": make_tiff([(tag, 1, 90_000, 0) for tag in range(300, 500)]) + bytes(99_000),
        "very many tags": make_tiff([(tag, 1, 1, 0) for tag in range(300, 20_000)]),
        "a directory outside": b"II*\0" + struct.pack("<I", 2**31),
        "no size in a TIFF": make_tiff([(258, 3, 1, 8)], with_size=False),
    }


@pytest.mark.parametrize(("name", "file"), make_files().items(), ids=make_files())
def test_files_that_are_slow_to_decode_never_reach_the_engine(name: str, file: bytes) -> None:
    started = time.process_time()
    assert read_header(file) is None, name
    assert time.process_time() - started < 0.3


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp"])
def test_whatever_is_cut_or_changed_the_header_is_read_without_a_fault(suffix: str) -> None:
    whole = draw_photograph(suffix=suffix)
    for position in range(0, min(len(whole), 700), 3):
        read_header(whole[:position])
        header = read_header(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        assert header is None or header.pixels > 0


def test_a_large_honest_png_has_its_size() -> None:
    png = draw_photograph()
    pieces = b"".join(chunk(b"IDAT", bytes(8192)) for _ in range(500))
    header = read_header(png[:33] + pieces + png[-12:])
    assert header is not None
    assert (header.width, header.height) == (60, 40)
    with pytest.raises(ImageError):
        decode_image(png[:33] + pieces)


@in_loop
async def test_corrections_wait_for_one_another_and_not_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_client(corrections=tmp_path, corrections_waiting=3) as client:
        files = [draw_photograph(grey) for grey in range(24)]
        asked = [client.post("/api/correct?label=good", content=file, headers=BYTES) for file in files]
        answers = await asyncio.gather(*asked)
        codes = [answer.status_code for answer in answers]
        assert set(codes) == {200, 503}
        assert codes.count(200) >= 3
        assert all("Retry-After" in answer.headers for answer in answers if answer.status_code == 503)
        assert len(list((tmp_path / "good").iterdir())) == codes.count(200)
        again = await client.post("/api/correct?label=good", content=files[-1], headers=BYTES)
        assert again.status_code == 200
        assert (await inspect(client, files[0])).status_code == 200
