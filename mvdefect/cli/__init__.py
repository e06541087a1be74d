"""The command line: thin commands over the library; nothing heavy is imported before it is needed."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from pkgutil import resolve_name

import click

from mvdefect.cli.work import insist_on_interrupts
from mvdefect.core.errors import MvdefectError
from mvdefect.core.version import __version__

EXIT_TROUBLE = 2
DEBUG = "--debug"
NO_SPACE = os.strerror(errno.ENOSPC)
SUMMARIES = {
    "fit": "Train an inspector and measure it honestly.",
    "tune": "Search for the settings that suit your photographs.",
    "baseline": "Measure something simpler than an inspector.",
    "evaluate": "Measure a finished run on its test part.",
    "report": "Write the report that a quality engineer signs.",
    "export": "Write the inspector as a SavedModel for TF Serving.",
    "predict": "Inspect photographs with a run, an export or a server.",
    "serve": "Serve an export: TF Serving's REST, and a page.",
    "check": "Find out what the photographs are worth, before training.",
    "benchmark": "Measure many methods on many products.",
    "data": "Check images, split them, prepare them, list them, draw some.",
    "pretrain": "Make weights to start from without a download.",
    "demo": "Draw parts, train an inspector of them, measure it.",
}
PLACES = {
    "fit": "inspector",
    "evaluate": "inspector",
    "report": "inspector",
    "demo": "inspector",
    "check": "data",
}


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; what goes wrong ends in one line on stderr and exit code 2, not in a traceback.

    `--debug` may stand anywhere on the command line.
    """
    given = list(sys.argv[1:] if args is None else args)
    debug = DEBUG in given
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")  # each thread and process here has its own image
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
            import traceback

            traceback.print_exc()
        click.echo(f"Error: {_describe(error)}", err=True)
    sys.exit(EXIT_TROUBLE)


class LazyGroup(click.Group):
    """The commands, each imported when it is used: to list them takes no import."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return their names, in the order in which they are used."""
        return list(SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one of them; None: there is none of that name."""
        if cmd_name not in SUMMARIES:
            return None
        command: click.Command = resolve_name(f"mvdefect.cli.{PLACES.get(cmd_name, cmd_name)}:{cmd_name}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write their names and summaries."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mvdefect")
@click.option(DEBUG, is_flag=True, expose_value=False, help="Show tracebacks and native messages.")
def commands() -> None:
    """Learn to tell good products from defective ones, from photographs.

    \b
    Try it without any data:
      mvdefect demo
    Train an inspector on a folder of photographs, and measure it again:
      mvdefect fit photographs --run runs/first
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
      mvdefect check photographs
    """


def _describe(error: Exception) -> str:
    if isinstance(error, MvdefectError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    lines = str(error).strip().splitlines()
    if lines and NO_SPACE in lines[0]:  # of TensorFlow
        return f"{NO_SPACE}: {lines[0].partition(f'; {NO_SPACE}')[0].rpartition(' ')[2]}"
    return f"unexpected {type(error).__name__}: {lines[0] if lines else ''} (more with {DEBUG})"
