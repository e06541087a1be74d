"""The command that lets an inspector leave the workshop."""

from __future__ import annotations

from pathlib import Path

import click

from mvdefect.cli.work import PATH, show_messages


@click.command()
@click.argument("run", type=PATH)
@click.option("--out", type=PATH, default=Path("saved_models"), show_default=True, help="Where exports go.")
@click.option("--name", help="Name of the model. Default: that of the run.")
@click.option(
    "--version", type=click.IntRange(1), help="Number of the version. Default: one more than the last."
)
@click.pass_obj
def export(debug: bool, /, run: Path, out: Path, name: str | None, version: int | None) -> None:
    """Write the inspector of a run as a SavedModel, which TF Serving loads as it is.

    It takes the bytes of image files, or pixels of any size, and returns probability, verdict, novelty and,
    on the signature `explain`, a heatmap. It is compared with the run on test photographs before it stands;
    where a verdict differs, or a probability by more than 1e-4, there is no export.

    \b
    Examples:
      mvdefect export runs/first
      mvdefect export runs/first --name washers --version 3 --out saved_models
    """
    show_messages()
    from mvdefect.backend import load_tensorflow

    load_tensorflow(verbose=debug)
    from mvdefect.serving.export import export_run

    found = export_run(run, out, name, version)
    click.echo(f"{found.path}: says what the run said of {found.comparison.photographs} test photographs")
    click.echo(
        f"  largest difference of a probability {found.comparison.largest_difference:.1e}, no verdict differs"
    )
