"""Networks as ONNX Runtime runs them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.inspector.answers import PIXELS
from mvdefect.inspector.formats.format import OUTPUTS, OWN_PRECISION, Look, Pixels, name_tensors

INPUT = f"{PIXELS}:0"
OPSET = 18
FULL_SUFFIX = ".float32"
FIRST_CONVOLUTIONS = 4  # that stay as they are where others become 8-bit


def write_network(network: Any, path: Path, calibration: Pixels | None) -> None:
    """Convert a frozen network and write it; see `mvdefect.inspector.formats.networks.Runtime`.

    With calibration images, weights and activations become 8-bit integers where they are convolved or
    multiplied, but for the head, the novelty, and the first convolutions.
    """
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    full = path if calibration is None else path.with_name(path.name + FULL_SUFFIX)
    tf2onnx.convert.from_graph_def(
        network.graph.as_graph_def(),
        input_names=[INPUT],
        output_names=[f"{name}:0" for name in OUTPUTS],
        opset=OPSET,
        output_path=str(full),
    )
    if calibration is not None:
        _quantize(full, path, calibration)
        full.unlink()


def _quantize(full: Path, path: Path, calibration: Pixels) -> None:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, images: Iterator[Pixels]) -> None:
            self.images = images

        def get_next(self) -> dict[str, Pixels] | None:
            image = next(self.images, None)
            return None if image is None else {INPUT: image[np.newaxis]}

    nodes = onnx.load(str(full)).graph.node
    own = [node.name for node in nodes if re.fullmatch(OWN_PRECISION, node.name)]
    first = [node.name for node in nodes if node.op_type == "Conv"][:FIRST_CONVOLUTIONS]
    quantize_static(
        str(full),
        str(path),
        Images(iter(calibration)),
        op_types_to_quantize=["Conv", "MatMul", "Gemm"],
        nodes_to_exclude=[*own, *first],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def load_network(path: Path, _precision: str) -> Look:
    """Load such a network; see `mvdefect.inspector.formats.networks.Runtime`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoding needs the cores too
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    tensors = name_tensors(output.name for output in session.get_outputs())

    def look(pixels: Pixels) -> dict[str, np.ndarray]:
        found = session.run(list(tensors.values()), {INPUT: pixels})
        return dict(zip(tensors, found, strict=True))

    return look
