"""The command that lets an inspector leave the workshop."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import mvdefect
from mvdefect.cli.work import PATH, start_work
from mvdefect.inspector.formats.registry import DEFAULT_FORMAT, FORMATS

if TYPE_CHECKING:
    from mvdefect.exporting.cost import Cost

NAMES = tuple(FORMATS)


@click.command()
@click.argument("run", type=PATH)
@click.option("--out", type=PATH, default=Path("saved_models"), show_default=True, help="Where exports go.")
@click.option("--name", help="Name of the model. Default: that of the run.")
@click.option(
    "--version", type=click.IntRange(1), help="Number of the version. Default: one more than the last."
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    default=(DEFAULT_FORMAT,),
    show_default=True,
    help=f"{', '.join(NAMES[:-1])} or {NAMES[-1]}; repeatable.",
)
@click.option(
    "--quantize",
    default="float32",
    show_default=True,
    metavar="PRECISION",
    help="int8, or bfloat16 for openvino; a SavedModel stays float32.",
)
@click.option(
    "--max-flips",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    metavar="SHARE",
    help="Share of the test photographs whose verdict may differ from the run's.",
)
@click.option(
    "--mm-per-px",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Millimetres per pixel of the images, for the sizes of regions. Default: as in the fit.",
)
@click.pass_obj
def export(debug: bool, /, run: Path, out: Path, **flags: Any) -> None:
    """Write the inspector of a run as a SavedModel, which TF Serving loads as it is, or for other runtimes.

    It takes the bytes of image files, or pixels of any size, and returns probability, verdict, novelty and,
    on the signature `explain`, a heatmap. It is compared with the run on the test photographs before it
    stands; where in float32 a verdict differs, or a probability by more than 1e-4, or where more verdicts
    than --max-flips differ in another precision, there is no export.

    \b
    Examples:
      mvdefect export runs/first
      mvdefect export runs/first --mm-per-px 0.05 --name measured
      mvdefect export runs/first --name washers --version 3 --out saved_models
      mvdefect export runs/first --format openvino --quantize int8 --max-flips 0.02 --name fast
    """
    start_work(debug)
    found = mvdefect.export(run, out, **flags)
    click.echo(f"{found.path}:")
    for name, cost in found.costs.items():
        click.echo(f"  {name}: {_describe(cost)}; {found.images_per_s[name]:.0f} photographs a second")
    click.echo(f"  SHA-256 {found.sha256}, for --expect-sha256 of predict and serve")
    place = shlex.quote(str(found.path.parent))
    click.echo(f"next: mvdefect predict {place} IMAGES, or mvdefect serve {place}")


def _describe(cost: Cost) -> str:
    flips = f"{cost.flips} of {cost.photographs} test verdicts differ from the run's"
    if cost.roc_auc is None:
        return flips
    return f"{flips}, ROC-AUC {cost.roc_auc:.4f} ({cost.run_roc_auc:.4f})"
