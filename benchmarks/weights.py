"""What a backbone's weights are worth: random ones, those learned from drawn surfaces, and ImageNet's.

    python benchmarks/weights.py --data ../shared/data/magnetic_tile
    python benchmarks/weights.py --data ../shared/data/magnetic_tile --finetune --size 128
    python benchmarks/weights.py --backbone mobilenetv2 --weights random=none imagenet=FILE --data ...

Without `--data` it draws parts (all nine products of `mvdefect data synth`, none of whose recipes a
pre-training draws).

Frozen: features, scaled, and an SVM (RBF, C 10, classes weighing alike). Once the features are averages and
maxima of the whole picture, of the backbone's output and of the last features at twice its resolution; once
those of the latter in each of 4 x 4 fields, which keeps what lies where, as HOG does. Five folds that keep
near-duplicates together, drawn with each seed; random weights are drawn anew with each seed. A figure is the
mean ROC-AUC of all folds; its interval is of a bootstrap over groups, on the folds of the first seed.

Fine-tuned (`--finetune`): `mvdefect fit` with the same settings for all, a closed-set plan, each seed an
inspector; ROC-AUC of the classifier's score on test. Differences from the first weights are paired by group.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mvdefect.config import FitConfig, StageConfig
from mvdefect.core.runtime import load_tensorflow
from mvdefect.data.pipeline import make_inference_batches
from mvdefect.data.splits.plan import write_split_plan
from mvdefect.drawing.catalogue import PARTS
from mvdefect.drawing.data_set import write_parts
from mvdefect.evaluation.comparison import compare_repeats
from mvdefect.evaluation.figures import Sample, roc_auc
from mvdefect.models.backbones import BackboneSpec, find_backbone
from mvdefect.models.weights import find_weights, load_weights
from mvdefect.runs import RunFolder, read_predictions
from mvdefect.workflow.photographs import divide_photographs, find_records, prepare_photographs

FOLDS = 5
FIELDS = 4  # along each side of a picture
BATCH_SIZE = 32
HEADING = "weights    ROC-AUC  sd over seeds  95% interval     above the first, paired"
Trainings = list[list[Sample]]  # of each training, the sample of each fold


def read_photographs(
    data: Path, size_px: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Return pixels, labels and groups of all photographs."""
    config = FitConfig(data=str(data), resolution=(size_px, size_px))
    records = find_records(config)
    plan = divide_photographs(records, config)
    sources = prepare_photographs(records, config, plan).get_sources().values()
    pixels = [batch for source in sources for batch in make_inference_batches(source, BATCH_SIZE)]
    groups = np.array([row.group for source in sources for row in source.rows])
    labels = np.concatenate([source.labels for source in sources])
    return np.concatenate(pixels), labels, np.unique(groups, return_inverse=True)[1]


def describe(
    spec: BackboneSpec, weights: str, pixels: NDArray[np.uint8], seed: int
) -> dict[str, NDArray[np.float32]]:
    """Return the frozen features of photographs, each float32 (n, d)."""
    keras.utils.set_random_seed(seed)
    network, file = spec.build(pixels.shape[1], None), find_weights(spec, weights)
    if file is not None:
        load_weights(network, spec, file)
    maps = keras.Model(network.input, [network.get_layer(spec.fine_tap).output, network.outputs[-1]])
    shown = keras.Input(pixels.shape[1:], dtype="uint8")
    fine, coarse = maps(spec.preprocess(keras.ops.cast(shown, "float32")), training=False)
    pooled = [_pool(field) for field in (fine, coarse)]
    fields = [_pool(field) for rows in _divide(fine, 1) for field in _divide(rows, 2)]
    outputs = {
        name: keras.ops.concatenate(found, axis=-1)
        for name, found in (("whole picture", pooled), ("fields", fields))
    }
    found = keras.Model(shown, outputs).predict(pixels, batch_size=BATCH_SIZE, verbose=0)
    return {name: np.asarray(found[name], np.float32) for name in outputs}


def describe_repeats(
    spec: BackboneSpec, weights: str, pixels: NDArray[np.uint8], seeds: int
) -> list[dict[str, NDArray[np.float32]]]:
    """Return the features for each seed, which differ for random weights alone."""
    if find_weights(spec, weights) is None:
        return [describe(spec, weights, pixels, seed) for seed in range(seeds)]
    return [describe(spec, weights, pixels, 0)] * seeds


def _pool(maps: Any) -> Any:
    return keras.ops.concatenate(
        [pool(maps, axis=(1, 2)) for pool in (keras.ops.mean, keras.ops.max)], axis=-1
    )


def _divide(maps: Any, axis: int) -> list[Any]:
    """Divide a map into fields, as even as may be."""
    edges = np.linspace(0, maps.shape[axis], FIELDS + 1).round().astype(int)
    return keras.ops.split(maps, edges[1:-1].tolist(), axis=axis)  # type: ignore[no-any-return]


def score_folds(
    features: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.int64], seed: int
) -> list[Sample]:
    """Return what an SVM says of the photographs of each fold, having learned from the others."""
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    samples = []
    for learned, tested in folds.split(features, labels, groups):
        svm = make_pipeline(StandardScaler(), SVC(C=10.0, class_weight="balanced"))
        scores = svm.fit(features[learned], labels[learned]).decision_function(features[tested])
        samples.append(Sample(labels[tested] > 0, scores, scores > 0, groups[tested]))
    return samples


