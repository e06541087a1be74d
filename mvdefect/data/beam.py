"""Engines: Apache Beam, its pipelines and its runners, without their chatter."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from mvdefect.core.errors import ConfigError


def import_beam() -> Any:
    """Import Apache Beam, without its regrets.

    Raises:
        ConfigError: It is not installed.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it regrets on the root logger that Google's libraries are missing
    try:
        import apache_beam
    except ImportError as error:
        raise ConfigError(f"Apache Beam is needed: pip install 'mvdefect[beam]' ({error})") from error
    finally:
        logging.disable(disabled)
    return apache_beam


def make_pipeline(beam: Any, runner: str, options: Sequence[str], otherwise: str) -> Any:
    """Return an empty pipeline.

    Args:
        beam: The module.
        runner: Name of Beam's runner.
        options: Beam's pipeline options.
        otherwise: What the runner is called where there is no engine, for the message.

    Raises:
        ConfigError: The runner or an option is not known to Beam.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    usage = io.StringIO()
    try:
        with contextlib.redirect_stderr(usage):  # argparse ends the process when a value is not allowed
            flags = PipelineOptions([f"--runner={runner}", *options])
            flags.get_all_options()  # reads them all; otherwise each runner reads its own when it starts
            return beam.Pipeline(options=flags)
    except (ValueError, ImportError, AttributeError, SystemExit) as error:
        fault = usage.getvalue().strip() or str(error)
        raise ConfigError(
            f"runner must be '{otherwise}' or a runner of Apache Beam that is installed. Received: {runner}, "
            f"{list(options)}: {fault.splitlines()[-1]}"
        ) from error


def run_pipeline(pipeline: Any, runner: str) -> Any:
    """Run a pipeline until it ends, and return what Beam says of it.

    Raises:
        ConfigError: The engine could not finish.
    """
    try:
        with _without_regrets():
            result = pipeline.run()
            result.wait_until_finish()
    except Exception as error:  # engines wrap what a worker raised in errors of their own
        fault = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"{runner} did not finish (what it finished is kept): {fault[-1]}") from error
    return result


@contextlib.contextmanager
def _without_regrets() -> Iterator[None]:
    """Leave out what Beam says on the root logger, errors aside: what it cannot measure concerns nobody."""

    def is_of_use(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or "apache_beam" not in record.pathname

    logging.root.addFilter(is_of_use)
    try:
        yield
    finally:
        logging.root.removeFilter(is_of_use)
