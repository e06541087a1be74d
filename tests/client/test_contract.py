"""One suite of clients for every server: `mvdefect serve`, gRPC, and TensorFlow Serving where there is one.

A real `tensorflow_model_server` is started where one is on PATH. Another is asked where the variable
TF_SERVING_URL holds the address of a model that `mvdefect export` made, as `mvdefect predict` takes it.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mvdefect.cli import main
from mvdefect.client.client import open_client
from mvdefect.client.retries import Patience
from mvdefect.core.errors import ServerError
from mvdefect.inspector.answers import UNKNOWN_FILE, Answer
from mvdefect.inspector.engines import open_engine
from tests.client.services import (
    MODEL_SERVER,
    Service,
    run_grpc_server,
    run_model_server,
    run_mvdefect_serve,
    serve_saved_model,
)

OTHER_URL = os.environ.get("TF_SERVING_URL")
SERVICES = [
    "mvdefect-serve",
    "grpc",
    pytest.param("model-server-rest", marks=pytest.mark.skipif(not MODEL_SERVER, reason="it is not on PATH")),
    pytest.param("model-server-grpc", marks=pytest.mark.skipif(not MODEL_SERVER, reason="it is not on PATH")),
    pytest.param("other", marks=pytest.mark.skipif(not OTHER_URL, reason="TF_SERVING_URL is not set")),
]
EXAMPLE = Path(__file__).parents[2] / "deploy" / "client.py"
PATIENCE = Patience(timeout_s=120)


@pytest.fixture(scope="module", params=SERVICES)
def service(
    request: pytest.FixtureRequest, exported: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    if request.param == "mvdefect-serve":
        with run_mvdefect_serve(exported, folder) as url:
            yield Service(url)
    elif request.param == "grpc":
        with run_grpc_server(serve_saved_model(exported)) as root:
            yield Service(f"{root}/parts")
    elif request.param == "other":
        yield Service(str(OTHER_URL), is_ours=False)
    else:
        with run_model_server(exported, folder) as urls:
            yield Service(urls[0 if request.param.endswith("rest") else 1])


@pytest.fixture(scope="module")
def paths(parts_root: Path) -> list[Path]:
    return sorted((parts_root / "washer" / "test").rglob("*.png"))[::4]


@pytest.fixture(scope="module")
def files(paths: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]


@pytest.fixture(scope="module")
def expected(exported: Path, files: list[bytes]) -> list[Answer]:
    return open_engine(exported)(files, True)


def test_it_says_what_the_export_says(service: Service, files: list[bytes], expected: list[Answer]) -> None:
    answers = open_client(service.url, PATIENCE)(files)
    assert all(answer.is_readable and answer.heatmap is None for answer in answers)
    if service.is_ours:
        assert [answer.label for answer in answers] == [answer.label for answer in expected]
        for name in ("probability", "novelty", "mean_novelty"):
            np.testing.assert_allclose(
                [getattr(answer, name) for answer in answers],
                [getattr(answer, name) for answer in expected],
                rtol=1e-3,
                atol=1e-4,
            )


def test_a_broken_file_costs_the_others_nothing(service: Service, files: list[bytes]) -> None:
    ask = open_client(service.url, PATIENCE)
    answers = ask([files[0], b"no picture", files[1][:100], files[1]])
    assert [answer.is_readable for answer in answers] == [True, False, False, True]
    alone = [ask([file])[0] for file in files[:2]]
    for together, single in zip(answers[::3], alone, strict=True):
        assert together.label == single.label
        assert together.probability == pytest.approx(single.probability, abs=1e-4)
    assert not ask([b""])[0].is_readable


def test_heatmaps_lie_over_the_photograph(
    service: Service, files: list[bytes], expected: list[Answer]
) -> None:
    *answers, broken = open_client(service.url, PATIENCE)([*files[:3], b"no picture"], True)
    assert broken.heatmap is None
    for answer, known in zip(answers, expected, strict=False):
        assert answer.heatmap is not None
        assert answer.heatmap.dtype == np.float32
        if service.is_ours:
            np.testing.assert_allclose(answer.heatmap, known.heatmap, rtol=1e-3, atol=1e-3)


def test_more_photographs_than_a_request_holds(service: Service, files: list[bytes]) -> None:
    many = [files[number % len(files)] for number in range(70)]
    labels = [answer.label for answer in open_client(service.url, PATIENCE)(many)]
    assert labels == [labels[number % len(files)] for number in range(70)]


def test_several_clients_at_a_time(service: Service, files: list[bytes]) -> None:
    ask = open_client(service.url, PATIENCE)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: [answer.label for answer in ask(files)], range(8)))
    assert all(labels == found[0] for labels in found)


def test_a_model_that_is_not_there_is_told(service: Service, files: list[bytes]) -> None:
    for url in (f"{service.url}x", f"{service.url}{'/versions' if service.is_rest else ''}/999"):
        with pytest.raises(ServerError, match=r"(?i)not.found"):
            open_client(url, PATIENCE)(files[:1])


def test_a_version_can_be_named(service: Service, files: list[bytes], exported: Path) -> None:
    if service.is_ours:
        url = f"{service.url}{'/versions' if service.is_rest else ''}/{exported.name}"
        assert open_client(url, PATIENCE)(files[:1])[0].is_readable


def test_the_command_gives_the_rows_of_the_export(
    service: Service, paths: list[Path], exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    images = [*map(str, paths), str(tmp_path / "broken.png"), str(tmp_path)]
    found = {}
    for place in (service.url, str(exported)):
        out, overlays = tmp_path / "rows.csv", tmp_path / "overlays"
        shown = ["--overlays", str(overlays), "--inspector-json", str(exported / "inspector.json")]
        with pytest.raises(SystemExit) as ended:
            main(["predict", place, *images, "--out", str(out), *(shown if service.is_ours else [])])
        assert ended.value.code == 2
        with out.open(newline="") as stream:
            found[place] = [(row["file"], row["label"], row["error"]) for row in csv.DictReader(stream)]
        out.unlink()
        if service.is_ours:
            assert len(list(overlays.glob("*.png"))) == len(paths)
            for path in overlays.iterdir():
                path.unlink()
    ours, local = found.values()
    if not service.is_rest:  # the graph itself, which knows no reasons but this one
        assert {error for _, label, error in ours if label == "unreadable"} == {UNKNOWN_FILE}
    known = 3 if service.is_ours and service.is_rest else 2 if service.is_ours else 1
    assert [row[:known] for row in ours] == [row[:known] for row in local]


def test_the_example_of_a_client(service: Service, paths: list[Path], tmp_path: Path) -> None:
    if not service.is_rest:
        pytest.skip("the example speaks REST")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    command = [sys.executable, "-S", str(EXAMPLE), service.url, str(paths[0]), str(tmp_path / "broken.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    (answer,) = open_client(service.url, PATIENCE)([paths[0].read_bytes()])
    assert lines[0][:2] == [str(paths[0]), answer.label]
    assert float(lines[0][2]) == pytest.approx(answer.probability, abs=1e-3)
    assert lines[1][1] == "unreadable"
