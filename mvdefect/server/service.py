"""The service: images of many requests in, asked about together by one thread, and answers out."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from mvdefect.core.progress import logger
from mvdefect.inspector.answers import UNREADABLE, Answer, Engine
from mvdefect.server.image_headers import ImageHeader, check_pixels, explain_unreadable, read_header
from mvdefect.server.intake import Intake
from mvdefect.server.metrics import Metrics
from mvdefect.server.predict_request import check_number
from mvdefect.server.refusals import RETRY_SECONDS, Refusal
from mvdefect.server.settings import MEGA, Limits

SMALL_BYTES, LONG_SECONDS = MEGA, 0.02
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Waiting:
    """A photograph that waits for the engine.

    Attributes:
        file: Its bytes.
        pixels: How many it has.
        with_heatmap: Whether its heatmap is wanted.
        engine: What is asked.
        answer: What will be said of it; cancelled where nobody waits for it any longer.
    """

    file: bytes
    pixels: int
    with_heatmap: bool
    engine: Engine
    answer: asyncio.Future[Answer]


class Batcher:
    """Gathers photographs into batches; the engine runs in a thread of its own, one batch at a time.

    Args:
        limits: Size of a batch, how long it is waited for, and how many photographs may wait.
        metrics: Where it is counted.
    """

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self.limits = limits
        self.metrics = metrics
        self.waiting: deque[Waiting] = deque()
        self._arrived, self._full = asyncio.Event(), asyncio.Event()
        self._expected = 1  # photographs, of the clients that were there a moment ago
        self._thread = ThreadPoolExecutor(1, "engine")
        self._work: asyncio.Task[None] | None = None
        metrics.watch("queue_length", "Photographs that wait for the engine.", lambda: len(self.waiting))

    def start(self) -> None:
        """Begin to work, in the loop that runs."""
        self._work = asyncio.create_task(self._answer_batches())

    @property
    def is_working(self) -> bool:
        """Whether photographs are taken from the queue."""
        return self._work is not None and not self._work.done()

    async def stop(self) -> None:
        """End when the batch that is being worked on is done; who still waits is refused."""
        if self._work is not None:
            self._work.cancel()
            with suppress(asyncio.CancelledError):
                await self._work
        for one in self.waiting:
            _fail(one, Refusal(503, "the server stops", "stopping", RETRY_SECONDS))
        self.waiting.clear()
        await asyncio.to_thread(self._thread.shutdown)

    def submit(
        self, engine: Engine, files: Sequence[bytes], pixels: Sequence[int], with_heatmaps: bool
    ) -> list[asyncio.Future[Answer]]:
        """Let photographs wait for the engine.

        Raises:
            Refusal: Too many wait.
        """
        allowed = self.limits.queue_length
        if len(self.waiting) + len(files) > allowed:
            self._forget_cancelled()
        if len(self.waiting) + len(files) > allowed:
            reason = f"{len(self.waiting)} photographs wait already; try again"
            raise Refusal(503, reason, "queue", RETRY_SECONDS)
        loop = asyncio.get_running_loop()
        coming = [
            Waiting(file, count, with_heatmaps, engine, loop.create_future())
            for file, count in zip(files, pixels, strict=True)
        ]
        self.waiting.extend(coming)
        self._arrived.set()
        if len(self.waiting) >= self._expected:
            self._full.set()
        return [one.answer for one in coming]

    async def _answer_batches(self) -> None:
        """Answer batch after batch; who was just answered may ask again, and is waited for a moment."""
        while True:
            await self._arrived.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.limits.batch_wait_ms / 1000):
                    await self._full.wait()
            batch = self._take_batch()
            if batch:
                await self._answer(batch)
            self._expect(len(batch))

    def _expect(self, answered: int) -> None:
        self._expected = max(1, min(self.limits.batch_size, answered + len(self.waiting)))
        if not self.waiting:
            self._arrived.clear()
        if len(self.waiting) < self._expected:
            self._full.clear()

    def _take_batch(self) -> list[Waiting]:
        """Take the first that want the same; together they have the pixels of one large photograph."""
        self._forget_cancelled()
        batch: list[Waiting] = []
        left: deque[Waiting] = deque()
        pixels = 0
        for one in self.waiting:
            fits = not batch or (
                len(batch) < self.limits.batch_size
                and one.with_heatmap == batch[0].with_heatmap
                and one.engine is batch[0].engine
                and pixels + one.pixels <= self.limits.max_pixels
            )
            (batch if fits else left).append(one)
            pixels += one.pixels if fits else 0
        self.waiting = left
        return batch

    def _forget_cancelled(self) -> None:
        there = deque(one for one in self.waiting if not one.answer.done())
        self.metrics.dropped.inc(len(self.waiting) - len(there))
        self.waiting = there

    async def _answer(self, batch: list[Waiting]) -> None:
        try:
            answers = await self._ask(batch)
        except Exception as error:
            if len(batch) > 1:  # one that breaks the engine costs the others nothing
                for one in batch:
                    await self._answer([one])
                return
            logger.error("the engine failed: %s", error)
            _fail(batch[0], Refusal(500, "the engine failed on this photograph", "engine"))
            return
        for one, answer in zip(batch, answers, strict=True):
            self.metrics.photographs.labels(answer.label).inc()
            if not one.answer.done():
                one.answer.set_result(answer)

    async def _ask(self, batch: list[Waiting]) -> list[Answer]:
        files = [one.file for one in batch]
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(self._thread, batch[0].engine, files, batch[0].with_heatmap)
        self.metrics.batch_size.observe(len(batch))
        self.metrics.engine_seconds.observe(time.perf_counter() - started)
        return answers


def _fail(one: Waiting, refusal: Refusal) -> None:
    if not one.answer.done():
        one.answer.set_exception(refusal)


class Service:
    """What every way of asking goes through.

    Args:
        limits: What is accepted.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.metrics = Metrics()
        self.intake = Intake(limits)
        self.batcher = Batcher(limits, self.metrics)
        self._lanes = (ThreadPoolExecutor(1, "small"), ThreadPoolExecutor(1, "large"))
        self.metrics.watch("held_bytes", "Of bodies in memory.", lambda: self.intake.held_bytes)

    async def inspect(
        self, request: Request, engine: Engine, files: Sequence[bytes], with_heatmaps: bool = False
    ) -> list[Answer]:
        """Inspect photographs; what is no image counts as the others do, and never reaches the engine.

        Raises:
            Refusal: A photograph is too large, too many wait, or the deadline has passed.
            ClientDisconnect: Nobody waits for the answer.
        """
        check_number(len(files), self.limits.queue_length)
        size = sum(map(len, files))
        headers = await self.work(size, self._read_headers, files, is_quick=size <= SMALL_BYTES)
        known = [number for number, header in enumerate(headers) if header is not None]
        pixels = [header.pixels for header in headers if header is not None]
        self.metrics.photographs.labels("unreadable").inc(len(files) - len(known))
        coming = self.batcher.submit(engine, [files[number] for number in known], pixels, with_heatmaps)
        answers = dict(zip(known, await self._wait(request, coming), strict=True))
        return [answers.get(number) or _refuse(file) for number, file in enumerate(files)]

    def _read_headers(self, files: Sequence[bytes]) -> list[ImageHeader | None]:
        headers = [read_header(file) for file in files]
        for header in headers:
            if header is not None:
                check_pixels(header.pixels, self.limits)
        return headers

    async def work(
        self, size_bytes: int, function: Callable[..., Result], *args: Any, is_quick: bool = False
    ) -> Result:
        """Call a function outside of the loop, in a thread for small requests or in one for large ones.

        Python computes in one thread at a time, so after a long call the thread rests as long as it worked.

        Args:
            size_bytes: Of the request.
            function: What is called.
            args: With these.
            is_quick: Whether it takes a millisecond at most: it is called right here then, as a thread costs
                a fifth of what a server of small photographs can answer.
        """
        if is_quick:
            return function(*args)

        def call() -> Result:
            started = time.perf_counter()
            try:
                return function(*args)
            finally:
                spent = time.perf_counter() - started
                time.sleep(spent if spent > LONG_SECONDS else 0)

        lane = self._lanes[size_bytes > SMALL_BYTES]
        return await asyncio.get_running_loop().run_in_executor(lane, call)

    async def stop(self) -> None:
        """Stop working, when what is being worked on is done."""
        await self.batcher.stop()
        for lane in self._lanes:
            lane.shutdown(wait=False, cancel_futures=True)

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
            raise Refusal(504, reason, "deadline", RETRY_SECONDS)
        finally:
            gone.cancel()
            answers.cancel()
            for one in coming:
                if not one.cancel() and not one.cancelled():
                    one.exception()  # seen, so asyncio does not complain that nobody did


def _refuse(file: bytes) -> Answer:
    return Answer(UNREADABLE, None, None, error=explain_unreadable(file))


async def _collect(coming: list[asyncio.Future[Answer]]) -> list[Answer]:
    return [await one for one in coming]


async def _watch(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
