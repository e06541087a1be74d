"""The commands about images: check, split, verify, prepare, manifest, synth."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

import mvdefect
from mvdefect.cli.flags import SettingsCommand, setting
from mvdefect.cli.work import PATH, show_messages

if TYPE_CHECKING:
    from mvdefect.data.sources.folders import Layout
    from mvdefect.data.splits.plan import SplitPlan

EXIT_FOUND = 1
Function = TypeVar("Function", bound=Callable[..., Any])


def source_options(function: Function) -> Function:
    """Add SOURCE, once or several times, and what says how it is read."""
    options = (
        click.argument("sources", nargs=-1, required=True, metavar="SOURCE..."),
        click.option(
            "--category", "categories", multiple=True, help="Product to use; repeatable. Default: all."
        ),
        click.option(
            "--good",
            multiple=True,
            metavar="NAME",
            help="Name of a folder or label of good images, beside the usual ones; '.': SOURCE itself. "
            "Repeatable.",
        ),
        click.option(
            "--label-pattern",
            default="",
            metavar="REGEX",
            help="Regular expression that finds the label in an id, as in '(?P<label>ok|ng)'.",
        ),
        click.option(
            "--group-pattern",
            default="",
            metavar="REGEX",
            help="What in an id names images that belong together, as in 'SN[0-9]+'.",
        ),
        click.option(
            "--part-pattern",
            default="",
            metavar="REGEX",
            help="What in an id names the part that an image shows, where several images show one, as in "
            "'(?P<part>SN[0-9]+)_(?P<view>cam[0-9])'.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


near_duplicates_option = click.option(
    "--near-duplicates",
    type=click.Choice(["part", "image", "none"]),
    default="part",
    show_default=True,
    help="What a split keeps together: all images of one part, an image and its changed copies, or neither.",
)
bits_option = setting("bits", "--bits")
megapixels_option = setting("max_megapixels", "--max-megapixels")
skip_option = click.option("--skip-broken", is_flag=True, help="Leave unreadable files out.")


@click.command()
@click.argument("out", type=PATH)
@click.option("--category", "categories", multiple=True, help="What to draw; repeatable. Default: all nine.")
@click.option("--defect-type", "defect_types", multiple=True, help="Which defects; repeatable. Default: all.")
@click.option("--good", type=int, default=120, show_default=True, help="Good photographs a category.")
@click.option("--defective", type=int, default=30, show_default=True, help="Photographs a defect type.")
@click.option("--size", type=int, default=256, show_default=True, help="Height and width in pixels.")
@click.option("--defect-size", type=float, default=1.0, show_default=True, help="Scales lengths.")
@click.option("--defect-contrast", type=float, default=1.0, show_default=True, help="Scales visibility.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, another data set.")
@click.option("--plant", multiple=True, metavar="FAULT=VALUE", help="A fault to plant; repeatable.")
def synth(
    out: Path,
    categories: tuple[str, ...],
    defect_types: tuple[str, ...],
    good: int,
    defective: int,
    size: int,
    defect_size: float,
    defect_contrast: float,
    seed: int,
    plant: tuple[str, ...],
) -> None:
    """Draw photographs of parts and their defects, with exact masks, in MVTec AD's layout.

    \b
    Categories: brushed_metal, connector, fabric, grid, nut, pill, speckle, washer, wood.
    Faults: near-duplicates=N, exact-duplicates=N, conflicts=N, broken=N, wrong-masks=N,
    exif-rotated=N, shortcut=border|brightness|category|compression|size. What was
    planted is listed in planted.json.

    \b
    Examples:
      mvdefect data synth drawn --category nut --category wood --good 20 --defective 5
      mvdefect data synth faulty --category pill --size 128 --plant near-duplicates=10 --plant shortcut=size
    """
    show_messages()
    from mvdefect.drawing.catalogue import PARTS
    from mvdefect.drawing.data_set import write_parts
    from mvdefect.drawing.flaws import parse_faults

    write_parts(
        out,
        seed=seed,
        good=good,
        defective_per_type=defective,
        size_px=size,
        categories=categories or tuple(sorted(PARTS)),
        defect_types=defect_types,
        defect_size=defect_size,
        defect_contrast=defect_contrast,
        faults=parse_faults(plant),
    )
    click.echo(f"photographs   {out}")


def _refuse_correlation(_context: click.Context, _option: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError(
            "--correlation is of an earlier version: images are compared in detail now. Use "
            "--near-duplicates part, image or none; `none` is what --correlation 1 was"
        )


correlation_option = click.option(
    "--correlation", hidden=True, expose_value=False, callback=_refuse_correlation
)


@click.group()
def data() -> None:
    """Check images, split them, prepare them, list them, draw some.

    SOURCE is a folder of images (good/ and one folder per defect type, in train/, val/ and test/ or not, or
    MVTec AD's tree, or annotations as of COCO, VOC, YOLO and LabelMe), a table (CSV), a zip or tar archive,
    mvtec_ad:bottle, or elpv. It may be given several times.
    """


data.add_command(synth)


@data.command(cls=SettingsCommand)
@source_options
@near_duplicates_option
@correlation_option
@setting("resolution", "--resolution", metavar="auto|full|PIXELS")
@bits_option
@megapixels_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.option("--html", type=PATH, help="Also write a page with pictures of what was found.")
def check(
    sources: tuple[str, ...],
    near_duplicates: Any,
    resolution: Any,
    as_json: bool,
    html: Path | None,
    bits: Any,
    max_megapixels: float | None,
    **reading: Any,
) -> None:
    """Find what would make figures lie: copies, shortcuts, wrong masks, broken files, too few images.

    Findings are errors, warnings or notes; the exit code is 1 if there is an error.

    \b
    Examples:
      mvdefect data check photographs
      mvdefect data check photographs --html check.html
      mvdefect data check photographs --group-pattern '[0-9]+' --json
    """
    show_messages()
    from rich.console import Console

    from mvdefect.audit.findings import Severity, audit_to_json
    from mvdefect.data.sources.opening import open_source
    from mvdefect.report.audit_page import print_audit, write_audit_page

    given = {"bits": bits, "max_megapixels": max_megapixels, "resolution": resolution}
    audit = mvdefect.check(
        sources,
        near_duplicates=near_duplicates,
        **reading,
        **{name: value for name, value in given.items() if value is not None},
    )
    if as_json:
        click.echo(json.dumps(audit_to_json(audit), indent=2))
    else:
        print_audit(audit, Console(markup=False, highlight=False))
        if not audit.count(Severity.ERROR):
            click.echo(f"next          mvdefect fit {shlex.join(sources)}")
    if html:
        records = open_source(sources, **reading).records
        write_audit_page(audit, {record.id: record for record in records}, html)
        click.echo(f"page          {html}", err=as_json)
    if audit.count(Severity.ERROR):
        click.get_current_context().exit(EXIT_FOUND)


@data.command(cls=SettingsCommand)
@source_options
@click.option(
    "--protocol",
    default="closed-set",
    show_default=True,
    help="closed-set, good-only, unseen-type, label-budget, kfold, official, given, random, random-75, "
    "few-labels or few-labels-unseen.",
)
@click.option(
    "--k", type=int, help="Defective images to train on: per type (label-budget), in all (few-labels)."
)
@click.option("--n", type=int, help="kfold: number of folds.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, another draw.")
@near_duplicates_option
@correlation_option
@skip_option
@bits_option
@megapixels_option
@click.option("--out", type=PATH, default=Path("plans"), show_default=True, help="Folder for the plans.")
@click.option("--overwrite", is_flag=True, help="Replace other plans of the same name.")
def split(
    sources: tuple[str, ...],
    protocol: str,
    k: int | None,
    n: int | None,
    seed: int,
    near_duplicates: Any,
    skip_broken: bool,
    out: Path,
    overwrite: bool,
    bits: Any,
    max_megapixels: float | None,
    **reading: Any,
) -> None:
    """Draw split plans, and say what a figure measured on them means.

    \b
    closed-set    every defect type in train, val and test (60/20/20)
    good-only     good images in train and val, every defective one in test
    unseen-type   one plan a defect type, which is in test alone
    label-budget  --k defective images a type in train, the rest in test
    kfold         --n plans; every photograph is tested once
    official      MVTec AD's own folders: good alone in train
    given         the parts that folders (train, val, test) or a table name
    random        80/10/10 by label alone, to compare with figures of others
    random-75     75/25 by label and type, likewise
    few-labels    75% of the good and --k defective images in train, likewise
    few-labels-unseen
                  the same, with one defect type in train and all others in test

    \b
    Near-duplicates stay together in the first five of them.
    Examples:
      mvdefect data split photographs
      mvdefect data split photographs --protocol unseen-type --out unseen
      mvdefect data split photographs --protocol label-budget --k 2
      mvdefect data split photographs --protocol kfold --n 3 --seed 1
    """
    show_messages()
    from mvdefect.config import load_config
    from mvdefect.data.groups.grouping import group_records
    from mvdefect.data.images import choose_decoding
    from mvdefect.data.scan import scan_images
    from mvdefect.data.splits.plan import save_plans
    from mvdefect.data.splits.protocols import draw_plans

    layout = _open(sources, reading)
    config = load_config(None, {"bits": bits, "max_megapixels": max_megapixels})
    scan = scan_images(layout.records, skip_broken, decoding=choose_decoding(config))
    plans = draw_plans(scan, group_records(scan, near_duplicates), protocol, seed, k=k, n=n)
    for path, plan in zip(save_plans(plans, out, overwrite), plans, strict=True):
        _show_plan(plan, path)


@data.command()
@click.argument("plan", type=PATH)
@source_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def verify(plan: Path, sources: tuple[str, ...], as_json: bool, **reading: Any) -> None:
    """Check that the files of SOURCE are those that the split PLAN was drawn from.

    The exit code is 1 if a file is missing or has changed.

    \b
    Example:
      mvdefect data verify plans/closed-set.csv photographs
    """
    show_messages()
    from mvdefect.data.scan import hash_files
    from mvdefect.data.splits.plan import compare_plan, read_split_plan

    planned = read_split_plan(plan)
    found = compare_plan(planned, hash_files(_open(sources, reading).records))
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        for name, ids in asdict(found).items():
            for id_ in ids:
                click.echo(f"{name}  {id_}")
        click.echo(
            f"{len(planned.rows)} images planned: {len(found.missing)} missing, {len(found.changed)} "
            f"changed; {len(found.added)} files are not in the plan"
        )
    if found.missing or found.changed:
        click.get_current_context().exit(EXIT_FOUND)


@data.command(cls=SettingsCommand)
@source_options
@setting("resolution", "--resolution", metavar="auto|full|PIXELS")
@setting("region", "--region", metavar="FILE|auto|none")
@click.option("--split", type=PATH, help="Split plan of the fit to come, from which region auto learns.")
@click.option("--resize", type=click.Choice(["letterbox", "stretch"]), default="letterbox", show_default=True)
@skip_option
@bits_option
@megapixels_option
@click.option("--out", type=PATH, help="Folder for the store. Default: the cache, where `fit` finds it.")
@click.option(
    "--runner",
    default="threads",
    show_default=True,
    help="threads, or a runner of Apache Beam: DirectRunner, FlinkRunner, SparkRunner, DataflowRunner.",
)
@click.option(
    "--runner-option", "runner_options", multiple=True, metavar="--KEY=VALUE", help="Passed on; repeatable."
)
def prepare(
    sources: tuple[str, ...],
    resolution: Any,
    region: str | None,
    split: Path | None,
    resize: Any,
    skip_broken: bool,
    out: Path | None,
    runner: str,
    runner_options: tuple[str, ...],
    bits: Any,
    max_megapixels: float | None,
    **reading: Any,
) -> None:
    """Shrink every photograph to the working size once, and store them as a TFDS data set.

    An interrupted preparation goes on when the same command is given again.

    \b
    Examples:
      mvdefect data prepare photographs
      mvdefect data prepare photographs --resolution 128 --out prepared
      mvdefect data prepare photographs --resolution 96 --runner DirectRunner
    """
    show_messages()
    from mvdefect.config import load_config
    from mvdefect.core.runtime import load_tensorflow
    from mvdefect.data.images import choose_decoding
    from mvdefect.data.scan import settle_decoding
    from mvdefect.workflow.photographs import settle_size
    from mvdefect.workflow.region import check_region, settle_planned_region

    layout = _open(sources, reading)
    given = {"bits": bits, "max_megapixels": max_megapixels, "resolution": resolution, "region": region}
    config = load_config(None, given | {"resize": resize, "split": split})
    config = settle_size(check_region(config, layout.records), layout.records)
    settled = settle_decoding(layout.records, choose_decoding(config))
    counted = settle_planned_region(config, layout.records, settled)
    load_tensorflow()
    from mvdefect.data.store import prepare_images

    store = prepare_images(
        layout.records,
        config.size_px,
        config.resize,
        out=out,
        runner=runner,
        runner_options=runner_options,
        skip_broken=skip_broken,
        decoding=settled,
        region=counted,
    )
    click.echo(f"images        {store.count}")
    click.echo(f"store         {store.path}")


@data.command()
@source_options
@click.option("--out", type=PATH, help="File to write. Default: standard output.")
@click.option("--overwrite", is_flag=True, help="Replace that file.")
def manifest(sources: tuple[str, ...], out: Path | None, overwrite: bool, **reading: Any) -> None:
    """Write a table (CSV) of the images, their labels and masks, to be changed by hand and used as SOURCE.

    Paths are relative to the table's folder, or to the current one if it goes to standard output. If
    nothing says which images are good, the labels are left empty, to be filled in.

    \b
    Examples:
      mvdefect data manifest photographs
      mvdefect data manifest photographs --out photographs.csv
      mvdefect data manifest photographs --label-pattern '(?P<type>[^/]+)/[^/]+$' --out named.csv
    """
    show_messages()
    from mvdefect.core.errors import RunExistsError, UnlabelledError
    from mvdefect.core.files import write_text
    from mvdefect.core.progress import logger
    from mvdefect.data.sources.manifest import format_manifest
    from mvdefect.data.sources.opening import open_unlabelled

    if out is not None and out.exists() and not overwrite:
        raise RunExistsError(f"{out} exists. Name another file with --out, or replace it with --overwrite")
    try:
        layout = _open(sources, reading)
    except UnlabelledError:
        if len(sources) > 1 or reading["label_pattern"] or reading["good"]:
            raise
        layout = open_unlabelled(sources[0])
        logger.warning(
            "nothing says which images in %s are good: fill in the column label (good or defective), or the "
            "column defect_type",
            sources[0],
        )
    text = format_manifest(layout.records, Path.cwd() if out is None else out.absolute().parent)
    if out is None:
        click.echo(text, nl=False)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text)
        click.echo(f"table         {out}  ({len(layout.records)} images)")


def _open(sources: tuple[str, ...], reading: dict[str, Any]) -> Layout:
    """Find the images, and say what was left out or assumed."""
    from mvdefect.data.sources.opening import log_notes, open_source

    layout = open_source(sources, **reading)
    log_notes(layout)
    return layout


def _show_plan(plan: SplitPlan, path: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from mvdefect.data.splits.plan import PARTS

    table = Table(title=f"{plan.protocol}, seed {plan.seed}: {path}", title_justify="left")
    for column in ("part", "images", "good", "defective", "groups"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part in PARTS:
        rows = plan.select(part)
        bad = sum(row.label for row in rows)
        counts = (len(rows), len(rows) - bad, bad, len({row.group for row in rows}))
        table.add_row(part, *map(str, counts))
    console = Console(markup=False, highlight=False)
    console.print(table)
    for note in plan.notes:
        console.print(f"Note: {note}")
