"""What `data check` and `data split` take where there are many images, defect types or products.

    python benchmarks/scale.py
    python benchmarks/scale.py products types --share 0.1

Every image is drawn: the pattern of its product, and a grain of its own on it. Each command runs in a process
of its own; the first one of a case finds an empty cache, the others what that one has remembered.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from mvdefect.core.parallel import map_in_threads

Picture = tuple[Path, int, int]  # where, seed of the product, side in pixels
COMMANDS = (["data", "split", "{data}", "--out", "{out}"], ["data", "check", "{data}"])


def list_folder(root: Path, share: float) -> Iterator[Picture]:
    """50,000 images of one product in one folder, a tenth of them defective."""
    for number in range(int(50_000 * share)):
        kind = "scratch" if number % 10 == 0 else "good"
        yield root / kind / f"{number:06}.png", 0, 64


def list_types(root: Path, share: float) -> Iterator[Picture]:
    """2,000 defect types of one product with 5 images each, and as many good images as types."""
    for kind in range(int(2_000 * share)):
        yield root / "good" / f"{kind:05}.png", 0, 64
        yield from ((root / f"type_{kind:04}" / f"{number}.png", 0, 64) for number in range(5))


def list_products(root: Path, share: float) -> Iterator[Picture]:
    """100 products with 24 good and 12 defective images each."""
    for product in range(int(100 * share)):
        for kind, count in (("good", 24), ("dent", 12)):
            folder = root / f"product_{product:03}" / kind
            yield from ((folder / f"{number:02}.png", product, 48) for number in range(count))


def list_large(root: Path, share: float) -> Iterator[Picture]:
    """5,000 images of one megapixel, as JPEG, a tenth of them defective."""
    for number in range(int(5_000 * share)):
        kind = "scratch" if number % 10 == 0 else "good"
        yield root / kind / f"{number:05}.jpg", 0, 1000


CASES: dict[str, Callable[[Path, float], Iterator[Picture]]] = {
    "products": list_products,
    "types": list_types,
    "large": list_large,
    "folder": list_folder,
}


def draw(seed: int, item: tuple[int, Picture]) -> None:
    """Draw one image and write it."""
    number, (path, product, side) = item
    pattern = np.random.default_rng(product).integers(40, 200, (6, 6, 3)).astype(np.uint8)
    own = np.random.default_rng((seed, number)).integers(0, 90, (side // 4, side // 4, 3)).astype(np.uint8)
    layers = [cv2.resize(layer, (side, side), interpolation=cv2.INTER_CUBIC) for layer in (pattern, own)]
    path.write_bytes(
        cv2.imencode(path.suffix, cv2.addWeighted(layers[0], 0.6, layers[1], 1.0, 0))[1].tobytes()
    )


def measure(command: list[str], environment: dict[str, str]) -> str:
    """Run a command and say what it took: seconds, processor time, and memory of its largest process."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-m", "mvdefect", *command], env=environment, capture_output=True, text=True
    )
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode and "error(s)" not in ended.stdout:
        raise SystemExit(f"{' '.join(command)} failed: {ended.stderr[-1500:]}")
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (
        f"{seconds:.0f} s ({worked:.0f} s of processor time), at most {after.ru_maxrss / 1e6:.2f} GB so far"
    )


def measure_case(name: str, share: float, place: Path) -> None:
    """Draw a case, run the commands on it, and print what they took."""
    data = place / name / "data"
    pictures = list(CASES[name](data, share))
    for folder in {path.parent for path, _, _ in pictures}:
        folder.mkdir(parents=True, exist_ok=True)
    for _ in map_in_threads(partial(draw, len(name)), enumerate(pictures)):
        pass
    print(f"{name}: {CASES[name].__doc__} {len(pictures)} images", flush=True)
    environment = {**os.environ, "MVDEFECT_CACHE": str(place / name / "cache")}
    for words in (*COMMANDS, *COMMANDS):
        command = [word.format(data=data, out=place / name / "plans") for word in words]
        print(f"  {' '.join(words[:2])}: {measure(command, environment)}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--share", type=float, default=1.0, help="of the images")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        for name in given.cases or CASES:
            measure_case(name, given.share, Path(place))


if __name__ == "__main__":
    main()
