"""A server in a process of its own, with an inspector that needs no network."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunningServer:
    """A server that answers."""

    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def start_server(folder: Path, **limits: Any) -> Iterator[RunningServer]:
    """Yield a server in a process of its own; it is killed if it does not stop."""
    command = [sys.executable, "-m", "tests.server.process", str(folder), json.dumps(limits)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            wait_until_it_listens(port)
            yield RunningServer(port, process)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until_it_listens(port: int) -> None:
    for _ in range(200):
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    raise AssertionError("the server does not listen")


def run() -> None:
    """Serve until a signal."""
    from mvdefect.server.app import make_app
    from mvdefect.server.run import open_socket, run_app
    from mvdefect.server.settings import Limits, ServerSettings
    from tests.server.fakes import MANIFEST, FakeEngine

    folder, given = Path(sys.argv[1]), json.loads(sys.argv[2])
    engine, token = FakeEngine(given.pop("engine_seconds", 0.0)), given.pop("token", "")
    settings = ServerSettings(corrections=folder / "corrections", token=token, limits=Limits(**given))
    with open_socket("127.0.0.1", 0) as listener:
        print(listener.getsockname()[1], flush=True)
        run_app(make_app(engine, MANIFEST, settings), listener, settings)


if __name__ == "__main__":
    run()
