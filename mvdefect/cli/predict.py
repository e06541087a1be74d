"""The command that inspects photographs."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvdefect.cli.work import PATH, show_messages
from mvdefect.core.errors import ConfigError
from mvdefect.core.progress import logger, show_phase, track

if TYPE_CHECKING:
    from mvdefect.inspector.parts import PartJudge
    from mvdefect.prediction.inspectors import InspectorPlace
    from mvdefect.prediction.predict import Seen, Tally
    from mvdefect.prediction.rows import VerdictRow

MAX_BATCH = 1024
LOCAL = "local"


@click.command()
@click.argument("inspector", metavar="RUN|EXPORT|URL")
@click.argument("images", nargs=-1)
@click.option(
    "--format", "kind", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True, help="Of rows."
)
@click.option("--out", type=PATH, help="File for the rows; given again, it goes on. Default: stdout.")
@click.option(
    "--overlays", type=PATH, metavar="DIR", help="Where photographs with heatmaps go, one PNG each."
)
@click.option(
    "--regions/--no-regions",
    "with_regions",
    default=None,
    help="Say where an image looks defective, as boxes. Default: yes, but not with a URL, which then sends "
    "heatmaps.",
)
@click.option(
    "--mm-per-px",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Millimetres per pixel of the images, for the sizes of regions. Default: as in the fit or export.",
)
@click.option(
    "--watch", type=PATH, metavar="DIR", help="Inspect what a camera drops there, until interrupted."
)
@click.option(
    "--batch-size", type=click.IntRange(1, MAX_BATCH), default=32, show_default=True, help="Read at a time."
)
@click.option("--engine", help="Which of an export's engines. Default: the fastest that can run here.")
@click.option(
    "--expect-sha256", metavar="DIGEST", help="What `export` printed; another export is not opened."
)
@click.option(
    "--max-megapixels",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Largest image that is read, in megapixels. Default: as in the fit.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="With a URL: for a batch, all tries together.",
)
@click.option(
    "--retries",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="With a URL: how often a request is sent again.",
)
@click.option(
    "--inspector-json",
    type=PATH,
    metavar="FILE",
    help="With a URL and --overlays, --regions or --parts: inspector.json of the export that is served.",
)
@click.option(
    "--runner",
    default=LOCAL,
    show_default=True,
    help="local, or of Apache Beam: DirectRunner, FlinkRunner, SparkRunner, DataflowRunner.",
)
@click.option("--beam-option", "beam_options", multiple=True, metavar="KEY=VALUE", help="Repeatable.")
@click.option(
    "--parts",
    type=PATH,
    metavar="FILE",
    help="File for a row per part, where several images show one; the exit code is then that of the parts.",
)
@click.option(
    "--part-pattern",
    metavar="REGEX",
    help="What in the name of an image names its part, as in 'SN[0-9]+'. Default: as in the fit.",
)
@click.option("--exit-zero", is_flag=True, help="Exit with 0 whatever was found.")
@click.pass_obj
def predict(debug: bool, /, inspector: str, images: tuple[str, ...], out: Path | None, **flags: Any) -> None:
    """Inspect photographs with a run, an export or a server: a row each, as CSV or JSON lines.

    IMAGES are files, folders, patterns, .zip archives, tables (CSV) with a column of paths, or - for a list
    of names on stdin. Of a folder, pattern or archive notes, tables and masks are left out, with a message.
    The exit code is 0 if all are good, 1 if one is defective, 2 if one could not be read, needs manual review
    or is not this product, or if something went wrong or there was none. With --out an interrupted call
    resumes: every image has one row, and the exit code is that of all of them. An image is known by its name,
    size and time.

    If the inspector was fitted with parts (--part-pattern, or a column `part_id`), --parts writes a second
    table: the verdict of each part, how many images came, which views it lacks, and which image is the most
    suspect. A part that passes although an image is missing or unreadable needs review.

    Rows have suspicious regions, the highest peak first: box, area and peak in pixels of the image, upright,
    and in millimetres with --mm-per-px. A good image normally has none, a defective one at least one.

    A run or an export can hold code: open only what you trust, and pin an export with --expect-sha256.

    A URL is http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME, of TensorFlow Serving or what speaks as
    it does. The variable MVDEFECT_TOKEN may hold a token for it.

    \b
    Examples:
      mvdefect predict runs/first photographs --exit-zero
      mvdefect predict saved_models/first photographs --format jsonl --out verdicts.jsonl --exit-zero
      mvdefect predict runs/first photographs --overlays overlays --out shown.csv --exit-zero
      mvdefect predict runs/first photographs --mm-per-px 0.05 --format jsonl --exit-zero
      mvdefect predict runs/parts photographs --out images.csv --parts parts.csv --exit-zero
      mvdefect predict http://line:8501/v1/models/first photographs --exit-zero
      mvdefect predict runs/first photographs --runner DirectRunner --out beam.csv --exit-zero
    """
    _check(inspector, images, out, flags["watch"], flags["runner"], flags["beam_options"])
    judge = _choose_judge(inspector, flags)
    show_messages()
    kept: list[VerdictRow] | None = None if judge is None or out is not None else []
    tally = _inspect(inspector, images, out, flags, debug, kept)
    counted = ", ".join(f"{count} {label}" for label, count in sorted(tally.counts.items()))
    known = f"; {tally.known} of them had their row already" if tally.known else ""
    other = f"; {tally.foreign} of them are not this product" if tally.foreign else ""
    click.echo(f"{counted}{known}{other}" if counted else "there was no image to inspect", err=True)
    code = tally.exit_code
    if judge is not None:
        code = _judge_parts(judge, inspector, images, out, flags, kept)
    else:
        _mention_parts(inspector)
    if not flags["exit_zero"]:
        sys.exit(code)


def _choose_judge(inspector: str, flags: dict[str, Any]) -> PartJudge | None:
    """Return what judges parts; None: nobody asked for it."""
    path, pattern, manifest = flags["parts"], flags["part_pattern"], flags["inspector_json"]
    if path is None:
        if pattern is not None:
            raise ConfigError("--part-pattern needs --parts: a file for the rows of parts")
        return None
    if flags["watch"] is not None:
        raise ConfigError(
            "--parts cannot --watch, which has no end: a part is judged when all images are there"
        )
    from mvdefect.client.addresses import is_url
    from mvdefect.inspector.parts import read_part_judge
    from mvdefect.prediction.inspectors import check_inspector
    from mvdefect.prediction.parts import check_parts_file

    if manifest is None and is_url(inspector):
        raise ConfigError(
            "with a URL --parts needs --inspector-json of the export that is served: it holds the threshold"
        )
    check_inspector(_name_place(inspector, flags))
    check_parts_file(path, flags["kind"])
    return read_part_judge(manifest or Path(inspector), pattern)


def _mention_parts(inspector: str) -> None:
    """Say how to get the verdicts of parts, where the inspector was fitted with parts."""
    from mvdefect.client.addresses import is_url
    from mvdefect.inspector.parts import judges_parts

    if not is_url(inspector) and judges_parts(Path(inspector)):
        click.echo(
            "these are verdicts of images; the inspector judges parts too: --parts FILE writes them", err=True
        )


def _judge_parts(
    judge: PartJudge,
    place: str,
    images: tuple[str, ...],
    out: Path | None,
    flags: dict[str, Any],
    kept: list[VerdictRow] | None,
) -> int:
    """Write the rows of parts, from those of the images that this and earlier calls inspected."""
    from mvdefect.prediction.inspectors import name_inspector
    from mvdefect.prediction.parts import find_known_parts, judge_rows, write_part_rows
    from mvdefect.prediction.rows import read_verdict_rows

    rows = kept if out is None else read_verdict_rows(out, flags["kind"])
    name = name_inspector(_name_place(place, flags))
    found = judge_rows(judge, rows or (), find_known_parts(images), name)
    write_part_rows(found.rows, flags["parts"], flags["kind"])
    click.echo(found.describe(), err=True)
    return found.exit_code


def _check(
    inspector: str,
    images: tuple[str, ...],
    out: Path | None,
    watch: Path | None,
    runner: str,
    beam_options: tuple[str, ...],
) -> None:
    if watch is not None and (out is None or images):
        raise ConfigError("--watch takes no images, and needs --out: a file for the rows")
    if watch is None and not images:
        raise ConfigError(
            f"name an inspector and images: `mvdefect predict RUN IMAGES`. Received: {inspector} alone. "
            "IMAGES are files, folders, patterns, .zip archives, tables (CSV), or - for names on stdin; or "
            "--watch a folder"
        )
    if runner != LOCAL and (out is None or watch is not None):
        raise ConfigError("--runner needs --out, beside which its workers write, and cannot --watch")
    if runner == LOCAL and beam_options:
        raise ConfigError("--beam-option needs a --runner of Apache Beam")


def _inspect(
    place: str,
    images: tuple[str, ...],
    out: Path | None,
    flags: dict[str, Any],
    verbose: bool,
    kept: list[VerdictRow] | None = None,
) -> Tally:
    """Inspect images; rows that go to stdout are kept too, where `kept` is a list."""
    from mvdefect.inspector.photographs import list_photographs
    from mvdefect.prediction.familiar import FamiliarImages
    from mvdefect.prediction.inspectors import name_inspector, open_inspector
    from mvdefect.prediction.predict import inspect_photographs, write_to_file, write_to_stream
    from mvdefect.prediction.watch import watch_folder

    seen = _choose_overlays(place, flags["overlays"], flags["inspector_json"])
    inspector, with_regions = _name_place(place, flags), _wants_regions(place, flags)
    watch, size = flags["watch"], flags["batch_size"]
    photographs = list_photographs(images, _read_names()) if watch is None else watch_folder(watch)
    if flags["runner"] != LOCAL and out is not None:
        from mvdefect.prediction.distributed import Work, inspect_with_beam, read_options

        options = read_options(flags["beam_options"])
        work = Work(inspector, flags["runner"], options, size, seen, with_regions)
        return inspect_with_beam(work, photographs, out, flags["kind"])
    if watch is not None:
        logger.info("watching %s; Ctrl-C ends it", watch)
    with show_phase("Loading the inspector"):
        engine, name = FamiliarImages(open_inspector(inspector, verbose), place), name_inspector(inspector)

    def inspect(coming: Any) -> Any:
        # What has come should not wait for what has not.
        rows = inspect_photographs(engine, coming, size if watch is None else 1, seen, name, with_regions)
        return rows if watch is not None or out is None else track(rows, "Inspecting images", None)

    if out is None:
        tally = write_to_stream(_keep(inspect(photographs), kept), flags["kind"])
    else:
        tally = write_to_file(inspect, photographs, out, flags["kind"], name)
    if familiar := engine.describe():
        click.echo(familiar, err=True)
    return tally


def _keep(rows: Iterator[VerdictRow], kept: list[VerdictRow] | None) -> Iterator[VerdictRow]:
    for row in rows:
        if kept is not None:
            kept.append(row)
        yield row


def _wants_regions(place: str, flags: dict[str, Any]) -> bool:
    """Return whether rows say where images look defective; with a server that is asked for, it costs more."""
    from mvdefect.client.addresses import is_url

    wanted = flags["with_regions"]
    return not is_url(place) if wanted is None else bool(wanted)


def _name_place(place: str, flags: dict[str, Any]) -> InspectorPlace:
    from mvdefect.client.addresses import is_url
    from mvdefect.client.retries import Patience
    from mvdefect.prediction.inspectors import InspectorPlace

    patience = Patience(flags["timeout"], flags["retries"])
    return InspectorPlace(
        place,
        flags["engine"],
        patience,
        flags["expect_sha256"],
        flags["max_megapixels"],
        flags["mm_per_px"],
        flags["inspector_json"] if is_url(place) else None,
    )


def _read_names() -> Iterator[str]:
    """Yield the lines of stdin; names of files may hold bytes that are not UTF-8."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    yield from sys.stdin


def _choose_overlays(inspector: str, folder: Path | None, manifest: Path | None) -> Seen | None:
    """Return what writes overlays; None: none are wanted."""
    if folder is None:
        return None
    from mvdefect.client.addresses import is_url
    from mvdefect.inspector.places import read_view
    from mvdefect.prediction.overlays import write_overlay

    if manifest is None and is_url(inspector):
        raise ConfigError(
            "with a URL --overlays needs --inspector-json of the export that is served: colours go by it"
        )
    return partial(write_overlay, folder.absolute(), read_view(manifest or Path(inspector)))
