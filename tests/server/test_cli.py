"""The command `serve`: what it is told reaches the server, and what is missing is named."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from mvdefect import cli
from mvdefect.core.errors import ConfigError, ExportError
from mvdefect.server import run as run_module
from mvdefect.server.inspection import (
    describe_contract,
    describe_guarantee,
    describe_novelty,
    describe_threshold,
)
from mvdefect.server.run import open_socket, require_export
from mvdefect.server.settings import Limits, ServerSettings
from tests.server.fakes import MANIFEST, FakeEngine


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A folder that says of itself that it is an export."""
    place = tmp_path / "saved_models" / "parts" / "3"
    place.mkdir(parents=True)
    (place / "inspector.json").write_text(json.dumps(MANIFEST))
    return place.parent


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServerSettings]:
    """What a server would be run with."""
    found: list[ServerSettings] = []
    monkeypatch.setattr(run_module, "open_engine", lambda *_: FakeEngine())
    monkeypatch.setattr(run_module, "run_app", lambda _app, _socket, settings: found.append(settings))
    monkeypatch.delenv("MVDEFECT_TOKEN", raising=False)
    return found


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", *words])
    return int(ended.value.code or 0)


def test_by_default_this_machine_alone_reaches_it(export: Path, served: list[ServerSettings]) -> None:
    assert run(str(export), "--port", "0") == 0
    (settings,) = served
    assert settings == ServerSettings(port=0)
    assert settings.is_local
    assert settings.limits == Limits()


def test_every_limit_is_a_setting(export: Path, served: list[ServerSettings]) -> None:
    sizes = ["--max-upload-mb", "1.5", "--max-megapixels", "2", "--rate", "3", "--queue", "4"]
    times = ["--deadline", "5", "--receive-timeout", "6", "--batch-size", "7", "--batch-wait-ms", "8"]
    run(str(export), "--port", "0", *sizes, *times)
    assert served[0].limits == Limits(1.5, 2, 3, 4, 5, 6, 7, 8)


def test_the_token_comes_from_a_file_or_the_environment(
    export: Path, served: list[ServerSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "token.txt").write_text("from a file\n")
    (tmp_path / "empty.txt").write_text("\n")
    run(str(export), "--port", "0", "--host", "0.0.0.0")  # noqa: S104
    assert "give it a token" in " ".join(capsys.readouterr().err.split())
    run(str(export), "--port", "0", "--token-file", str(tmp_path / "token.txt"), "--host", "0.0.0.0")  # noqa: S104
    assert "give it a token" not in capsys.readouterr().err
    monkeypatch.setenv("MVDEFECT_TOKEN", "from the environment")
    run(str(export), "--port", "0")
    assert [settings.token for settings in served] == ["", "from a file", "from the environment"]
    assert run(str(export), "--token-file", str(tmp_path / "empty.txt")) == 2
    assert run(str(export), "--token-file", str(tmp_path / "none.txt")) == 2


def test_a_missing_package_is_named(export: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else find(name))
    assert run(str(export)) == 2
    assert "serve needs uvicorn: pip install 'mvdefect[serve]'" in capsys.readouterr().err


def test_what_is_no_export_is_refused(tmp_path: Path, capsys: Any) -> None:
    assert run(str(tmp_path)) == 2
    assert "`mvdefect export RUN` makes" in capsys.readouterr().err


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1, port {port}"),
            open_socket("127.0.0.1", port),
        ):
            pass


def test_answers_are_sent_at_once() -> None:
    """Else an answer's body waits up to 40 ms, until the client has acknowledged its head."""

    async def find_delay(listener: socket.socket) -> int:
        accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(lambda _, writer: accepted.set_result(writer), sock=listener)
        _, client = await asyncio.open_connection(*listener.getsockname())
        ours = await accepted
        no_delay = ours.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        client.close()
        ours.close()
        server.close()
        return int(no_delay)

    with open_socket("127.0.0.1", 0) as listener:
        assert asyncio.run(find_delay(listener))


@pytest.mark.parametrize(
    ("contract", "words"),
    [
        ("f1", "for the best F1, which came to 0.812"),
        ("min-recall 0.99", "to catch 99% of the defective photographs at least"),
        ("max-fpr 0.01", "to reject 1% of the good photographs at most"),
        ("cost 1:20", "a false alarm costs 1 and a missed defect 20"),
        ("0.4", "by hand"),
        ("requirement (recall 0.9)", "was chosen by the requirement recall 0.9, on the validation"),
    ],
)
def test_every_contract_is_said_in_words(contract: str, words: str) -> None:
    point = {"contract": contract, "achieved": 0.8123, "part": "val", "guarantee": ""}
    assert words in describe_contract(point)
    assert "no promise for fresh ones" in describe_guarantee(point)


def test_what_else_decides_is_said() -> None:
    point = {"verdict": "classifier", "review": None, "thresholds": {"classifier": 0.0}}
    assert describe_threshold(point) == "defective from here on"
    assert describe_novelty(point) == "how unlike good photographs it is"
    point |= {"verdict": "either", "review": (-1.0, 0.0), "thresholds": {"novelty": 12.3456}}
    said = "defective from here on, or by its novelty; between 0.269 and 0.500 a person decides"
    assert describe_threshold(point) == said
    assert describe_novelty(point).endswith("defective from 12.35 on")
    point["thresholds"]["mean_novelty"] = 3.25
    assert describe_novelty(point).endswith("; not this product if the mean novelty is 3.25 or more")


def test_the_last_version_is_served(export: Path) -> None:
    later = export / "12"
    later.mkdir()
    (later / "inspector.json").write_text(json.dumps({**MANIFEST, "version": 12}))
    assert require_export(export) == later
    assert require_export(export / "3") == export / "3"


def test_what_cannot_be_served_is_told_with_the_way_out(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=f"is a run; export it first: `mvdefect export {finished_run}`"):
        require_export(finished_run)
    with pytest.raises(ExportError, match=r"Received: .*nothing \(it does not exist\)"):
        require_export(tmp_path / "nothing")


def test_a_pinned_export_is_served_or_none(export: Path, served: list[ServerSettings], capsys: Any) -> None:
    manifest = export / "3" / "inspector.json"
    manifest.write_text(json.dumps({**MANIFEST, "files": {}}))
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert run(str(export), "--port", "0", "--expect-sha256", digest) == 0
    manifest.write_text(json.dumps({**MANIFEST, "files": {}, "version": 4}))
    assert run(str(export), "--port", "0", "--expect-sha256", digest) == 2
    assert f"must have the SHA-256 {digest}. Received: " in capsys.readouterr().err
    assert len(served) == 1
