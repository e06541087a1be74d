"""Networks as OpenVINO runs them on Intel's and AMD's processors."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.parallel import count_cores
from mvdefect.serving.formats.kinds import BFLOAT16, TENSORS, Look, Pixels
from mvdefect.serving.formats.openvino_int8 import quantize

HINTS = {BFLOAT16: "bf16"}
LARGEST_PART = 8  # photographs; what a layer gives for more of them leaves the caches


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

    One photograph is looked at by all cores together. Several are dealt out in small parts, each to a core
    of its own, which need not wait for one another after every layer.
    """
    import openvino

    core = openvino.Core()
    precise = {"INFERENCE_PRECISION_HINT": HINTS.get(precision, "f32")}
    cores = count_cores()

    @cache
    def open_for_one() -> Any:
        return core.compile_model(str(path), "CPU", {**precise, "PERFORMANCE_HINT": "LATENCY"})

    @cache
    def open_for_several() -> Any:
        streams = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores}
        queue = openvino.AsyncInferQueue(core.compile_model(str(path), "CPU", {**precise, **streams}), cores)
        queue.set_callback(_keep)
        return queue

    def look(pixels: Pixels) -> tuple[np.ndarray, ...]:
        if len(pixels) == 1:
            found = open_for_one()(pixels)
            return tuple(np.array(found[name]) for name in TENSORS)
        part = min(LARGEST_PART, -(-len(pixels) // cores))
        parts: dict[int, tuple[np.ndarray, ...]] = {}
        queue = open_for_several()
        for start in range(0, len(pixels), part):
            queue.start_async([pixels[start : start + part]], (parts, start), share_inputs=True)
        queue.wait_all()
        return tuple(np.concatenate(column) for column in zip(*map(parts.get, sorted(parts)), strict=True))

    open_for_one()  # a damaged network is told of at once
    return look


def _keep(request: Any, place: tuple[dict[int, tuple[np.ndarray, ...]], int]) -> None:
    """Copy what was found before the request is used again."""
    parts, start = place
    parts[start] = tuple(np.array(request.get_tensor(name).data) for name in TENSORS)
