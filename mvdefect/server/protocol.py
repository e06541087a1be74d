"""HTTP/1.1 for clients that may be slow: uvicorn's protocol with limits that its settings do not know.

uvicorn's settings end a connection that is idle between two requests, and refuse requests beyond a number.
They know no time for headers to come, for the rest of a body that was refused, or for an answer to be read,
and no number of silent connections; an application is asked only when headers are whole. So the protocol
itself is extended, and this module is the only one that reaches into what uvicorn does not document:

- `uvicorn.protocols.http.h11_impl.H11Protocol`, an `asyncio.Protocol`, as the class to extend;
- its `conn`, the `h11.Connection` of a client, whose states are h11's public interface;
- its `on_response_complete()`, called after the last byte of an answer was handed over.

They are the same from uvicorn 0.34 to 0.54; `tests/server/test_protocol.py` tells when they change.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mvdefect.server.settings import Limits


class PatientProtocol(H11Protocol):
    """HTTP/1.1 with a limit on connections, and on the time for headers and for reading an answer.

    Attributes:
        limits: What is accepted.
        clients: All connections of the server.
        counts: How many there are from each address.
        silent: Those whose client is to send headers, the rest of what was refused, or a next request if it
            likes; who has been silent longest comes first.
    """

    limits: Limits
    clients: set[PatientProtocol]
    counts: Counter[str]
    silent: dict[PatientProtocol, None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._line: asyncio.Transport | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; where there are too many, another one ends, or it does."""
        super().connection_made(transport)
        self._line = transport
        self._address = str((transport.get_extra_info("peername") or ("",))[0])
        self.clients.add(self)
        self.counts[self._address] += 1
        if self.counts[self._address] > self.limits.max_connections_per_address:
            self._make_room(self._address)
        elif len(self.clients) > self.limits.max_connections:
            self._make_room(max(self.counts, key=lambda address: self.counts[address]))
        self._watch()

    def _make_room(self, address: str) -> None:
        """End the connection from an address that has been silent longest; where none is, the new one."""
        silent = (one for one in self.silent if one._address == address)
        next(silent, self).cut_off()

    def data_received(self, data: bytes) -> None:
        """Take what came; the time for headers goes on."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        super().on_response_complete()
        self._watch(idle=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self in self.clients:
            self.clients.remove(self)
            self.counts[self._address] -= 1
            if not self.counts[self._address]:
                del self.counts[self._address]
        self._be_content()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a client that does not read, but not forever."""
        super().pause_writing()
        self._stalled = self._cut_off_later()

    def resume_writing(self) -> None:
        """It reads again."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def cut_off(self) -> None:
        """End the connection at once."""
        self.silent.pop(self, None)
        if self._line is not None:
            self._line.abort()

    def _cut_off_later(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self.limits.receive_seconds, self.cut_off)

    def _watch(self, idle: bool = False) -> None:
        """Be patient while the client owes something that nothing else waits for."""
        theirs, ours = self.conn.their_state, self.conn.our_state
        waits_for_headers = theirs is h11.IDLE and not idle  # uvicorn watches idle connections itself
        waits_for_rest = theirs is h11.SEND_BODY and ours in (h11.DONE, h11.MUST_CLOSE)
        if not waits_for_headers and not waits_for_rest:
            self._be_content()
            if idle and theirs is h11.IDLE:
                self.silent[self] = None
        elif self._patience is None:
            self.silent[self] = None
            self._patience = self._cut_off_later()

    def _be_content(self) -> None:
        self.silent.pop(self, None)
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def make_protocol(given: Limits) -> type[PatientProtocol]:
    """Return the protocol for one server."""

    class ServerProtocol(PatientProtocol):
        limits = given  # these four are of one server, so of its class
        clients: set[PatientProtocol] = set()  # noqa: RUF012
        counts: Counter[str] = Counter()  # noqa: RUF012
        silent: dict[PatientProtocol, None] = {}  # noqa: RUF012

    return ServerProtocol
