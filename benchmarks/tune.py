"""A search by `mvdefect tune` against the same trials through KerasTuner with plain Keras fits.

    python benchmarks/tune.py --backbones small_cnn
    python benchmarks/tune.py --data ../shared/data/magnetic_tile --backbones mobilenetv2 --weights FILE

Both run the same trials: depth 0 or 1, the rates of backbone and head, and dropout, drawn at random once.
Plain Keras trains pixels in memory with frozen layers, as in its guide to transfer learning, builds and
compiles a model a trial, and scores validation after every epoch; nothing is saved. `mvdefect` begins
with an empty store and saves all that it needs to go on. Each photograph is shown as it is and in the same
order to both, since plain `fit` shows no views. ROC-AUC is that of the best epoch on validation.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
from sklearn.metrics import roc_auc_score

from mvdefect.config import AugmentConfig, FitConfig, StageConfig
from mvdefect.core.runtime import load_tensorflow, seed_everything
from mvdefect.data.pipeline import Source, make_inference_batches
from mvdefect.data.splits.folds import leave_test_out
from mvdefect.data.views import draw_epoch
from mvdefect.drawing.data_set import write_parts
from mvdefect.models.backbones import find_backbone
from mvdefect.models.classifier import build_classifier
from mvdefect.models.freezing import unfreeze
from mvdefect.models.heads import choose_head
from mvdefect.training.activations import ViewSettings
from mvdefect.training.batches import make_training_set
from mvdefect.training.losses import make_loss
from mvdefect.training.stages import make_optimizer, plan_stages
from mvdefect.workflow.photographs import divide_photographs, find_records, prepare_photographs
from tuning.records import TrialRecord
from tuning.search.hypermodel import InspectorHyperModel, TrainingParts, declare_space
from tuning.search.oracles import make_oracle
from tuning.search.search import make_tuner, read_trials
from tuning.settings import SearchConfig
from tuning.space.space import TABLE, SearchSpace, make_space

SEARCHED = {
    "depth_blocks": [0, 1],
    "learning_rate": {"min": 1e-5, "max": 1e-3},
    "head_learning_rate": {"min": 1e-4, "max": 1e-2},
    "dropout": {"min": 0.0, "max": 0.5},
}
NOTHING = AugmentConfig(flip=False, quarter_turns=False, brightness=0.0, contrast=0.0)


class OrderedPixels(keras.utils.PyDataset):  # type: ignore[misc]
    """Pixels in memory, in the order in which `mvdefect` shows them."""

    def __init__(self, config: FitConfig, train: Source) -> None:
        super().__init__()
        views = ViewSettings(config.views, config.seed, config.augment)
        self.data = make_training_set(train, views, config.balance, None)
        self.pixels = np.concatenate(list(make_inference_batches(train, 64)))
        self.size = config.batch_size
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Draw the order of an epoch."""
        views = self.data.views
        self.order = draw_epoch(self.data.strata, views.seed, epoch, views.count, False).indices

    def __len__(self) -> int:
        return -(-len(self.order) // self.size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = self.order[number * self.size : (number + 1) * self.size]
        labels = self.data.source.labels[rows].astype(np.float32)[:, np.newaxis]
        return self.pixels[rows], labels, self.data.weights[rows]


class PlainHyperModel(keras_tuner.HyperModel):  # type: ignore[misc]
    """The same classifier, trained by `keras.Model.fit` on pixels."""

    def __init__(self, inspector: InspectorHyperModel, train: Source, val: Source) -> None:
        super().__init__()
        self.inspector = inspector
        self.batches = OrderedPixels(inspector.space.base, train)
        self.val, self.val_pixels = val, np.concatenate(list(make_inference_batches(val, 64)))

    def build(self, hp: Any) -> Any:
        """Build, freeze and compile."""
        keras.backend.clear_session()
        config = self.inspector.configure(hp)
        seed_everything(config.seed, config.deterministic)
        spec, weights = find_backbone(config.backbone), self.inspector.parts.weights[config.backbone]
        model = build_classifier(spec, config.size_px, choose_head(config), config.taps, weights)
        stage = plan_stages(config, spec)[0]
        unfreeze(model, spec, stage.depth_blocks)
        optimizer = make_optimizer(
            model,
            spec,
            stage,
            stage.epochs * len(self.batches),
            weight_decay=config.weight_decay,
            clip_norm=config.clip_norm,
            ema=config.ema,
        )
        model.compile(optimizer, make_loss(config.loss, config.label_smoothing, config.focal_gamma))
        return model

    def fit(self, hp: Any, model: Any) -> dict[str, float]:
        """Train, and score validation after every epoch."""
        scores: list[float] = []

        def score(*_: Any, **__: Any) -> None:
            logits = model.predict(self.val_pixels, batch_size=64, verbose=0)[:, 0]
            scores.append(float(roc_auc_score(self.val.labels, logits)))

        callback = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, _: self.batches.begin(epoch), on_epoch_end=score
        )
        epochs = self.inspector.configure(hp).stages[0].epochs
        model.fit(self.batches, epochs=epochs, shuffle=False, verbose=0, callbacks=[callback])
        return {"val_roc_auc": max(scores)}


