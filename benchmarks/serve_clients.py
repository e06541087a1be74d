"""Cheap clients for `benchmarks/serve.py`: some that behave and some that do not; standard library alone.

    python benchmarks/serve_clients.py good --port 8501 --model parts --clients 16 --seconds 60 FILE...
    python benchmarks/serve_clients.py hostile --port 8501 --model parts --requests 1000 FILE

Each prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import struct
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

HOST = "127.0.0.1"
GIGABYTE = 1_000_000_000
BOMB_SIDE_PX = 10_000  # squared: 100 megapixels
PATIENCE_SECONDS = 60.0
AT_ONCE = 24  # hostile requests; slow ones come on top
PATHS = (
    "/v1/models/../../../etc/passwd:predict",
    "/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd:predict",
    "/v1/models/..%5c..%5cwindows:predict",
    "/../../../../etc/passwd",
    "/page/../../../../etc/passwd",
    "/api/correct?label=../../etc",
    "/api/correct?label=%2Fetc%2Fcron.d%2Fx",
)
MALFORMED = (
    b"{",
    b"[" * 50_000,
    b'{"instances": [{"b64": "!!"}]}',
    b'{"instances": 7}',
    b"\xff\xfe\x00",
    b"",
)


def make_request(path: str, body: bytes, kind: str = "application/json", length: int | None = None) -> bytes:
    """Return the bytes of a POST request."""
    size = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    return head.encode("latin-1") + body


def make_predict(model: str, file: bytes) -> bytes:
    """Return a request for a verdict, in TF Serving's dialect."""
    instance = {"b64": base64.b64encode(file).decode()}
    return make_request(f"/v1/models/{model}:predict", json.dumps({"instances": [instance]}).encode())


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return status and body of an answer; status 0: the connection was cut off."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        lines = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lines[0].split(b":")[1]) if lines else 0
        return status, await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, b""


async def ask_steadily(
    port: int, requests: Sequence[bytes], number: int, until: float, found: list[tuple[float, int]]
) -> None:
    """Ask one request after the other on one connection, and note seconds and status of each."""
    reader, writer = await asyncio.open_connection(HOST, port)
    turn = number
    while time.monotonic() < until:
        started = time.monotonic()
        writer.write(requests[turn % len(requests)])
        status, body = await read_answer(reader)
        is_right = status == 200 and b'"status":"ok"' in body
        found.append((time.monotonic() - started, status if is_right or status != 200 else -1))
        turn += 1
        if not status:
            reader, writer = await asyncio.open_connection(HOST, port)
    writer.close()


