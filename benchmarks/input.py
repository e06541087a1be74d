"""What preparing costs and what it saves, as ratios measured in one run.

    python benchmarks/input.py

Prints how long `prepare_images` takes against plain OpenCV decoding and shrinking on the same cores, and
how long an epoch over the prepared store takes, from opening it to the last batch, against an epoch that
decodes the files. Both are measured in turn, round by round, and the median of the ratios counts: what
else the machine does hits both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from mvdefect.core.parallel import count_cores, map_in_threads
from mvdefect.core.runtime import load_tensorflow
from mvdefect.data.resizing import resize_image
from mvdefect.data.sources.folders import read_records
from mvdefect.data.splits.plan import PlanRow, SplitPlan

EPOCHS = 3  # a round; the best counts


def write_photograph(path: Path, size_px: int, seed: int) -> None:
    """Write a PNG as large and as noisy as a photograph is."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    noise = 6 * rng.standard_normal(smooth.shape, np.float32)
    cv2.imwrite(str(path), np.clip(smooth + noise, 0, 255).astype(np.uint8))


def write_photographs(root: Path, count: int, size_px: int) -> Path:
    """Write photographs, half of them called defective."""
    for defect_type in ("good", "dent"):
        (root / defect_type).mkdir(parents=True)
    paths = [root / ("good" if number % 2 else "dent") / f"{number:05}.png" for number in range(count)]
    exhaust(map_in_threads(lambda number: write_photograph(paths[number], size_px, number), range(count)))
    return root


def exhaust(items: Iterable[object]) -> None:
    """Take every item and keep none."""
    deque(items, maxlen=0)


def measure_seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_round(root: Path, out: Path, size_px: int) -> tuple[float, float, float]:
    """Return the seconds of plain OpenCV, of preparing, and of an epoch over the store."""
    from mvdefect.data.pipeline import Source, make_inference_batches
    from mvdefect.data.store import prepare_images

    records = read_records(root)

    def shrink(path: Path) -> object:
        return resize_image(np.asarray(cv2.imread(str(path)), np.uint8), (size_px, size_px))

    plain = measure_seconds(lambda: exhaust(map_in_threads(shrink, [record.path for record in records])))
    prepare = measure_seconds(lambda: prepare_images(records, (size_px, size_px), "letterbox", out=out))
    store = prepare_images(records, (size_px, size_px), "letterbox", out=out)
    rows = tuple(
        PlanRow(record.id, "train", record.category, record.defect_type, number, "")
        for number, record in enumerate(records)
    )
    source = Source(store, SplitPlan("benchmark", 0, rows), "train")
    epochs = [measure_seconds(lambda: exhaust(make_inference_batches(source, 32))) for _ in range(EPOCHS)]
    return plain, prepare, min(epochs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--photograph-px", type=int, default=1024)
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    load_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        root = write_photographs(Path(folder) / "nut", options.count, options.photograph_px)
        rounds = []
        for number in range(options.rounds):
            seconds = measure_round(root, Path(folder) / f"store{number}", options.size_px)
            print(
                f"round {number + 1}: plain {{:.2f}} s, prepare {{:.2f}} s, epoch {{:.2f}} s".format(*seconds)
            )
            rounds.append(seconds)
    size = f"{options.photograph_px}x{options.photograph_px}"
    cost = statistics.median(prepare / plain for plain, prepare, _ in rounds)
    saving = statistics.median(plain / epoch for plain, _, epoch in rounds)
    print(f"{options.count} PNGs of {size}, to {options.size_px} pixels, on {count_cores()} cores")
    print(f"preparing / plain OpenCV decode and shrink: {cost:.2f}")
    print(f"an epoch that decodes the files / an epoch over the store: {saving:.1f}")


if __name__ == "__main__":
    main()
