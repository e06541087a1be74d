"""Running a server: from an export to a socket, until a signal."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from mvdefect.core.errors import ConfigError, ExportError
from mvdefect.core.progress import logger
from mvdefect.inspector.engines import open_engine
from mvdefect.inspector.integrity import read_manifest
from mvdefect.inspector.places import find_export
from mvdefect.runs import RunFolder
from mvdefect.server.app import make_app
from mvdefect.server.protocol import make_protocol
from mvdefect.server.settings import ServerSettings
from mvdefect.server.versions import Version, Watch, check_version

SIGNALS = (signal.SIGINT, signal.SIGTERM)
BACKLOG = 512
IDLE_SECONDS = 30


class Server(uvicorn.Server):
    """uvicorn's server; it says when it listens, and a signal stops it without more."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        for one in sockets or ():
            host, port = one.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            logger.info("serving at http://%s:%d (Ctrl-C stops)", shown, port)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at a signal; uvicorn would raise it again afterwards, so that a stop looks like a failure."""
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve_export(
    place: Path,
    settings: ServerSettings,
    engine: str | None = None,
    verbose: bool = False,
    sha256: str | None = None,
    mm_per_px: float | None = None,
) -> None:
    """Serve an export until SIGTERM or Ctrl-C.

    Args:
        place: The folder of an export's version, or of all its versions: then the last one is served, and
            one that comes later takes its place.
        settings: How.
        engine: Which of the export's engines; None: the fastest that can run here.
        verbose: Let the messages of native code through.
        sha256: What `inspector.json` must have; no other version takes its place then. None: anything.
        mm_per_px: Millimetres of a pixel of the images, for the sizes of regions; None: as exported.

    Raises:
        ExportError: The export has another SHA-256, the place is no export, or it cannot be loaded.
        ConfigError: There is no such engine, or the address cannot be had.
    """
    path = require_export(place)
    manifest = read_manifest(path, sha256)

    limit = settings.limits.max_megapixels

    def load(other: Path) -> Version:
        opened = open_engine(other, engine, verbose, max_megapixels=limit, mm_per_px=mm_per_px)
        return check_version(opened, read_manifest(other))

    watch = None if sha256 or path == place else Watch(place, path, load)
    with open_socket(settings.host, settings.port) as listener:
        opened = open_engine(path, engine, verbose, sha256, limit, mm_per_px)
        app = make_app(opened, manifest, settings, watch)
        if not settings.is_local and not settings.token:
            logger.warning("anybody who reaches %s can ask this server; give it a token", settings.host)
        run_app(app, listener, settings)


def require_export(place: Path) -> Path:
    """Return the folder of an export's version.

    Raises:
        ExportError: The place is no export.
    """
    export = find_export(place)
    if export is None:
        raise ExportError(_say_what_to_export(place))
    return export


def _say_what_to_export(place: Path) -> str:
    if RunFolder(place).is_finished:
        name = place.resolve().name
        return (
            f"{place} is a run; export it first: `mvdefect export {place}`, then "
            f"`mvdefect serve saved_models/{name}`"
        )
    found = "it holds none" if place.exists() else "it does not exist"
    return f"an export is needed, as `mvdefect export RUN` makes. Received: {place} ({found})"


@contextmanager
def open_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket that is bound to an address.

    Raises:
        ConfigError: It cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio sends at once (TCP_NODELAY) only where the protocol is named, not 0; without it an answer's
        # body waits for the client's acknowledgement of its head, up to 40 ms
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            yield listener
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"the server cannot listen on {host}, port {port}: {error}; --port names another"
        ) from error


def make_server(app: Starlette, settings: ServerSettings) -> Server:
    """Return uvicorn with what this project needs of it."""
    config = uvicorn.Config(
        app,
        http=make_protocol(settings.limits),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=int(settings.limits.deadline_seconds) + 1,
    )
    return Server(config)


def run_app(app: Starlette, listener: socket.socket, settings: ServerSettings) -> None:
    """Run an application on a socket until a signal."""
    make_server(app, settings).run(sockets=[listener])
    logger.info("stopped")
