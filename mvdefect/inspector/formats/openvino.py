"""Networks as OpenVINO runs them on Intel's and AMD's processors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.core.parallel import count_cores
from mvdefect.inspector.formats.format import BFLOAT16, OWN_PRECISION, Look, Pixels, name_tensors

CONVOLUTIONS = ("Convolution", "GroupConvolution")
BLACK, WHITE = 0, 255


HINTS = {BFLOAT16: "bf16"}
PART_SIZES = (8, 4)  # photographs; what a layer gives for more of them leaves the caches


def quantize(model: Any, calibration: Pixels) -> Any:
    """Return a model whose weights and activations are 8-bit integers where they are convolved or multiplied.

    Head and novelty stay as they are: they are small, and verdicts hang on them. What the first convolution
    gets is pixels, which are 8-bit already. Where preprocessing treats all colours alike, its 256 levels
    become those of the integers and nothing is lost; levels fitted to calibration images fall between those
    of pixels, and the difference goes through everything. Where colours are shifted and stretched each in
    its own way, no 256 levels hold them, and the first convolution stays as it is.

    Args:
        model: Of OpenVINO, in float32.
        calibration: uint8 (n, size, size, 3).
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    first = find_first_convolution(model)
    levels = find_pixel_range(model, first)
    overflow = nncf.OverflowFix  # 7 bits for the weights of the first layer, where pixels reach it
    quantized = nncf.quantize(
        model,
        nncf.Dataset(list(calibration[:, np.newaxis])),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(calibration),
        model_type=nncf.ModelType.TRANSFORMER,  # which leaves sums and products of activations alone
        ignored_scope=nncf.IgnoredScope(
            names=[] if levels else [first.get_friendly_name()], patterns=[OWN_PRECISION], validate=False
        ),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=overflow.FIRST_LAYER if levels else overflow.DISABLE
        ),
    )
    if levels:
        _set_levels(_find_quantizer(find_first_convolution(quantized)), *levels)
    return quantized


def find_first_convolution(model: Any) -> Any:
    """Return the operation of a model that gets preprocessed pixels."""
    return next(one for one in model.get_ordered_ops() if one.get_type_name() in CONVOLUTIONS)


def find_pixel_range(model: Any, convolution: Any) -> tuple[float, float] | None:
    """Return what black and white are where they reach a convolution; None: not the same in all colours."""
    import openvino

    before = openvino.Model([convolution.input_value(0)], model.get_parameters(), "before")
    look = openvino.compile_model(before, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    shape = [1, *(side.get_length() for side in list(model.inputs[0].partial_shape)[1:])]
    found = [look(np.full(shape, level, np.uint8))[0] for level in (BLACK, WHITE)]
    low, high = (values[0, :, values.shape[2] // 2, values.shape[3] // 2] for values in found)  # (colours,)
    if np.ptp(low) or np.ptp(high):
        return None
    return float(low[0]), float(high[0])


def _find_quantizer(convolution: Any) -> Any:
    """Return the operation that makes 8-bit integers of what a convolution gets; padding may lie between."""
    node = convolution.input_value(0).get_node()
    while node.get_type_name() != "FakeQuantize":
        node = node.input_value(0).get_node()
    return node


def _set_levels(quantizer: Any, low: float, high: float) -> None:
    """Let the levels of a FakeQuantize, 256 by its type, go from `low` to `high`, in and out."""
    from openvino import opset13

    for place, value in enumerate((low, high, low, high), start=1):
        shape = list(quantizer.input_value(place).get_shape())
        constant = opset13.constant(np.full(shape, value, np.float32))
        quantizer.input(place).replace_source_output(constant.output(0))


def write_network(network: Any, path: Path, calibration: Pixels | None) -> None:
    """Convert a frozen network and write it; see `mvdefect.inspector.formats.networks.Runtime`.

    With calibration images, it becomes one of 8-bit integers; see `mvdefect.inspector.formats.openvino`.
    """
    import openvino

    model = openvino.convert_model(network.graph.as_graph_def())
    if calibration is not None:
        model = quantize(model, calibration)
    openvino.save_model(model, str(path), compress_to_fp16=False)


def load_network(path: Path, precision: str) -> Look:
    """Load such a network; see `mvdefect.inspector.formats.networks.Runtime`.

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

    def look(pixels: Pixels) -> dict[str, np.ndarray]:
        with lock:
            return look_alone(pixels)

    def look_alone(pixels: Pixels) -> dict[str, np.ndarray]:
        if len(pixels) == 1:
            found = open_for_one()(pixels)
            return {name: np.array(found[tensor]) for name, tensor in tensors.items()}
        parts: dict[int, dict[str, np.ndarray]] = {}
        queues = {}
        for part in deal_out(len(pixels), cores):
            some = pixels[part]
            queue = queues[len(some)] = open_for_parts(len(some))
            queue.start_async([some], (tensors, parts, part.start), share_inputs=True)
        for queue in queues.values():
            queue.wait_all()
        return {name: np.concatenate([parts[start][name] for start in sorted(parts)]) for name in tensors}

    outputs = open_for_one().outputs  # a damaged network is told of at once
    tensors = name_tensors(name for output in outputs for name in output.names)
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


def _keep(request: Any, place: tuple[dict[str, str], dict[int, dict[str, np.ndarray]], int]) -> None:
    """Copy what was found before the request is used again."""
    tensors, parts, start = place
    parts[start] = {name: np.array(request.get_tensor(tensor).data) for name, tensor in tensors.items()}
