"""Asking a server: what is sent, how long it is waited for, and what is made of bad answers."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mvdefect.cli import main
from mvdefect.client import client as client_module
from mvdefect.client import retries
from mvdefect.client.addresses import is_url, parse_address
from mvdefect.client.answers import read_answer
from mvdefect.client.client import divide_files, open_client
from mvdefect.client.rest import BODY_BYTES, RestSender, read_retry_after, write_request
from mvdefect.client.retries import Deadline, Patience, RefusedError, keep_asking
from mvdefect.core.errors import ConfigError, MvdefectError, ServerError
from mvdefect.evaluation.regions import SuspiciousRegion, describe_regions
from mvdefect.inspector.photographs import encode_image
from mvdefect.prediction.inspectors import InspectorPlace, check_inspector, open_inspector

GOOD = {"label": "good", "status": "ok", "probability": 0.1, "novelty": 1.5}
Reply = tuple[int, dict[str, str], bytes]


@dataclass
class FakeServer:
    """A server that answers as a test wants it, and remembers what it was asked."""

    replies: list[Reply] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, body: bytes) -> Reply:
        self.asked.append(json.loads(body))
        if self.replies:
            return self.replies.pop(0)
        count = len(self.asked[-1]["instances"])
        return 200, {}, json.dumps({"predictions": [GOOD] * count}).encode()


@contextmanager
def run_server(answer: Callable[[BaseHTTPRequestHandler, bytes], Reply]) -> Iterator[str]:
    """Yield the address of a server that answers every POST so."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, content = answer(self, body)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> Reply:
        fake.headers.append(dict(handler.headers))
        fake.paths.append(handler.path)
        return fake.answer(body)

    with run_server(answer) as root:
        fake.url = f"{root}/v1/models/parts"
        yield fake


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note pauses instead of making them."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    monkeypatch.setattr(Deadline, "sleep", staticmethod(made.append))

    def start(ends: float) -> Deadline:
        return Deadline(ends, sleep=made.append)

    monkeypatch.setattr(client_module, "Deadline", start)
    return made


def complain(status: int, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, json.dumps({"error": "not now"}).encode()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://line:8501/v1/models/parts", ("line:8501", "parts", None)),
        ("https://line/inspect/v1/models/parts/versions/3/", ("line", "parts", 3)),
        ("http://[::1]:8501/v1/models/parts:predict", ("[::1]:8501", "parts", None)),
        ("grpc://line:8500/parts", ("line:8500", "parts", None)),
        ("GRPCS://line:443/parts/12", ("line:443", "parts", 12)),
    ],
)
def test_an_address_names_host_model_and_version(url: str, said: tuple[str, str, int | None]) -> None:
    found = parse_address(url)
    assert is_url(url)
    assert (found.host, found.name, found.version) == said


@pytest.mark.parametrize(
    "url",
    [
        "http://line:8501",
        "http:///v1/models/parts",
        "http://line:99999/v1/models/parts",
        "http://line:8501/v1/models/parts/versions/x",
        "http://line:8501/v1/models/parts?a=b",
        "grpc://line/parts",
        "grpc://line:8500",
        "grpc://line:8500/v1/models/parts",
        "s3://bucket/parts",
        "http://me:secret@line:8501/v1/models/parts",
    ],
)
def test_what_is_no_address_is_told_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"must be http://HOST:8501/v1/models/NAME") as caught:
        check_inspector(InspectorPlace(url))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("place", ["runs/first", "/runs/a:b", "C:/runs", "saved_models/first/1", "./http:"])
def test_a_folder_is_no_address(place: str) -> None:
    assert not is_url(place)


def test_a_request_is_what_tensorflow_serving_expects(server: FakeServer) -> None:
    (answer,) = open_client(server.url)([b"\x00\xffpicture"])
    assert server.paths == ["/v1/models/parts:predict"]
    (instance,) = server.asked[0]["instances"]
    assert server.asked[0]["signature_name"] == "serving_default"
    assert base64.b64decode(instance["image_bytes"]["b64"]) == b"\x00\xffpicture"
    assert answer.probability == float(np.float32(0.1))  # what the graph computed, not what JSON made of it
    assert answer.heatmap is None


