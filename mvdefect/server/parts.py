"""One part in one request: several images, one verdict, beside the answers for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mvdefect.core.errors import MvdefectError
from mvdefect.evaluation.operating_point import DEFECTIVE, parse_operating_point
from mvdefect.inspector.answers import FOREIGN_OUTPUT, NO_PROBABILITY, Answer
from mvdefect.inspector.parts import ImageOfPart, PartAnswer, PartJudge
from mvdefect.server.predict_request import PredictRequest, parse_body, read_predict
from mvdefect.server.refusals import Refusal
from mvdefect.server.settings import Limits
from mvdefect.server.versions import Version

PART_ID, VIEWS = "part_id", "views"
LONGEST = 200  # letters of a name


@dataclass(frozen=True)
class PartRequest:
    """What is asked of a part.

    Attributes:
        images: Its images, as in a predict request.
        part_id: What it is called; "" for nothing.
        views: The view of each image, as in training; None: they were not named.
    """

    images: PredictRequest
    part_id: str
    views: tuple[str, ...] | None


def parse_part(body: bytes, limits: Limits) -> PartRequest:
    """Read the body of a request for a part: that of a predict request, and `part_id` and `views`.

    Raises:
        Refusal: It is no such request, or holds too much.
    """
    tree = parse_body(body)
    if not isinstance(tree, dict):
        raise Refusal(
            400, "the body must be an object with instances, and part_id and views if they are known"
        )
    part_id, views = tree.pop(PART_ID, ""), tree.pop(VIEWS, None)
    images = read_predict(tree, limits, 1)
    if images.with_heatmaps:
        raise Refusal(400, "a part has no heatmap; ask for those of its images with :predict")
    if not _is_name(part_id):
        raise Refusal(400, f"part_id must be a text of at most {LONGEST} letters")
    if views is None:
        return PartRequest(images, part_id, None)
    if not isinstance(views, list) or len(views) != len(images.files) or not all(map(_is_name, views)):
        raise Refusal(400, f"views must be {len(images.files)} names, one for each image")
    return PartRequest(images, part_id, tuple(views))


def _is_name(given: Any) -> bool:
    return isinstance(given, str) and len(given) <= LONGEST


def make_judge(version: Version) -> PartJudge:
    """Return what judges parts.

    Raises:
        Refusal: The inspector was fitted without parts, or does not say how they are judged.
    """
    try:
        return PartJudge(parse_operating_point(version.manifest["operating_point"]), place=version.name)
    except MvdefectError as error:
        raise Refusal(404, str(error), "unknown") from None


def judge_part(judge: PartJudge, answers: Sequence[Answer], asked: PartRequest) -> PartAnswer:
    """Reach the verdict of a part by what was said of its images; they are named by their places, from 0."""
    views = asked.views or ("",) * len(answers)
    images = [
        ImageOfPart(str(place), view, answer)
        for place, (view, answer) in enumerate(zip(views, answers, strict=True))
    ]
    return judge.judge(asked.part_id, images, knows_views=asked.views is not None)


def format_part(answer: PartAnswer) -> dict[str, Any]:
    """Return what is told of a part, as a tree for JSON; `suspect` is the place of an image, -1 for none."""
    return {
        PART_ID: answer.part_id,
        "label": answer.label,
        "defective": answer.label == DEFECTIVE,
        "needs_review": answer.needs_review,
        "probability": NO_PROBABILITY if answer.probability is None else answer.probability,
        "images": answer.images,
        "unreadable": answer.unreadable,
        "missing": list(answer.missing),
        "suspect": int(answer.suspect or -1),
        FOREIGN_OUTPUT: answer.is_foreign,
    }
