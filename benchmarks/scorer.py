"""What the scorer on frozen features is worth, by kernel: mean ROC-AUC of five grouped folds of data sets.

    python benchmarks/scorer.py --data tiles=../shared/data/magnetic_tile --weights FILE

Features are those of the default scorer, at 224 pixels. Groups are found as `fit` finds them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.svm import SVC

from mvdefect.data.groups.grouping import group_records
from mvdefect.data.images import decode_at_size
from mvdefect.data.scan import scan_images
from mvdefect.data.sources.folders import read_records
from mvdefect.models.backbones import find_backbone
from mvdefect.models.features import load_trunk
from mvdefect.models.kernel_machine import GAMMA, PENALTY, compare, find_scaling, scale_vectors
from mvdefect.models.scorer import build_look, list_blocks
from mvdefect.models.weights import find_weights

SIZE_PX, BATCH, FOLDS = 224, 32, 5
Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
KERNELS: dict[str, Kernel] = {
    "linear": lambda first, second: np.asarray(first @ second.T),
    "Gaussian, gamma 1": lambda first, second: np.asarray(rbf_kernel(first, second, 1.0)),
    f"Gaussian, gamma {GAMMA:g}": lambda first, second: np.asarray(rbf_kernel(first, second, GAMMA)),
    "linear + Gaussian, gamma 1": lambda first, second: np.asarray(
        first @ second.T + rbf_kernel(first, second, 1.0)
    ),
    f"linear + Gaussian, gamma {GAMMA:g} (default)": compare,
}
PENALTIES = (1.0, PENALTY, 30.0)


def look_at(root: Path, look: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vectors, labels and groups of the images of a folder."""
    records = read_records(root)
    vectors = []
    for start in range(0, len(records), BATCH):
        files = [record.path.read_bytes() for record in records[start : start + BATCH]]
        pixels = np.stack([decode_at_size(file, (SIZE_PX, SIZE_PX)) for file in files])
        vectors.append(np.asarray(look(pixels, training=False)[1]))  # type: ignore[operator]
    labels = np.array([record.label for record in records])
    return np.concatenate(vectors), labels, group_records(scan_images(records)).codes


def measure(vectors: np.ndarray, labels: np.ndarray, groups: np.ndarray, blocks: tuple[int, ...]) -> None:
    """Print a row for each kernel."""
    folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(vectors, labels, groups))
    for name, kernel in KERNELS.items():
        cells = []
        for penalty in PENALTIES:
            found = []
            for fit, test in folds:
                scaled = scale_vectors(vectors, *find_scaling(vectors[fit], blocks))
                machine = SVC(C=penalty, kernel="precomputed", class_weight="balanced")
                machine.fit(kernel(scaled[fit], scaled[fit]), labels[fit])
                scores = machine.decision_function(kernel(scaled[test], scaled[fit]))
                found.append(roc_auc_score(labels[test], scores))
            cells.append(f"{np.mean(found):.3f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--backbone", default="mobilenetv2")
    parser.add_argument("--weights", default="imagenet")
    options = parser.parse_args()
    spec = find_backbone(options.backbone)
    weights = find_weights(spec, options.weights)
    if weights is None:
        parser.error("--weights must name pre-trained ones")
    trunk = load_trunk(spec, (SIZE_PX, SIZE_PX), weights)
    look = build_look(trunk)
    for one in options.data:
        name, _, folder = one.partition("=")
        vectors, labels, groups = look_at(Path(folder), look)
        print(f"\n{name}: {len(labels)} images, {labels.sum()} defective, {len(np.unique(groups))} groups\n")
        print(f"| kernel | {' | '.join(f'C {penalty:g}' for penalty in PENALTIES)} |")
        print("| --- |" + " --- |" * len(PENALTIES))
        measure(vectors, labels, groups, list_blocks(trunk))


if __name__ == "__main__":
    main()
