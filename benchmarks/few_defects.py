"""What an inspector that learns from good images, or from few defective ones, does on images of other parts.

    python benchmarks/few_defects.py --data magnetic_tile --weights FILE --good 80 --defective 0 3 10

For each seed and number of defective images, images are drawn, at most --per-group of one group of
near-duplicates. An inspector is fitted on these alone with default settings, and images of all other groups
are predicted. Prints the false-alarm rate there beside what the run says of it, the recall and the ROC-AUC.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

import mvdefect
from mvdefect.data.groups.grouping import group_records
from mvdefect.data.records import Record
from mvdefect.data.scan import scan_images
from mvdefect.data.sources.opening import open_source

MAX_FRESH = 300  # images of each class


def draw_images(
    records: Sequence[Record], groups: np.ndarray, counts: tuple[int, int], per_group: int, seed: int
) -> tuple[list[Record], list[Record]]:
    """Return images to fit on, so many good and defective ones, and images of other groups."""
    order = np.random.default_rng(seed).permutation(np.unique(groups))
    labels = np.array([record.label for record in records])
    chosen: list[Record] = []
    touched = set()
    for label, count in enumerate(counts):
        held = [
            (group, records[number])
            for group in order
            for number in np.flatnonzero((groups == group) & (labels == label))[:per_group]
        ]
        touched |= {group for group, _ in held[:count]}
        chosen += [record for _, record in held[:count]]
    fresh = [record for record, group in zip(records, groups, strict=True) if group not in touched]
    return chosen, list(_thin_out(fresh, seed))


def _thin_out(records: Sequence[Record], seed: int) -> Iterator[Record]:
    rng = np.random.default_rng(seed)
    for label in (0, 1):
        held = [record for record in records if record.label == label]
        yield from (held[number] for number in rng.permutation(len(held))[:MAX_FRESH])


def link_images(records: Sequence[Record], root: Path) -> Path:
    """Make class folders of links to images."""
    for number, record in enumerate(records):
        place = root / record.defect_type / f"{number:04}{record.path.suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(record.path.absolute())
    return root


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", required=True)
    parser.add_argument("--backbone", default="mobilenetv2")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--kind", default="padim")
    parser.add_argument("--good", type=int, default=80)
    parser.add_argument("--defective", type=int, nargs="+", default=[0, 3])
    parser.add_argument("--per-group", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    settings = {
        "backbone": asked.backbone,
        "weights": asked.weights,
        "resolution": asked.size,
        "one_class": asked.kind,
        "tensorboard": False,
    }
    scan = scan_images(open_source(asked.data).records)
    groups = group_records(scan).codes
    print("defective, seed: contract, false-alarm rate, recall, ROC-AUC, of good and defective images")
    for defective in asked.defective:
        for seed in range(asked.seeds):
            chosen, fresh = draw_images(scan.records, groups, (asked.good, defective), asked.per_group, seed)
            with tempfile.TemporaryDirectory() as aside:
                images = link_images(chosen, Path(aside) / "images")
                run = mvdefect.fit(images, {**settings, "seed": seed}, run=Path(aside) / "run")
                answers = mvdefect.load(run).predict([record.path for record in fresh])
            labels = np.array([record.label == 1 for record in fresh])
            called = np.array([answer.label == "defective" for answer in answers])
            auc = roc_auc_score(labels, [answer.probability for answer in answers])
            point = run.evaluation.operating_point
            print(
                f"{defective}, {seed}: {point.verdict}, {point.contract} ({point.guarantee}), "
                f"{called[~labels].mean():.3f}, {called[labels].mean():.3f}, {auc:.3f}, "
                f"{(~labels).sum()} and {labels.sum()}",
                flush=True,
            )


if __name__ == "__main__":
    main()
