"""The formats of networks, by name."""

from __future__ import annotations

import warnings
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from mvdefect.core.errors import ExportError
from mvdefect.core.runtime import muted_stderr
from mvdefect.inspector.formats.format import BFLOAT16, FLOAT32, INT8, Format, Look, Pixels
from mvdefect.inspector.formats.litert import open_litert, write_litert
from mvdefect.inspector.formats.onnx import open_onnx, write_onnx
from mvdefect.inspector.formats.openvino import open_openvino, write_openvino

FORMATS = {
    "onnx": Format(
        file="network.onnx",
        precisions=(FLOAT32, INT8),
        to_write=("tf2onnx", "onnx", "onnxruntime"),
        to_run=("onnxruntime",),
        write=write_onnx,
        open=open_onnx,
    ),
    "openvino": Format(
        file="network.xml",
        precisions=(FLOAT32, BFLOAT16, INT8),
        to_write=("openvino", "nncf"),
        to_run=("openvino",),
        write=write_openvino,
        open=open_openvino,
    ),
    "litert": Format(
        file="network.tflite",
        precisions=(FLOAT32, INT8),
        to_write=("ai_edge_litert",),
        to_run=("ai_edge_litert",),
        write=write_litert,
        open=open_litert,
    ),
}


def require_packages(name: str) -> None:
    """Make sure that networks can be written in a format.

    Raises:
        ExportError: A package is missing; it names the extra that brings it.
    """
    missing = [package for package in FORMATS[name].to_write if find_spec(package) is None]
    if missing:
        raise ExportError(
            f"the format {name} needs {', '.join(missing)}; pip install 'mvdefect[{name}]' brings it"
        )


def write_network(name: str, network: Any, path: Path, calibration: Pixels | None) -> None:
    """Write a network in a format, without the chatter of converters; see `Format.write`."""
    with muted_stderr(), redirect_stdout(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        FORMATS[name].write(network, path, calibration)


def can_run(name: str) -> bool:
    """Whether what runs a format is installed here."""
    return all(find_spec(package) for package in FORMATS[name].to_run)


def open_network(name: str, path: Path, precision: str) -> Look:
    """Load a network.

    Raises:
        ExportError: It is damaged, or of another version of its runtime.
    """
    try:
        return FORMATS[name].open(path, precision)
    except (OSError, RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [repr(error)]
        raise ExportError(f"the network {path} cannot be loaded: {lines[0]}") from error
