"""TF Serving's REST: what a predict request holds, how it is answered, and the paths below `/v1/models`.

https://www.tensorflow.org/tfx/serving/api_rest describes it.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from mvdefect.evaluation.operating_point import DEFECTIVE, REVIEW
from mvdefect.inspector.answers import BYTES, DEFAULT, EXPLAIN, NO_PROBABILITY, OK, PIXELS, UNREADABLE, Answer
from mvdefect.inspector.photographs import encode_image
from mvdefect.server.image_headers import check_pixels
from mvdefect.server.refusals import Refusal, make_json
from mvdefect.server.service import Service
from mvdefect.server.settings import Limits

INPUTS = {DEFAULT: BYTES, PIXELS: PIXELS, EXPLAIN: BYTES}
KEYS = frozenset({"signature_name", "instances", "inputs"})


PATH = re.compile(r"(?P<name>[^/:]+)(?:/versions/(?P<version>\d{1,18}))?(?P<verb>:predict|/metadata)?")
METHOD = "tensorflow/serving/predict"
OUTPUTS = {
    "defective": "DT_BOOL",
    "label": "DT_STRING",
    "needs_review": "DT_BOOL",
    "novelty": "DT_FLOAT",
    "probability": "DT_FLOAT",
    "status": "DT_STRING",
}


@dataclass(frozen=True)
class PredictRequest:
    """What is asked.

    Attributes:
        files: Photographs.
        with_heatmaps: Whether heatmaps are wanted.
        is_columnar: Whether answers come as columns.
    """

    files: list[bytes]
    with_heatmaps: bool
    is_columnar: bool


def parse_predict(body: bytes, limits: Limits) -> PredictRequest:
    """Read the body of a predict request.

    Raises:
        Refusal: It is no such request, or its pixels are too many.
    """
    tree = parse_json(body)
    if not isinstance(tree, dict) or not tree.keys() <= KEYS or ("instances" in tree) == ("inputs" in tree):
        allowed = (
            "an object with either instances or inputs, and a signature_name where it is not the default"
        )
        raise Refusal(400, f"the body must be {allowed}")
    signature = tree.get("signature_name") or DEFAULT
    if not isinstance(signature, str) or signature not in INPUTS:
        names = ", ".join(INPUTS)
        raise Refusal(400, f"signature_name must be one of {names}. Received: {str(signature)[:80]}")
    is_columnar = "inputs" in tree
    given = _unwrap_columns(tree["inputs"], signature) if is_columnar else tree["instances"]
    if not isinstance(given, list) or not given:
        raise Refusal(400, "instances or inputs must be a list of one photograph at least")
    if not is_columnar:
        given = [_unwrap_row(one, signature) for one in given]
    if signature == PIXELS:
        return PredictRequest(encode_pixels(given, limits), False, is_columnar)
    return PredictRequest([decode_base64(one) for one in given], signature == EXPLAIN, is_columnar)


def parse_json(body: bytes) -> Any:
    """Read JSON.

    Raises:
        Refusal: It is none.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is no JSON: {str(error)[:200]}") from None


def _unwrap_columns(given: Any, signature: str) -> Any:
    name = INPUTS[signature]
    if isinstance(given, dict) and given.keys() == {name}:
        return given[name]
    return given


def _unwrap_row(given: Any, signature: str) -> Any:
    name = INPUTS[signature]
    if isinstance(given, dict) and "b64" not in given:
        if given.keys() != {name}:
            raise Refusal(400, f"an instance of {signature} has the input {name} and nothing else")
        return given[name]
    return given


def decode_base64(given: Any) -> bytes:
    """Return the bytes of `{"b64": ...}`; a plain string stands for itself.

    Raises:
        Refusal: It is neither.
    """
    if isinstance(given, str):
        return given.encode("utf-8", "surrogatepass")
    if not isinstance(given, dict) or given.keys() != {"b64"} or not isinstance(given["b64"], str):
        raise Refusal(400, 'a photograph must be {"b64": "<its bytes in base64>"}')
    try:
        return binascii.a2b_base64(given["b64"], strict_mode=True)
    except (binascii.Error, ValueError):
        raise Refusal(400, "what stands under b64 is no base64") from None


def encode_pixels(given: list[Any], limits: Limits) -> list[bytes]:
    """Return pixels as PNG files, which lose nothing.

    Args:
        given: RGB pixels of one size, lists (n, height, width, 3) of whole numbers from 0 to 255.
        limits: How many pixels a photograph may have.

    Raises:
        Refusal: They are something else.
    """
    try:
        pixels = np.asarray(given)
    except (ValueError, OverflowError):
        pixels = np.empty(0)
    fits = pixels.ndim == 4 and pixels.shape[3] == 3 and pixels.size > 0 and pixels.dtype.kind in "iu"
    if not fits or pixels.min() < 0 or pixels.max() > 255:
        raise Refusal(400, "pixels must be whole numbers from 0 to 255, (n, height, width, 3), of one size")
    check_pixels(pixels.shape[1] * pixels.shape[2], limits)
    return [encode_image(image) for image in pixels.astype(np.uint8)]


