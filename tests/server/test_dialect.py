"""TF Serving's dialect: the same questions get the same shape of answer."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from mvdefect.data.images import decode_image
from mvdefect.inspector.engines import open_engine
from mvdefect.inspector.places import MANIFEST as MANIFEST_FILE
from mvdefect.runs import read_json
from mvdefect.server.app import make_app
from mvdefect.server.settings import ServerSettings
from tests.server.fakes import BYTES, FakeEngine, draw_photograph, in_loop, inspect, open_client, read_metric

PREDICT = "/v1/models/parts:predict"
FIELDS = {
    "probability", "defective", "needs_review", "novelty", "mean_novelty", "label", "not_this_product",
    "status", "error",
}  # fmt: skip


def wrap(file: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(file).decode()}


async def predict(client: httpx.AsyncClient, **body: Any) -> Any:
    answer = await client.post(PREDICT, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@in_loop
async def test_status_and_metadata_are_those_of_tf_serving() -> None:
    async with open_client() as client:
        for path in ("/v1/models/parts", "/v1/models/parts/versions/3"):
            (status,) = (await client.get(path)).json()["model_version_status"]
            assert (status["version"], status["state"]) == ("3", "AVAILABLE")
        tree = (await client.get("/v1/models/parts/metadata")).json()
        assert tree["model_spec"] == {"name": "parts", "signature_name": "", "version": "3"}
        signatures = tree["metadata"]["signature_def"]["signature_def"]
        assert set(signatures) == {"serving_default", "pixels", "explain"}
        assert set(signatures["serving_default"]["outputs"]) == FIELDS


@in_loop
async def test_base64_may_have_line_breaks_and_lack_its_padding() -> None:
    file = draw_photograph(200)
    while len(file) % 3 != 1:
        file += b"\0"
    text = base64.encodebytes(file).decode()
    forms = [text, text.replace("\n", "\r\n"), text.replace("\n", "").rstrip("="), text.rstrip("=\n")]
    async with open_client() as client:
        plain = await predict(client, instances=[wrap(file)] * len(forms))
        assert await predict(client, instances=[{"b64": form} for form in forms]) == plain


@in_loop
async def test_a_slash_at_the_end_changes_nothing_and_other_paths_are_told_what_there_is() -> None:
    async with open_client() as client:
        for path in ("/v1/models/parts", "/v1/models/parts/versions/3", "/v1/models/parts/metadata"):
            assert (await client.get(f"{path}/")).json() == (await client.get(path)).json()
        body = {"instances": [wrap(draw_photograph(20))]}
        assert (await client.post(f"{PREDICT}/", json=body)).status_code == 200
        for path in ("parts:classify", "parts/labels/stable", "parts/labels/stable:predict"):
            answer = await client.post(f"/v1/models/{path}", json=body)
            assert answer.status_code == 404
            assert "allowed are NAME and NAME/versions/NUMBER" in answer.json()["error"]


@in_loop
async def test_rows_and_columns_say_the_same() -> None:
    files = [draw_photograph(20), draw_photograph(200), b"no image", draw_photograph(122)]
    async with open_client() as client:
        bare = await predict(client, instances=[wrap(file) for file in files])
        named = await predict(client, instances=[{"image_bytes": wrap(file)} for file in files])
        columns = await predict(client, inputs={"image_bytes": [wrap(file) for file in files]})
        short = await predict(client, inputs=[wrap(file) for file in files], signature_name="serving_default")
        versioned = await client.post(
            "/v1/models/parts/versions/3:predict", json={"instances": [wrap(file) for file in files]}
        )
    assert bare == named == versioned.json()
    assert columns == short
    rows = bare["predictions"]
    assert all(set(row) == FIELDS for row in rows)
    assert [row["label"] for row in rows] == ["good", "defective", "unreadable", "review"]
    assert [row["defective"] for row in rows] == [False, True, False, False]
    assert [row["needs_review"] for row in rows] == [False, False, True, True]
    assert (rows[2]["probability"], rows[2]["novelty"], rows[2]["status"]) == (-1.0, 0.0, "unreadable")
    assert columns["outputs"] == {name: [row[name] for row in rows] for name in rows[0]}


@in_loop
async def test_a_file_that_cannot_be_read_is_answered_with_the_reason() -> None:
    heic = b"\0\0\0\x18ftypheic" + bytes(99)
    async with open_client() as client:
        answer = await predict(client, instances=[wrap(heic), wrap(draw_photograph()[:50])])
        shown = await client.post("/api/inspect", content=heic, headers=BYTES)
    heic_row, cut_row = answer["predictions"]
    assert heic_row["error"] == "HEIC is not supported; convert it to PNG or JPEG"
    assert cut_row["status"] == "unreadable"
    assert shown.status_code == 422
    assert "HEIC is not supported" in shown.json()["error"]


@in_loop
async def test_tiff_and_webp_are_inspected_as_they_are_trained_on() -> None:
    image = np.full((40, 60, 3), 200, np.uint8)
    async with open_client() as client:
        files = [cv2.imencode(suffix, image)[1].tobytes() for suffix in (".png", ".tiff", ".webp")]
        rows = (await predict(client, instances=[wrap(file) for file in files]))["predictions"]
    assert rows[0]["label"] == "defective"
    assert rows[0] == rows[1]
    assert rows[2]["probability"] == pytest.approx(rows[0]["probability"], abs=0.01)


@in_loop
async def test_explain_gives_a_heatmap_to_each_photograph() -> None:
    async with open_client() as client:
        answer = await predict(
            client, signature_name="explain", instances=[wrap(draw_photograph(200)), wrap(b"broken")]
        )
    heatmaps = [np.array(row["heatmap"]) for row in answer["predictions"]]
    assert [heatmap.shape for heatmap in heatmaps] == [(8, 8), (8, 8)]
    assert heatmaps[0].max() > 0.7
    assert not heatmaps[1].any()
    (region,), nothing = (row["regions"] for row in answer["predictions"])
    assert [region[name] for name in ("x", "y", "width", "height")] == pytest.approx([0, 0, 60, 40], abs=7)
    assert region["width_mm"] == pytest.approx(region["width"] / 10)
    assert nothing == []
    async with open_client() as client:
        row = (await predict(client, instances=[wrap(draw_photograph(200))]))["predictions"][0]
        assert "regions" not in row
        page = (await inspect(client, draw_photograph(200))).json()
    assert page["regions"] == [region]


@in_loop
async def test_pixels_reach_the_engine_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 9, 13, 3)).astype(np.uint8)
    engine = FakeEngine()
    async with open_client(engine) as client:
        for body in ({"instances": pixels.tolist()}, {"inputs": {"pixels": pixels.tolist()}}):
            await predict(client, signature_name="pixels", **body)
            seen = [decode_image(file) for batch in engine.batches[2:] for file in batch][-2:]
            assert np.array_equal(np.stack(seen), pixels)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"", "no JSON"),
        (b"[]", "either instances or inputs"),
        (b"{}", "either instances or inputs"),
        (b'{"instances": [], "inputs": []}', "either instances or inputs"),
        (b'{"instances": [], "x": 1}', "either instances or inputs"),
        (b'{"instances": []}', "one photograph at least"),
        (b'{"instances": {}}', "one photograph at least"),
        (b'{"instances": [3]}', '{"b64"'),
        (b'{"instances": [{"b64": 3}]}', '{"b64"'),
        (b'{"instances": [{"b64": "%%%"}]}', "no base64"),
        (b'{"instances": [{"b64": "AAAAA"}]}', "no base64"),
        (b'{"instances": ["data:image/png;base64,iVBORw0KGgo"]}', 'send base64 as {"b64"'),
        (b'{"instances": ["iVBORw0KGgoAAAANSUhEUgAA"]}', 'send base64 as {"b64"'),
        (b'{"instances": ["/9j/4AAQSkZJRgABAQAAAQAB"]}', 'send base64 as {"b64"'),
        (b'{"instances": [{"image": {"b64": ""}}]}', "the input image_bytes"),
        (b'{"instances": [1], "signature_name": "train"}', "Received: train"),
        (b'{"instances": [1], "signature_name": ["a"]}', "Received: "),
        (b'{"instances": [[[[1, 2]]]], "signature_name": "pixels"}', "whole numbers from 0 to 255"),
        (b'{"instances": [[[[1, 2, 256]]]], "signature_name": "pixels"}', "whole numbers from 0 to 255"),
        (b'{"instances": [[[[1, 2, 0.5]]]], "signature_name": "pixels"}', "whole numbers from 0 to 255"),
        (b'{"instances": [[[[1, 2, 3]]], [[1]]], "signature_name": "pixels"}', "whole numbers from 0"),
    ],
)
def test_what_is_malformed_is_told_why(body: bytes, reason: str) -> None:
    @in_loop
    async def ask() -> None:
        async with open_client() as client:
            answer = await client.post(PREDICT, content=body)
            assert answer.status_code == 400
            assert set(answer.json()) == {"error"}
            assert reason in answer.json()["error"]

    ask()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/other", 404),
        ("GET", "/v1/models/parts/versions/4", 404),
        ("POST", "/v1/models/other:predict", 404),
        ("POST", "/v1/models/..%2F..%2Fetc%2Fpasswd:predict", 404),
        ("POST", "/v1/models/parts:regress", 404),
        ("GET", PREDICT, 405),
        ("POST", "/v1/models/parts", 405),
        ("DELETE", "/v1/models/parts", 405),
        ("GET", "/nothing", 404),
    ],
)
def test_other_models_and_paths_are_unknown(method: str, path: str, status: int) -> None:
    @in_loop
    async def ask() -> None:
        async with open_client() as client:
            answer = await client.request(method, path)
            assert answer.status_code == status
            assert "error" in answer.json()
            assert "passwd" not in (await client.get("/metrics")).text

    ask()


@in_loop
async def test_what_is_no_image_never_reaches_the_engine() -> None:
    engine = FakeEngine()
    async with open_client(engine) as client:
        answer = await predict(client, instances=[wrap(b"GIF89a..."), wrap(b"%PDF"), wrap(b"")])
        assert [row["status"] for row in answer["predictions"]] == ["unreadable"] * 3
        assert [row["error"] for row in answer["predictions"]] == [
            "the file is no image that can be recognised",
            "the file is no image that can be recognised",
            "the file is empty",
        ]
        assert len(engine.batches) == 2  # the two by which it warms up
        assert await read_metric(client, 'mvdefect_photographs_total{label="unreadable"}') == 3


@pytest.mark.slow
def test_an_export_says_over_http_what_its_engine_says(exported: Path) -> None:
    engine = open_engine(exported)
    manifest = read_json(exported / MANIFEST_FILE)
    draw = np.random.default_rng(1)
    images = [draw.integers(0, 256, (50 + n, 70, 3)).astype(np.uint8) for n in range(5)]
    files = [cv2.imencode(".png", image)[1].tobytes() for image in images]
    files += [cv2.imencode(".jpg", images[0])[1].tobytes(), files[0][:200], b"nothing"]
    expected = engine(files, True)
    app = make_app(engine, manifest, ServerSettings())

    @in_loop
    async def ask() -> None:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
        ):
            body = {"signature_name": "explain", "instances": [wrap(file) for file in files]}
            rows = (await client.post(PREDICT, json=body)).json()["predictions"]
            tree = (await client.get("/v1/models/parts/metadata")).json()
        for row, answer in zip(rows, expected, strict=True):
            assert row["label"] == answer.label
            if answer.is_readable:
                assert row["probability"] == pytest.approx(answer.probability, abs=1e-6)
                assert row["novelty"] == pytest.approx(answer.novelty, rel=1e-4)
                assert np.allclose(row["heatmap"], answer.heatmap, atol=1e-4)
        signatures = tree["metadata"]["signature_def"]["signature_def"]
        import tensorflow as tf  # the engine has set it up

        for name, found in tf.saved_model.load(str(exported)).signatures.items():
            for key, tensor in found.structured_outputs.items():
                shown = signatures[name]["outputs"][key]
                sizes = [int(dim["size"]) for dim in shown["tensor_shape"]["dim"]]
                assert sizes == [-1 if size is None else size for size in tensor.shape]
                assert shown["dtype"] == f"DT_{tensor.dtype.name.upper()}".replace("FLOAT32", "FLOAT")
            assert set(signatures[name]["outputs"]) == set(found.structured_outputs)

    ask()
