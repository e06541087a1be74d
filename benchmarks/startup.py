"""How long it takes until anything happens: help and import, against a Python that does nothing.

    python benchmarks/startup.py --rounds 15

Prints medians, in turns so that what else the machine does falls on all alike, and their ratios.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

CASES = {
    "an empty Python": ["-c", "pass"],
    "import mvdefect": ["-c", "import mvdefect"],
    "mvdefect --help": ["-m", "mvdefect", "--help"],
    "mvdefect fit --help": ["-m", "mvdefect", "fit", "--help"],
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(parser.parse_args().rounds):
        for name, arguments in CASES.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    empty = medians["an empty Python"]
    for name, median in medians.items():
        print(f"{name}: {1000 * median:.0f} ms, {median / empty:.1f} times an empty Python")


if __name__ == "__main__":
    main()
