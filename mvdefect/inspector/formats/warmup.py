"""Requests that TF Serving answers to itself before it answers anybody, so that the first one is not slow.

`assets.extra/tf_serving_warmup_requests` is a TFRecord file of `PredictionLog` messages (tensorflow/serving,
`apis/prediction_log.proto`). Its few fields are written here by hand: the package that has the messages is
for clients, and an export should not need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from mvdefect.inspector.answers import BYTES, DEFAULT, EXPLAIN, PIXELS

PLACE = "assets.extra"
FILE = "tf_serving_warmup_requests"
PREDICT_LOG, REQUEST = 6, 1  # field numbers of PredictionLog and PredictLog
MODEL_SPEC, INPUTS = 1, 2  # of PredictRequest
MODEL_NAME, SIGNATURE_NAME = 1, 3  # of ModelSpec
KEY, VALUE = 1, 2  # of an entry of a map
LENGTH_DELIMITED = 2  # wire type


def write_warmup(export: Path, name: str, photograph: bytes) -> Path:
    """Write one request a signature.

    Args:
        export: The SavedModel.
        name: Under which TF Serving offers it.
        photograph: The file that it is asked about.
    """
    files, pixels = tf.constant([photograph]), tf.zeros((1, 64, 64, 3), tf.uint8)
    requests = {DEFAULT: {BYTES: files}, PIXELS: {PIXELS: pixels}, EXPLAIN: {BYTES: files}}
    path = export / PLACE / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            writer.write(encode_request(name, signature, inputs))
    return path


def encode_request(name: str, signature: str, inputs: Mapping[str, tf.Tensor]) -> bytes:
    """Return a serialised `PredictionLog` with one `PredictRequest`."""
    spec = _field(MODEL_NAME, name.encode()) + _field(SIGNATURE_NAME, signature.encode())
    request = _field(MODEL_SPEC, spec)
    for key, tensor in inputs.items():
        value = tf.make_tensor_proto(tensor).SerializeToString()
        request += _field(INPUTS, _field(KEY, key.encode()) + _field(VALUE, value))
    return _field(PREDICT_LOG, _field(REQUEST, request))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Write a number in groups of seven bits, the lowest first; all but the last have the eighth bit set."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
