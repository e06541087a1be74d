"""What scorers on frozen features are worth: of whole images, of single positions, and of both together.

    python benchmarks/patches.py --data tiles=../shared/data/magnetic_tile --weights FILE [--images 300]

Mean ROC-AUC of five folds by groups, three seeds, at the working size that `fit` chooses. Groups are found as
`fit` finds them. Positions are learned from labels of images, and from masks where there are some.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from mvdefect.config import Size
from mvdefect.data.groups.grouping import group_records
from mvdefect.data.images import decode_at_size, decode_mask
from mvdefect.data.records import Record
from mvdefect.data.resizing import resize_mask
from mvdefect.data.resolution import list_scales, read_defects, read_sizes, settle_resolution
from mvdefect.data.scan import scan_images
from mvdefect.data.sources.folders import read_records
from mvdefect.models.backbones import find_backbone
from mvdefect.models.features import Trunk, load_trunk
from mvdefect.models.kernel_machine import KernelMachine, find_scaling
from mvdefect.models.patch_scorer import PatchMachine, build_patch_look
from mvdefect.models.scorer import build_look, list_blocks
from mvdefect.models.weights import find_weights
from mvdefect.training.predictions import compile_features

BATCH, FOLDS, SEEDS = 16, 5, 3


@dataclass(frozen=True)
class Seen:
    """What networks make of all images: vectors of each scale with their scaling, maps, and marked cells."""

    vectors: list[tuple[np.ndarray, tuple[int, ...]]]
    maps: np.ndarray
    marked: np.ndarray
    labels: np.ndarray
    groups: np.ndarray


def look_at(records: Sequence[Record], trunks: Sequence[Trunk], size_px: Size) -> Seen:
    """Run the backbone at each scale on all images."""
    looks = [compile_features(build_look(trunk)) for trunk in trunks[:-1]]
    looks.append(compile_features(build_patch_look(trunks[-1], 0)))
    found: list[list[np.ndarray]] = [[] for _ in looks]
    maps = []
    for start in range(0, len(records), BATCH):
        batch = records[start : start + BATCH]
        pixels = np.stack([decode_at_size(record.path.read_bytes(), size_px) for record in batch])
        for look, kept in zip(looks, found, strict=True):
            features, vectors = look(pixels)
            kept.append(np.asarray(vectors))
        maps.append(np.asarray(features))
    cells = maps[0].shape[1:3]
    return Seen(
        [(np.concatenate(kept), list_blocks(trunk)) for kept, trunk in zip(found, trunks, strict=True)],
        np.concatenate(maps),
        np.stack([mark_cells(record, size_px, cells) for record in records]),
        np.array([record.label for record in records]),
        group_records(scan_images(records)).codes,
    )


def mark_cells(record: Record, size_px: Size, cells: Sequence[int]) -> np.ndarray:
    """Return which positions a mask marks, bool; none without a mask."""
    if record.mask_path is None:
        return np.zeros(cells, bool)
    mask = resize_mask(decode_mask(record.mask_path.read_bytes()), size_px, "letterbox") > 0
    return np.asarray(mask.reshape(cells[0], size_px[0] // cells[0], cells[1], -1).any((1, 3)))


def score_folds(seen: Seen, seed: int) -> Iterator[dict[str, float]]:
    """Yield the ROC-AUC of each scorer on each fold."""
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for fit, test in folds.split(seen.labels, seen.labels, seen.groups):
        labels = seen.labels[fit]
        weights = (len(labels) / 2 / np.bincount(labels))[labels].astype(np.float32)
        wholes = [
            KernelMachine.fit(found[fit], labels, weights, find_scaling(found[fit], blocks)).score(
                found[test]
            )
            for found, blocks in seen.vectors
        ]
        scores = {"whole images": np.mean(wholes, axis=0)}
        for name, marked in {"positions": None, "positions, masks": seen.marked[fit]}.items():
            if marked is None or marked.any():
                machine = PatchMachine.fit(seen.maps[fit], labels, weights, marked, seed)
                scores[name] = machine.score(seen.maps[test])
                scores[f"both ({name})"] = sum(
                    one / one.std() for one in (scores["whole images"], scores[name])
                )
        yield {name: float(roc_auc_score(seen.labels[test], found)) for name, found in scores.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--backbone", default="mobilenetv2")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--images", type=int, help="Number of images to draw; a third of them is defective.")
    options = parser.parse_args()
    spec = find_backbone(options.backbone)
    weights = find_weights(spec, options.weights)
    if weights is None:
        parser.error("--weights must name pre-trained ones")
    for one in options.data:
        name, _, folder = one.partition("=")
        records = draw(read_records(Path(folder)), options.images)
        size_px = settle_resolution("auto", read_sizes(records), read_defects(records))
        trunks = [load_trunk(spec, size_px, weights, scale) for scale in list_scales(size_px)]
        seen = look_at(records, trunks, size_px)
        found = [row for seed in range(SEEDS) for row in score_folds(seen, seed)]
        counts = f"{len(records)} images, {seen.labels.sum()} defective"
        print(f"\n{name}, {spec.name}, {size_px[1]}x{size_px[0]}: {counts}")
        for label in found[0]:
            values = [row[label] for row in found]
            print(f"| {label} | {np.mean(values):.3f} | {np.min(values):.3f} |", flush=True)


def draw(records: Sequence[Record], count: int | None) -> Sequence[Record]:
    """Draw images, a third of them defective, in the order that they came in; None: all."""
    if count is None:
        return records
    random, chosen = np.random.default_rng(0), []
    for label, share in ((0, count - count // 3), (1, count // 3)):
        places = [number for number, record in enumerate(records) if record.label == label]
        chosen += random.permutation(places)[:share].tolist()
    return [records[number] for number in sorted(chosen)]


if __name__ == "__main__":
    main()
