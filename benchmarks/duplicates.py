"""What the search for near-duplicates costs, and what it finds on images of yours.

    python benchmarks/duplicates.py scale --count 100000
    python benchmarks/duplicates.py sheets --data photographs --out sheets

`scale`: drawn parts of one product in one pose, a tenth of them photographed twice (another light, a small
shift, noise). Prints time and memory for a quarter, a half and all of them, and how many pairs were found.

`sheets`: draws the pairs that were found in a data set, the 50 with the most evidence and 50 drawn at random,
each as one picture to look at, and prints how many images are in a group. Only a person can count on them how
many pairs show two parts.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.core.parallel import map_in_threads
from mvdefect.data.groups.details import FINGERPRINT_LENGTH, make_detail, take_fingerprint
from mvdefect.data.groups.duplicates import Links, connect, find_near_duplicates
from mvdefect.data.groups.grouping import find_links
from mvdefect.data.groups.poses import lay_in_pose
from mvdefect.data.images import Pixels, decode_image, make_thumbnail
from mvdefect.data.scan import Scan, scan_images
from mvdefect.data.sources.opening import open_source

SIZE_PX = 128
PLANTED_SHARE = 0.1
SHOWN = 50
COLUMNS = 5
CELL_PX = 150


def draw_product() -> NDArray[np.float32]:
    """Draw what all parts share: edges, holes and a print."""
    part = np.full((SIZE_PX, SIZE_PX), 60, np.uint8)
    cv2.circle(part, (64, 64), 52, 150, -1)
    cv2.circle(part, (64, 64), 20, 40, -1)
    cv2.putText(part, "K7", (50, 112), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 90, 1)
    return part.astype(np.float32)


class Drawn:
    """Photographs of parts by number; the last tenth shows the first ones again."""

    def __init__(self, count: int) -> None:
        """Draw none of them yet."""
        self.planted = int(count * PLANTED_SHARE)
        self.parts = count - self.planted
        self._product = draw_product()

    def take(self, number: int) -> Pixels:
        """Take a photograph, uint8 of shape (128, 128)."""
        part = np.random.default_rng(number % self.parts).standard_normal((SIZE_PX, SIZE_PX), np.float32)
        rng = np.random.default_rng((1, number))
        shift = np.array([[1, 0, rng.normal(0, 1)], [0, 1, rng.normal(0, 1)]], np.float32)
        picture = self._product + 60 * cv2.GaussianBlur(part, (0, 0), 1.5)
        moved = cv2.warpAffine(picture, shift, (SIZE_PX, SIZE_PX), borderMode=cv2.BORDER_REFLECT)
        noise = rng.standard_normal(moved.shape, np.float32)
        return np.asarray(np.clip(moved * rng.uniform(0.85, 1.1) + noise, 0, 255), np.uint8)

    def describe(self, number: int) -> tuple[NDArray[np.float16], Pixels]:
        """Return the fingerprint and the thumbnail of a photograph."""
        picture = self.take(number)
        colour = np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB), np.uint8)
        return take_fingerprint(make_detail(picture)), make_thumbnail(colour)


def measure_scale(count: int) -> None:
    """Search among drawn photographs, and print what it took."""
    drawn = Drawn(count)
    prints = np.empty((count, FINGERPRINT_LENGTH), np.float16)
    thumbnails = np.empty((count, 24, 24), np.uint8)
    for number, (found, thumbnail) in enumerate(map_in_threads(drawn.describe, range(count))):
        prints[number], thumbnails[number] = found, thumbnail
    sizes = np.full((count, 2), SIZE_PX, np.int64)
    started = time.perf_counter()
    links = find_near_duplicates(prints, thumbnails, sizes, ["part"] * count, drawn.take)
    seconds = time.perf_counter() - started
    pairs = set(zip(links.first.tolist(), links.second.tolist(), strict=True))
    hits = len(pairs & {(number, drawn.parts + number) for number in range(drawn.planted)})
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{count} images: {seconds:.0f} s, {seconds / count / np.log(count) * 1e6:.1f} us a n log n, peak "
        f"{peak_gb:.2f} GB; of {drawn.planted} planted pairs {hits} found, {len(pairs) - hits} others",
        flush=True,
    )


def draw_pair(scan: Scan, links: Links, index: int) -> Pixels:
    """Draw both images of a pair, the first one posed as the second, with their names below."""
    views = []
    for side, pose in ((links.first, int(links.pose[index])), (links.second, 0)):
        image = decode_image(scan.records[side[index]].path.read_bytes())
        grey = lay_in_pose(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[np.newaxis], pose)[0]
        scale = CELL_PX / max(grey.shape)
        size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
        small = cv2.resize(np.ascontiguousarray(grey), size, interpolation=cv2.INTER_AREA)
        view = np.full((CELL_PX + 14, CELL_PX + 2), 255, np.uint8)
        view[: size[1], : size[0]] = small
        name = f"{links.evidence[index]:.2f} " * (side is links.first) + scan.records[side[index]].path.stem
        cv2.putText(view, name[-24:], (0, CELL_PX + 11), cv2.FONT_HERSHEY_SIMPLEX, 0.33, 0, 1)
        views.append(view)
    return np.hstack(views)


def write_sheet(scan: Scan, links: Links, chosen: Sequence[int], path: Path) -> None:
    """Write pairs as one picture."""
    cells = [draw_pair(scan, links, index) for index in chosen]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % COLUMNS)
    rows = [np.hstack(cells[start : start + COLUMNS]) for start in range(0, len(cells), COLUMNS)]
    path.write_bytes(cv2.imencode(".png", np.vstack(rows))[1].tobytes())


def write_sheets(data: str, out: Path) -> None:
    """Search in a data set, print what was found, and draw it."""
    scan = scan_images(open_source(data).records)
    started = time.perf_counter()
    links = find_links(scan)
    seconds = time.perf_counter() - started
    sizes = np.bincount(connect(links.first, links.second, len(scan.records)))
    print(
        f"{len(scan.records)} images: {len(links.first)} pairs in {(sizes > 1).sum()} groups of "
        f"{sizes[sizes > 1].sum()} images, the largest of {sizes.max()}; {len(links.undecided)} undecided; "
        f"{seconds:.0f} s where nothing was remembered"
    )
    out.mkdir(parents=True, exist_ok=True)
    if len(links.first):
        strongest = np.argsort(-links.evidence, kind="stable")[:SHOWN]
        write_sheet(scan, links, strongest.tolist(), out / "strongest.png")
        drawn = np.random.default_rng(0).permutation(len(links.first))[:SHOWN]
        write_sheet(scan, links, drawn.tolist(), out / "random.png")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=["scale", "sheets"], nargs="?", default="scale")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--data")
    parser.add_argument("--out", type=Path, default=Path("sheets"))
    options = parser.parse_args()
    if options.what == "sheets":
        write_sheets(options.data, options.out)
        return
    for count in (options.count // 4, options.count // 2, options.count):
        measure_scale(count)


if __name__ == "__main__":
    main()
