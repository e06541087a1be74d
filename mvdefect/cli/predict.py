"""The command that inspects photographs."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvdefect.cli.work import PATH, show_messages
from mvdefect.errors import ConfigError

if TYPE_CHECKING:
    from mvdefect.serving.predict import Tally

MAX_BATCH = 1024


@click.command()
@click.argument("inspector", type=PATH)
@click.argument("images", nargs=-1)
@click.option(
    "--format", "kind", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True, help="Of rows."
)
@click.option("--out", type=PATH, help="File for the rows; given again, it goes on. Default: stdout.")
@click.option(
    "--overlays", type=PATH, metavar="DIR", help="Where photographs with heatmaps go, one PNG each."
)
@click.option(
    "--watch", type=PATH, metavar="DIR", help="Inspect what a camera drops there, until interrupted."
)
@click.option(
    "--batch-size", type=click.IntRange(1, MAX_BATCH), default=32, show_default=True, help="Read at a time."
)
@click.option("--exit-zero", is_flag=True, help="Exit with 0 whatever was found.")
@click.pass_obj
def predict(debug: bool, /, inspector: Path, images: tuple[str, ...], out: Path | None, **flags: Any) -> None:
    """Inspect photographs with a run or an export: a row each, as CSV or JSON lines.

    IMAGES are files, folders, patterns, .zip archives, or - for a list of names on stdin. The exit code is 0
    where all are good, 1 where one is defective, 2 where one could not be read, needs a person, or something
    went wrong. With --out an interrupted call goes on where it was: every photograph has one row.

    \b
    Examples:
      mvdefect predict runs/first photographs --exit-zero
      mvdefect predict saved_models/first photographs --format jsonl --out verdicts.jsonl --exit-zero
      mvdefect predict runs/first photographs --overlays overlays --out verdicts.csv --exit-zero
    """
    if flags["watch"] is not None and (out is None or images):
        raise ConfigError("--watch takes no images, and needs --out, by which it knows what it has seen")
    if flags["watch"] is None and not images:
        raise ConfigError("name photographs, folders, patterns or archives, - for names on stdin, or --watch")
    show_messages()
    from mvdefect.backend import load_tensorflow

    load_tensorflow(verbose=debug)
    tally = _inspect(
        inspector, images, out, **{name: flags[name] for name in ("kind", "overlays", "watch", "batch_size")}
    )
    counted = ", ".join(f"{count} {label}" for label, count in sorted(tally.counts.items()))
    click.echo(counted or "no photograph is new", err=True)
    if not flags["exit_zero"]:
        sys.exit(tally.exit_code)


def _inspect(
    inspector: Path,
    images: tuple[str, ...],
    out: Path | None,
    kind: str,
    overlays: Path | None,
    watch: Path | None,
    batch_size: int,
) -> Tally:
    from mvdefect.serving.engines import open_engine
    from mvdefect.serving.overlays import read_view, write_overlay
    from mvdefect.serving.photographs import list_photographs
    from mvdefect.serving.predict import inspect_photographs, write_to_file, write_to_stream
    from mvdefect.serving.watch import watch_folder

    seen = None if overlays is None else partial(write_overlay, overlays, read_view(inspector))
    engine = open_engine(inspector)
    photographs = list_photographs(images, sys.stdin) if watch is None else watch_folder(watch)
    size = batch_size if watch is None else 1  # what has come should not wait for what has not

    def inspect(coming: Any) -> Any:
        return inspect_photographs(engine, coming, size, seen)

    if out is None:
        return write_to_stream(inspect(photographs), kind)
    return write_to_file(inspect, photographs, out, kind)
