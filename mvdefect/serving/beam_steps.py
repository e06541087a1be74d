"""What workers of Apache Beam do with a batch: read it, ask about it, and leave its rows in their place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference

from mvdefect.serving.answers import Engine
from mvdefect.serving.beam_plan import Plan, Task, read_list, store_rows
from mvdefect.serving.inspectors import Inspector, open_inspector
from mvdefect.serving.predict import Batch, Seen, answer_batch, read_batch
from mvdefect.serving.rows import VerdictRow

NAMESPACE = "mvdefect"


class InspectorHandler(ModelHandler):  # type: ignore[misc]
    """Opens an inspector once a process; the threads of a worker share it.

    An element is a batch as a local call would make it, and is asked about as it is: what a network says of
    a photograph depends in its last digits on what is in the batch beside it.

    Args:
        inspector: What is opened.
        name: What it is called in the rows.
        seen: See `mvdefect.serving.predict.inspect_photographs`.
    """

    def __init__(self, inspector: Inspector, name: str, seen: Seen | None) -> None:
        super().__init__(min_batch_size=1, max_batch_size=1)
        self._inspector = inspector
        self._name = name
        self._seen = seen

    def load_model(self) -> Engine:
        """Open the inspector."""
        return open_inspector(self._inspector)

    def run_inference(
        self, batch: Sequence[Batch], model: Engine, inference_args: dict[str, Any] | None = None
    ) -> Iterator[list[VerdictRow]]:
        """Yield the rows of each batch of photographs."""
        del inference_args  # there are none
        return (list(answer_batch(model, photographs, self._seen, self._name)) for photographs in batch)

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
