"""What the region that counts does against clutter beside the product: false alarms with and without it.

    python benchmarks/region.py --weights mobilenetv2.weights.h5

Drawn plates lie alike on a belt, among things that are no part of the product and change from image to
image. An inspector learns from good images alone, another also from defective ones, with region none, a mask
and auto. Each is asked about fresh images with as much clutter, and about such with more. `--fills` compares
instead what can stand outside of the region: black, which is used, mid-grey, and the mean of what counts.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
from sklearn.metrics import roc_auc_score

import mvdefect
from mvdefect.data.counted_region import Colour, read_region
from mvdefect.data.images import Pixels
from mvdefect.drawing.catalogue import PARTS, draw_image
from mvdefect.drawing.photos import encode_image

SIZE_PX, PLATE_PX, SHIFT_PX = 256, 128, 2
CATEGORIES = ("brushed_metal", "speckle", "wood")
CALM, BUSY = (0, 4), (6, 12)  # things beside the plate
SEED = 0
Scene = tuple[str, Pixels]


def draw_scene(category: str, kind: str, number: int, things: tuple[int, int]) -> Pixels:
    """Draw a plate on a belt, with as many things beside it."""
    rng = np.random.default_rng([SEED, number, len(kind), things[0]])
    belt = cv2.resize(rng.normal(60, 14, (24, 24)).astype(np.float32), (SIZE_PX, SIZE_PX))
    canvas = np.repeat(belt[..., np.newaxis], 3, axis=2) + rng.normal(0, 3, (SIZE_PX, SIZE_PX, 1))
    for _ in range(rng.integers(*things, endpoint=True)):
        colour = tuple(map(int, rng.integers(20, 255, 3)))
        centre = tuple(map(int, rng.integers(0, SIZE_PX, 2)))
        axes = tuple(map(int, rng.integers(4, 26, 2)))
        cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
    plate, _ = draw_image(category, kind, number, SEED, PLATE_PX)
    top, left = (SIZE_PX - PLATE_PX) // 2 + rng.integers(-SHIFT_PX, SHIFT_PX + 1, 2)
    canvas[top : top + PLATE_PX, left : left + PLATE_PX] = plate
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def draw_scenes(category: str, good: int, bad: int, first: int, things: tuple[int, int]) -> Iterator[Scene]:
    """Yield images of good and defective plates, with what they are."""
    types = PARTS[category][1]
    for number in range(good):
        yield "good", draw_scene(category, "good", first + number, things)
    for number in range(bad):
        kind = types[number % len(types)]
        yield kind, draw_scene(category, kind, first + number, things)


def write_scenes(root: Path, scenes: Sequence[Scene]) -> Path:
    """Write them into class folders."""
    for number, (kind, image) in enumerate(scenes):
        (root / kind).mkdir(parents=True, exist_ok=True)
        (root / kind / f"{number:04}.png").write_bytes(encode_image(image, ".png"))
    return root


def write_mask(path: Path) -> Path:
    """Write the mask of where a plate can lie."""
    edge = (SIZE_PX - PLATE_PX) // 2 - SHIFT_PX
    mask = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    mask[edge:-edge, edge:-edge] = 255
    path.write_bytes(encode_image(mask, ".png"))
    return path


def list_fills(scenes: Sequence[Scene]) -> dict[str, Colour]:
    """Return colours that can stand outside of a region."""
    edge = (SIZE_PX - PLATE_PX) // 2
    plates = [image[edge:-edge, edge:-edge] for kind, image in scenes if kind == "good"]
    red, green, blue = np.rint(np.mean(plates, axis=(0, 1, 2))).astype(int).tolist()
    grey = (127, 127, 127)
    return {"black": (0, 0, 0), "mid-grey": grey, "mean of what counts": (red, green, blue)}


def judge(run: mvdefect.Run, scenes: Sequence[Scene]) -> str:
    """Return false alarms, recall and ROC-AUC on fresh images."""
    answers = mvdefect.load(run).predict([image for _, image in scenes])
    labels = np.array([kind != "good" for kind, _ in scenes])
    called = np.array([answer.label == "defective" for answer in answers])
    auc = roc_auc_score(labels, [answer.probability for answer in answers])
    return f"{called[~labels].mean():.3f}, {called[labels].mean():.3f}, {auc:.3f}"


@contextmanager
def filling(colour: Colour | None) -> Iterator[None]:
    """Let a colour stand outside of regions; None: the usual one."""
    if colour is None:
        yield
        return
    with mock.patch("mvdefect.workflow.region.FILL", colour):
        yield


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--categories", nargs="+", default=CATEGORIES)
    parser.add_argument("--good", type=int, default=60)
    parser.add_argument("--defective", type=int, nargs="+", default=[0, 24])
    parser.add_argument("--fresh", type=int, default=100, help="Images of each class.")
    parser.add_argument("--fills", action="store_true")
    asked = parser.parse_args()
    settings = {
        "backbone": "mobilenetv2",
        "weights": asked.weights,
        "fine_tune": False,
        "threshold": "max-fpr 0.05",
        "near_duplicates": "none",
    }
    print("product, defective in training, region: share that counts; false alarms, recall, ROC-AUC on fresh")
    print("images, with as much clutter | with more")
    for category in asked.categories:
        with tempfile.TemporaryDirectory() as aside:
            root = Path(aside)
            mask = str(write_mask(root / "mask.png"))
            fresh = [
                list(draw_scenes(category, asked.fresh, asked.fresh, 10_000, things))
                for things in (CALM, BUSY)
            ]
            for bad in asked.defective:
                scenes = list(draw_scenes(category, asked.good, bad, 0, CALM))
                images = write_scenes(root / str(bad), scenes)
                cases: dict[str, tuple[str, Colour | None]]
                cases = {"none": ("none", None), "auto": ("auto", None), "mask": (mask, None)}
                if asked.fills:
                    cases = {name: (mask, fill) for name, fill in list_fills(scenes).items()}
                for name, (region, fill) in cases.items():
                    with filling(fill):
                        place = root / "runs" / f"{bad}-{name}"
                        run = mvdefect.fit(images, {**settings, "region": region}, run=place)
                    found = read_region(place / "region.png")
                    share = 1.0 if found is None else float(found.mask.mean())
                    told = " | ".join(judge(run, scenes) for scenes in fresh)
                    print(f"{category}, {bad}, {name}: {share:.2f}; {told}", flush=True)


if __name__ == "__main__":
    main()
