"""Whether what a kill -9 interrupts ends as what nothing interrupts, with nothing left behind.

    python benchmarks/kills.py --kills 20

Each command runs once in peace. Then, again and again, it is killed at a random moment of that time and given
again until it ends; the result must be the same, and nothing else may lie beside it. Drawn parts, 64 pixels.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvdefect.core.files import write_text
from mvdefect.drawing.data_set import write_parts

SMALL = ["--backbone", "small_cnn", "--weights", "none", "--resolution", "64"]
STAGES = [
    "--batch-size",
    "16",
    "--set",
    "stages=[{depth_blocks: 0, epochs: 2}, {depth_blocks: 2, epochs: 3}]",
]
SEARCH = "{settings: {batch_size: 16, stages: [{epochs: 2}]}, refits: {best: 1, seeds: 1, folds: 2}}"
DIGITS = 5  # of numbers that are compared: a graph that is traced anew may round otherwise
SUMMARY = ("recall", "false_alarm_rate", "roc_auc", "f1")
LIMIT_SECONDS = 300.0


@dataclass(frozen=True)
class Case:
    """One command.

    Attributes:
        words: What follows `mvdefect`; {out} is where its result goes.
        read: Returns what is compared.
        name: Of the result in its folder.
        is_endless: Whether it has to be stopped when all is there.
        whole: What is there once it is done, and must not be made twice; None: it may be given again.
    """

    words: Sequence[str]
    read: Callable[[Path], Any]
    name: str = "out"
    is_endless: bool = False
    whole: str | None = None


def read_table(path: Path, left_out: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the rows of a table, numbers rounded."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [{key: _round(value) for key, value in row.items() if key not in left_out} for row in rows]


def _round(text: str) -> str:
    try:
        return f"{float(text):.{DIGITS}g}"
    except ValueError:
        return text


def list_files(root: Path) -> list[str]:
    """Return everything below a folder, without the names that are made of times."""
    found = (path.relative_to(root).as_posix() for path in root.rglob("*"))
    return sorted(name for name in found if not name.startswith("tensorboard/"))


def read_run(path: Path) -> Any:
    """Return what a fit came to."""
    figures = json.loads((path / "metrics.json").read_text(encoding="utf-8"))["figures"]
    measured = {name: _round(str(figures[name]["value"])) for name in SUMMARY if name in figures}
    return list_files(path), read_table(path / "predictions.csv"), measured


def read_search(path: Path) -> Any:
    """Return what a search chose, and what of."""
    times = ("seconds", "latency_ms", "memory_gb")
    board = read_table(path / "leaderboard.csv", times)
    best = (path / "best.yaml").read_text(encoding="utf-8").replace(str(path), "out")
    return [name for name in list_files(path) if "/" not in name], board, best


def read_store(path: Path) -> Any:
    """Return every byte of prepared images."""
    shards = {name.name: name.read_bytes() for name in sorted(path.glob("*.tfrecord*")) if name.is_file()}
    return list_files(path), shards


def read_export(path: Path) -> Any:
    """Return what an export says of itself, but for times and the files' hashes, which hold them."""
    (version,) = path.iterdir()
    manifest = json.loads((version / "inspector.json").read_text(encoding="utf-8"))
    engines = [engine["name"] for engine in manifest["engines"]]
    return list_files(path), engines, manifest["operating_point"], sorted(manifest["files"])


def read_rows(path: Path) -> Any:
    """Return the row of every photograph, whatever came first."""
    return sorted(tuple(row.items()) for row in read_table(path))


