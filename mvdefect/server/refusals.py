"""Refusals: what a request is told that gets no answer, in the shape of TF Serving's errors."""

from __future__ import annotations

import json
import math

from starlette.responses import Response

RETRY_SECONDS = 1.0


class Refusal(Exception):  # noqa: N818 (it is an answer, not a fault of this program)
    """A request is turned down.

    Args:
        status: The HTTP status.
        reason: Why, in plain words.
        kind: Of a short list, for the metrics.
        retry_seconds: After which it may be tried again; None: it would be refused again.
        closes: Whether the connection ends, since the client still has much to send.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        kind: str = "malformed",
        retry_seconds: float | None = None,
        closes: bool = False,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.kind = kind
        self.retry_seconds = retry_seconds
        self.closes = closes


def make_json(tree: object, status: int = 200) -> Response:
    """Return a response with a tree as JSON."""
    text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), status, media_type="application/json")


def answer_refusal(refusal: Refusal) -> Response:
    """Return the response that says so."""
    response = make_json({"error": refusal.reason}, refusal.status)
    if refusal.retry_seconds is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(refusal.retry_seconds)))
    if refusal.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if refusal.closes:
        response.headers["Connection"] = "close"
    return response
