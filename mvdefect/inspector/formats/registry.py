"""The formats of exports, by name: to add one, write its file and list it here."""

from __future__ import annotations

from importlib.util import find_spec

from mvdefect.core.errors import ExportError
from mvdefect.core.runtime import TENSORFLOW
from mvdefect.inspector.formats.format import BFLOAT16, FLOAT32, INT8, Format
from mvdefect.inspector.formats.networks import NetworkFormat, Runtime
from mvdefect.inspector.formats.savedmodel import SavedModel


def _import_onnx() -> Runtime:
    from mvdefect.inspector.formats import onnx

    return onnx


def _import_openvino() -> Runtime:
    from mvdefect.inspector.formats import openvino

    return openvino


def _import_litert() -> Runtime:
    from mvdefect.inspector.formats import litert

    return litert


LISTED: tuple[Format, ...] = (
    SavedModel(
        name="savedmodel",
        noun="a SavedModel",
        file="saved_model.pb",
        precisions=(FLOAT32,),
        to_write=(TENSORFLOW,),
        to_run=(TENSORFLOW,),
        brings=TENSORFLOW,
        has_folder=False,
    ),
    NetworkFormat(
        name="onnx",
        noun="an ONNX network",
        file="network.onnx",
        precisions=(FLOAT32, INT8),
        to_write=("tf2onnx", "onnx", "onnxruntime"),
        to_run=("onnxruntime",),
        brings="mvdefect[onnx]",
        runtime=_import_onnx,
    ),
    NetworkFormat(
        name="openvino",
        noun="an OpenVINO network",
        file="network.xml",
        precisions=(FLOAT32, BFLOAT16, INT8),
        to_write=("openvino", "nncf"),
        to_run=("openvino",),
        brings="mvdefect[openvino]",
        runtime=_import_openvino,
    ),
    NetworkFormat(
        name="litert",
        noun="a LiteRT network",
        file="network.tflite",
        precisions=(FLOAT32, INT8),
        to_write=("ai_edge_litert",),
        to_run=("ai_edge_litert",),
        brings="mvdefect[litert]",
        runtime=_import_litert,
    ),
)
FORMATS = {one.name: one for one in LISTED}
DEFAULT_FORMAT = LISTED[0].name


def require_packages(name: str) -> None:
    """Make sure that a format can be written.

    Raises:
        ExportError: A package is missing; it says what brings it.
    """
    missing = [package for package in FORMATS[name].to_write if find_spec(package) is None]
    if missing:
        raise ExportError(
            f"the format {name} needs {', '.join(missing)}; pip install '{FORMATS[name].brings}' brings it"
        )


def can_run(name: str) -> bool:
    """Whether what runs a format is installed here."""
    return all(find_spec(package) for package in FORMATS[name].to_run)
