"""The protocol reaches into uvicorn where nothing is documented; these tests tell when that changes."""

from __future__ import annotations

import asyncio
from importlib import metadata
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http import h11_impl
from uvicorn.server import ServerState

from mvdefect.server.protocol import PatientProtocol, make_protocol
from mvdefect.server.settings import Limits
from tests.server.fakes import in_loop

CHANGED = f"uvicorn {metadata.version('uvicorn')} is not what mvdefect/server/protocol.py reaches into: "
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"


class FakeTransport(asyncio.Transport):
    """A line to a client that keeps what it was sent."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 50_000)})
        self.sent, self.is_aborted = b"", False

    def write(self, data: Any) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True

    def close(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def answer(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer before the body has come."""
    await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no"})


def open_connection(
    kind: type[PatientProtocol], address: str = "192.0.2.1"
) -> tuple[PatientProtocol, FakeTransport]:
    config = uvicorn.Config(answer, http=kind, ws="none", log_config=None, access_log=False)
    config.load()
    connection = kind(config=config, server_state=ServerState(), app_state={})
    transport = FakeTransport(address)
    connection.connection_made(transport)
    return connection, transport


def test_uvicorn_has_what_the_protocol_extends() -> None:
    kind = getattr(h11_impl, "H11Protocol", None)
    assert kind is not None, f"{CHANGED}h11_impl.H11Protocol is gone"
    assert issubclass(kind, asyncio.Protocol), f"{CHANGED}H11Protocol is no asyncio.Protocol"
    hook = getattr(kind, "on_response_complete", None)
    assert callable(hook), f"{CHANGED}H11Protocol.on_response_complete() is gone"
    expected = {"connection_made", "data_received", "connection_lost", "pause_writing", "resume_writing"}
    assert expected <= set(dir(kind)), f"{CHANGED}H11Protocol has no {expected - set(dir(kind))}"
    own = {name for name in vars(PatientProtocol) if name.startswith("_") and not name.startswith("__")}
    taken = own & set(dir(kind))
    assert not taken, f"{CHANGED}it uses the names {taken} as well"


@in_loop
async def test_the_states_of_a_connection_are_those_of_h11() -> None:
    connection, _ = open_connection(make_protocol(Limits()))
    conn = getattr(connection, "conn", None)
    assert isinstance(conn, h11.Connection), f"{CHANGED}H11Protocol.conn is no h11.Connection"
    assert conn.their_state is h11.IDLE, f"{CHANGED}a new connection does not wait for headers"
    assert connection in connection.silent  # its client owes them
    connection.data_received(HEAD)
    assert conn.their_state is h11.SEND_BODY, f"{CHANGED}whole headers are not seen in its state"
    assert connection not in connection.silent  # the application waits for the body
    connection.connection_lost(None)


@in_loop
async def test_the_end_of_an_answer_is_told() -> None:
    connection, transport = open_connection(make_protocol(Limits(receive_seconds=0.1)))
    connection.data_received(HEAD)
    await asyncio.sleep(0)  # it is answered before its body has come
    assert transport.sent.endswith(b"no")
    assert connection in connection.silent, f"{CHANGED}on_response_complete() is not called after an answer"
    await asyncio.sleep(0.3)
    assert transport.is_aborted
    connection.connection_lost(None)


@in_loop
async def test_the_oldest_that_owes_makes_room() -> None:
    kind = make_protocol(Limits(max_connections=2))
    found = [open_connection(kind) for _ in range(3)]
    assert [transport.is_aborted for _, transport in found] == [True, False, False]
    for connection, _ in found:
        connection.connection_lost(None)
    assert not kind.clients
    assert not kind.silent


@in_loop
async def test_who_is_idle_makes_room_and_first_of_all_who_has_most_connections() -> None:
    kind = make_protocol(Limits(max_connections=5))
    honest = [open_connection(kind, f"192.0.2.{number}") for number in range(2)]
    hoarder = [open_connection(kind, "203.0.113.9") for _ in range(3)]
    for connection, transport in [*honest, *hoarder]:
        connection.data_received(HEAD + b"body")
        await asyncio.sleep(0)
        assert transport.sent.endswith(b"no")
        assert connection in kind.silent  # it is answered, and keeps the connection
    honest[0][0].data_received(b"POST / ")  # a second request begins
    late = [open_connection(kind, "192.0.2.7") for _ in range(2)]
    assert [transport.is_aborted for _, transport in hoarder] == [True, True, False]
    assert not any(transport.is_aborted for _, transport in [*honest, *late])
    for connection, _ in [*honest, *hoarder, *late]:
        connection.connection_lost(None)
    assert not kind.counts


@in_loop
async def test_an_address_has_a_share() -> None:
    kind = make_protocol(Limits(max_connections=9, max_connections_per_address=2))
    busy = [open_connection(kind) for _ in range(2)]
    for connection, _ in busy:
        connection.data_received(HEAD)  # it is worked for
    refused, other = open_connection(kind), open_connection(kind, "192.0.2.8")
    assert [transport.is_aborted for _, transport in [*busy, refused, other]] == [False, False, True, False]
    for connection, _ in [*busy, refused, other]:
        connection.connection_lost(None)
