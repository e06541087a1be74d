"""The inspection page: what it is told of the inspector, of an image, and how a correction is stored."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from scipy.special import expit
from starlette.requests import Request
from starlette.responses import Response

from mvdefect.evaluation.contracts import parse_contract
from mvdefect.evaluation.figures import FIGURES
from mvdefect.evaluation.operating_point import (
    FOREIGN_NUMBERS,
    HELD_OUT,
    NOT_THIS_PRODUCT,
    find_foreign_limit,
)
from mvdefect.evaluation.overlays import COLOURS, MAX_OPACITY
from mvdefect.evaluation.regions import describe_regions
from mvdefect.inspector.answers import REGIONS, UNKNOWN_FILE, Answer
from mvdefect.inspector.places import parse_size
from mvdefect.report.wording import describe_protocol, format_percent, format_probability
from mvdefect.server.corrections import Corrections
from mvdefect.server.refusals import Refusal, make_json
from mvdefect.server.service import Service
from mvdefect.server.settings import Limits
from mvdefect.server.versions import Served

SHOWN = ("recall", "false_alarm_rate", "roc_auc")
NOTHING_PROMISED = "That is what it came to on those photographs, and no promise for fresh ones."


CONTENT_TYPE = "application/octet-stream"  # which no form of a foreign page can send


def describe_inspector(manifest: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Return what the page shows of an inspector and needs for its heatmaps, as a tree for JSON."""
    point = manifest["operating_point"]
    colours = (255 * mpl.colormaps[COLOURS](np.linspace(0, 1, 256))[:, :3]).round().astype(int)
    return {
        "name": manifest["name"],
        "version": manifest["version"],
        "image_size_px": list(parse_size(manifest)),
        "resize": manifest["resize"],
        "threshold": point["probability"],
        "threshold_words": format_probability(point["probability"]),
        "threshold_detail": describe_threshold(point),
        "novelty_detail": describe_novelty(point),
        "contract": describe_contract(point),
        "guarantee": describe_guarantee(point),
        "measured": describe_figures(manifest["figures"]),
        "colours": colours.tolist(),
        "max_opacity": MAX_OPACITY,
        "max_upload_mb": limits.max_upload_mb,
        "max_megapixels": limits.max_megapixels,
    }


def describe_contract(point: dict[str, Any]) -> str:
    """Say by what the threshold was chosen, and on what."""
    contract = parse_contract(point["contract"])
    achieved = point["achieved"]
    chosen = {
        "f1": f"for the best F1, which came to {achieved:.3f}",
        "min-recall": f"to catch {100 * contract.value:g}% of the defective photographs at least; "
        f"it caught {format_percent(achieved)}",
        "max-fpr": f"to reject {100 * contract.value:g}% of the good photographs at most; "
        f"it rejected {format_percent(achieved)}",
        "cost": f"for the least cost, where a false alarm costs {contract.price:g} and a missed defect "
        f"{contract.value:g}; that came to {achieved:.3g}",
        "fixed": "by hand",
        "requirement": f"by the requirement {contract.requirement}",
    }[contract.kind]
    part = {"val": "the validation photographs", HELD_OUT: f"those of {HELD_OUT}"}
    return f"The threshold was chosen {chosen}, on {part.get(point['part'], point['part'])}."


def describe_threshold(point: dict[str, Any]) -> str:
    """Say what is called defective, and when a person decides."""
    words = "defective from here on"
    if point["verdict"] == "either":
        words += ", or by its novelty"
    if point["review"]:
        low, high = (format_probability(float(expit(score))) for score in point["review"])
        words += f"; between {low} and {high} a person decides"
    return words


def describe_novelty(point: dict[str, Any]) -> str:
    """Say what the novelty is, and from where on it is unusual."""
    words, limit = "how unlike good photographs it is", point["thresholds"].get("novelty")
    if limit is None:
        return words
    words = f"{words}; {'defective' if point['verdict'] == 'either' else 'unusual'} from {limit:.4g} on"
    if (foreign := find_foreign_limit(point["thresholds"])) is None:
        return words
    number = FOREIGN_NUMBERS[foreign[0]]
    return f"{words}; {NOT_THIS_PRODUCT} if the {number} is {foreign[1]:.4g} or more"


def describe_guarantee(point: dict[str, Any]) -> str:
    """Say what holds on fresh photographs."""
    text = point["guarantee"]
    return f"{text[0].upper()}{text[1:]}." if text else NOTHING_PROMISED