def test_heatmaps_come_only_where_they_are_wanted(server: FakeServer) -> None:
    content = json.dumps({"predictions": [{**GOOD, "heatmap": [[0, 1.5]]}]}).encode()
    server.replies = [(200, {}, content)]
    (answer,) = open_client(server.url)([b"x"], True)
    assert server.asked[0]["signature_name"] == "explain"
    np.testing.assert_array_equal(answer.heatmap, np.array([[0, 1.5]], np.float32))
    assert answer.regions is None  # TF Serving knows none


def test_regions_of_a_server_are_read_or_refused(server: FakeServer) -> None:
    region = SuspiciousRegion(1, 2, 30, 40, 1000, 1.5, 10, 20)
    told = {**GOOD, "heatmap": [[0, 1.5]], "regions": describe_regions([region])}
    wrong = {**told, "regions": [{"x": -1}]}
    replies = [(200, {}, json.dumps({"predictions": [one]}).encode()) for one in (told, told, wrong)]
    server.replies = list(replies)
    (answer,) = open_client(server.url)([b"x"], True)
    assert answer.regions == (region,)
    (answer,) = open_inspector(InspectorPlace(server.url, mm_per_px=0.1))([b"x"], True)
    assert answer.regions == (region.scale(0.1),)
    with pytest.raises(ServerError, match="not that of an inspector"):
        open_client(server.url)([b"x"], True)


def test_regions_are_found_here_where_a_server_finds_none(server: FakeServer, tmp_path: Path) -> None:
    rule = {"level": 1.0, "usual": 0.0}
    manifest = {"image_size_px": [64, 64], "resize": "stretch", "heat_range": [0, 1], "region_rule": rule}
    path = tmp_path / "inspector.json"
    path.write_text(json.dumps(manifest))
    heat = np.zeros((8, 8))
    heat[6, 1] = 2.0
    server.replies = [(200, {}, json.dumps({"predictions": [{**GOOD, "heatmap": heat.tolist()}]}).encode())]
    image = encode_image(np.zeros((400, 800, 3), np.uint8))
    place = InspectorPlace(server.url, mm_per_px=0.5, manifest=path)
    (region,) = open_inspector(place)([image], True)[0].regions
    assert (region.x, region.y, region.width, region.height) == pytest.approx((100, 300, 100, 50), abs=25)
    assert region.width_mm == region.width / 2


