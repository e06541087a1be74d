"""Connections that end when their client does not do its part: a protocol of uvicorn with deadlines.

uvicorn itself waits for headers, and for clients that do not read, without an end.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mvdefect.serving.server.settings import Limits


class PatientProtocol(H11Protocol):
    """HTTP/1.1 with a limit on connections, and on the time for headers and for reading an answer.

    Attributes:
        limits: What is accepted.
        owing: Connections whose client has to send headers, or the rest of what was refused, oldest first.
    """

    limits: Limits
    owing: dict[PatientProtocol, None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; where there are too many, the oldest that waits for its client ends."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            next(iter(self.owing), self).transport.abort()
        self._watch()

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
        self._be_content()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a client that does not read, but not forever."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.limits.receive_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def _watch(self, idle: bool = False) -> None:
        """Be patient while the client owes something that nothing else waits for."""
        theirs, ours = self.conn.their_state, self.conn.our_state
        waits_for_headers = theirs is h11.IDLE and not idle  # uvicorn watches idle connections itself
        waits_for_rest = theirs is h11.SEND_BODY and ours in (h11.DONE, h11.MUST_CLOSE)
        if not waits_for_headers and not waits_for_rest:
            self._be_content()
        elif self._patience is None:
            self.owing[self] = None
            self._patience = self.loop.call_later(self.limits.receive_seconds, self.transport.abort)

    def _be_content(self) -> None:
        self.owing.pop(self, None)
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def make_protocol(given: Limits) -> type[PatientProtocol]:
    """Return the protocol for one server."""

    class ServerProtocol(PatientProtocol):
        limits = given
        owing: dict[PatientProtocol, None] = {}  # noqa: RUF012 (of one server, so of the class)

    return ServerProtocol
