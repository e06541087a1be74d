"""`mvdefect serve` under load, and under requests that no client should send.

    python benchmarks/serve.py saved_models/first --photographs photographs
    python benchmarks/serve.py saved_models/first --photographs photographs --seconds 10 --hostile 100
    python benchmarks/serve.py saved_models/first --varied 2000

The engine alone is asked about batches of 32 before and after; then the server runs in a process of its own,
clients in another, each on a connection of its own with one request under way. The rate limit is off, since
all clients are one address. At the end clients ask while hostile requests come, and once more after them.
With `--varied` one client sends drawn images of as many sizes, and the server's memory is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mvdefect.data.sources.folders import read_records

BATCH_SIZE = 32
PHOTOGRAPHS = 64
CLIENTS = Path(__file__).with_name("serve_clients.py")
BYTES = {"Content-Type": "application/octet-stream"}
RATIO_WANTED, P99_WANTED_MS = 0.8, 1500.0


def measure_engine(export: Path, paths: Sequence[Path], seconds: float) -> float:
    """Return how many photographs a second the engine inspects in batches, in a process of its own."""
    command = [sys.executable, __file__, str(export), "--engine", str(seconds), *map(str, paths)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def run_engine(export: Path, paths: Sequence[Path], seconds: float) -> None:
    """Measure in this process, and print."""
    from mvdefect.inspector.engines import open_engine

    engine = open_engine(export)
    files = [path.read_bytes() for path in paths]
    batches = [(files * BATCH_SIZE)[start : start + BATCH_SIZE] for start in range(0, len(files), BATCH_SIZE)]
    engine(batches[0])
    count, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        engine(batches[count % len(batches)])
        count += 1
    print(count * BATCH_SIZE / passed)


@contextmanager
def start_server(export: Path, corrections: Path, extra: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield port and process of a server; afterwards it has to stop at SIGTERM within seconds."""
    command = [sys.executable, "-m", "mvdefect", "serve", str(export), "--port", "0", "--rate", "0"]
    command += ["--corrections", str(corrections), *extra]
    environment = {**os.environ, "COLUMNS": "200"}
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        port = None
        for line in server.stderr or ():
            if "http://127.0.0.1:" in line:
                port = int(line.split("http://127.0.0.1:")[1].split()[0])
                break
        if port is None:
            raise RuntimeError(f"the server did not start: exit code {server.wait()}")
        yield port, server.pid
        started = time.monotonic()
        server.send_signal(signal.SIGTERM)
        code = server.wait(30)
        print(f"stopped at SIGTERM after {time.monotonic() - started:.1f} s with exit code {code}")
    finally:
        server.kill()


def read_rss_mb(process: int) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def start_clients(manner: str, port: int, model: str, paths: Sequence[Path], *more: str) -> Any:
    """Start clients in a process of their own."""
    command = [sys.executable, str(CLIENTS), manner, "--port", str(port), "--model", model, *more]
    return subprocess.Popen([*command, *map(str, paths)], stdout=subprocess.PIPE, text=True)


def drive(port: int, model: str, paths: Sequence[Path], clients: int, seconds: float) -> dict[str, Any]:
    """Let clients ask for so long, and return what they saw."""
    more = ("--clients", str(clients), "--seconds", str(seconds))
    out = start_clients("good", port, model, paths, *more).communicate()[0]
    found: dict[str, Any] = json.loads(out)
    return found


def describe(name: str, found: dict[str, Any], engine: float) -> str:
    """Return what clients saw as a line."""
    times = ", ".join(
        f"{key.removesuffix('_ms')} {found[key]:.0f} ms" for key in ("p50_ms", "p95_ms", "p99_ms")
    )
    return (
        f"{name}: {found['requests']} requests, errors {found['errors'] or 'none'}, "
        f"{found['per_second']:.1f}/s, {found['per_second'] / engine:.2f} of the engine, {times}"
    )


