"""TF Serving's dialect of REST: what a predict request holds, and how it is answered.

https://www.tensorflow.org/tfx/serving/api_rest describes it.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from mvdefect.evaluation.operating_point import DEFECTIVE, REVIEW
from mvdefect.serving.answers import BYTES, DEFAULT, EXPLAIN, NO_PROBABILITY, OK, PIXELS, UNREADABLE, Answer
from mvdefect.serving.server.headers import check_pixels
from mvdefect.serving.server.refusals import Refusal
from mvdefect.serving.server.settings import Limits

INPUTS = {DEFAULT: BYTES, PIXELS: PIXELS, EXPLAIN: BYTES}
KEYS = frozenset({"signature_name", "instances", "inputs"})


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
    flags = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    turned = np.ascontiguousarray(pixels[..., ::-1].astype(np.uint8))  # OpenCV writes BGR
    return [cv2.imencode(".png", one, flags)[1].tobytes() for one in turned]


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
