"""What a predict request of TF Serving's REST holds; it is counted before it is read."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from mvdefect.core.files import parse_json
from mvdefect.inspector.answers import BYTES, DEFAULT, EXPLAIN, PIXELS
from mvdefect.inspector.photographs import encode_image
from mvdefect.server.image_headers import check_pixels
from mvdefect.server.refusals import Refusal
from mvdefect.server.settings import Limits

INPUTS = {DEFAULT: BYTES, PIXELS: PIXELS, EXPLAIN: BYTES}
KEYS = frozenset({"signature_name", "instances", "inputs"})
IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"RIFF", b"II*\0", b"MM\0*")
SIGNS_OF_VALUES = (b"[", b"{", b",", b"\\")  # before each value there is one of the first three
MAX_ANSWERED_VALUES = 200_000  # of heatmaps
NO_PIXELS = "pixels must be whole numbers from 0 to 255, (n, height, width, 3), of one size"


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


def parse_predict(body: bytes, limits: Limits, heatmap_values: int) -> PredictRequest:
    """Read the body of a predict request.

    Args:
        body: JSON, its values counted.
        limits: How many photographs it may hold.
        heatmap_values: How many there are in a heatmap of the answer.

    Raises:
        Refusal: It is no such request, or holds too much.
    """
    return read_predict(parse_body(body), limits, heatmap_values)


def read_predict(tree: Any, limits: Limits, heatmap_values: int) -> PredictRequest:
    """Read a predict request whose JSON was parsed; see `parse_predict`."""
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
    most = max(1, MAX_ANSWERED_VALUES // heatmap_values) if signature == EXPLAIN else limits.queue_length
    check_number(len(given), min(most, limits.queue_length))
    if not is_columnar:
        given = [_unwrap_row(one, signature) for one in given]
    if signature == PIXELS:
        return PredictRequest(encode_pixels(given, limits), False, is_columnar)
    return PredictRequest([decode_base64(one) for one in given], signature == EXPLAIN, is_columnar)


def count_values(body: bytes, limits: Limits) -> int:
    """Return about how many values JSON holds, without reading it; refuse what would become millions.

    Raises:
        Refusal: It may hold too many values.
    """
    count = 1 + sum(body.count(sign) for sign in SIGNS_OF_VALUES)
    if count > limits.max_json_values:
        reason = f"a request may hold {limits.max_json_values:,} values. Received: about {count:,}"
        raise Refusal(413, reason, "size")
    return count


def check_number(photographs: int, allowed: int) -> None:
    """Refuse more photographs than are allowed.

    Raises:
        Refusal: They are.
    """
    if photographs > allowed:
        raise Refusal(413, f"a request may hold {allowed} photographs. Received: {photographs}", "size")


def parse_body(body: bytes) -> Any:
    """Return the JSON of a body.

    Raises:
        Refusal: It is none.
    """
    try:
        return parse_json(body)
    except ValueError as error:
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
    """Return the bytes of `{"b64": ...}`; a plain string stands for itself, as in TF Serving.

    White space and missing padding do not matter: several languages break the lines of base64.

    Raises:
        Refusal: It is neither, or a string that is an image in base64, which nothing else would tell.
    """
    if isinstance(given, str):
        if _is_image_in_base64(given):
            raise Refusal(400, 'a string stands for its own bytes; send base64 as {"b64": "<base64>"}')
        return given.encode("utf-8", "surrogatepass")
    if not isinstance(given, dict) or given.keys() != {"b64"} or not isinstance(given["b64"], str):
        raise Refusal(400, 'a photograph must be {"b64": "<its bytes in base64>"}')
    try:
        return binascii.a2b_base64(given["b64"], strict_mode=True)
    except ValueError:  # binascii.Error as well
        text = "".join(given["b64"].split())
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise Refusal(400, "what stands under b64 is no base64") from None


def _is_image_in_base64(text: str) -> bool:
    if text.startswith("data:image/"):
        return True
    try:
        return binascii.a2b_base64(text[:16]).startswith(IMAGE_STARTS)
    except ValueError:
        return False


def encode_pixels(given: list[Any], limits: Limits) -> list[bytes]:
    """Return pixels as PNG files, which lose nothing.

    Args:
        given: RGB pixels of one size, lists (n, height, width, 3) of whole numbers from 0 to 255.
        limits: How many pixels a photograph may have.

    Raises:
        Refusal: They are something else.
    """
    level: Sequence[Any] = given
    shape = [len(given)]
    for _ in range(3):
        lengths = {len(one) if type(one) is list else -1 for one in level}
        if len(lengths) != 1 or not lengths.isdisjoint({0, -1}):
            raise Refusal(400, NO_PIXELS)
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level))
    if shape[3] != 3 or set(map(type, level)) != {int} or min(level) < 0 or max(level) > 255:
        raise Refusal(400, NO_PIXELS)
    pixels = np.array(level, np.uint8).reshape(shape)
    check_pixels(pixels.shape[1] * pixels.shape[2], limits)
    return [encode_image(image) for image in pixels]
