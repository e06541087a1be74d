"""Asking by gRPC: what is sent, what is asked again, and what is made of bad answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from mvdefect.client.client import open_client
from mvdefect.client.retries import Patience
from mvdefect.core.errors import ServerError
from tests.client.services import FakePredictionService, run_grpc_server


def count(request: Any) -> int:
    return int(request.inputs["image_bytes"].tensor_shape.dim[0].size)


def answer_good(request: Any, _context: Any) -> dict[str, Any]:
    n = count(request)
    return {
        "label": np.array([b"good"] * n),
        "status": np.array([b"ok"] * n),
        "probability": np.full(n, 0.1, np.float32),
        "novelty": np.full(n, 1.5, np.float32),
    }


def fail_first(code: grpc.StatusCode, times: int) -> Callable[[Any, Any], dict[str, Any]]:
    left = [times]

    def answer(request: Any, context: Any) -> dict[str, Any]:
        if left[0]:
            left[0] -= 1
            context.abort(code, "not now")
        return answer_good(request, context)

    return answer


def test_a_request_names_model_version_and_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVDEFECT_TOKEN", "s3cret")
    service = FakePredictionService(answer_good)
    with run_grpc_server(service) as root:
        (answer,) = open_client(f"{root}/parts/3")([b"\x00\xff"])
        open_client(f"{root}/parts")([b"x", b"y"])
    first, second = service.requests
    assert (first.model_spec.name, first.model_spec.version.value) == ("parts", 3)
    assert first.model_spec.signature_name == "serving_default"
    assert list(first.inputs["image_bytes"].string_val) == [b"\x00\xff"]
    assert not second.model_spec.HasField("version")
    assert count(second) == 2
    assert service.metadata[0]["authorization"] == "Bearer s3cret"
    assert (answer.label, answer.probability) == ("good", float(np.float32(0.1)))


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_what_may_pass_is_asked_again(code: grpc.StatusCode) -> None:
    service = FakePredictionService(fail_first(code, 2))
    with run_grpc_server(service) as root:
        assert open_client(f"{root}/parts")([b"x"])[0].label == "good"
        assert len(service.requests) == 3
        service.answer = fail_first(code, 9)
        with pytest.raises(ServerError, match=rf"answers {code.name}: not now \(asked 2 times\)"):
            open_client(f"{root}/parts", Patience(retries=1))([b"x"])


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAUTHENTICATED])
def test_what_will_not_pass_is_asked_once(code: grpc.StatusCode) -> None:
    service = FakePredictionService(fail_first(code, 1))
    with run_grpc_server(service) as root, pytest.raises(ServerError, match=f"answers {code.name}"):
        open_client(f"{root}/parts")([b"x"])
    assert len(service.requests) == 1


def test_a_deadline_holds() -> None:
    def wait(request: Any, context: Any) -> dict[str, Any]:
        while context.is_active():
            pass
        return answer_good(request, context)

    server = run_grpc_server(FakePredictionService(wait))
    with server as root, pytest.raises(ServerError, match="DEADLINE_EXCEEDED"):
        open_client(f"{root}/parts", Patience(0.3, 5))([b"x"])


def test_what_is_too_large_together_is_sent_by_halves() -> None:
    service = FakePredictionService(answer_good)
    files = [b"x" * 100_000] * 5 + [b"x" * 400_000] + [b"x" * 100_000] * 4
    with run_grpc_server(service, 300_000) as root:
        answers = open_client(f"{root}/parts")(files)
    assert [number for number, answer in enumerate(answers) if not answer.is_readable] == [5]
    assert "too large for the server" in answers[5].error
    assert sum(map(count, service.requests)) == 9


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label": None}, "label is missing"),
        ({"label": np.array([b"cat"])}, "label 'cat'"),
        ({"novelty": np.zeros(2, np.float32)}, "not that of an inspector"),
        ({"status": np.array(b"ok")}, "not that of an inspector"),
    ],
)
def test_nonsense_is_told(changes: dict[str, Any], said: str) -> None:
    def answer(request: Any, context: Any) -> dict[str, Any]:
        found = {**answer_good(request, context), **changes}
        return {name: value for name, value in found.items() if value is not None}

    with run_grpc_server(FakePredictionService(answer)) as root, pytest.raises(ServerError, match=said):
        open_client(f"{root}/parts")([b"x"])
