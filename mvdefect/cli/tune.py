"""The command that searches for the best settings of a fit."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvdefect.cli.flags import OFFLINE_FLAG, SettingsCommand, setting
from mvdefect.cli.work import PATH, show_messages, start_work

if TYPE_CHECKING:
    from tuning.records import Leaderboard, SearchSummary
    from tuning.settings import SearchConfig


fit_setting = partial(setting, prefix="settings.")
search_setting = partial(setting, model="tuning.settings:SearchConfig")


@click.command(cls=SettingsCommand)
@fit_setting("data", "--data")
@fit_setting("split", "--split")
@fit_setting("protocol", "--protocol")
@fit_setting("good", "--good", metavar="NAME")
@fit_setting("label_pattern", "--label-pattern", metavar="REGEX")
@fit_setting("categories", "--category")
@fit_setting("backbone", "--backbone", text="Backbone that the search starts from.")
@fit_setting("weights", "--weights")
@fit_setting("resolution", "--resolution", metavar="auto|full|PIXELS")
@fit_setting("region", "--region", metavar="FILE|auto|none")
@fit_setting("stages.-1.epochs", "--epochs", text="Epochs of the last stage.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting of a fit; repeatable."
)
@click.option(
    "--vary",
    "space",
    multiple=True,
    metavar="NAME=VALUES",
    help="Values to search for a setting, as in 'dropout=[0, 0.3]' or 'learning_rate={min: 1.0e-5, max: "
    "1.0e-3}'; views=default adds a setting with its usual values, taps=null does not search it; repeatable.",
)
@search_setting("strategy", "--strategy")
@search_setting("objective", "--objective")
@search_setting("trials", "--trials")
@search_setting("minutes", "--minutes")
@search_setting("patience", "--patience")
@search_setting("seed", "--seed")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Trials to run at the same time.",
)
@click.option(
    "--confirm",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="SEEDS",
    help="Seeds with which the recommended and the default settings are fitted at the end and compared "
    "on the test part (0: the test part stays closed).",
)
@click.option(
    "--nested",
    type=click.IntRange(2),
    metavar="FOLDS",
    help="Number of outer folds: search within each of them, and test its choice on images outside it.",
)
@click.option("--config", "config_path", type=PATH, help="YAML file of a search; flags override it.")
@OFFLINE_FLAG
@click.option("--out", type=PATH, help="Output directory. Default: runs/tune-<data>-<backbone>.")
@click.option("--overwrite", is_flag=True, help="Replace a search in that directory that had other settings.")
@click.pass_obj
def tune(
    debug: bool,
    /,
    config_path: Path | None,
    assignments: tuple[str, ...],
    space: tuple[str, ...],
    workers: int,
    confirm: int,
    nested: int | None,
    out: Path | None,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Search for the settings that suit your images.

    Trials share the activations of frozen blocks, so most take seconds. The best trials are trained again
    with several seeds. Recommended is the simplest configuration that is not certainly worse than the best
    one. Before it starts, the command lists all steps and estimates their time; --minutes limits everything.
    The test part stays closed unless --confirm is given. The same command resumes an interrupted search.

    \b
    Examples:
      mvdefect tune --data photographs --backbone mobilenetv2 --weights FILE --trials 20 --out runs/search
      mvdefect fit --config runs/search/best.yaml --run runs/tuned
      mvdefect tune --data photographs --config configs/tune.yaml --workers 2 --out runs/wide
      mvdefect tune --data photographs --vary 'dropout=[0, 0.3]' --vary taps=null --confirm 2 --out runs/sure
      mvdefect tune --data photographs --strategy hyperband --minutes 30 --nested 2 --out runs/nested
    """
    from tuning.settings import load_search, make_base

    search = load_search(config_path, settings, assignments, space)
    base = make_base(search)
    from mvdefect.data.images import choose_decoding
    from mvdefect.data.scan import refuse_broken
    from mvdefect.data.sources.opening import name_sources, resolve_sources

    place = out or Path("runs") / f"tune-{name_sources(base.data)}-{base.backbone}"
    show_messages()
    from mvdefect.core.progress import show_phase
    from mvdefect.workflow.photographs import TUNE_NEEDS, find_records, require_data

    base = base.model_copy(update={"data": resolve_sources(require_data(base))})
    records = find_records(base, TUNE_NEEDS)
    if base.split is None and not place.exists() and not base.skip_broken:  # else the test part stays closed
        refuse_broken(records, choose_decoding(base))

    start_work(debug, 1)
    with show_phase("Loading KerasTuner"):
        from tuning.tune import TuneOptions

    options = TuneOptions(workers, overwrite, confirm, set_up=show_messages, records=records)
    if nested is None:
        _tune(search, place, options)
    else:
        _tune_nested(search, place, options, nested)


def _tune(search: SearchConfig, place: Path, options: Any) -> None:
    from tuning.tune import tune_inspector

    summary = tune_inspector(search, place, options)
    if summary is None:
        click.echo("No trial is left for this worker.")
        return
    if summary.leaderboard is not None:
        show_summary(summary, summary.leaderboard)
    click.echo(f"search        {place}")
    click.echo(f"report        {place / 'report.html'}")
    click.echo(f"next          mvdefect fit --config {place / 'best.yaml'}")


def _tune_nested(search: SearchConfig, place: Path, options: Any, folds: int) -> None:
    from tuning.nested import tune_nested

    found = tune_nested(search, place, options, folds)
    _show_confirmations(found)
    click.echo(f"folds         {place / 'nested.csv'}")


def show_summary(summary: SearchSummary, board: Leaderboard) -> None:
    """Print the leaderboard and what follows from it."""
    from rich.console import Console
    from rich.table import Table

    from tuning.page.wording import name_candidate

    console = Console(soft_wrap=False)
    click.echo(f"{len(summary.trials)} trials. The search ended: {summary.ended}.")
    table = Table(title=f"Leaderboard by {summary.objective}")
    for name in ("", "mean", "±", "refits", "ROC-AUC below the best", "trainable parameters"):
        table.add_column(name, justify="left" if not name else "right")
    for one in board.candidates:
        mark = " (recommended)" if one.name == board.recommended else ""
        behind = one.behind
        told = "" if behind is None else f"{behind.value:.4f} ({behind.low:.4f} to {behind.high:.4f})"
        numbers = (f"{one.mean:.4f}", f"{one.spread:.4f}", str(len(one.refits)))
        table.add_row(
            f"{name_candidate(one.name)}{mark}", *numbers, one.trouble or told, f"{one.learning_parameters:,}"
        )
    console.print(table)
    chosen = board.find(board.recommended).values
    values = ", ".join(f"{name}={_format(value)}" for name, value in chosen.items()) or "the default settings"
    console.print(f"Recommended: {values}", markup=False, highlight=False)
    console.print(board.reason, markup=False)
    _show_confirmations(summary.confirmations)


def _show_confirmations(found: Any) -> None:
    for one in found:
        tuned, default = (
            ", ".join(f"{score:.4f}" for score in scores) for scores in (one.tuned, one.default)
        )
        figure = one.difference
        click.echo(f"{one.name}: ROC-AUC tuned {tuned}; default {default}")
        click.echo(f"  difference {figure.value:+.4f}, 95% interval {figure.low:+.4f} to {figure.high:+.4f}")
        click.echo(f"  {one.verdict}")


def _format(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
