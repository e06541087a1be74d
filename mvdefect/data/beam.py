"""Preparing on an engine: the shards of a store are written by the workers of Apache Beam.

Beam runs the same pipeline in one process (DirectRunner) and on Flink, Spark or Dataflow. Every worker
needs this package, and must see the photographs and the store under the same paths as the process that
starts the pipeline: a network file system, mounted in one place everywhere.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mvdefect.data.records import Record
from mvdefect.data.shards import ShardSpec, write_shard
from mvdefect.errors import ConfigError
from mvdefect.paths import write_text
from mvdefect.progress import logger

SPEC_SUFFIX = ".spec.json"


def write_shards_with_beam(specs: Sequence[ShardSpec], runner: str, options: Sequence[str]) -> None:
    """Write shards with Apache Beam, and wait until they are written.

    What each shard holds is noted in a file beside it, and the pipeline carries the names of these files
    alone: an engine takes no pipeline of gigabytes.

    Args:
        specs: The shards.
        runner: Name of Beam's runner, as in "FlinkRunner".
        options: Beam's pipeline options, as in `["--flink_master=host:8081"]`.

    Raises:
        ConfigError: Apache Beam is not installed, the runner or an option is not known to it, or the
            engine could not finish.
    """
    beam = import_beam()
    pipeline = make_pipeline(beam, runner, options, "threads")
    files = [_store_spec(spec) for spec in specs]
    shards = pipeline | "Shards" >> beam.Create(files) | "Spread" >> beam.Reshuffle()
    _ = shards | "Shrink and write" >> beam.Map(write_stored_shard)
    logger.info("%d shards go to %s", len(files), runner)
    run_pipeline(pipeline, runner)


def run_pipeline(pipeline: Any, runner: str) -> Any:
    """Run a pipeline until it ends, and return what Beam says of it.

    Raises:
        ConfigError: The engine could not finish.
    """
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except Exception as error:  # engines wrap what a worker raised in errors of their own
        fault = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"{runner} did not finish (what it finished is kept): {fault[-1]}") from error
    return result


def write_stored_shard(file: str) -> int:
    """Write the shard that a file describes, and return how many images it holds."""
    stored = json.loads(Path(file).read_text(encoding="utf-8"))
    records = tuple(
        Record(**{**record, "path": Path(record["path"]), "mask_path": _to_path(record["mask_path"])})
        for record in stored["records"]
    )
    spec = ShardSpec(Path(stored["path"]), records, stored["size_px"], stored["method"])
    return write_shard(spec).count


def _store_spec(spec: ShardSpec) -> str:
    file = spec.path.with_name(spec.path.name + SPEC_SUFFIX)
    write_text(file, json.dumps(asdict(spec), default=lambda path: str(path.absolute())))
    return str(file)


def _to_path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


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