async def drive_good(
    port: int, model: str, files: Sequence[bytes], clients: int, seconds: float
) -> dict[str, object]:
    """Let clients ask for a while, and return what they saw."""
    requests = [make_predict(model, file) for file in files]
    found: list[tuple[float, int]] = []
    started = time.monotonic()
    until = started + seconds
    await asyncio.gather(*(ask_steadily(port, requests, number, until, found) for number in range(clients)))
    passed = time.monotonic() - started
    taken = sorted(seconds for seconds, _ in found)
    share = {f"p{p}_ms": 1000 * taken[min(len(taken) - 1, len(taken) * p // 100)] for p in (50, 95, 99)}
    errors = Counter(str(status) for _, status in found if status != 200)
    return {"requests": len(found), "per_second": len(found) / passed, "errors": dict(errors), **share}


def make_bomb() -> bytes:
    """Return a PNG of 100 megapixels that is small as a file."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    squeeze = zlib.compressobj(1)
    rows = [squeeze.compress(bytes(100 * (BOMB_SIDE_PX + 1))) for _ in range(BOMB_SIDE_PX // 100)]
    header = struct.pack(">IIBBBBB", BOMB_SIDE_PX, BOMB_SIDE_PX, 8, 0, 0, 0, 0)
    content = b"".join(rows) + squeeze.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


class Hostile:
    """Sends what no client should.

    Args:
        port: The server's.
        model: Its name.
        file: A photograph.
        draw: Which variant comes next.
    """

    def __init__(self, port: int, model: str, file: bytes, draw: random.Random) -> None:
        self.port = port
        self.file = file
        self.draw = draw
        self.predict = f"/v1/models/{model}:predict"
        self.good = make_predict(model, file)
        self.bytes_kind = "application/octet-stream"
        bomb = make_bomb()
        self.bombs = [make_predict(model, bomb), make_request("/api/inspect", bomb, self.bytes_kind)]
        self.bombs.append(make_request("/api/correct?label=good", bomb, self.bytes_kind))
        pixels, nothing = b'{"signature_name": "pixels", "instances": [', b'{"instances": ['
        self.dear = [  # of 30 MB, and as much as is read at all
            make_request(self.predict, head + one * number + last)
            for head, one, last in ((pixels, b"[[[1,2,3]]],", b"[[[1,2,3]]]]}"), (nothing, b'"",', b'""]}'))
            for number in (30_000_000 // len(one), 1_990_000 // (one.count(b"[") + one.count(b",")))
        ]

    def list_kinds(self) -> dict[str, Callable[[], Awaitable[int]]]:
        """Return what can be sent, by name; each returns a status, 0 where it was cut off."""
        page = "/api/inspect"
        return {
            "truncated request": lambda: self.leave(self.good[: self.draw.randrange(20, len(self.good) - 1)]),
            "truncated photograph": lambda: self.send(
                make_request(page, self.file[: self.draw.randrange(9, len(self.file) // 2)], self.bytes_kind)
            ),
            "wrong type": lambda: self.send(
                self.draw.choice(
                    [
                        make_request(page, b"%PDF-1.7 no photograph", self.bytes_kind),
                        make_request(page, self.file, "text/plain"),
                        make_request(self.predict, b'{"instances": [{"image_bytes": 3}]}'),
                        make_request(self.predict, b'{"signature_name": "pixels", "instances": [[1, "a"]]}'),
                    ]
                )
            ),
            "100-megapixel PNG": lambda: self.send(self.draw.choice(self.bombs)),
            "1 GB length header": lambda: self.send(make_request(self.predict, b"{", length=GIGABYTE)),
            "path traversal": lambda: self.send(
                make_request(self.draw.choice(PATHS), self.file, self.bytes_kind)
            ),
            "millions of values": lambda: self.send(self.draw.choice(self.dear)),
            "malformed JSON": lambda: self.send(make_request(self.predict, self.draw.choice(MALFORMED))),
            "slow headers": lambda: self.trickle(
                self.good.partition(b"\r\n")[0] + b"\r\nX-Slow: " + b"a" * 4000, fast=80
            ),
            "slow body": lambda: self.trickle(make_request(self.predict, b" " * 4000), fast=160),
        }

    async def send(self, request: bytes) -> int:
        """Send a request and wait for what comes."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            writer.write(request)
            return (await asyncio.wait_for(read_answer(reader), PATIENCE_SECONDS))[0]
        finally:
            writer.close()

    async def leave(self, part: bytes) -> int:
        """Send a part of a request and go."""
        _, writer = await asyncio.open_connection(HOST, self.port)
        writer.write(part)
        await writer.drain()
        writer.close()
        return 0

    async def trickle(self, request: bytes, fast: int = 40) -> int:
        """Send a few bytes at once, and then one a second until somebody has had enough."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        answer = asyncio.ensure_future(read_answer(reader))
        try:
            writer.write(request[:fast])
            for place in range(fast, fast + int(PATIENCE_SECONDS)):
                done, _ = await asyncio.wait({answer}, timeout=1)
                if done:
                    return answer.result()[0]
                writer.write(request[place : place + 1])
            return -1
        finally:
            answer.cancel()
            writer.close()


async def drive_hostile(port: int, model: str, file: bytes, count: int) -> dict[str, dict[str, int]]:
    """Send so many hostile requests in a mix, and return how often each kind got which status."""
    draw = random.Random(0)  # noqa: S311 (a mix, no secret)
    kinds = Hostile(port, model, file, draw).list_kinds()
    names = [name for name, _ in zip(list(kinds) * count, range(count), strict=False)]
    draw.shuffle(names)
    found = {name: Counter[str]() for name in kinds}
    room = asyncio.Semaphore(AT_ONCE)

    async def do(name: str) -> None:
        try:
            if name.startswith("slow"):
                status = await kinds[name]()
            else:
                async with room:
                    status = await kinds[name]()
        except ConnectionError:
            status = 0
        except TimeoutError:
            status = -1
        found[name][{0: "cut off", -1: "held"}.get(status, str(status))] += 1

    await asyncio.gather(*(do(name) for name in names))
    return {name: dict(counts) for name, counts in found.items()}


def main() -> None:
    """Drive, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("manner", choices=["good", "hostile"])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--requests", type=int, default=1000)
    options = parser.parse_args()
    files = [path.read_bytes() for path in options.files]
    if options.manner == "good":
        done = drive_good(options.port, options.model, files, options.clients, options.seconds)
        print(json.dumps(asyncio.run(done)))
    else:
        print(json.dumps(asyncio.run(drive_hostile(options.port, options.model, files[0], options.requests))))


if __name__ == "__main__":
    main()
