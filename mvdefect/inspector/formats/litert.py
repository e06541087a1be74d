"""Networks as LiteRT (TensorFlow Lite before) runs them on small devices."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.core.parallel import count_cores
from mvdefect.inspector.formats.format import OUTPUTS, Look, Pixels


def write_network(network: Any, path: Path, calibration: Pixels | None) -> None:
    """Convert a frozen network and write it; see `mvdefect.inspector.formats.networks.Runtime`.

    With calibration images, weights and activations become 8-bit integers, head and novelty as well: this
    converter spares nothing.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network], network)
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _split(calibration)
    path.write_bytes(converter.convert())


def _split(images: Pixels) -> Iterator[list[Pixels]]:
    return ([image[np.newaxis]] for image in images)


def load_network(path: Path, _precision: str) -> Look:
    """Load such a network; see `mvdefect.inspector.formats.networks.Runtime`."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=count_cores())
    source = interpreter.get_input_details()[0]["index"]
    outputs = {detail["name"]: detail["index"] for detail in interpreter.get_output_details()}
    interpreter.allocate_tensors()
    lock = threading.Lock()  # an interpreter holds one batch at a time

    def look(pixels: Pixels) -> dict[str, np.ndarray]:
        with lock:
            if tuple(interpreter.get_input_details()[0]["shape"]) != pixels.shape:
                interpreter.resize_tensor_input(source, pixels.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(source, pixels)
            interpreter.invoke()
            return {name: interpreter.get_tensor(outputs[name]) for name in OUTPUTS if name in outputs}

    return look