def format_answers(
    answers: Sequence[Answer], asked: PredictRequest, heatmap_shape: tuple[int, int]
) -> dict[str, Any]:
    """Return answers as TF Serving would, in rows or in columns.

    Args:
        answers: One a photograph.
        asked: What was asked.
        heatmap_shape: Of a photograph that cannot be read.
    """
    rows = [_format_row(answer, asked.with_heatmaps, heatmap_shape) for answer in answers]
    if asked.is_columnar:
        return {"outputs": {name: [row[name] for row in rows] for name in rows[0]}}
    return {"predictions": rows}


def _format_row(answer: Answer, with_heatmap: bool, heatmap_shape: tuple[int, int]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "probability": NO_PROBABILITY if answer.probability is None else answer.probability,
        "defective": answer.label == DEFECTIVE,
        "needs_review": answer.label in (REVIEW, UNREADABLE),
        "novelty": 0.0 if answer.novelty is None else answer.novelty,
        "label": answer.label,
        "status": OK if answer.is_readable else UNREADABLE,
    }
    if with_heatmap:
        heatmap = np.zeros(heatmap_shape) if answer.heatmap is None else answer.heatmap
        row["heatmap"] = heatmap.tolist()
    return row


@dataclass(frozen=True)
class ModelRoutes:
    """Answers for one model.

    Attributes:
        service: What inspects.
        name: Of the model.
        version: Of the export.
        heatmap_shape: Height and width of its heatmaps.
    """

    service: Service
    name: str
    version: int
    heatmap_shape: tuple[int, int]

    async def answer(self, request: Request) -> Response:
        """Answer what is asked of a path below `/v1/models/`.

        Raises:
            Refusal: There is no such model, or the request is malformed.
        """
        verb = self._find_verb(request)
        if verb == ":predict":
            return await self._predict(request)
        return make_json(self.describe_signatures() if verb == "/metadata" else self.describe_status())

    def _find_verb(self, request: Request) -> str:
        found = PATH.fullmatch(request.path_params["rest"])
        wanted = "POST" if found and found["verb"] == ":predict" else "GET"
        method = "GET" if request.method == "HEAD" else request.method
        malformed = f"Malformed request: {request.method} a path below /v1/models"
        if found is None:
            raise Refusal(404, malformed)
        if method != wanted:
            raise Refusal(405, f"{malformed}; this one takes {wanted}")
        if found["name"] != self.name:
            raise Refusal(
                404, f"Servable not found for request: this server has the model {self.name}", "unknown"
            )
        if found["version"] is not None and int(found["version"]) != self.version:
            reason = f"Servable not found for request: Specific({self.name}, {found['version']})"
            raise Refusal(404, reason, "unknown")
        return found["verb"] or ""

    async def _predict(self, request: Request) -> Response:
        async with self.service.intake.receive(request) as body:
            asked = parse_predict(body, self.service.limits)
            answers = await self.service.inspect(request, asked.files, asked.with_heatmaps)
        return make_json(format_answers(answers, asked, self.heatmap_shape))

    def describe_status(self) -> dict[str, Any]:
        """Return that the model is there."""
        status = {"error_code": "OK", "error_message": ""}
        return {
            "model_version_status": [{"version": str(self.version), "state": "AVAILABLE", "status": status}]
        }

    def describe_signatures(self) -> dict[str, Any]:
        """Return what goes in and what comes out of each signature."""
        signatures = {name: self._describe_signature(name) for name in INPUTS}
        return {
            "model_spec": {"name": self.name, "signature_name": "", "version": str(self.version)},
            "metadata": {"signature_def": {"signature_def": signatures}},
        }

    def _describe_signature(self, signature: str) -> dict[str, Any]:
        name = INPUTS[signature]
        shape = [-1] if name == BYTES else [-1, -1, -1, 3]
        dtype = "DT_STRING" if name == BYTES else "DT_UINT8"
        outputs = {key: (kind, [-1]) for key, kind in OUTPUTS.items()}
        if signature == EXPLAIN:
            outputs["heatmap"] = ("DT_FLOAT", [-1, *self.heatmap_shape])
        number = {EXPLAIN: "", PIXELS: "_1", DEFAULT: "_2"}[signature]
        return {
            "inputs": {name: _describe_tensor(f"{signature}_{name}:0", dtype, shape)},
            "outputs": {
                key: _describe_tensor(f"StatefulPartitionedCall{number}:{place}", *outputs[key])
                for place, key in enumerate(sorted(outputs))
            },
            "method_name": METHOD,
        }


def _describe_tensor(name: str, dtype: str, shape: list[int]) -> dict[str, Any]:
    dims = [{"size": str(size), "name": ""} for size in shape]
    return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": name}
