"""Networks as OpenVINO runs them on Intel's and AMD's processors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.serving.formats.kinds import BFLOAT16, FIRST_CONVOLUTIONS, OWN_PRECISION, TENSORS, Look, Pixels

CONVOLUTIONS = ("Convolution", "GroupConvolution")
HINTS = {BFLOAT16: "bf16"}


def write_openvino(network: Any, path: Path, calibration: Pixels | None) -> None:
    """Convert a frozen network and write it; see `mvdefect.serving.formats.kinds.Format`.

    With calibration images, weights and activations become 8-bit integers (NNCF, post-training), but for
    the head and the novelty, which are small and on which verdicts hang, and the first convolutions, whose
    errors would go through everything.
    """
    import openvino

    model = openvino.convert_model(network.graph.as_graph_def())
    if calibration is not None:
        model = _quantize(model, calibration)
    openvino.save_model(model, str(path), compress_to_fp16=False)


def _quantize(model: Any, calibration: Pixels) -> Any:
    import nncf

    nncf.set_log_level(logging.ERROR)
    convolutions = [one for one in model.get_ordered_ops() if one.get_type_name() in CONVOLUTIONS]
    first = [one.get_friendly_name() for one in convolutions[:FIRST_CONVOLUTIONS]]
    return nncf.quantize(
        model,
        nncf.Dataset(list(_split(calibration))),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(calibration),
        model_type=nncf.ModelType.TRANSFORMER,  # which leaves sums and products of activations alone
        ignored_scope=nncf.IgnoredScope(names=first, patterns=[OWN_PRECISION], validate=False),
    )


def _split(images: Pixels) -> Iterator[Pixels]:
    return (image[np.newaxis] for image in images)


def open_openvino(path: Path, precision: str) -> Look:
    """Load such a network; see `mvdefect.serving.formats.kinds.Format`."""
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": HINTS.get(precision, "f32"), "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    outputs = [compiled.output(name) for name in TENSORS]

    def look(pixels: Pixels) -> tuple[np.ndarray, ...]:
        found = compiled(pixels)
        return tuple(np.array(found[output]) for output in outputs)

    return look
