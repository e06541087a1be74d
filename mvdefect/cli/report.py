"""The command that writes the report."""

from __future__ import annotations

from pathlib import Path

import click

from mvdefect.cli.work import PATH, show_messages


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN [RUN ...]")
@click.option(
    "--out", type=PATH, default=Path("report.html"), show_default=True, help="Where the HTML file goes."
)
@click.option(
    "--markdown", type=PATH, help="Also write Markdown there, with its pictures in figures/ beside it."
)
def report(runs: tuple[Path, ...], out: Path, markdown: Path | None) -> None:
    """Write the report that a quality engineer signs: one HTML file that needs no network.

    The first RUN is the inspector; the others, baselines for example, are what it is compared with. All must
    be of the same split plan.

    \b
    Examples:
      mvdefect report runs/first
      mvdefect report runs/first runs/handcrafted runs/majority --out report.html --markdown report.md
    """
    show_messages()
    from mvdefect.report.html import compare_runs

    compare_runs(runs, out, markdown)
    click.echo(f"report        {out}")
    if markdown is not None:
        click.echo(f"markdown      {markdown}")
