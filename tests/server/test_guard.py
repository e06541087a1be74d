"""The guard: token, names, origins, and what every response carries."""

from __future__ import annotations

import re

import pytest

from tests.server.fakes import BYTES, draw_photograph, in_loop, inspect, open_client, read_metric

TOKEN = "a secret with ümlaut"  # noqa: S105


@in_loop
async def test_without_the_token_there_is_nothing_but_health_and_the_page() -> None:
    async with open_client(token=TOKEN) as client:
        assert (await client.get("/healthz")).json()["status"] == "ok"
        assert (await client.get("/")).status_code == 200
        for shown in ("", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x"):
            headers = {b"Authorization": shown.encode()} if shown else {}
            for path in ("/v1/models/parts", "/metrics", "/api/inspector"):
                answer = await client.get(path, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                assert TOKEN not in answer.text
        headers = {b"Authorization": f"Bearer {TOKEN}".encode()}
        assert (await client.get("/v1/models/parts", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8501", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:8501", 200),
        ("[::1]:8501", 200),
        ("10.1.2.3", 200),
        ("bench-3:8501", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ],
)
def test_a_foreign_name_is_refused(host: str, status: int) -> None:
    @in_loop
    async def ask() -> None:
        async with open_client(hosts=("bench-3",)) as client:
            answer = await client.get("/v1/models/parts", headers={"Host": host})
            assert answer.status_code == status

    ask()


@in_loop
async def test_who_balances_load_needs_no_name() -> None:
    async with open_client() as client:
        for path, status in (("/healthz", 200), ("/v1/models/parts", 421), ("/", 421)):
            request = client.build_request("GET", path)
            del request.headers["Host"]
            assert (await client.send(request)).status_code == status
        assert (await client.get("/healthz", headers={"Host": "evil.example"})).status_code == 421


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:8501", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:9999"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "://localhost:8501/"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
    ],
)
def test_a_page_of_another_origin_can_make_no_browser_ask(headers: dict[str, str], status: int) -> None:
    @in_loop
    async def ask() -> None:
        async with open_client() as client:
            answer = await client.post(
                "/api/inspect", content=draw_photograph(), headers={**BYTES, **headers}
            )
            assert answer.status_code == status

    ask()


@in_loop
async def test_every_response_forbids_what_the_page_does_not_need() -> None:
    async with open_client() as client:
        for path in ("/", "/page.js", "/api/inspector", "/nothing", "/v1/models/other"):
            headers = (await client.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert "server" not in headers
        html = (await client.get("/")).text
    assert not re.findall(r"<script(?![^>]*src=)|\son\w+=|style=|https?://", html)
    named = re.findall(r'(?:src|href)="([^"#]+)"', html)
    assert set(named) == {"icon.svg", "style.css", "page.css", "page.js"}


@in_loop
async def test_metrics_count_without_remembering_what_clients_wrote() -> None:
    async with open_client() as client:
        for number in range(30):
            await client.get(f"/secret-{number}")
        await inspect(client, draw_photograph(200))
        await inspect(client, b"broken")
        text = (await client.get("/metrics")).text
        assert "secret-" not in text
        assert await read_metric(client, 'mvdefect_requests_total{route="other",status="404"}') == 30
        assert await read_metric(client, 'mvdefect_requests_total{route="inspect",status="422"}') == 1
        assert await read_metric(client, 'mvdefect_photographs_total{label="defective"}') == 1
        assert await read_metric(client, "process_resident_memory_bytes") > 1e6
