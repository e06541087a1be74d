"""The paths below `/v1/models`, as TF Serving has them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from mvdefect.serving.answers import BYTES, DEFAULT, EXPLAIN, PIXELS
from mvdefect.serving.server.dialect import INPUTS, format_answers, parse_predict
from mvdefect.serving.server.refusals import Refusal, make_json
from mvdefect.serving.server.service import Service

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
