"""TF Serving's REST: how a predict request is answered, and the paths below `/v1/models`.

https://www.tensorflow.org/tfx/serving/api_rest describes it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from mvdefect.evaluation.operating_point import DEFECTIVE, MEAN_NOVELTY, REVIEW
from mvdefect.evaluation.regions import describe_regions
from mvdefect.inspector.answers import (
    BYTES,
    DEFAULT,
    EXPLAIN,
    FOREIGN_OUTPUT,
    NO_PROBABILITY,
    OK,
    PIXELS,
    REGIONS,
    UNREADABLE,
    Answer,
)
from mvdefect.server.parts import format_part, judge_part, make_judge, parse_part
from mvdefect.server.predict_request import INPUTS, PredictRequest, count_values, parse_predict
from mvdefect.server.refusals import Refusal, make_json
from mvdefect.server.service import SMALL_BYTES, Service
from mvdefect.server.versions import Served, Version

PATH = re.compile(
    r"(?P<name>[^/:]+)(?:/versions/(?P<version>\d{1,18}))?(?P<verb>:predict|:part|/metadata)?/?"
)
QUICK_VALUES = 1000
ALLOWED = "allowed are NAME and NAME/versions/NUMBER, alone or with :predict, :part or /metadata behind"
METHOD = "tensorflow/serving/predict"
OUTPUTS = {
    "defective": "DT_BOOL",
    "error": "DT_STRING",
    "label": "DT_STRING",
    "needs_review": "DT_BOOL",
    FOREIGN_OUTPUT: "DT_BOOL",
    MEAN_NOVELTY: "DT_FLOAT",
    "novelty": "DT_FLOAT",
    "probability": "DT_FLOAT",
    "status": "DT_STRING",
}


def format_answers(
    answers: Sequence[Answer], asked: PredictRequest, heatmap_shape: tuple[int, int]
) -> dict[str, Any]:
    """Return answers as TF Serving would, in rows or in columns.

    Args:
        answers: One a photograph.
        asked: What was asked.
        heatmap_shape: Of a photograph that cannot be read.
    """
    knows_regions = any(answer.regions is not None for answer in answers)
    rows = [_format_row(answer, asked.with_heatmaps, heatmap_shape, knows_regions) for answer in answers]
    if asked.is_columnar:
        return {"outputs": {name: [row[name] for row in rows] for name in rows[0]}}
    return {"predictions": rows}


def _format_row(
    answer: Answer, with_heatmap: bool, heatmap_shape: tuple[int, int], knows_regions: bool
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "probability": NO_PROBABILITY if answer.probability is None else answer.probability,
        "defective": answer.label == DEFECTIVE,
        "needs_review": answer.label in (REVIEW, UNREADABLE),
        FOREIGN_OUTPUT: answer.is_foreign,
        "novelty": 0.0 if answer.novelty is None else answer.novelty,
        MEAN_NOVELTY: 0.0 if answer.mean_novelty is None else answer.mean_novelty,
        "label": answer.label,
        "status": OK if answer.is_readable else UNREADABLE,
        "error": answer.error,
    }
    if with_heatmap:
        heatmap = np.zeros(heatmap_shape) if answer.heatmap is None else answer.heatmap
        row["heatmap"] = heatmap.tolist()
        if knows_regions:
            row[REGIONS] = describe_regions(answer.regions or ())
    return row


@dataclass(frozen=True)
class ModelRoutes:
    """Answers for one model.

    Attributes:
        service: What inspects.
        served: The version of the model.
    """

    service: Service
    served: Served

    async def answer(self, request: Request) -> Response:
        """Answer what is asked of a path below `/v1/models/`.

        Raises:
            Refusal: There is no such model, or the request is malformed.
        """
        version = self.served.now
        verb = _find_verb(request, version)
        if verb == ":predict":
            return await self._predict(request, version)
        if verb == ":part":
            return await self._judge(request, version)
        return make_json(describe_signatures(version) if verb == "/metadata" else describe_status(version))

    async def _predict(self, request: Request, version: Version) -> Response:
        async with self.service.intake.receive(request) as body:
            size, work, limits = len(body), self.service.work, self.service.limits
            height, width = version.heatmap_shape
            is_small = size <= SMALL_BYTES
            values = await work(size, count_values, body, limits, is_quick=is_small)
            is_quick = is_small and values <= QUICK_VALUES
            asked = await work(size, parse_predict, body, limits, height * width, is_quick=is_quick)
            answers = await self.service.inspect(request, version.engine, asked.files, asked.with_heatmaps)
        is_quick &= not asked.with_heatmaps
        return await work(size, _make_response, answers, asked, version, is_quick=is_quick)

    async def _judge(self, request: Request, version: Version) -> Response:
        """Answer for one part that several images show."""
        judge = make_judge(version)
        async with self.service.intake.receive(request) as body:
            size, work, limits = len(body), self.service.work, self.service.limits
            is_small = size <= SMALL_BYTES
            values = await work(size, count_values, body, limits, is_quick=is_small)
            is_quick = is_small and values <= QUICK_VALUES
            asked = await work(size, parse_part, body, limits, is_quick=is_quick)
            answers = await self.service.inspect(request, version.engine, asked.images.files, False)
        part = format_part(judge_part(judge, answers, asked))
        return make_json({"part": part, **format_answers(answers, asked.images, version.heatmap_shape)})


def _make_response(answers: Sequence[Answer], asked: PredictRequest, version: Version) -> Response:
    return make_json(format_answers(answers, asked, version.heatmap_shape))


def _find_verb(request: Request, version: Version) -> str:
    found = PATH.fullmatch(request.path_params["rest"])
    wanted = "POST" if found and found["verb"] in (":predict", ":part") else "GET"
    method = "GET" if request.method == "HEAD" else request.method
    malformed = f"Malformed request: {request.method} a path below /v1/models"
    if found is None:
        raise Refusal(404, f"{malformed}; {ALLOWED}")
    if method != wanted:
        raise Refusal(405, f"{malformed}; this one takes {wanted}")
    if found["name"] != version.name:
        raise Refusal(
            404, f"Servable not found for request: this server has the model {version.name}", "unknown"
        )
    if found["version"] is not None and int(found["version"]) != version.number:
        reason = f"Servable not found for request: Specific({version.name}, {found['version']})"
        raise Refusal(404, reason, "unknown")
    return found["verb"] or ""


def describe_status(version: Version) -> dict[str, Any]:
    """Return that the model is there."""
    status = {"error_code": "OK", "error_message": ""}
    return {
        "model_version_status": [{"version": str(version.number), "state": "AVAILABLE", "status": status}]
    }


def describe_signatures(version: Version) -> dict[str, Any]:
    """Return what goes in and what comes out of each signature."""
    signatures = {name: _describe_signature(name, version) for name in INPUTS}
    return {
        "model_spec": {"name": version.name, "signature_name": "", "version": str(version.number)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _describe_signature(signature: str, version: Version) -> dict[str, Any]:
    name = INPUTS[signature]
    shape = [-1] if name == BYTES else [-1, -1, -1, 3]
    dtype = "DT_STRING" if name == BYTES else "DT_UINT8"
    outputs = {key: (kind, [-1]) for key, kind in OUTPUTS.items()}
    if signature == EXPLAIN:
        outputs["heatmap"] = ("DT_FLOAT", [-1, *version.heatmap_shape])
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
