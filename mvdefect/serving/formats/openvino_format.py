"""Networks as OpenVINO runs them on Intel's and AMD's processors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.serving.formats.kinds import BFLOAT16, OWN_PRECISION, TENSORS, Look, Pixels

HINTS = {BFLOAT16: "bf16"}


def write_openvino(network: Any, path: Path, calibration: Pixels | None) -> None:
    """Convert a frozen network and write it; see `mvdefect.serving.formats.kinds.Format`.

    With calibration images, weights and activations become 8-bit integers (NNCF, post-training), but for the
    head and the novelty, which are small and on which verdicts hang.
    """
    import openvino

    model = openvino.convert_model(network.graph.as_graph_def())
    if calibration is not None:
        import nncf

        model = nncf.quantize(
            model,
            nncf.Dataset(list(_split(calibration))),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calibration),
            fast_bias_correction=True,
            ignored_scope=nncf.IgnoredScope(patterns=[OWN_PRECISION], validate=False),
        )
    openvino.save_model(model, str(path), compress_to_fp16=False)


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
