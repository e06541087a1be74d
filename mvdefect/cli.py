"""The command line: thin commands over the library; nothing heavy is imported before it is needed."""

from __future__ import annotations

import json
import logging
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvdefect import __version__
from mvdefect.errors import MvdefectError

if TYPE_CHECKING:
    from mvdefect.evaluation.evaluate import Evaluation

EXIT_TROUBLE = 2
DEBUG = "--debug"
PATH = click.Path(path_type=Path)


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; what goes wrong ends in one line on stderr and exit code 2, not in a traceback.

    `--debug` may stand anywhere on the command line.
    """
    given = list(sys.argv[1:] if args is None else args)
    debug = DEBUG in given
    try:
        code = commands.main([arg for arg in given if arg != DEBUG], standalone_mode=False, obj=debug)
        sys.exit(code or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted. The same command goes on where a fit stopped.", err=True)
    except Exception as error:
        if debug:
            traceback.print_exc()
        click.echo(f"Error: {_describe(error)}", err=True)
    sys.exit(EXIT_TROUBLE)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mvdefect")
@click.option(DEBUG, is_flag=True, expose_value=False, help="Show tracebacks and native messages.")
def commands() -> None:
    """Learn to tell good products from defective ones, from photographs.

    \b
    Try it without any data:
      mvdefect demo
    Train an inspector on a folder of photographs, and measure it again:
      mvdefect fit --data photographs --backbone densenet121 --run runs/first
      mvdefect evaluate runs/first
    """


@commands.command()
@click.option("--data", type=PATH, help="Folder of photographs: MVTec AD's tree, or good/ and <type>/.")
@click.option("--category", "categories", multiple=True, help="Product to use; repeatable. Default: all.")
@click.option("--backbone", help="resnet50, efficientnetb0, densenet121, mobilenetv2 or small_cnn.")
@click.option("--weights", help="imagenet, none, or the path of a weights file.")
@click.option("--image-size", type=int, help="Working size in pixels; a multiple of 32.")
@click.option("--unfreeze-depth", type=int, help="Blocks that learn in the last stage; 0: head only.")
@click.option("--epochs", type=int, help="Epochs of the last stage.")
@click.option("--batch-size", type=int, help="Images a batch.")
@click.option("--seed", type=int, help="Seed of the split and of the training.")
@click.option("--skip-broken", is_flag=True, default=None, help="Leave unreadable files out.")
@click.option("--config", "config_path", type=PATH, help="YAML file with settings; flags override it.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting; repeatable.")
@click.option("--run", type=PATH, help="Where the run goes. Default: runs/<data>-<backbone>-seed<seed>.")
@click.option("--overwrite", is_flag=True, help="Replace a finished run of that name.")
@click.pass_obj
def fit(
    debug: bool,
    /,
    config_path: Path | None,
    assignments: tuple[str, ...],
    run: Path | None,
    overwrite: bool,
    **flags: Any,
) -> None:
    """Train an inspector and measure it honestly.

    Photographs are split 60/20/20 with near-duplicates kept together; the threshold is chosen on the
    validation part; the figures are those of the test part. An interrupted fit goes on when the same
    command is given again.

    \b
    Examples:
      mvdefect fit --data photographs --backbone densenet121
      mvdefect fit --data photographs --config configs/resnet50.yaml --seed 1 --run runs/resnet-1
      mvdefect fit --data photographs --backbone mobilenetv2 --weights FILE --epochs 30 --run runs/mobile
      mvdefect fit --data photographs --set augment.flip=false --set patience=12 --run runs/unmirrored
    """
    from mvdefect.config import load_config

    overrides = {
        "data": None if flags["data"] is None else str(flags["data"]),
        "categories": list(flags["categories"]) or None,
        "backbone": flags["backbone"],
        "weights": flags["weights"],
        "image_size_px": flags["image_size"],
        "stages.-1.depth_blocks": flags["unfreeze_depth"],
        "stages.-1.epochs": flags["epochs"],
        "batch_size": flags["batch_size"],
        "seed": flags["seed"],
        "skip_broken": flags["skip_broken"],
    }
    config = load_config(config_path, overrides, assignments)
    name = f"{config.data.resolve().name}-{config.backbone}-seed{config.seed}" if config.data else "run"
    workflow = _start_work(debug)
    from mvdefect.evaluation.evaluate import evaluate_run

    folder = workflow.fit_inspector(config, run or Path("runs") / name, overwrite)
    _show(evaluate_run(folder.path), folder.path)
    _say_where(folder)


@commands.command()
@click.argument("run", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def evaluate(run: Path, as_json: bool) -> None:
    """Measure a finished RUN on its test part, with 95% intervals.

    \b
    Examples:
      mvdefect evaluate runs/first
      mvdefect evaluate runs/first --json
    """
    from mvdefect.evaluation.evaluate import evaluate_run, evaluation_to_json

    evaluation = evaluate_run(run)
    if as_json:
        click.echo(json.dumps(evaluation_to_json(evaluation), indent=2))
    else:
        _show(evaluation, run)


@commands.command()
@click.option("--out", type=PATH, default=Path("mvdefect-demo"), show_default=True, help="Where all goes.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier demo.")
@click.pass_obj
def demo(debug: bool, /, out: Path, overwrite: bool) -> None:
    """Draw parts, train an inspector of them and measure it: no data and no network needed.

    \b
    Example:
      mvdefect demo --out somewhere
    """
    _start_work(debug)
    from mvdefect.demo import WEIGHTS_NOTE, run_demo
    from mvdefect.evaluation.evaluate import evaluate_run

    folder = run_demo(out, overwrite)
    _show(evaluate_run(folder.path), folder.path)
    click.echo(WEIGHTS_NOTE)
    click.echo(f"photographs   {out / 'data'}")
    _say_where(folder)


def _start_work(debug: bool) -> Any:
    """Set up logging and TensorFlow, and return the library's main module."""
    from rich.console import Console
    from rich.logging import RichHandler

    from mvdefect.backend import load_tensorflow
    from mvdefect.progress import logger

    handler = RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%X")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    warnings.filterwarnings("ignore", module="PIL")  # on files that end as errors of ours or not at all
    logger.propagate = False  # libraries give the root logger handlers of their own

    load_tensorflow(verbose=debug)
    from mvdefect import workflow

    return workflow


def _show(evaluation: Evaluation, run: Path) -> None:
    from rich.console import Console

    from mvdefect.report.table import make_evaluation_tables
    from mvdefect.report.wording import describe_verdict

    console = Console(soft_wrap=False)
    for table in make_evaluation_tables(evaluation, f"Inspector {run}"):
        console.print(table)
    for note in evaluation.notes:
        console.print(f"Note: {note}", markup=False)
    console.print(describe_verdict(evaluation), markup=False)


def _say_where(folder: Any) -> None:
    click.echo(f"run           {folder.path}")
    click.echo(f"report        {folder.report}")


def _describe(error: Exception) -> str:
    if isinstance(error, MvdefectError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    lines = str(error).strip().splitlines()
    return f"unexpected {type(error).__name__}: {lines[0] if lines else ''} (more with {DEBUG})"
