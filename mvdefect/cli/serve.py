"""The command that serves an export."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import click

from mvdefect.cli.work import PATH, show_messages
from mvdefect.client.addresses import TOKEN
from mvdefect.core.errors import ConfigError

PACKAGES = ("prometheus_client", "starlette", "uvicorn")
POSITIVE = click.FloatRange(0, min_open=True)


@click.command()
@click.argument("export", type=PATH)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="0: any.")
@click.option(
    "--corrections",
    type=PATH,
    metavar="DIR",
    default=Path("corrections"),
    show_default=True,
    help="Where photographs go that were marked as wrong; `fit --data` takes it.",
)
@click.option("--token-file", type=PATH, help=f"File with the token that clients must show. Or set {TOKEN}.")
@click.option("--allow-host", "hosts", multiple=True, help="Name of this server, beside its own; repeatable.")
@click.option("--engine", help="Which of the export's engines. Default: the fastest that can run here.")
@click.option(
    "--expect-sha256", metavar="DIGEST", help="What `export` printed; another export is not opened."
)
@click.option(
    "--mm-per-px",
    type=POSITIVE,
    metavar="N",
    help="Millimetres per pixel of the images, for the sizes of regions. Default: as exported.",
)
@click.option("--max-upload-mb", type=POSITIVE, default=32, show_default=True, help="Of a request.")
@click.option("--max-megapixels", type=POSITIVE, default=40, show_default=True, help="Of a photograph.")
@click.option(
    "--rate",
    "requests_per_second",
    type=click.FloatRange(0),
    default=200,
    show_default=True,
    help="Requests a second of one client; 0: any number.",
)
@click.option(
    "--queue",
    "queue_length",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Photographs that may wait.",
)
@click.option(
    "--deadline",
    "deadline_seconds",
    type=POSITIVE,
    default=10,
    show_default=True,
    help="Seconds to answer in.",
)
@click.option(
    "--receive-timeout",
    "receive_seconds",
    type=POSITIVE,
    default=10,
    show_default=True,
    help="Seconds in which a request must be here.",
)
@click.option(
    "--batch-size", type=click.IntRange(1, 1024), default=32, show_default=True, help="Inspected at a time."
)
@click.option(
    "--batch-wait-ms", type=click.FloatRange(0), default=5, show_default=True, help="For a batch to fill."
)
@click.pass_obj
def serve(
    debug: bool,
    /,
    export: Path,
    host: str,
    port: int,
    corrections: Path,
    token_file: Path | None,
    hosts: tuple[str, ...],
    engine: str | None,
    expect_sha256: str | None,
    mm_per_px: float | None,
    **limits: Any,
) -> None:
    """Serve an export: TF Serving's REST, and a page to inspect photographs on.

    It listens on this machine alone unless --host says otherwise. The page is at /, the inspector at
    /v1/models/<name>:predict, and /healthz and /metrics are for those who watch over it. Ctrl-C stops it.
    Of a folder of versions the last is served, and a later one takes its place without a restart.

    An export can hold code: serve only what you trust, and pin it with --expect-sha256.

    \b
    Examples:
      mvdefect serve saved_models/first
      mvdefect serve saved_models/first --port 8080 --corrections line-3 --mm-per-px 0.05
      mvdefect serve saved_models/first --host 0.0.0.0 --token-file token.txt --allow-host bench-3
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"serve needs {', '.join(missing)}: pip install 'mvdefect[serve]'")
    show_messages()
    from mvdefect.server.run import serve_export
    from mvdefect.server.settings import Limits, ServerSettings

    token = _read_token(token_file)
    settings = ServerSettings(host, port, corrections, token, hosts, Limits(**limits))
    serve_export(export, settings, engine, debug, expect_sha256, mm_per_px)


def _read_token(path: Path | None) -> str:
    """Return the token; never from a flag, which other users of the machine could read."""
    try:
        token = os.environ.get(TOKEN, "") if path is None else path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file cannot be read: {error}") from error
    if path is not None and not token:
        raise ConfigError(f"the file {path} holds no token")
    return token.strip()
