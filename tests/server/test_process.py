"""A real server on a socket: clients that do not do their part are cut off, and a signal stops it."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.fakes import BYTES, draw_photograph
from tests.server.process import RunningServer, start_server

RECEIVE_SECONDS = 1.0
HEAD = b"POST /api/inspect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("server")
    limits = {"receive_seconds": RECEIVE_SECONDS, "max_upload_mb": 5, "max_connections": 40}
    with start_server(folder, requests_per_second=0, **limits) as running:
        yield running
        assert running.process.poll() is None
        assert not (folder / "corrections").exists()


def connect(server: RunningServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=15)


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the server ends the connection."""
    found = b""
    try:
        while part := connection.recv(65_536):
            found += part
    except ConnectionResetError:
        pass
    return found


def check_that_it_works(server: RunningServer, within_seconds: float = 3.0) -> None:
    started = time.monotonic()
    answer = httpx.post(f"{server.url}/api/inspect", content=draw_photograph(200), headers=BYTES)
    assert answer.json()["label"] == "defective"
    assert time.monotonic() - started < within_seconds


@pytest.mark.parametrize(
    ("fast", "slow"),
    [
        (b"", b""),
        (b"", b"POST /api/inspect HTTP/1.1\r\nX-Slow: " + b"a" * 200),
        (HEAD + b"Content-Length: 500\r\n\r\n", b"x" * 200),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 50),
        (HEAD.replace(b"localhost", b"evil.example") + b"Content-Length: 500\r\n\r\n", b"x" * 200),
    ],
    ids=["silent", "slow headers", "slow body", "slow chunks", "slow after a refusal"],
)
def test_a_slow_client_is_cut_off(server: RunningServer, fast: bytes, slow: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(fast)
        started = time.monotonic()
        ended = threading.Event()

        def trickle() -> None:
            for place in range(len(slow)):
                try:
                    connection.sendall(slow[place : place + 1])
                except OSError:
                    return
                if ended.wait(0.1):
                    return

        writer = threading.Thread(target=trickle)
        writer.start()
        said = read_all(connection)
        ended.set()
        writer.join()
        assert RECEIVE_SECONDS / 2 < time.monotonic() - started < RECEIVE_SECONDS + 3
        assert b" 200 " not in said
    check_that_it_works(server)


def test_a_client_that_does_not_read_is_cut_off(server: RunningServer) -> None:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(15)
    with connection:
        connection.connect(("127.0.0.1", server.port))
        with pytest.raises((ConnectionError, TimeoutError)):  # noqa: PT012
            for _ in range(400):
                connection.sendall(b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
                time.sleep(0.02)
    check_that_it_works(server)


def test_silent_connections_make_room_for_others(server: RunningServer) -> None:
    held = [connect(server) for _ in range(60)]
    try:
        time.sleep(0.2)
        check_that_it_works(server)
    finally:
        for connection in held:
            connection.close()


def test_a_gigabyte_is_refused_before_it_comes(server: RunningServer) -> None:
    with connect(server) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000000\r\n\r\n" + bytes(1000))
        assert b" 413 " in read_all(connection).split(b"\r\n")[0]
    with connect(server) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n")
        said = read_all(connection)
        assert b" 413 " in said.split(b"\r\n")[0]
        assert b"100 Continue" not in said
    check_that_it_works(server)


def test_what_is_cut_off_in_the_middle_costs_nothing(server: RunningServer) -> None:
    file = draw_photograph(10)
    request = HEAD + f"Content-Length: {len(file)}\r\n\r\n".encode() + file
    for length in (5, 60, len(HEAD) + 10, len(request) - 1):
        with connect(server) as connection:
            connection.sendall(request[:length])
    check_that_it_works(server)
    text = httpx.get(f"{server.url}/metrics").text
    assert "mvdefect_held_bytes 0.0" in text
    assert "mvdefect_queue_length 0.0" in text


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /../../../../etc/passwd HTTP/1.1",
        b"GET /page.js/../../../../etc/passwd HTTP/1.1",
        b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1",
        b"GET /v1/models/..%2f..%2fetc%2fpasswd HTTP/1.1",
        b"POST /api/correct?label=../../tmp HTTP/1.1",
        b"BREW / HTTP/1.1",
        b"GET / HTTP/new",
        b"\x16\x03\x01\x02\x00",
        b"GET " + b"/a" * 50_000 + b" HTTP/1.1",
    ],
    ids=range(9),
)
def test_paths_lead_nowhere_and_nonsense_is_refused(server: RunningServer, request_line: bytes) -> None:
    with connect(server) as connection:
        head = b"\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nConnection: close\r\n"
        connection.sendall(request_line + head + b"Content-Length: 0\r\n\r\n")
        said = read_all(connection)
        assert not said or said.split(b" ")[1][:1] == b"4"
        assert b"root:" not in said
    check_that_it_works(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_after_the_answers_that_are_under_way(tmp_path: Path, number: int) -> None:
    with start_server(tmp_path, engine_seconds=0.8) as server:
        answers: list[httpx.Response] = []

        def ask() -> None:
            answers.append(httpx.post(f"{server.url}/api/inspect", content=draw_photograph(), headers=BYTES))

        with connect(server):  # one that says nothing holds nobody up
            asker = threading.Thread(target=ask)
            httpx.get(f"{server.url}/healthz")
            asker.start()
            time.sleep(0.4)
            server.process.send_signal(number)
            assert server.process.wait(10) == 0
            asker.join()
    assert [answer.status_code for answer in answers] == [200]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/healthz")
