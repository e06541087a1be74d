"""The command that measures a whole grid."""

from __future__ import annotations

from pathlib import Path

import click

from mvdefect.cli.flags import OFFLINE_FLAG
from mvdefect.cli.work import PATH, start_work


@click.command()
@click.argument("grid", type=PATH)
@OFFLINE_FLAG
@click.option("--out", type=PATH, help="Where plans, runs and results go. Default: runs/<name of GRID>.")
@click.pass_obj
def benchmark(debug: bool, /, grid: Path, out: Path | None) -> None:
    """Measure every method of a GRID on every category, protocol and seed that it names.

    One row a figure goes into results.csv, and a report over them into report.html and report.md. What is
    finished is not run again, so the same command goes on after an interrupt; what failed is tried again.

    \b
    Example:
      mvdefect benchmark configs/parts_grid.yaml --out grid
    """
    start_work(debug)
    from rich.console import Console
    from rich.markdown import Markdown

    from mvdefect.grid.page import describe_grid, write_grid_report
    from mvdefect.grid.run import run_benchmark

    place = out or Path("runs") / grid.stem
    rows = run_benchmark(grid, place)
    page = write_grid_report(rows, grid, place)
    Console().print(Markdown(describe_grid(rows)))
    click.echo(f"results       {place / 'results.csv'}")
    click.echo(f"report        {page}")
    if any(row.trouble for row in rows):
        raise click.ClickException(
            f"{sum(bool(row.trouble) for row in rows)} of {len(rows)} figures could not be measured; "
            "the column trouble says why"
        )