def make_cases(place: Path) -> dict[str, Case]:
    """Return the commands by name; the run that some of them need is made first."""
    data, run = str(place / "parts"), str(place / "run")
    subprocess.run(
        _command(["fit", "--data", data, "--run", run, *SMALL, *STAGES]), check=True, capture_output=True
    )
    fit = ["fit", "--data", data, "--run", "{out}", *SMALL, *STAGES]
    search = ["--trials", "2", "--strategy", "random", "--confirm", "1", "--config", str(place / "tune.yaml")]
    write_text(place / "tune.yaml", SEARCH)
    prepare = ["data", "prepare", data, "--out", "{out}", "--resolution", "96"]
    predict = ["predict", run, data, "--out", "{out}", "--exit-zero", "--batch-size", "4"]
    watch = ["predict", run, "--watch", data, "--out", "{out}", "--exit-zero"]
    return {
        "fit": Case(fit, read_run, whole="."),
        "tune": Case(["tune", "--data", data, "--out", "{out}", *SMALL, *search], read_search),
        "prepare": Case(prepare, read_store),
        "predict": Case(predict, read_rows, "out.csv"),
        "watch": Case(watch, read_rows, "out.csv", is_endless=True),
        "export": Case(
            ["export", run, "--out", "{out}", "--name", "parts"],
            lambda out: read_export(out / "parts"),
            whole="parts/1",
        ),
    }


def _command(words: Sequence[str], out: Path | None = None) -> list[str]:
    return [sys.executable, "-m", "mvdefect", *(word.replace("{out}", str(out)) for word in words)]


def run_once(case: Case, folder: Path, wanted: int, kill_after: float | None = None) -> float:
    """Run a command to its end, or kill it after some time; return how long it took.

    Args:
        case: The command.
        folder: Where its result goes, and its cache.
        wanted: How many rows an endless command has to write.
        kill_after: In seconds; None: it ends by itself.
    """
    out, started = folder / "result" / case.name, time.monotonic()
    out.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "MVDEFECT_CACHE": str(folder / "cache")}
    with subprocess.Popen(
        _command(case.words, out),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        while process.poll() is None:
            passed = time.monotonic() - started
            if (kill_after is not None and passed >= kill_after) or passed > LIMIT_SECONDS:
                os.killpg(process.pid, signal.SIGKILL)
            elif case.is_endless and out.is_file() and out.read_bytes().count(b"\n") > wanted:
                process.send_signal(signal.SIGINT)  # again and again: one that comes too early is not heard
                time.sleep(1)
            time.sleep(0.01)
        said = process.stderr.read().decode(errors="replace") if process.stderr else ""
    was_stopped = kill_after is not None or case.is_endless
    if process.returncode and not was_stopped:
        raise SystemExit(f"{' '.join(case.words)} failed: {said[-1500:]}")
    return time.monotonic() - started


def measure(name: str, case: Case, place: Path, kills: int, rng: random.Random) -> bool:
    """Kill a command many times, print what came of it, and return whether all was well."""
    wanted = sum(1 for path in (place / "parts").rglob("*.png"))
    peace = place / name / "peace"
    seconds = run_once(case, peace, wanted)
    expected = case.read(peace / "result" / case.name)
    different, left = 0, 0
    for number in range(kills):
        folder = place / name / str(number)
        run_once(case, folder, wanted, rng.uniform(0.05, 0.98) * seconds)
        if case.whole is None or not (folder / "result" / case.name / case.whole).exists():
            run_once(case, folder, wanted)
        found = case.read(folder / "result" / case.name)
        if found != expected:
            different += 1
            write_text(place / name / f"{number}.txt", f"{expected}\n\n{found}\n")
        left += {path.name for path in (folder / "result").iterdir()} != {case.name}
        shutil.rmtree(folder)
    print(
        f"{name}: {seconds:.1f} s in peace; killed {kills} times, {different} with another result, "
        f"{left} with something left behind",
        flush=True,
    )
    return not different and not left


def main() -> None:
    """Measure and print; the exit code is 1 where anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", nargs="*", help="names of commands; default: all")
    parser.add_argument("--keep", type=Path, help="folder for what differs; default: a temporary one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = given.keep or Path(temporary)
        write_parts(place / "parts", good=16, defective_per_type=5, size_px=64)
        cases = make_cases(place)
        rng = random.Random(0)  # noqa: S311 (for moments)
        chosen = given.only or list(cases)
        fine = [measure(name, cases[name], place, given.kills, rng) for name in chosen]
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
