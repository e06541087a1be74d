"""The command line: thin commands over the library; nothing heavy is imported before it is needed."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import click

from mvdefect.cli.baseline import baseline
from mvdefect.cli.benchmark import benchmark
from mvdefect.cli.data import data
from mvdefect.cli.export import export
from mvdefect.cli.inspector import demo, evaluate, fit, report
from mvdefect.cli.predict import predict
from mvdefect.cli.pretrain import pretrain
from mvdefect.cli.serve import serve
from mvdefect.cli.tune import tune
from mvdefect.cli.work import insist_on_interrupts
from mvdefect.core.errors import MvdefectError
from mvdefect.core.version import __version__

EXIT_TROUBLE = 2
DEBUG = "--debug"


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; what goes wrong ends in one line on stderr and exit code 2, not in a traceback.

    `--debug` may stand anywhere on the command line.
    """
    given = list(sys.argv[1:] if args is None else args)
    debug = DEBUG in given
    try:
        with insist_on_interrupts():
            code = commands.main([arg for arg in given if arg != DEBUG], standalone_mode=False, obj=debug)
        sys.exit(code or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted. The same command goes on where it stopped.", err=True)
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
    Search for the settings that suit the photographs:
      mvdefect tune --data photographs --backbone densenet121 --trials 30 --out runs/dense
    See whether something simpler does as well:
      mvdefect baseline handcrafted --data photographs --run runs/handcrafted
    Write the report that a quality engineer signs:
      mvdefect report runs/first --out report.html
    Take it to the line: as a file for TF Serving, in a folder, or on a page:
      mvdefect export runs/first
      mvdefect predict saved_models/first photographs --out verdicts.csv --exit-zero
      mvdefect serve saved_models/first
    Find out before what the photographs are worth:
      mvdefect data check photographs
    """


for command in (
    fit,
    tune,
    baseline,
    evaluate,
    report,
    export,
    predict,
    serve,
    benchmark,
    data,
    pretrain,
    demo,
):
    commands.add_command(command)


def _describe(error: Exception) -> str:
    if isinstance(error, MvdefectError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    lines = str(error).strip().splitlines()
    return f"unexpected {type(error).__name__}: {lines[0] if lines else ''} (more with {DEBUG})"
