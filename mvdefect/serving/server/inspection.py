"""What the inspection page asks: about the inspector, about a photograph, and to store a correction."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from mvdefect.serving.answers import Answer
from mvdefect.serving.server.corrections import Corrections
from mvdefect.serving.server.refusals import Refusal, make_json
from mvdefect.serving.server.service import Service

CONTENT_TYPE = "application/octet-stream"  # which no form of a foreign page can send
UNREADABLE = "This file cannot be inspected: it is no PNG, JPEG or BMP, or it is broken."


@dataclass(frozen=True)
class InspectionRoutes:
    """Answers for the page.

    Attributes:
        service: What inspects.
        corrections: Where corrections go.
        facts: What the page shows of the inspector.
        labels: What an inspector may say.
        heat_range: The ends of the colour scale of heatmaps.
    """

    service: Service
    corrections: Corrections
    facts: dict[str, Any]
    labels: tuple[str, ...]
    heat_range: tuple[float, float]

    async def describe(self, _request: Request) -> Response:
        """Return what is known of the inspector."""
        return make_json(self.facts)

    async def inspect(self, request: Request) -> Response:
        """Inspect one photograph, the body of the request.

        Raises:
            Refusal: It cannot be inspected.
        """
        check_content_type(request)
        async with self.service.intake.receive(request) as body:
            answer = (await self.service.inspect(request, [body], with_heatmaps=True))[0]
        if not answer.is_readable:
            raise Refusal(422, UNREADABLE, "unreadable")
        return make_json(self._format(answer))

    async def correct(self, request: Request) -> Response:
        """Store a photograph, the body of the request, under the class in the query.

        Raises:
            Refusal: It cannot be stored.
        """
        check_content_type(request)
        label, said = (request.query_params.get(name, "") for name in ("label", "said"))
        if said and said not in self.labels:
            raise Refusal(400, f"said must be one of {', '.join(self.labels)}")
        async with self.service.intake.receive(request) as body:
            found = await asyncio.to_thread(self.corrections.store, body, label, said)
        self.service.metrics.corrections.labels(found.label).inc()
        return make_json(asdict(found))

    def _format(self, answer: Answer) -> dict[str, Any]:
        tree = {
            "label": answer.label,
            "defective": answer.label == "defective",
            "needs_review": answer.label == "review",
            "probability": answer.probability,
            "novelty": answer.novelty,
        }
        if answer.heatmap is not None:
            tree["heatmap"] = encode_heat(answer.heatmap, *self.heat_range)
        return tree


def encode_heat(heatmap: np.ndarray, low: float, high: float) -> dict[str, Any]:
    """Return a heatmap as 8-bit steps of its colour scale, row by row, in base64."""
    share = np.clip((heatmap.astype(np.float64) - low) / (high - low), 0, 1)
    steps = np.rint(255 * np.nan_to_num(share)).astype(np.uint8)
    height, width = steps.shape
    return {"height": height, "width": width, "steps": base64.b64encode(steps.tobytes()).decode()}


def check_content_type(request: Request) -> None:
    """Refuse what a form could send.

    Raises:
        Refusal: It is sent as something else than bytes.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise Refusal(415, f"the photograph must be the body, with Content-Type: {CONTENT_TYPE}", "type")
