"""Servers that tests ask: `mvdefect serve`, a small one by gRPC, and TensorFlow Serving where it is found."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODEL_SERVER = shutil.which("tensorflow_model_server")
START_S = 120
ADDRESS = re.compile(r"(http://[\d.]+:\d+)\(Ctrl-C")


@dataclass(frozen=True)
class Service:
    """A server under test.

    Attributes:
        url: Of the model.
        is_ours: Whether it serves the export of the tests, so that its answers are known.
    """

    url: str
    is_ours: bool = True

    @property
    def is_rest(self) -> bool:
        return self.url.startswith("http")


@contextmanager
def run_mvdefect_serve(export: Path, folder: Path) -> Iterator[str]:
    """Yield the address of `mvdefect serve` in a process of its own."""
    command = [sys.executable, "-m", "mvdefect", "serve", str(export), "--port", "0"]
    log = folder / "serve.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, "--corrections", str(folder / "corrections"), "--rate", "0"],
            stderr=stream,
            cwd=Path(__file__).parents[2],
            env={name: value for name, value in os.environ.items() if name != "MVDEFECT_TOKEN"},
        )
    try:
        # The line may be broken where a terminal would break it.
        found = wait_for(lambda: ADDRESS.search("".join(log.read_text().split())), process, log)
        yield f"{found[1]}/v1/models/parts"
    finally:
        process.terminate()
        process.wait(30)


def wait_for(look: Callable[[], Any], process: subprocess.Popen[bytes], log: Path) -> Any:
    """Return what is found, as soon as something is."""
    ends = time.monotonic() + START_S
    while time.monotonic() < ends and process.poll() is None:
        if found := look():
            return found
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")


@contextmanager
def run_model_server(export: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the addresses of a real TensorFlow Serving, by REST and by gRPC."""
    rest, grpc_port = find_port(), find_port()
    log = folder / "model_server.log"
    command = [str(MODEL_SERVER), f"--rest_api_port={rest}", f"--port={grpc_port}", "--model_name=parts"]
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, f"--model_base_path={export.parent}"], stderr=stream, stdout=stream
        )

    def look() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{rest}/v1/models/parts", timeout=1) as answer:
                return b"AVAILABLE" in answer.read()
        except OSError:
            return False

    try:
        wait_for(look, process, log)
        yield f"http://127.0.0.1:{rest}/v1/models/parts", f"grpc://127.0.0.1:{grpc_port}/parts"
    finally:
        process.terminate()
        process.wait(30)


def find_port() -> int:
    """Return a port that is free."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class FakePredictionService:
    """`PredictionService.Predict` as a test wants it.

    Attributes:
        answer: From a request and a call's context to outputs by name.
        requests: What it was asked.
        metadata: What came beside each.
    """

    answer: Callable[[Any, Any], dict[str, Any]]
    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)

    def predict(self, request: Any, context: Any) -> Any:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        response = predict_pb2.PredictResponse()
        for name, value in self.answer(request, context).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


@contextmanager
def run_grpc_server(service: FakePredictionService, largest_bytes: int = -1) -> Iterator[str]:
    """Yield the address of a service by gRPC in this process, without a path."""
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request: Any, context: Any) -> Any:
            return service.predict(request, context)

    limits = [("grpc.max_receive_message_length", largest_bytes), ("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(4), options=limits)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def serve_saved_model(export: Path) -> FakePredictionService:
    """Return a service that asks a SavedModel, as TensorFlow Serving does."""
    import grpc
    import tensorflow as tf

    model = tf.saved_model.load(str(export))

    def answer(request: Any, context: Any) -> dict[str, Any]:
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else int(export.name)
        if (spec.name, version) != ("parts", int(export.name)):
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {spec.name}")
        given = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        return {name: value.numpy() for name, value in model.signatures[spec.signature_name](**given).items()}

    return FakePredictionService(answer)