def compare_frozen(args: argparse.Namespace, spec: BackboneSpec, data: Path) -> None:
    """Print the table of frozen features."""
    pixels, labels, groups = read_photographs(data, args.size)
    shown = f"{len(labels)} photographs of {args.size} px"
    print(f"frozen {spec.name}, {shown}, {FOLDS} grouped folds, {args.seeds} seeds")
    features = {
        name: describe_repeats(spec, weights, pixels, args.seeds) for name, weights in args.weights.items()
    }
    for kind in next(iter(features.values()))[0]:
        print(f"features of the {kind}\n{HEADING}")
        first: Trainings = []
        for name in args.weights:
            found = [repeat[kind] for repeat in features[name]]
            means = [
                float(np.mean([measure(one) for one in score_folds(one, labels, groups, seed)]))
                for seed, one in enumerate(found)
            ]
            trainings = [score_folds(one, labels, groups, 0) for one in found]
            print_row(name, means, trainings, first)
            first = first or trainings


def compare_finetuned(args: argparse.Namespace, spec: BackboneSpec, data: Path, out: Path) -> None:
    """Fit inspectors on one plan and print their table."""
    from mvdefect.workflow.fit import fit_inspector

    plain = FitConfig(data=str(data), resolution=(args.size, args.size))
    plan = out / "plan.csv"
    write_split_plan(divide_photographs(find_records(plain), plain), plan)
    print(f"fine-tuned {spec.name}, {args.size} px, {args.epochs} epochs, {args.seeds} seeds\n{HEADING}")
    first: Trainings = []
    for name, weights in args.weights.items():
        trainings = []
        for seed in range(args.seeds):
            run = out / f"{spec.name}-{name}-seed{seed}"
            if not RunFolder(run).is_finished:
                fit_inspector(make_settings(args, spec, data, weights, seed, plan), run)
            trainings.append([read_tested(run)])
        print_row(name, [measure(samples[0]) for samples in trainings], trainings, first)
        first = first or trainings


def make_settings(
    args: argparse.Namespace, spec: BackboneSpec, data: Path, weights: str, seed: int, plan: Path
) -> FitConfig:
    """Return the settings of a fit; without weights every block learns, and normalisation with it."""
    is_random = weights == "none"
    stage = StageConfig(
        depth_blocks=spec.max_depth_blocks if is_random else None,
        epochs=args.epochs,
        learning_rate=1e-3 if is_random else None,
    )
    return FitConfig(
        data=str(data),
        split=plan,
        resolution=(args.size, args.size),
        backbone=spec.name,
        weights=weights,
        bn_policy="adapt",
        stages=(StageConfig(depth_blocks=0, epochs=1, learning_rate=1e-3), stage),
        pooling="avg_max",
        verdict="classifier",
        seed=seed,
        tensorboard=False,
    )


def read_tested(run: Path) -> Sample:
    """Return what the classifier of a run says of the test part."""
    rows = [row for row in read_predictions(RunFolder(run)) if row.split == "test"]
    groups = np.unique([row.group for row in rows], return_inverse=True)[1]
    scores, labels = np.array([row.logit for row in rows]), np.array([row.label > 0 for row in rows])
    return Sample(labels, scores, scores > 0, groups)


def measure(sample: Sample) -> float:
    """Return the ROC-AUC."""
    return float(roc_auc(sample, np.ones((1, len(sample.labels))))[0])


def print_row(name: str, means: Sequence[float], trainings: Trainings, first: Trainings) -> None:
    """Print the figures of some weights, and by how much they are above those of the first ones."""
    alone = compare_repeats(
        _pair(trainings, [[_blind(one) for one in folds] for folds in trainings]), roc_auc
    )
    low, high = alone.low + 0.5, alone.high + 0.5
    line = f"{name:10} {np.mean(means):.3f}    {np.std(means):.3f}          {low:.3f} to {min(high, 1):.3f}"
    if first:
        gain = compare_repeats(_pair(trainings, first), roc_auc)
        line += f"   {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
    print(line, flush=True)


def _pair(trainings: Trainings, others: Trainings) -> list[list[tuple[Sample, Sample]]]:
    """Turn folds of trainings into pairs of trainings of folds."""
    pairs = [list(zip(one, other, strict=True)) for one, other in zip(trainings, others, strict=True)]
    return [list(fold) for fold in zip(*pairs, strict=True)]


def _blind(sample: Sample) -> Sample:
    """Return a judge that says the same of everything, whose ROC-AUC is 0.5 in every replicate."""
    count = len(sample.labels)
    return Sample(sample.labels, np.zeros(count), np.zeros(count, bool), sample.groups)


def parse_weights(given: Sequence[str]) -> dict[str, str]:
    """Read `name=weights` words."""
    return dict(word.split("=", 1) for word in given)


def main(given: Sequence[str] | None = None) -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of photographs; default: drawn parts")
    parser.add_argument("--parts", type=int, default=24, help="good photographs of each drawn product")
    parser.add_argument("--backbone", default="efficientnetb0")
    parser.add_argument(
        "--weights", nargs="+", default=["random=none", "texture=texture"], help="name=weights"
    )
    parser.add_argument("--size", type=int, default=224, help="working size in pixels")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--finetune", action="store_true", help="fit inspectors instead of SVMs")
    parser.add_argument("--epochs", type=int, default=12, help="of a fit")
    parser.add_argument("--out", type=Path, help="where runs go, and are found again; default: nowhere")
    args = parser.parse_args(given)
    args.weights = parse_weights(args.weights)
    spec = find_backbone(args.backbone)
    for weights in args.weights.values():
        find_weights(spec, weights)  # or it ends here
    load_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or write_parts(
            Path(folder) / "parts",
            good=args.parts,
            defective_per_type=args.parts // 4,
            size_px=args.size,
            categories=tuple(PARTS),
        )
        if args.finetune:
            out = args.out or Path(folder) / "runs"
            out.mkdir(parents=True, exist_ok=True)
            compare_finetuned(args, spec, data, out)
        else:
            compare_frozen(args, spec, data)


if __name__ == "__main__":
    main()