def test_the_token_goes_to_the_server_and_to_no_other(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("MVDEFECT_TOKEN", raising=False)
    open_client(server.url)([b"x"])
    monkeypatch.setenv("MVDEFECT_TOKEN", "s3cret")
    open_client(server.url)([b"x"])
    assert [headers.get("Authorization") for headers in server.headers] == [None, "Bearer s3cret"]
    server.replies = [(307, {"Location": "http://127.0.0.1:9/v1/models/parts:predict"}, b"")]
    with pytest.raises(ServerError, match="it answers 307"):
        open_client(server.url)([b"x"])
    assert len(server.headers) == 3


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_pass_is_asked_again(server: FakeServer, pauses: list[float], status: int) -> None:
    server.replies = [complain(status), complain(status)]
    (answer,) = open_client(server.url)([b"x"])
    assert answer.label == "good"
    assert len(server.asked) == 3
    assert 0.125 <= pauses[0] <= 0.25
    assert 0.25 <= pauses[1] <= 0.5


def test_the_server_says_when_to_ask_again(server: FakeServer, pauses: list[float]) -> None:
    server.replies = [complain(503, Retry_After="7")]
    open_client(server.url)([b"x"])
    assert 7 <= pauses[0] <= 7.25
    server.replies = [complain(503, Retry_After="120")]
    with pytest.raises(ServerError, match=r"503: not now \(no answer within 60 seconds, see --timeout\)"):
        open_client(server.url)([b"x"])
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 27 < (read_retry_after(date) or 0) <= 30
    assert [read_retry_after(text) for text in (None, "soon", "3")] == [None, None, 3.0]


def test_tries_run_out(server: FakeServer, pauses: list[float]) -> None:
    server.replies = [complain(503)] * 9
    with pytest.raises(ServerError, match=r"503: not now \(asked 4 times\)"):
        open_client(server.url, Patience(retries=3))([b"x"])
    assert (len(server.asked), len(pauses)) == (4, 3)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_what_will_not_pass_is_asked_once(server: FakeServer, pauses: list[float], status: int) -> None:
    server.replies = [complain(status)]
    with pytest.raises(ServerError, match=f"it answers {status}: not now"):
        open_client(server.url)([b"x"])
    assert not pauses


def test_pauses_double_up_to_a_limit_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure() -> list[float]:
        made: list[float] = []

        def refuse(_: float) -> None:
            raise RefusedError("not now", may_pass=True)

        with pytest.raises(ServerError):
            keep_asking(refuse, Deadline(1e9, lambda: 0.0, made.append), Patience(1e9, 9), "x")
        return made

    one, other = measure(), measure()
    for attempt, pause in enumerate(one):
        longest = min(16.0, 0.25 * 2**attempt)
        assert longest / 2 <= pause <= longest
    assert one != other
    assert retries.LONGEST_PAUSE_S == 16


def test_a_deadline_holds_for_an_answer_that_drips() -> None:
    def drip(handler: BaseHTTPRequestHandler, body: bytes) -> Reply:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        for _ in range(60):
            try:
                handler.wfile.write(b"  ")
            except OSError:
                break
            time.sleep(0.05)
        handler.close_connection = True
        return 200, {}, b""

    with run_server(drip) as root:
        start = time.monotonic()
        with pytest.raises(ServerError, match="no answer within 0.4 seconds"):
            open_client(f"{root}/v1/models/parts", Patience(0.4, 3))([b"x"])
        assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    "content",
    [
        b"<html>hello</html>",
        b"[]",
        b'{"predictions": 3}',
        b'{"predictions": [0.5]}',
        b'{"predictions": []}',
        json.dumps({"predictions": [GOOD, GOOD]}).encode(),
        json.dumps({"predictions": [{**GOOD, "label": "cat"}]}).encode(),
        json.dumps({"predictions": [{**GOOD, "status": "unreadable"}]}).encode(),
        json.dumps({"predictions": [{**GOOD, "probability": 7}]}).encode(),
        json.dumps({"predictions": [{**GOOD, "novelty": None}]}).encode(),
        json.dumps({"predictions": [{**GOOD, "mean_novelty": "high"}]}).encode(),
        json.dumps({"predictions": [{**GOOD, "not_this_product": "false"}]}).encode(),
        json.dumps({"predictions": [{"label": "good", "status": "ok"}]}).encode(),
    ],
)
def test_nonsense_is_told_in_one_line(server: FakeServer, content: bytes) -> None:
    server.replies = [(200, {}, content)]
    with pytest.raises(ServerError, match="its answer is not that of an inspector") as caught:
        open_client(server.url)([b"x"])
    assert isinstance(caught.value, MvdefectError)
    assert "\n" not in str(caught.value)
    assert len(server.asked) == 1


