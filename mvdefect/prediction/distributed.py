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

import apache_beam
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference

from mvdefect.core.errors import ConfigError
from mvdefect.core.files import replace_file
from mvdefect.core.locks import hold
from mvdefect.core.progress import logger
from mvdefect.data.beam import import_beam, make_pipeline, run_pipeline
from mvdefect.inspector.answers import Engine
from mvdefect.inspector.photographs import Photograph, PhotographKey
from mvdefect.prediction.batch_plan import (
    DoneRow,
    Plan,
    Task,
    divide,
    load_rows,
    open_plan,
    read_list,
    store_rows,
    write_lists,
)
from mvdefect.prediction.inspectors import InspectorPlace, check_inspector, name_inspector, open_inspector
from mvdefect.prediction.predict import Batch, Seen, Tally, answer_batch, leave_out, read_batch
from mvdefect.prediction.rows import VerdictRow, append_rows, read_done

NAMESPACE = "mvdefect"


LOCAL = "local"


class InspectorHandler(ModelHandler):  # type: ignore[misc]
    """Opens an inspector once a process; the threads of a worker share it.

    An element is a batch as a local call would make it, and is asked about as it is: what a network says of
    a photograph depends in its last digits on what is in the batch beside it.

    Args:
        inspector: What is opened.
        name: What it is called in the rows.
        seen: See `mvdefect.prediction.predict.inspect_photographs`.
        with_regions: Likewise.
    """

    def __init__(
        self, inspector: InspectorPlace, name: str, seen: Seen | None, with_regions: bool = False
    ) -> None:
        super().__init__(min_batch_size=1, max_batch_size=1)
        self._inspector = inspector
        self._name = name
        self._seen = seen
        self._with_regions = with_regions

    def load_model(self) -> Engine:
        """Open the inspector."""
        return open_inspector(self._inspector)

    def run_inference(
        self, batch: Sequence[Batch], model: Engine, inference_args: dict[str, Any] | None = None
    ) -> Iterator[list[VerdictRow]]:
        """Yield the rows of each batch of photographs."""
        del inference_args  # there are none
        told = self._seen, self._name, self._with_regions
        return (list(answer_batch(model, photographs, *told)) for photographs in batch)

    def get_num_bytes(self, batch: Sequence[Batch]) -> int:
        """Return how many bytes the photographs have; Beam would pickle them to find out."""
        return sum(len(content) for photographs in batch for content in photographs.contents)


def inspect_plan(pipeline: Any, plan: Plan, handler: InspectorHandler) -> None:
    """Add the inspection of all batches without rows to a pipeline."""
    lists = pipeline | "Lists" >> apache_beam.Create([str(path) for path in plan.lists])
    spread = lists | "Spread lists" >> apache_beam.Reshuffle()
    tasks = spread | "Batches" >> apache_beam.FlatMap(list_missing)
    batches = tasks | "Spread batches" >> apache_beam.Reshuffle() | "Read" >> apache_beam.Map(read_task)
    rows = batches | "Inspect" >> RunInference(KeyedModelHandler(handler))
    _ = rows | "Write rows" >> apache_beam.Map(write_task, kind=plan.kind)


def list_missing(path: str) -> list[Task]:
    """Return the batches of a list that have no rows yet."""
    return [task for task in read_list(Path(path)) if not task.place.is_file()]


def read_task(task: Task) -> tuple[str, Batch]:
    """Read the photographs of a batch; its key is where its rows go."""
    return str(task.place), read_batch(task.photographs, task.root)


def write_task(found: tuple[str, Sequence[VerdictRow]], kind: str) -> int:
    """Leave the rows of a batch in their place, and count them."""
    place, rows = found
    store_rows(Path(place), rows, kind)
    for row in rows:
        Metrics.counter(NAMESPACE, row.label).inc()
    return len(rows)


@dataclass(frozen=True)
class Work:
    """How photographs are inspected on an engine.

    Attributes:
        inspector: What inspects them.
        runner: Name of Beam's runner, as in "FlinkRunner".
        options: Beam's pipeline options, as in `("--flink_master=host:8081",)`.
        batch_size: How many photographs are asked about together.
        seen: Called by a worker with each photograph, its bytes and what was said of it; it travels there.
        with_regions: Whether rows say where an image looks defective.
    """

    inspector: InspectorPlace
    runner: str
    options: tuple[str, ...] = ()
    batch_size: int = 32
    seen: Seen | None = None
    with_regions: bool = False


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
        InUseError: Another process is writing the file.
    """
    check_inspector(work.inspector)
    beam = import_beam()
    pipeline = make_pipeline(beam, work.runner, work.options, LOCAL)

    out.parent.mkdir(parents=True, exist_ok=True)
    with hold(out):
        return _inspect_all(work, pipeline, photographs, out, kind)


def _inspect_all(work: Work, pipeline: Any, photographs: Iterable[Photograph], out: Path, kind: str) -> Tally:
    plan, tally = open_plan(out, kind, name_inspector(work.inspector)), Tally()
    _plan_batches(plan, list(photographs), out, work.batch_size, tally)
    if todo := _count_missing(plan):
        place = work.inspector.from_anywhere()
        handler = InspectorHandler(place, plan.inspector, work.seen, work.with_regions)
        inspect_plan(pipeline, plan, handler)
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
    with replace_file(out) as partial:
        if out.is_file():
            shutil.copyfile(out, partial)
        with append_rows(partial, plan.kind, length) as stream:
            for row in _list_new(plan, done):
                stream.write(row.text)
                tally.add(row.label)


def _list_new(plan: Plan, done: Mapping[PhotographKey, str]) -> Iterator[DoneRow]:
    for task in plan.list_tasks():
        yield from (row for row in load_rows(task) or () if row.key not in done)


def _log_counts(result: Any) -> None:
    """Say what the workers counted, on engines that tell it."""
    try:
        counters = result.metrics().query()["counters"]
    except Exception:  # some engines know no counters, each in its own way
        return

    counts = {one.key.metric.name: one.result for one in counters if one.key.metric.namespace == NAMESPACE}
    logger.info("workers counted %s", ", ".join(f"{counts[label]} {label}" for label in sorted(counts)))
