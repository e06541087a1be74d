"""An inspector that needs no network: what is bright is defective; and a client that speaks to its server."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np

from mvdefect.core.errors import ImageError
from mvdefect.data.images import DEFAULT_DECODING, decode_image
from mvdefect.data.resizing import resize_image
from mvdefect.evaluation.regions import RegionRule
from mvdefect.inspector.answers import Answer
from mvdefect.inspector.places import Preparation
from mvdefect.inspector.reading import find_answer_regions
from mvdefect.server.app import make_app
from mvdefect.server.settings import Limits, ServerSettings

BYTES = {"Content-Type": "application/octet-stream"}
FIGURE = {"value": 0.9, "low": 0.8, "high": 0.95, "method": "group bootstrap"}
MANIFEST: dict[str, Any] = {
    "name": "parts",
    "version": 3,
    "labels": ["good", "defective", "review", "unreadable"],
    "image_size_px": [64, 64],
    "resize": "letterbox",
    "heat_range": [0.0, 1.0],
    "operating_point": {
        "contract": "min-recall 0.99",
        "part": "val",
        "achieved": 1.0,
        "guarantee": "recall of at least 0.97 on fresh images like these, with 90% confidence",
        "thresholds": {"classifier": 0.0, "novelty": 12.5},
        "probability": 0.5,
        "verdict": "classifier",
        "review": [-0.2, 0.0],
    },
    "figures": {
        "images": 80,
        "protocol": "closed-set",
        "figures": {"recall": FIGURE, "false_alarm_rate": FIGURE, "roc_auc": FIGURE},
    },
}

SEEN = Preparation((64, 64), "letterbox", DEFAULT_DECODING, rule=RegionRule(0.6, 0.1), mm_per_px=0.1)


class FakeEngine:
    """Says of a photograph how bright it is; notes what it was asked.

    Args:
        seconds: That it takes for a batch.
        is_open: Set where it may work; by default it may.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.is_open = threading.Event()
        self.is_open.set()
        self.batches: list[list[bytes]] = []

    def __call__(self, files: Sequence[bytes], with_heatmaps: bool = False) -> list[Answer]:
        self.batches.append(list(files))
        self.is_open.wait(20)
        threading.Event().wait(self.seconds)
        return [self.answer(file, with_heatmaps) for file in files]

    def answer(self, file: bytes, with_heatmap: bool) -> Answer:
        try:
            image = decode_image(file)
        except ImageError:
            return Answer("unreadable", None, None)
        bright = float(image.mean()) / 255
        label = "review" if 0.45 <= bright < 0.5 else "defective" if bright >= 0.5 else "good"
        seen = resize_image(image, (64, 64))[..., 0]
        heatmap = cv2.resize(seen, (8, 8), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        answer = Answer(label, bright, 10 * bright, heatmap if with_heatmap else None)
        return find_answer_regions(answer, (image.shape[0], image.shape[1]), SEEN)


class FaultyEngine(FakeEngine):
    """Breaks on any batch with a photograph of a certain grey."""

    def answer(self, file: bytes, with_heatmap: bool) -> Answer:
        if decode_image(file)[0, 0, 0] == 77:
            raise RuntimeError("out of memory")
        return super().answer(file, with_heatmap)


def draw_photograph(grey: int = 20, height: int = 40, width: int = 60, suffix: str = ".png") -> bytes:
    """Return a file of one grey, with a bright spot."""
    image = np.full((height, width, 3), grey, np.uint8)
    image[:2, :2] = 255 - grey
    image[0, 0] = grey
    return cv2.imencode(suffix, image)[1].tobytes()


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def open_client(
    engine: FakeEngine | None = None,
    corrections: Path = Path("nowhere"),
    host: str = "localhost",
    **settings: Any,
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a server in this process; settings are those of the server or its limits."""
    limits = {name: settings.pop(name) for name in list(settings) if name in Limits.__dataclass_fields__}
    chosen = ServerSettings(corrections=corrections, limits=Limits(**limits), **settings)
    app = make_app(engine or FakeEngine(), MANIFEST, chosen)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, client=("192.0.2.7", 50_000))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:8501") as client:
            yield client


async def inspect(client: httpx.AsyncClient, file: bytes, **headers: str) -> httpx.Response:
    """Ask as the page does."""
    return await client.post("/api/inspect", content=file, headers={**BYTES, **headers})


async def read_metric(client: httpx.AsyncClient, name: str) -> float:
    """Return the value of a metric with its labels."""
    text = (await client.get("/metrics")).text
    values = [line.rsplit(" ", 1)[1] for line in text.splitlines() if line.rsplit(" ", 1)[0] == name]
    return float(values[0]) if values else 0.0
