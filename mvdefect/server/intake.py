"""Taking bodies in: as many bytes as are allowed, in as much time, and of all clients together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import Headers
from starlette.requests import Request

from mvdefect.server.refusals import RETRY_SECONDS, Refusal
from mvdefect.server.settings import MEGA, Limits

DISCARDED_BYTES = MEGA  # a refused body of this size is read and forgotten; beyond, the connection ends


class Intake:
    """Receives bodies, and knows how many bytes of them are in memory.

    Args:
        limits: What is accepted.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held_bytes = 0

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body of a request; its bytes count until the block ends.

        Raises:
            Refusal: It is too large, comes too slowly, or there is no memory for it now.
            ClientDisconnect: The client has gone.
        """
        chunks: list[bytes] = []
        try:
            yield await self._read(request, chunks)
        finally:
            self.held_bytes -= sum(map(len, chunks))

    async def _read(self, request: Request, chunks: list[bytes]) -> bytes:
        if read_length(request.headers) > self.limits.max_bytes:
            raise self._refuse_size(request)
        try:
            async with asyncio.timeout(self.limits.receive_seconds):
                async for chunk in request.stream():
                    self._hold(chunk, chunks, request)
        except TimeoutError:
            reason = f"the request was not whole after {self.limits.receive_seconds:g} seconds"
            raise Refusal(408, reason, "slow", closes=True) from None
        return b"".join(chunks)

    def _hold(self, chunk: bytes, chunks: list[bytes], request: Request) -> None:
        chunks.append(chunk)
        self.held_bytes += len(chunk)
        if sum(map(len, chunks)) > self.limits.max_bytes:
            raise self._refuse_size(request)
        if self.held_bytes > self.limits.max_bytes_at_once:
            reason = "other requests fill the memory; try again"
            raise Refusal(503, reason, "memory", RETRY_SECONDS, is_long(request.headers))

    def _refuse_size(self, request: Request) -> Refusal:
        reason = f"a request may have {self.limits.max_upload_mb:g} MB at most"
        return Refusal(413, reason, "size", closes=is_long(request.headers))


def read_length(headers: Headers) -> int:
    """Return how many bytes a body will have; 0 where nothing says so."""
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def is_long(headers: Headers) -> bool:
    """Whether a body is better cut off than read to its end and forgotten."""
    return "transfer-encoding" in headers or read_length(headers) > DISCARDED_BYTES
