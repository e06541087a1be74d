"""What preparing costs and what it saves, as ratios measured in one run.

    python benchmarks/input.py --count 200

Prints how long `prepare_images` takes against plain OpenCV decoding and shrinking on the same cores,
and how long an epoch over the prepared store takes against an epoch that decodes the files.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mvdefect.backend import load_tensorflow
from mvdefect.data.images import resize_image
from mvdefect.data.layouts import read_records
from mvdefect.data.splits import PARTS, assign_closed_set
from mvdefect.parallel import map_in_threads


def write_photographs(root: Path, count: int, size_px: int) -> Path:
    """Write PNGs as large and as noisy as photographs are, half of them called defective."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = root / ("good" if number % 2 else "dent") / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
        smooth = cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        noisy = smooth + rng.normal(0, 6, smooth.shape).astype(np.int16)
        cv2.imwrite(str(path), np.clip(noisy, 0, 255).astype(np.uint8))
    return root


def measure_seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--photograph-px", type=int, default=1024)
    parser.add_argument("--size-px", type=int, default=224)
    options = parser.parse_args()
    load_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MVDEFECT_CACHE"] = f"{folder}/cache"
        from mvdefect.data.pipeline import Source, make_inference_batches
        from mvdefect.data.prepare import prepare_images
        from mvdefect.data.scan import scan_images

        root = write_photographs(Path(folder) / "nut", options.count, options.photograph_px)
        scan = scan_images(read_records(root))
        plan = assign_closed_set(scan, 0)

        def shrink(path: Path) -> object:
            return resize_image(np.asarray(cv2.imread(str(path)), np.uint8), options.size_px)

        paths = [record.path for record in scan.records]
        plain = measure_seconds(lambda: list(map_in_threads(shrink, paths)))
        prepare = measure_seconds(lambda: prepare_images(scan, options.size_px, "letterbox"))
        store = prepare_images(scan, options.size_px, "letterbox")
        sources = [Source(store, plan, part) for part in PARTS]
        epoch = measure_seconds(
            lambda: [batch for source in sources for batch in make_inference_batches(source, 32)]
        )
    size = f"{options.photograph_px}x{options.photograph_px}"
    print(f"{options.count} PNGs of {size}, to {options.size_px} pixels")
    print(f"preparing / plain OpenCV decode and shrink: {prepare / plain:.2f}")
    print(f"an epoch that decodes the files / an epoch over the store: {plain / epoch:.1f}")


if __name__ == "__main__":
    main()