class PlainTuner(keras_tuner.Tuner):  # type: ignore[misc]
    """As KerasTuner's documentation has it; its own callbacks need TensorBoard."""

    def run_trial(self, trial: Any, *_: Any, **__: Any) -> Any:
        """Build and fit in this process."""
        hp = trial.hyperparameters
        return self.hypermodel.fit(hp, self.hypermodel.build(hp))


def make_case(args: argparse.Namespace, backbone: str, data: Path) -> tuple[SearchSpace, TrainingParts]:
    """Prepare train and val of a closed-set plan, and the space around plain settings."""
    config = FitConfig(
        data=str(data),
        backbone=backbone,
        weights="none" if args.weights is None else str(args.weights),
        resolution=(args.size, args.size),
        stages=(StageConfig(depth_blocks=0, epochs=args.epochs),),
        patience=args.epochs,
        views=1,
        augment=NOTHING,
        ema=None,
        tensorboard=False,
    )
    records = find_records(config)
    plan = leave_test_out(divide_photographs(records, config))
    ids = {row.id for row in plan.rows}
    found = prepare_photographs(tuple(one for one in records if one.id in ids), config, plan).get_sources()
    fixed = {name: None for name, known in TABLE.items() if known.is_searched}
    space = make_space(config, {**fixed, **SEARCHED}, {})
    key = (args.size, config.resize)
    return space, TrainingParts({key: found["train"]}, {key: found["val"]}, {backbone: args.weights})


def search_plainly(
    search: SearchConfig, inspector: InspectorHyperModel, out: Path
) -> tuple[dict[str, float], float]:
    """Return the score of each trial and the seconds of all."""
    (train,), (val,) = inspector.parts.train.values(), inspector.parts.val.values()
    started = time.perf_counter()
    hp = keras_tuner.HyperParameters()
    declare_space(inspector.space, hp)
    oracle = make_oracle(search, hp, 1)
    tuner = PlainTuner(oracle, directory=str(out), project_name="plain")
    tuner.hypermodel = PlainHyperModel(inspector, train, val)
    tuner.search()
    seconds = time.perf_counter() - started
    return {name: trial.score for name, trial in oracle.trials.items()}, seconds


def search_stored(
    search: SearchConfig, inspector: InspectorHyperModel, out: Path
) -> tuple[tuple[TrialRecord, ...], float]:
    """Return the trials of `mvdefect tune`, beginning with an empty store, and the seconds of all."""
    os.environ["MVDEFECT_CACHE"] = str(out / "cache")
    started = time.perf_counter()
    tuner = make_tuner(search, inspector, out)
    tuner.search()
    return read_trials(tuner), time.perf_counter() - started


def compare(args: argparse.Namespace, backbone: str, data: Path) -> dict[str, float]:
    """Run both searches for a backbone and print a row a trial."""
    cache = os.environ.get("MVDEFECT_CACHE")
    space, parts = make_case(args, backbone, data)
    search = SearchConfig(strategy="random", trials=args.trials, seed=args.seed)
    inspector = InspectorHyperModel(space, parts)
    with tempfile.TemporaryDirectory() as folder:
        trials, ours = search_stored(search, inspector, Path(folder))
        if cache is None:
            del os.environ["MVDEFECT_CACHE"]
        else:
            os.environ["MVDEFECT_CACHE"] = cache
        plain, theirs = search_plainly(search, inspector, Path(folder))
    (train,) = parts.train.values()
    size = f"{train.count} photographs of {args.size} px"
    print(f"{backbone}: {size}, {args.epochs} epochs, {len(trials)} trials")
    print("trial  blocks  rate      head rate  dropout  AUC plain  AUC mvdefect")
    for one in trials:
        print(_describe(one, plain[one.name]))
    gap = max(abs(one.val_roc_auc - plain[one.name]) for one in trials)
    print(f"plain {theirs:.0f} s, mvdefect {ours:.0f} s, ratio {theirs / ours:.1f}; ", end="")
    print(f"largest difference of a trial {gap:.4f}\n", flush=True)
    return {"plain_s": theirs, "mvdefect_s": ours, "ratio": theirs / ours, "largest_difference": gap}


def _describe(one: TrialRecord, plain: float) -> str:
    values: dict[str, Any] = {"learning_rate": float("nan"), **one.values}
    rates = f"{values['learning_rate']:.2e}  {values['head_learning_rate']:9.2e}"
    scores = f"{plain:9.4f}  {one.val_roc_auc:12.4f}"
    return f"{one.name:5}  {values['depth_blocks']:6}  {rates}  {values['dropout']:7.2f}  {scores}"


def main(given: Sequence[str] | None = None) -> None:
    """Measure every backbone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of photographs; default: drawn parts")
    parser.add_argument("--parts", type=int, default=60, help="good photographs of each drawn product")
    parser.add_argument("--backbones", nargs="+", default=["resnet50", "efficientnetb0", "densenet121"])
    parser.add_argument("--weights", type=Path, help="weights of the backbone; default: random ones")
    parser.add_argument("--size", type=int, default=128, help="working size in pixels")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    parser.add_argument("--json", type=Path, help="where the figures go")
    args = parser.parse_args(given)
    load_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or write_parts(
            Path(folder) / "parts", good=args.parts, defective_per_type=args.parts // 4, size_px=args.size
        )
        figures = {backbone: compare(args, backbone, data) for backbone in args.backbones}
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
