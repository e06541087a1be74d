"""Requests by gRPC: `PredictionService.Predict` of TensorFlow Serving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mvdefect.client.addresses import Address
from mvdefect.client.answers import read_answers
from mvdefect.client.retries import RefusedError
from mvdefect.core.errors import ConfigError
from mvdefect.evaluation.operating_point import MEAN_NOVELTY
from mvdefect.inspector.answers import BYTES, EXPLAIN, FOREIGN_OUTPUT, Answer

MESSAGE_BYTES = 64 << 20
OUTPUTS = ("label", "status", "probability", "novelty")
OPTIONAL_OUTPUTS = ("error", FOREIGN_OUTPUT, MEAN_NOVELTY)  # exports of version 0.1.0 have none
MAY_PASS = ("UNAVAILABLE", "RESOURCE_EXHAUSTED")
TOO_LARGE = "larger than max"  # gRPC has no code of its own for it
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class GrpcSender:
    """Sends requests to one address, over one channel.

    Args:
        address: The server's.
        token: Sent as a bearer token.

    Attributes:
        largest_bytes: What the photographs of a request may have together.

    Raises:
        ConfigError: The package `tensorflow-serving-api` is missing.
    """

    largest_bytes = MESSAGE_BYTES

    def __init__(self, address: Address, token: str | None) -> None:
        try:
            import grpc
            from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
        except ImportError as error:
            raise ConfigError(
                f"tensorflow-serving-api is needed: pip install 'mvdefect[client]' ({error})"
            ) from error
        self._failure = grpc.RpcError
        self._address = address
        self._request = predict_pb2.PredictRequest
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        channel = (
            grpc.secure_channel(address.host, grpc.ssl_channel_credentials(), UNLIMITED)
            if address.is_private
            else grpc.insecure_channel(address.host, UNLIMITED)
        )
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict

    def __call__(self, files: Sequence[bytes], signature: str, timeout_s: float) -> list[Answer]:
        """Return what the server says of files.

        Raises:
            RefusedError: It says nothing, or something that an inspector would not.
        """
        try:
            found = self._predict(self._write(files, signature), timeout_s, metadata=self._metadata)
        except self._failure as error:
            code, details = error.code().name, " ".join(str(error.details()).split())
            raise RefusedError(
                f"it answers {code}: {details}",
                may_pass=code in MAY_PASS,
                is_too_large=code == "RESOURCE_EXHAUSTED" and TOO_LARGE in details,
            ) from error
        return read_answers(_read_outputs(found, signature), len(files), signature == EXPLAIN)

    def _write(self, files: Sequence[bytes], signature: str) -> Any:
        import tensorflow as tf

        request = self._request()
        request.model_spec.name = self._address.name
        request.model_spec.signature_name = signature
        if self._address.version is not None:
            request.model_spec.version.value = self._address.version
        request.inputs[BYTES].CopyFrom(tf.make_tensor_proto(list(files), shape=[len(files)]))
        return request


def _read_outputs(found: Any, signature: str) -> list[dict[str, Any]]:
    """Return the outputs of each photograph by name."""
    import tensorflow as tf

    names = (*OUTPUTS, "heatmap") if signature == EXPLAIN else OUTPUTS
    missing = [name for name in names if name not in found.outputs]
    if missing:
        raise RefusedError(f"its answer is not that of an inspector: {', '.join(missing)} is missing")
    try:
        told = (*names, *(name for name in OPTIONAL_OUTPUTS if name in found.outputs))
        arrays = {name: tf.make_ndarray(found.outputs[name]) for name in told}
        return [
            {name: value.decode() if isinstance(value, bytes) else value for name, value in one.items()}
            for one in (dict(zip(arrays, row, strict=True)) for row in zip(*arrays.values(), strict=True))
        ]
    except (TypeError, ValueError) as error:
        raise RefusedError(f"its answer is not that of an inspector: {error}") from error