def describe_figures(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return what was measured on the test part: a heading and rows of name, value and interval."""
    rows = []
    for name in SHOWN:
        figure = evaluation["figures"].get(name)
        if figure is not None and all(
            isinstance(figure[key], int | float) for key in ("value", "low", "high")
        ):
            write = format_percent if name != "roc_auc" else "{:.3f}".format
            interval = f"{write(figure['low'])} to {write(figure['high'])}"
            rows.append([FIGURES[name].label, write(figure["value"]), interval])
    heading = (
        f"Measured on {evaluation['images']} test photographs, with 95% intervals. "
        f"Protocol {evaluation['protocol']}: {describe_protocol(evaluation['protocol'])}"
    )
    return {"heading": heading, "rows": rows}


@dataclass(frozen=True)
class InspectionRoutes:
    """Answers for the page.

    Attributes:
        service: What inspects.
        corrections: Where corrections go.
        served: The version of the inspector.
    """

    service: Service
    corrections: Corrections
    served: Served

    async def describe(self, _request: Request) -> Response:
        """Return what is known of the inspector."""
        return make_json(describe_inspector(self.served.now.manifest, self.service.limits))

    async def inspect(self, request: Request) -> Response:
        """Inspect one photograph, the body of the request.

        Raises:
            Refusal: It cannot be inspected.
        """
        check_content_type(request)
        version = self.served.now
        async with self.service.intake.receive(request) as body:
            answer = (await self.service.inspect(request, version.engine, [body], with_heatmaps=True))[0]
        if not answer.is_readable:
            reason = f"This file cannot be inspected: {answer.error or UNKNOWN_FILE}."
            raise Refusal(422, reason, "unreadable")
        return make_json(format_answer(answer, *version.manifest["heat_range"]))

    async def correct(self, request: Request) -> Response:
        """Store a photograph, the body of the request, under the class in the query.

        Raises:
            Refusal: It cannot be stored.
        """
        check_content_type(request)
        label, said = (request.query_params.get(name, "") for name in ("label", "said"))
        manifest = self.served.now.manifest
        if said and said not in manifest["labels"]:
            raise Refusal(400, f"said must be one of {', '.join(manifest['labels'])}")
        async with self.service.intake.receive(request) as body:
            inspector = f"{manifest['name']}/{manifest['version']}"
            found = await self.corrections.take(body, label, said, inspector)
        self.service.metrics.corrections.labels(found.label).inc()
        return make_json(asdict(found))

    async def keep_region(self, request: Request) -> Response:
        """Store a mask that was painted, the body of the request, for the fit of a new inspector.

        Raises:
            Refusal: It is no mask, nothing of it counts, or it cannot be stored.
        """
        check_content_type(request)
        async with self.service.intake.receive(request) as body:
            found = await self.corrections.take_region(body)
        return make_json(asdict(found))


def format_answer(answer: Answer, low: float, high: float) -> dict[str, Any]:
    """Return what the page shows of an answer, as a tree for JSON; the ends are those of the colour scale."""
    tree = {
        "label": answer.label,
        "defective": answer.label == "defective",
        "needs_review": answer.label == "review",
        "probability": answer.probability,
        "novelty": answer.novelty,
        "mean_novelty": answer.mean_novelty,
        "note": NOT_THIS_PRODUCT if answer.is_foreign else "",
    }
    if answer.heatmap is not None:
        tree["heatmap"] = encode_heat(answer.heatmap, low, high)
    if answer.regions is not None:
        tree[REGIONS] = describe_regions(answer.regions)
    return tree


def encode_heat(heatmap: np.ndarray, low: float, high: float) -> dict[str, Any]:
    """Return a heatmap as 8-bit steps of its colour scale, row by row, in base64."""
    share = np.clip((heatmap.astype(np.float64) - low) / (high - low), 0, 1)
    steps = np.rint(255 * np.nan_to_num(share)).astype(np.uint8)
    height, width = steps.shape
    return {"height": height, "width": width, "steps": base64.b64encode(steps.tobytes()).decode()}


def check_content_type(request: Request) -> None:
    """Refuse what a form could send.

    Raises:
        Refusal: It is sent as something else than bytes.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise Refusal(415, f"the photograph must be the body, with Content-Type: {CONTENT_TYPE}", "type")
