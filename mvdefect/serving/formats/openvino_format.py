"""Networks as OpenVINO runs them on Intel's and AMD's processors."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.parallel import count_cores
from mvdefect.serving.formats.kinds import BFLOAT16, TENSORS, Look, Pixels
from mvdefect.serving.formats.openvino_int8 import quantize

HINTS = {BFLOAT16: "bf16"}
PART_SIZES = (8, 4)  # photographs; what a layer gives for more of them leaves the caches


def write_openvino(network: Any, path: Path, calibration: Pixels | None) -> None:
    """Convert a frozen network and write it; see `mvdefect.serving.formats.kinds.Format`.

    With calibration images, it becomes one of 8-bit integers; see `mvdefect.serving.formats.openvino_int8`.
    """
    import openvino

    model = openvino.convert_model(network.graph.as_graph_def())
    if calibration is not None:
        model = quantize(model, calibration)
    openvino.save_model(model, str(path), compress_to_fp16=False)


def open_openvino(path: Path, precision: str) -> Look:
    """Load such a network; see `mvdefect.serving.formats.kinds.Format`.

    One photograph is looked at by all cores together. Several are dealt out in parts, each to a core of its
    own, which need not wait for one another after every layer. Every size of a part has a network of fixed
    shape: it is faster, and in few bits one of any shape rounds otherwise, so that what is found would
    depend on how many photographs come together.
    """
    import openvino

    core = openvino.Core()
    precise = {"INFERENCE_PRECISION_HINT": HINTS.get(precision, "f32")}
    cores = count_cores()

    def compile_network(photographs: int, hints: Mapping[str, Any]) -> Any:
        network = core.read_model(str(path))
        network.reshape([photographs, *list(network.inputs[0].partial_shape)[1:]])
        return core.compile_model(network, "CPU", {**precise, **hints})

    @cache
    def open_for_one() -> Any:
        return compile_network(1, {"PERFORMANCE_HINT": "LATENCY"})

    @cache
    def open_for_parts(size: int) -> Any:
        streams = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores}
        queue = openvino.AsyncInferQueue(compile_network(size, streams), cores)
        queue.set_callback(_keep)
        return queue

    lock = threading.Lock()  # requests are used again, and a call has all cores

    def look(pixels: Pixels) -> tuple[np.ndarray, ...]:
        with lock:
            return look_alone(pixels)

    def look_alone(pixels: Pixels) -> tuple[np.ndarray, ...]:
        if len(pixels) == 1:
            found = open_for_one()(pixels)
            return tuple(np.array(found[name]) for name in TENSORS)
        parts: dict[int, tuple[np.ndarray, ...]] = {}
        queues = {}
        for part in deal_out(len(pixels), cores):
            some = pixels[part]
            queue = queues[len(some)] = open_for_parts(len(some))
            queue.start_async([some], (parts, part.start), share_inputs=True)
        for queue in queues.values():
            queue.wait_all()
        return tuple(np.concatenate(column) for column in zip(*map(parts.get, sorted(parts)), strict=True))

    open_for_one()  # a damaged network is told of at once
    return look


def deal_out(count: int, cores: int) -> Iterator[slice]:
    """Yield parts of so many photographs: rounds of large ones, then of smaller ones, then each by itself.

    In a round every core gets one. The sizes are few, since each is a network in memory.
    """
    start = 0
    for size in PART_SIZES:
        rounds = (count - start) // (size * cores)
        for _ in range(rounds * cores):
            yield slice(start, start + size)
            start += size
    yield from (slice(place, place + 1) for place in range(start, count))


def _keep(request: Any, place: tuple[dict[int, tuple[np.ndarray, ...]], int]) -> None:
    """Copy what was found before the request is used again."""
    parts, start = place
    parts[start] = tuple(np.array(request.get_tensor(name).data) for name in TENSORS)
