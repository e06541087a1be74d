"""Training on stored activations against plain Keras: how many times faster, at which quality.

    python benchmarks/fit.py --data ../shared/data/magnetic_tile
    python benchmarks/fit.py --data ../shared/data/magnetic_tile --plain-epochs 3

Both train the same classifier with the same optimizer, schedule, loss, batch size and photographs, one after
the other in this process: plain Keras with `fit` over pixels in memory and frozen layers, as in its guide to
transfer learning, and `mvdefect` through the activation store, with its checkpoints and a score after each
epoch. Every photograph is shown as it is, since plain `fit` shows no views. With `--plain-epochs` plain
Keras runs fewer epochs, and its time is multiplied up; quality is then compared after as many epochs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.core.runtime import load_tensorflow

CASES = (
    ("resnet50", 0),
    ("densenet121", 0),
    ("efficientnetb0", 0),
    ("densenet121", 1),
    ("resnet50", 1),
    ("efficientnetb0", 1),
)
AUGMENT_NOTHING = {"flip": False, "quarter_turns": False, "brightness": 0.0, "contrast": 0.0}


@dataclass(frozen=True)
class Timing:
    """Seconds of all epochs, and ROC-AUC on validation after the last one that ran."""

    seconds: float
    roc_auc: float


def make_sources(data: Path, images: int, size_px: int) -> tuple[Any, Any]:
    """Prepare a closed-set plan of some photographs; all of train and val beyond `images` is left out."""
    from mvdefect.data.groups.grouping import group_records
    from mvdefect.data.pipeline import Source
    from mvdefect.data.scan import scan_images
    from mvdefect.data.sources.folders import read_records
    from mvdefect.data.splits.protocols import assign_closed_set
    from mvdefect.data.store import prepare_images

    records = read_records(data)
    kept = np.random.default_rng(0).permutation(len(records))[: int(images / 0.6)]
    scan = scan_images([records[number] for number in sorted(kept)])
    plan = assign_closed_set(scan, group_records(scan), 0)
    store = prepare_images(scan.records, (size_px, size_px), "letterbox")
    return Source(store, plan, "train"), Source(store, plan, "val")


def make_classifier(config: Any, weights: Path | None) -> tuple[Any, Any, Any]:
    """Build the classifier of a case, with what learns set."""
    from mvdefect.core.runtime import seed_everything
    from mvdefect.models.backbones import find_backbone
    from mvdefect.models.classifier import build_classifier
    from mvdefect.models.freezing import unfreeze
    from mvdefect.models.heads import choose_head
    from mvdefect.training.stages import plan_stages

    seed_everything(config.seed)
    spec = find_backbone(config.backbone)
    model = build_classifier(spec, config.size_px, choose_head(config), config.taps, weights)
    stage = plan_stages(config, spec)[0]
    unfreeze(model, spec, stage.depth_blocks)
    return model, spec, stage


def fit_plainly(config: Any, weights: Path | None, train: Any, val: Any, epochs: int) -> Timing:
    """Train with Keras alone: pixels in memory, frozen layers, validation after every epoch."""
    from sklearn.metrics import roc_auc_score

    from mvdefect.data.pipeline import make_inference_batches
    from mvdefect.training.losses import make_loss
    from mvdefect.training.stages import make_optimizer

    model, spec, stage = make_classifier(config, weights)
    pixels = {s.part: np.concatenate(list(make_inference_batches(s, 64))) for s in (train, val)}
    labels = {source.part: source.labels[:, np.newaxis].astype(np.float32) for source in (train, val)}
    steps = stage.epochs * -(-train.count // config.batch_size)
    chosen = {"weight_decay": config.weight_decay, "clip_norm": config.clip_norm, "ema": config.ema}
    model.compile(make_optimizer(model, spec, stage, steps, **chosen), make_loss("cross_entropy", 0.0, 0.0))
    counts = np.bincount(train.labels)
    started = time.perf_counter()
    model.fit(
        pixels["train"],
        labels["train"],
        batch_size=config.batch_size,
        epochs=epochs,
        class_weight={label: train.count / (2 * counts[label]) for label in (0, 1)},
        validation_data=(pixels["val"], labels["val"]),
        verbose=0,
    )
    seconds = (time.perf_counter() - started) * stage.epochs / epochs
    logits = model.predict(pixels["val"], verbose=0)
    return Timing(seconds, float(roc_auc_score(val.labels, logits[:, 0])))


def fit_stored(config: Any, weights: Path | None, train: Any, val: Any, epochs: int) -> tuple[Timing, float]:
    """Train as `mvdefect fit` does, beginning with an empty store; also return kB an image and view."""
    from mvdefect.models.classifier import HEAD, cut_classifier
    from mvdefect.runs import RunFolder
    from mvdefect.training.activations import count_image_bytes
    from mvdefect.training.fit import TrainingJob, train_classifier

    model, spec, stage = make_classifier(config, weights)
    cut = cut_classifier(model, spec, stage.depth_blocks, model.get_layer(HEAD))
    if cut is None:
        raise SystemExit(f"all blocks of {spec.name} learn at that depth, so there is nothing to store")
    with tempfile.TemporaryDirectory() as folder, _cache_in(Path(folder) / "cache"):
        run = RunFolder(Path(folder))
        started = time.perf_counter()
        train_classifier(model, TrainingJob(spec, (stage,), config, train, val, run))
        seconds = time.perf_counter() - started
        scores = [float(line.split(",")[6]) for line in run.history.read_text().splitlines()[1:]]
    return Timing(seconds, scores[epochs - 1]), count_image_bytes(cut, config.activation_dtype) / 1000


class _cache_in:  # noqa: N801 - a context manager reads like a function
    def __init__(self, folder: Path) -> None:
        self.folder, self.before = folder, os.environ.get("MVDEFECT_CACHE")

    def __enter__(self) -> None:
        os.environ["MVDEFECT_CACHE"] = str(self.folder)

    def __exit__(self, *_: object) -> None:
        if self.before is None:
            del os.environ["MVDEFECT_CACHE"]
        else:
            os.environ["MVDEFECT_CACHE"] = self.before


def main() -> None:
    """Measure every case and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--images", type=int, default=336, help="photographs to train on")
    parser.add_argument("--size", type=int, default=224, help="working size in pixels")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--plain-epochs", type=int, help="epochs that plain Keras really runs")
    parser.add_argument("--weights", type=Path, help="weights of the backbone; default: random ones")
    parser.add_argument("--cases", nargs="+", default=[f"{name}:{depth}" for name, depth in CASES])
    args = parser.parse_args()
    load_tensorflow()
    from mvdefect.config import AugmentConfig, FitConfig, StageConfig

    train, val = make_sources(args.data, args.images, args.size)
    run_epochs = args.plain_epochs or args.epochs
    print(f"{train.count} photographs of {args.size} px, {args.epochs} epochs; plain Keras ran {run_epochs}")
    print("backbone        blocks  plain s  mvdefect s  ratio  AUC plain  AUC mvdefect  kB/image")
    for case in args.cases:
        name, _, depth = case.partition(":")
        stage = StageConfig(
            depth_blocks=int(depth), epochs=args.epochs, learning_rate=1e-3 if depth == "0" else 1e-4
        )
        config = FitConfig(
            backbone=name,
            resolution=(args.size, args.size),
            stages=(stage,),
            patience=args.epochs,
            dropout=0.0,
            views=1,
            augment=AugmentConfig(**AUGMENT_NOTHING),
            tensorboard=False,
        )
        stored, kilobytes = fit_stored(config, args.weights, train, val, run_epochs)
        plain = fit_plainly(config, args.weights, train, val, run_epochs)
        ratio = plain.seconds / stored.seconds
        print(
            f"{name:15} {depth:>6} {plain.seconds:8.1f} {stored.seconds:11.1f} {ratio:6.1f} "
            f"{plain.roc_auc:10.3f} {stored.roc_auc:13.3f} {kilobytes:9.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
