"""How often images of other products, screenshots and a product's own defects are called 'not this product'.

    python benchmarks/other_products.py --weights mobilenetv2.weights.h5 --kinds padim

Each product is learned from 60% of its good images. The threshold is that of an operating point, from these,
from 20% more and from 80% of the defective ones; the last fifth of both is tested. So are images of all other
products, drawn screenshots, pieces of photographs of everyday things, and images that show nothing: black, of
one grey, and noise. The real products are read from `--shared`; without it, only drawn ones are compared.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mvdefect.data.images import Pixels, decode_at_size
from mvdefect.data.records import Record
from mvdefect.data.resizing import resize_image
from mvdefect.data.sources.folders import read_records
from mvdefect.drawing.catalogue import PARTS
from mvdefect.drawing.data_set import write_parts
from mvdefect.evaluation.operating_point import choose_foreign_limit
from mvdefect.models.backbones import find_backbone
from mvdefect.models.features import build_features, load_trunk
from mvdefect.models.normality import fit_normality
from mvdefect.models.weights import find_weights

SIZE_PX, BATCH = 224, 16
REAL = {"magnetic_tile": "magnetic_tile", "commutator": "kolektor_sdd/commutator", "aitex": "aitex"}
MAX_GOOD, MAX_BAD, MAX_OTHER = 300, 200, 40
SCREENS, GROUND = ((1920, 1080), (1366, 768), (1080, 1920), (800, 600)), ("white", "black", (30, 30, 34))


def draw_screenshot(seed: int) -> Pixels:
    """Draw windows with lines of text, as screens show them."""
    rng = random.Random(seed)  # noqa: S311
    width, height = rng.choice(SCREENS)
    image = Image.new("RGB", (width, height), rng.choice(GROUND))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.randint(1, 4)):
        left, top = rng.randint(0, width // 2), rng.randint(0, height // 2)
        right, bottom = left + rng.randint(200, width // 2), top + rng.randint(150, height // 2)
        pen.rectangle([left, top, right, bottom], fill=rng.choice(GROUND), outline="gray")
        pen.rectangle([left, top, right, top + 30], fill=rng.choice([(60, 90, 160), (200, 200, 205)]))
        for line in range(top + 40, bottom - 14, rng.choice([16, 20, 26])):
            words = "".join(rng.choice("abcdefghij klmnop qrst uvw xyz 012") for _ in range(60))
            pen.text((left + 10, line), words[: rng.randint(10, 60)], fill=rng.choice(["gray", "navy"]))
    return resize_image(np.asarray(image), (SIZE_PX, SIZE_PX))


def cut_photographs() -> list[Pixels]:
    """Cut pieces out of the photographs that scikit-learn brings: a palace and a flower."""
    from sklearn.datasets import load_sample_images

    places = [(top, left) for top in (0, 120) for left in (0, 160, 320)]
    return [
        resize_image(np.ascontiguousarray(image[top : top + 300, left : left + 300]), (SIZE_PX, SIZE_PX))
        for image in load_sample_images().images
        for top, left in places
    ]


def draw_blanks(grey: Sequence[int]) -> list[Pixels]:
    """Draw images of one grey each, 0 to 255."""
    return [np.full((SIZE_PX, SIZE_PX, 3), level, np.uint8) for level in grey]


def draw_noise(count: int, highest: int) -> list[Pixels]:
    """Draw images whose pixels know nothing of each other, 0 to `highest`."""
    rng = np.random.default_rng(1)
    return [rng.integers(0, highest, (SIZE_PX, SIZE_PX, 3), np.uint8, endpoint=True) for _ in range(count)]


def read_products(shared: Path | None) -> Iterator[tuple[str, tuple[Record, ...]]]:
    """Yield name and records of each product; the files of a drawn one are gone with the next one."""
    if shared is not None:
        for name, place in REAL.items():
            yield name, read_records(shared / "data" / place)
    for name in sorted(PARTS):
        with tempfile.TemporaryDirectory() as folder:
            root = write_parts(Path(folder) / name, 0, good=90, defective_per_type=8, categories=(name,))
            yield name, read_records(root)


def read_features(network: object, images: Sequence[Pixels]) -> np.ndarray:
    """Return what a network makes of images."""
    batches = [np.stack(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    return np.concatenate([np.asarray(network(batch, training=False)) for batch in batches])  # type: ignore[operator]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--backbone", default="mobilenetv2")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--kinds", nargs="+", default=["padim"])
    parser.add_argument("--shared", type=Path, default=os.environ.get("MVDEFECT_SHARED"))
    options = parser.parse_args()
    spec, rng = find_backbone(options.backbone), np.random.default_rng(0)
    network = build_features(load_trunk(spec, (SIZE_PX, SIZE_PX), find_weights(spec, options.weights)))  # type: ignore[arg-type]
    good: dict[str, np.ndarray] = {}
    bad: dict[str, np.ndarray] = {}
    for name, records in read_products(options.shared):
        for found, label, most in ((good, 0, MAX_GOOD), (bad, 1, MAX_BAD)):
            chosen = [record for record in records if record.label == label]
            chosen = [chosen[place] for place in rng.permutation(len(chosen))[:most]]
            images = [decode_at_size(record.path.read_bytes(), (SIZE_PX, SIZE_PX)) for record in chosen]
            found[name] = read_features(network, images)
    strange = {
        "screenshots": [draw_screenshot(seed) for seed in range(30)],
        "photographs": cut_photographs(),
        "black": [*draw_blanks([0, 3]), *draw_noise(8, 8)],
        "grey": draw_blanks([20, 50, 80, 100, 128, 150, 180, 200, 230, 255]),
        "noise": draw_noise(10, 255),
    }
    seen_strange = [read_features(network, images) for images in strange.values()]
    for kind in options.kinds:
        print(f"{kind}: images called 'not this product', and all\n")
        print(f"| product | own good | own defective | {' | '.join(strange)} | other products |")
        print("| --- " * (4 + len(strange)) + "|")
        for name in good:
            cut, seen = int(0.6 * len(good[name])), int(0.8 * len(good[name]))
            seen_bad = int(0.8 * len(bad[name]))
            normality = fit_normality(kind, good[name][:cut])
            scores, bad_scores = (normality.measure_images(one[name])[1] for one in (good, bad))
            limit = choose_foreign_limit(np.concatenate([scores[:seen], bad_scores[:seen_bad]]))
            others = np.concatenate([one[:MAX_OTHER] for other, one in good.items() if other != name])
            cells = [
                scores[seen:],
                bad_scores[seen_bad:],
                *(normality.measure_images(one)[1] for one in (*seen_strange, others)),
            ]
            told = " | ".join(f"{int((cell >= limit).sum())} of {len(cell)}" for cell in cells)
            print(f"| {name} | {told} |", flush=True)


if __name__ == "__main__":
    main()
