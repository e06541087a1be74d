"""What the search for near-duplicates costs and finds, on drawn thumbnails.

    python benchmarks/duplicates.py --count 100000

A tenth of the thumbnails are planted: another one, laid in one of the eight poses, lighter or darker,
with noise. Prints time and memory for a quarter, a half and all of them, and how many of the planted
pairs were found.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from numpy.typing import NDArray

from mvdefect.data.duplicates import POSES, find_near_duplicates, lay_in_pose
from mvdefect.data.images import THUMBNAIL_SIZE_PX

PLANTED_SHARE = 0.1
PARTS_THAT_SHARE_A_LOOK = 50


def draw_thumbnails(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw thumbnails of parts, and copies of some of them.

    Returns:
        uint8 of shape (count, 24, 24), and int64 of shape (planted, 2): which one copies which.
    """
    rng = np.random.default_rng(seed)
    size = THUMBNAIL_SIZE_PX
    planted = int(count * PLANTED_SHARE)
    looks = rng.uniform(60, 190, (PARTS_THAT_SHARE_A_LOOK, size, size)).astype(np.float32)
    own = rng.normal(0, 25, (count - planted, size, size)).astype(np.float32)
    originals = np.clip(looks[np.arange(len(own)) % len(looks)] + own, 0, 255).astype(np.uint8)
    copied = rng.choice(len(originals), planted, replace=False)
    copies = np.empty((planted, size, size), np.float32)
    for pose in range(len(POSES)):
        copies[pose::8] = lay_in_pose(originals[copied[pose::8]], pose)
    changed = copies * rng.uniform(0.9, 1.1, (planted, 1, 1)) + rng.normal(0, 3, copies.shape)
    thumbnails = np.concatenate([originals, np.clip(changed, 0, 255).astype(np.uint8)])
    return thumbnails, np.stack([copied, np.arange(len(originals), count)], axis=1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=100_000)
    options = parser.parse_args()
    for count in (options.count // 4, options.count // 2, options.count):
        thumbnails, planted = draw_thumbnails(count)
        started = time.perf_counter()
        links = find_near_duplicates(thumbnails, ["part"] * count)
        seconds = time.perf_counter() - started
        found = set(zip(links.first.tolist(), links.second.tolist(), strict=True))
        hits = len(found & {(first, second) for first, second in planted.tolist()})
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{count} thumbnails: {seconds:.0f} s, {seconds / count / np.log(count) * 1e6:.1f} us a n log n, "
            f"peak {peak_gb:.2f} GB; of {len(planted)} planted pairs {hits} found, {len(found) - hits} others"
        )


if __name__ == "__main__":
    main()
