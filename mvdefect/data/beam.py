"""Preparing on an engine: the shards of a store are written by the workers of Apache Beam.

Beam runs the same pipeline in one process (DirectRunner) and on Flink, Spark or Dataflow. Every worker
needs this package, and must see the photographs and the store under the same paths as the process that
starts the pipeline: a network file system, mounted in one place everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mvdefect.data.beam_runner import import_beam, make_pipeline, run_pipeline
from mvdefect.data.records import Record
from mvdefect.data.shards import ShardSpec, write_shard
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
