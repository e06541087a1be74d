"""The service: photographs of a request in, answers out, or a reason why not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.requests import ClientDisconnect, Request

from mvdefect.serving.answers import UNREADABLE_ANSWER, Answer, Engine
from mvdefect.serving.server.batching import Batcher
from mvdefect.serving.server.headers import check_pixels, read_header
from mvdefect.serving.server.intake import Intake
from mvdefect.serving.server.metrics import Metrics
from mvdefect.serving.server.refusals import Refusal
from mvdefect.serving.server.settings import Limits


class Service:
    """What every way of asking goes through.

    Args:
        engine: What answers.
        limits: What is accepted.
    """

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.limits = limits
        self.metrics = Metrics()
        self.intake = Intake(limits)
        self.batcher = Batcher(engine, limits, self.metrics)
        self.metrics.watch("held_bytes", "Of bodies in memory.", lambda: self.intake.held_bytes)

    async def inspect(
        self, request: Request, files: Sequence[bytes], with_heatmaps: bool = False
    ) -> list[Answer]:
        """Inspect photographs; what is no image never reaches the engine.

        Raises:
            Refusal: A photograph is too large, too many wait, or the deadline has passed.
            ClientDisconnect: Nobody waits for the answer.
        """
        headers = [read_header(file) for file in files]
        for header in headers:
            if header is not None:
                check_pixels(header.pixels, self.limits)
        known = [number for number, header in enumerate(headers) if header is not None]
        pixels = [header.pixels for header in headers if header is not None]
        self.metrics.photographs.labels("unreadable").inc(len(files) - len(known))
        coming = self.batcher.submit([files[number] for number in known], pixels, with_heatmaps)
        answers = dict(zip(known, await self._wait(request, coming), strict=True))
        return [answers.get(number, UNREADABLE_ANSWER) for number in range(len(files))]

    async def _wait(self, request: Request, coming: list[asyncio.Future[Answer]]) -> list[Answer]:
        """Wait for answers as long as the client does, and no longer than is allowed."""
        if not coming:
            return []
        gone = asyncio.create_task(_watch(request))
        answers = asyncio.create_task(_collect(coming))
        try:
            seconds = self.limits.deadline_seconds
            first = asyncio.FIRST_COMPLETED
            both: set[asyncio.Future[Any]] = {answers, gone}
            done, _ = await asyncio.wait(both, timeout=seconds, return_when=first)
            if answers in done:
                return answers.result()
            if gone in done:
                raise ClientDisconnect
            reason = f"there was no answer within {seconds:g} seconds; try again"
            raise Refusal(504, reason, "deadline", 1.0)
        finally:
            gone.cancel()
            answers.cancel()
            for one in coming:
                if not one.cancel() and not one.cancelled():
                    one.exception()  # seen, so asyncio does not complain that nobody did


async def _collect(coming: list[asyncio.Future[Answer]]) -> list[Answer]:
    return [await one for one in coming]


async def _watch(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