def test_requests_stay_below_their_limits() -> None:
    files = [b"x" * size for size in (5, 5, 5, 20, 1, 9, 10)]
    divided = [list(map(len, chosen)) for chosen in divide_files(files, 10)]
    assert divided == [[5, 5], [5], [20], [1, 9], [10]]
    assert not list(divide_files([], 10))
    assert [len(chosen) for chosen in divide_files([b"x"] * 130, 1000)] == [64, 64, 2]
    largest = [b"x" * (RestSender.largest_bytes // 64)] * 64
    assert 0.95 * BODY_BYTES < len(write_request(largest, "serving_default")) < BODY_BYTES


def test_a_photograph_that_is_too_large_costs_the_others_nothing() -> None:
    def refuse_large(_: BaseHTTPRequestHandler, body: bytes) -> Reply:
        instances = json.loads(body)["instances"]
        if any(len(one["image_bytes"]["b64"]) > 1000 for one in instances):
            return 413, {}, b'{"error": "40 megapixels at most"}'
        return 200, {}, json.dumps({"predictions": [GOOD] * len(instances)}).encode()

    files = [b"x" * (2000 if number == 5 else 10) for number in range(11)]
    with run_server(refuse_large) as root:
        answers = open_client(f"{root}/v1/models/parts")(files)
    assert [number for number, answer in enumerate(answers) if not answer.is_readable] == [5]
    assert answers[5].error == "too large for the server: it answers 413: 40 megapixels at most"


def predict(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["predict", *arguments])
    return int(ended.value.code or 0)


def test_rows_that_are_written_stay_when_the_server_goes(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    out = tmp_path / "rows.csv"
    server.replies = [
        (200, {}, json.dumps({"predictions": [GOOD, GOOD]}).encode()),
        complain(500),
    ]
    command = [server.url, str(tmp_path), "--out", str(out), "--batch-size", "2"]
    assert predict(*command) == 2
    assert "it answers 500: not now" in capsys.readouterr().err
    assert out.read_text().count("\n") == 3
    assert predict(*command) == 0
    names = [line.split(",")[0] for line in out.read_text().splitlines()[1:]]
    assert names == [str(tmp_path / f"{number}.png") for number in range(6)]
    assert server.asked[-1]["instances"] == [{"image_bytes": {"b64": "eA=="}}] * 2


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9/v1/models/parts", "Connection refused"),
        ("http://no.such.host.invalid/v1/models/parts", "does not answer"),
        ("grpc://127.0.0.1:9/parts", "UNAVAILABLE"),
        ("ftp://127.0.0.1/parts", "must be http://"),
    ],
)
def test_a_server_that_is_not_there_is_one_line(
    url: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    assert predict(url, str(tmp_path), "--retries", "0", "--timeout", "5") == 2
    captured = capsys.readouterr()
    assert said in captured.err.splitlines()[-1]
    assert "Traceback" not in captured.err


def test_overlays_of_a_server_need_to_know_its_colours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "inspector.json").write_text("{}")
    url = "http://127.0.0.1:9/v1/models/parts"
    assert predict(url, str(tmp_path), "--overlays", str(tmp_path)) == 2
    assert "--inspector-json" in capsys.readouterr().err
    given = ["--inspector-json", str(tmp_path / "inspector.json")]
    assert predict(url, str(tmp_path), "--overlays", str(tmp_path), *given) == 2
    assert "is not the inspector.json of an export" in capsys.readouterr().err


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(ConfigError, match=r"pip install 'mvdefect\[client\]'"):
        open_inspector(InspectorPlace("http://line:8501/v1/models/parts"))
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(ConfigError, match=r"pip install 'mvdefect\[client\]'"):
        open_inspector(InspectorPlace("grpc://line:8500/parts"))


@pytest.mark.parametrize(("timeout_s", "retry_count"), [(0.0, 1), (-1.0, 1), (1.0, -1), (float("nan"), 1)])
def test_patience_has_limits(timeout_s: float, retry_count: int) -> None:
    with pytest.raises(ConfigError, match="timeout_s must be above 0"):
        Patience(timeout_s, retry_count)


def test_predicting_by_rest_does_not_import_tensorflow(server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    code = (
        "import sys\nfrom mvdefect.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as ended:\n"
        "    sys.exit(7 if {'tensorflow', 'keras'} & sys.modules.keys() else ended.code)\n"
    )
    command = [sys.executable, "-c", code, "predict", server.url, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/a.png,good,false" in done.stdout


@pytest.mark.parametrize(
    ("told", "expected"),
    [({}, (False, None)), ({"not_this_product": True, "mean_novelty": 2.5}, (True, 2.5))],
)
def test_what_is_not_this_product_is_passed_on(told: dict[str, Any], expected: tuple[Any, ...]) -> None:
    """A server of version 0.1.0 does not say."""
    answer = read_answer({**GOOD, **told}, with_heatmap=False)
    assert (answer.is_foreign, answer.mean_novelty) == expected
