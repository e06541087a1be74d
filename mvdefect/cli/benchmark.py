"""The command that measures a whole grid."""

from __future__ import annotations

from pathlib import Path

import click

from mvdefect.cli.flags import OFFLINE_FLAG
from mvdefect.cli.work import PATH, start_work


@click.command()
@click.argument("grid", type=PATH)
@OFFLINE_FLAG
@click.option("--out", type=PATH, help="Output directory. Default: runs/<name of GRID>, or <name>-quick.")
@click.option("--quick", is_flag=True, help="Measure less: what the key 'quick' of GRID says.")
@click.option("--plan", "plan_only", is_flag=True, help="Print what is left to measure and its time; stop.")
@click.pass_obj
def benchmark(debug: bool, /, grid: Path, out: Path | None, quick: bool, plan_only: bool) -> None:
    """Measure every method of a GRID on every category, protocol and seed that it names.

    It begins with a plan and an estimate of the time. One row per figure goes into results.csv, and a report
    over them into report.html and report.md. The same command resumes after an interrupt, and repeats what
    failed. A source that is not on this machine is skipped, with a line that says so.

    \b
    Example:
      mvdefect benchmark configs/parts_grid.yaml --out grid
    """
    start_work(debug)
    from rich.console import Console
    from rich.markdown import Markdown

    from mvdefect.core.progress import logger
    from mvdefect.grid.forecast import describe_forecast
    from mvdefect.grid.page import describe_grid, write_grid_report
    from mvdefect.grid.run import plan_work, run_benchmark
    from mvdefect.grid.settings import list_baselines
    from mvdefect.grid.standing import find_standings

    place = out or Path("runs") / (grid.stem + ("-quick" if quick else ""))
    work = plan_work(grid, quick)
    for line in work.skipped:
        logger.warning("%s", line)
    for line in describe_forecast(work.forecast(place)):
        click.echo(line, err=not plan_only)
    if plan_only:
        return
    rows = run_benchmark(work, place)
    default = work.grid.default
    standings = find_standings(rows, default, list_baselines(work.grid), place) if default else ()
    page = write_grid_report(rows, grid, place, standings, work.skipped)
    Console().print(Markdown(describe_grid(rows, standings, work.skipped)))
    click.echo(f"results       {place / 'results.csv'}")
    click.echo(f"report        {page}")
    if any(row.trouble for row in rows):
        raise click.ClickException(
            f"{sum(bool(row.trouble) for row in rows)} of {len(rows)} figures could not be measured; "
            "the column trouble says why"
        )
