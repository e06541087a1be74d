"""Predict on an engine: the workers of Apache Beam inspect photographs, and one file holds their rows.

Every worker needs this package, and must see the photographs, the inspector and the folder of the rows under
the same paths as the process that starts the pipeline.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvdefect.data.beam_runner import import_beam, make_pipeline, run_pipeline
from mvdefect.errors import ConfigError
from mvdefect.paths import replace_file
from mvdefect.progress import logger
from mvdefect.serving.beam_plan import DoneRow, Plan, divide, load_rows, open_plan, write_lists
from mvdefect.serving.inspectors import Inspector, check_inspector, name_inspector
from mvdefect.serving.photographs import Photograph
from mvdefect.serving.predict import Seen, Tally, leave_out
from mvdefect.serving.rows import append_rows, read_done

LOCAL = "local"


@dataclass(frozen=True)
class Work:
    """How photographs are inspected on an engine.

    Attributes:
        inspector: What inspects them.
        runner: Name of Beam's runner, as in "FlinkRunner".
        options: Beam's pipeline options, as in `("--flink_master=host:8081",)`.
        batch_size: How many photographs are asked about together.
        seen: Called by a worker with each photograph, its bytes and what was said of it; it travels there.
    """

    inspector: Inspector
    runner: str
    options: tuple[str, ...] = ()
    batch_size: int = 32
    seen: Seen | None = None


def read_options(given: Iterable[str]) -> tuple[str, ...]:
    """Return options of Beam, given as `key=value` or `key`, as Beam wants them.

    Raises:
        ConfigError: One has no key.
    """
    for text in given:
        if not text.lstrip("-").split("=")[0].strip():
            raise ConfigError(f"--beam-option must be KEY=VALUE, or KEY alone. Received: {text}")
    return tuple(f"--{text.lstrip('-')}" for text in given)


def inspect_with_beam(work: Work, photographs: Iterable[Photograph], out: Path, kind: str) -> Tally:
    """Inspect photographs with Apache Beam, and add a row each to a file, in the order of a local call.

    Rows appear in the file when all are there. Until then they lie in a folder beside it, and the same call
    goes on where an interrupted one was.

    Args:
        work: What inspects them, and where.
        photographs: All of them; those with a row in the file are left out.
        out: The file.
        kind: "csv" or "jsonl".

    Raises:
        RunError: The folder is neither a run nor an export.
        ConfigError: There is no such engine, Beam is not installed, the runner or an option is not known to
            it, the engine could not finish, or its workers see another folder.
    """
    check_inspector(work.inspector)
    beam = import_beam()
    pipeline = make_pipeline(beam, work.runner, work.options, LOCAL)
    from mvdefect.serving.beam_steps import InspectorHandler, inspect_plan

    plan, tally = open_plan(out, kind, name_inspector(work.inspector)), Tally()
    _plan_batches(plan, list(photographs), out, work.batch_size, tally)
    if todo := _count_missing(plan):
        inspect_plan(
            pipeline, plan, InspectorHandler(work.inspector.from_anywhere(), plan.inspector, work.seen)
        )
        logger.info("%d batches go to %s", todo, work.runner)
        _log_counts(run_pipeline(pipeline, work.runner))
    if missing := _count_missing(plan):
        raise ConfigError(
            f"{missing} batches have no rows in {plan.folder}: each worker must see this folder, the "
            "photographs and the inspector under the same paths"
        )
    _merge(plan, out, tally)
    plan.remove()
    return tally


def _plan_batches(
    plan: Plan, photographs: Sequence[Photograph], out: Path, batch_size: int, tally: Tally
) -> None:
    """Write down what is to do.

    Where an interrupted call had other photographs, the rows that it has come first.
    """
    root = Path.cwd()
    done, _ = read_done(out, plan.kind, plan.inspector)
    batches = divide(leave_out(photographs, done, tally), batch_size)
    if not plan.has(batches, root):
        if any(task.place.is_file() for task in plan.list_tasks()):
            _merge(plan, out, tally)
            done, _ = read_done(out, plan.kind, plan.inspector)
            batches = divide(leave_out(photographs, done, Tally()), batch_size)
        write_lists(plan, batches, root)


def _count_missing(plan: Plan) -> int:
    return sum(not task.place.is_file() for task in plan.list_tasks())


def _merge(plan: Plan, out: Path, tally: Tally) -> None:
    """Add the rows of a plan to the file, all of them or none, each photograph once."""
    done, length = read_done(out, plan.kind, plan.inspector)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(out) as partial:
        if out.is_file():
            shutil.copyfile(out, partial)
        with append_rows(partial, plan.kind, length) as stream:
            for row in _list_new(plan, done):
                stream.write(row.text)
                tally.add(row.label)


def _list_new(plan: Plan, done: Mapping[str, str]) -> Iterator[DoneRow]:
    for task in plan.list_tasks():
        yield from (row for row in load_rows(task) or () if row.name not in done)


def _log_counts(result: Any) -> None:
    """Say what the workers counted, on engines that tell it."""
    try:
        counters = result.metrics().query()["counters"]
    except Exception:  # some engines know no counters, each in its own way
        return
    from mvdefect.serving.beam_steps import NAMESPACE

    counts = {one.key.metric.name: one.result for one in counters if one.key.metric.namespace == NAMESPACE}
    logger.info("workers counted %s", ", ".join(f"{counts[label]} {label}" for label in sorted(counts)))
