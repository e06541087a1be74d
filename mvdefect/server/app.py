"""The application: every path and what answers it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from mvdefect.inspector.answers import Engine
from mvdefect.server.corrections import Corrections
from mvdefect.server.guard import HEALTH, Guard
from mvdefect.server.inspection import InspectionRoutes
from mvdefect.server.metrics import CONTENT_TYPE, Metrics
from mvdefect.server.refusals import Refusal, make_json
from mvdefect.server.rest import ModelRoutes
from mvdefect.server.service import Service
from mvdefect.server.settings import ServerSettings
from mvdefect.server.versions import Served, Watch, check_version

PAGE_FILES = {
    "/": ("mvdefect.server", "page/index.html", "text/html"),
    "/page.css": ("mvdefect.server", "page/page.css", "text/css"),
    "/style.css": ("mvdefect.report", "templates/style.css", "text/css"),
    "/page.js": ("mvdefect.server", "page/page.js", "text/javascript"),
    "/result.js": ("mvdefect.server", "page/result.js", "text/javascript"),
    "/region.js": ("mvdefect.server", "page/region.js", "text/javascript"),
    "/history.js": ("mvdefect.server", "page/history.js", "text/javascript"),
    "/icon.svg": ("mvdefect.server", "page/icon.svg", "image/svg+xml"),
}


def make_app(
    engine: Engine, manifest: dict[str, Any], settings: ServerSettings, watch: Watch | None = None
) -> Starlette:
    """Return the application for one inspector.

    Args:
        engine: What inspects; it is asked once here, so that the first client need not wait for it.
        manifest: What its export says of itself.
        settings: Names, token, limits and where corrections go.
        watch: Looks for other versions of it; None: there are none.

    Raises:
        ExportError: The engine cannot inspect a photograph.
    """
    served = Served(check_version(engine, manifest))
    service = Service(settings.limits)
    models = ModelRoutes(service, served)
    inspection = InspectionRoutes(service, Corrections(settings.corrections, settings.limits), served)

    @asynccontextmanager
    async def run(_app: Starlette) -> AsyncIterator[None]:
        service.batcher.start()
        watching = asyncio.create_task(watch.keep_current(served)) if watch else None
        yield
        if watching:
            watching.cancel()
        await service.stop()

    return Starlette(
        routes=list_routes(models, inspection, service.metrics),
        middleware=[Middleware(Guard, settings=settings, metrics=service.metrics)],
        exception_handlers={HTTPException: answer_http_error},
        lifespan=run,
    )


def list_routes(models: ModelRoutes, inspection: InspectionRoutes, metrics: Metrics) -> list[BaseRoute]:
    """Return every path and what answers it."""

    async def tell_health(_request: Request) -> Response:
        if not models.service.batcher.is_working:
            raise Refusal(503, "the engine does not work any longer", "fault")
        now = models.served.now
        return make_json({"status": "ok", "model": now.name, "version": now.number})

    async def tell_metrics(_request: Request) -> Response:
        return Response(metrics.format(), headers={"Content-Type": CONTENT_TYPE})

    pages = [Route(path, partial(send_file, *place)) for path, place in PAGE_FILES.items()]
    return [
        *pages,
        Route(HEALTH, tell_health),
        Route("/metrics", tell_metrics),
        Route("/v1/models/{rest:path}", models.answer, methods=["GET", "POST"]),
        Route("/api/inspector", inspection.describe),
        Route("/api/inspect", inspection.inspect, methods=["POST"]),
        Route("/api/correct", inspection.correct, methods=["POST"]),
        Route("/api/region", inspection.keep_region, methods=["POST"]),
    ]


async def send_file(package: str, path: str, kind: str, _request: Request) -> Response:
    """Send a file of this program."""
    content = files(package).joinpath(path).read_bytes()
    return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})


async def answer_http_error(_request: Request, error: Exception) -> Response:
    """Say that there is no such path, or that it takes another method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else "the server failed"
    return make_json({"error": detail}, status)