def count_answers(port: int) -> str:
    """Return the mean size of a batch, as the server counted."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    values = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line[:1] != "#"}
    return f"{values['mvdefect_batch_size_sum'] / max(1, values['mvdefect_batch_size_count']):.1f}"


def measure(options: argparse.Namespace, paths: Sequence[Path], corrections: Path) -> None:
    """Measure and print."""
    before = measure_engine(options.export, paths, options.engine_seconds)
    model = options.export.name if not options.export.name.isdigit() else options.export.parent.name
    with start_server(options.export, corrections, options.serve) as (port, process):
        drive(port, model, paths, options.clients, 5)
        memory = [read_rss_mb(process)]
        halves = []
        for _ in range(2):
            halves.append(drive(port, model, paths, options.clients, options.seconds / 2))
            memory.append(read_rss_mb(process))
        size = count_answers(port)
        hostile = start_clients("hostile", port, model, paths[:1], "--requests", str(options.hostile))
        during = drive(port, model, paths, options.clients, options.engine_seconds)
        kinds = json.loads(hostile.communicate()[0])
        after = drive(port, model, paths, options.clients, options.engine_seconds)
        memory.append(read_rss_mb(process))
    engine = (before + measure_engine(options.export, paths, options.engine_seconds)) / 2
    print(f"engine alone, batches of {BATCH_SIZE}: {engine:.1f}/s (before {before:.1f}/s)")
    for name, found in (("first half", halves[0]), ("second half", halves[1])):
        print(describe(f"{options.clients} clients, {name}", found, engine))
    print(f"photographs in a batch: {size} on average")
    print(
        "memory: " + ", ".join(f"{mb:.0f} MB" for mb in memory) + " (start, middle, end, after the hostile)"
    )
    for kind, counts in kinds.items():
        print(f"hostile, {kind}: " + ", ".join(f"{count} × {answer}" for answer, count in counts.items()))
    print(describe("good requests meanwhile", during, engine))
    print(describe("good requests afterwards", after, engine))
    written = [path.name for path in corrections.rglob("*")] if corrections.exists() else []
    print(f"files written by hostile requests: {written or 'none'}")
    judge(halves, engine)


def measure_varied(options: argparse.Namespace, corrections: Path) -> None:
    """Send images of every size from 16 to 2,500 pixels a side, and print the server's memory meanwhile."""
    rng = np.random.default_rng(0)
    with start_server(options.export, corrections, options.serve) as (port, process):
        for number in range(options.varied):
            height, width = (2 ** rng.uniform(4, np.log2(2500), 2)).astype(int).tolist()
            coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
            suffix = (".jpg", ".png", ".bmp")[number % 3]
            body = cv2.imencode(suffix, cv2.resize(coarse, (width, height)))[1].tobytes()
            asked = urllib.request.Request(f"http://127.0.0.1:{port}/api/inspect", body, BYTES)
            with urllib.request.urlopen(asked, timeout=30):  # noqa: S310 (of this server)
                pass
            if (number + 1) % (options.varied // 8) == 0:
                print(f"after {number + 1} images of varied size: {read_rss_mb(process):.0f} MB", flush=True)


def judge(halves: Sequence[dict[str, Any]], engine: float) -> None:
    """Say whether the load was borne as it should be."""
    ratio = sum(half["per_second"] for half in halves) / len(halves) / engine
    slowest = max(half["p99_ms"] for half in halves)
    holds = ratio >= RATIO_WANTED and slowest < P99_WANTED_MS and not any(half["errors"] for half in halves)
    print(f"{'holds' if holds else 'DOES NOT HOLD'}: ratio {ratio:.2f}, p99 {slowest:.0f} ms")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("export", type=Path)
    parser.add_argument("files", nargs="*", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--photographs", type=Path, help="class folders or MVTec AD's tree")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--engine-seconds", type=float, default=15)
    parser.add_argument("--hostile", type=int, default=1000)
    parser.add_argument("--varied", type=int, help="images of varied size, and nothing else; 8 at least")
    parser.add_argument(
        "--serve", nargs="*", default=[], help="further arguments of mvdefect serve, without --"
    )
    parser.add_argument("--engine", type=float, help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args()
    options.serve = [f"--{word}" if word[:1].isalpha() else word for word in options.serve]
    if options.engine is not None:
        run_engine(options.export, options.files, options.engine)
        return
    with tempfile.TemporaryDirectory() as folder:
        corrections = Path(folder) / "corrections"
        if options.varied:
            measure_varied(options, corrections)
            return
        found = [record.path for record in read_records(options.photographs)]
        measure(options, found[:: max(1, len(found) // PHOTOGRAPHS)][:PHOTOGRAPHS], corrections)


if __name__ == "__main__":
    main()
