"""One part in one request: its verdict beside those of its images."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from scipy.special import expit, logit

from mvdefect.data.parts import Usual
from mvdefect.evaluation.calibration import Calibration
from mvdefect.evaluation.operating_point import OperatingPoint, PartPoint, operating_point_to_json
from mvdefect.evaluation.pooling import Pooling
from mvdefect.server.app import make_app
from mvdefect.server.settings import Limits, ServerSettings
from tests.server.fakes import MANIFEST, FakeEngine, draw_photograph, in_loop, open_client

PART = "/v1/models/parts:part"
POINT = OperatingPoint("f1", "val", 1.0, "", "classifier", Calibration(), None, {"classifier": 0.0})


@asynccontextmanager
async def open_parts_client(**limits: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an inspector that takes the mean of two views, the second at half its scale."""
    scales = {"top": (1.0, 0.0), "side": (0.5, 0.0), "*": (0.75, 0.0)}
    by_part = PartPoint(Pooling("mean", scales=scales), POINT, Usual(("side", "top"), 2))
    tree = operating_point_to_json(replace(POINT, by_part=by_part))
    settings = ServerSettings(corrections=Path("nowhere"), limits=Limits(**limits))
    app = make_app(FakeEngine(), {**MANIFEST, "operating_point": tree}, settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, client=("192.0.2.7", 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8501") as client:
            yield client


def wrap(*greys: int) -> list[dict[str, str]]:
    return [{"b64": base64.b64encode(draw_photograph(grey)).decode()} for grey in greys]


async def ask(client: httpx.AsyncClient, **body: Any) -> Any:
    answer = await client.post(PART, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@in_loop
async def test_a_part_has_a_verdict_beside_those_of_its_images() -> None:
    async with open_parts_client() as client:
        tree = await ask(client, part_id="SN1", views=["top", "side"], instances=wrap(150, 60))
        scores = logit([row["probability"] for row in tree["predictions"]])
        expected = expit((scores[0] + 0.5 * scores[1]) / 2)
        part = tree["part"]
        assert part["probability"] == pytest.approx(expected, abs=1e-6)
        assert (part["part_id"], part["label"], part["defective"]) == ("SN1", "good", False)
        assert (part["images"], part["missing"], part["suspect"]) == (2, [], 0)
        assert not part["needs_review"]
        turned = await ask(client, views=["side", "top"], inputs=wrap(60, 150))
        assert turned["part"]["probability"] == part["probability"]
        assert turned["outputs"]["label"] == ["good", "defective"]


@in_loop
async def test_what_a_part_lacks_is_told() -> None:
    async with open_parts_client() as client:
        lacking = (await ask(client, views=["side"], instances=wrap(60)))["part"]
        assert (lacking["missing"], lacking["needs_review"]) == (["top"], True)
        counted = (await ask(client, instances=wrap(60)))["part"]
        assert counted["missing"] == ["1 of 2 images"]
        assert counted["probability"] == pytest.approx(expit(0.75 * logit(find_brightness(60))), abs=1e-6)
        broken = {"b64": base64.b64encode(b"no image").decode()}
        unread = (await ask(client, views=["top"], instances=[broken]))["part"]
        assert (unread["label"], unread["probability"], unread["suspect"]) == ("unreadable", -1.0, -1)
        assert (unread["unreadable"], unread["needs_review"]) == (1, True)


def find_brightness(grey: int) -> float:
    probability = FakeEngine().answer(draw_photograph(grey), False).probability
    assert probability is not None
    return probability


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"views": ["top"], "instances": wrap(60, 60)}, "views must be 2 names"),
        ({"views": "top", "instances": wrap(60)}, "views must be 1 names"),
        ({"part_id": 7, "instances": wrap(60)}, "part_id must be a text"),
        ({"part_id": "x" * 201, "instances": wrap(60)}, "part_id must be a text"),
        ({"signature_name": "explain", "instances": wrap(60)}, "a part has no heatmap"),
        ({"part_id": "SN1"}, "either instances or inputs"),
        ({"instances": []}, "one photograph at least"),
        ([], "the body must be an object"),
    ],
)
def test_what_makes_no_sense_is_refused(body: Any, message: str) -> None:
    @in_loop
    async def run() -> None:
        async with open_parts_client() as client:
            answer = await client.post(PART, json=body)
            assert answer.status_code == 400
            assert message in answer.json()["error"]

    run()


@in_loop
async def test_a_part_may_have_twenty_images_but_not_more_than_may_wait() -> None:
    async with open_parts_client(queue_length=20) as client:
        assert (await ask(client, instances=wrap(*[60] * 20)))["part"]["images"] == 20
        assert (await client.post(PART, json={"instances": wrap(*[60] * 21)})).status_code == 413


@in_loop
async def test_an_inspector_without_parts_says_so() -> None:
    async with open_client() as client:
        answer = await client.post(PART, json={"instances": wrap(60)})
        assert answer.status_code == 404
    async with open_parts_client() as client:
        assert (await client.get(PART)).status_code == 405
