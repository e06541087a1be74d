"""The solved head: against scikit-learn, and where it cannot be solved."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mvdefect.config import FitConfig, StageConfig
from mvdefect.data.pipeline import Source
from mvdefect.models.backbones import find_backbone
from mvdefect.models.classifier import build_classifier
from mvdefect.models.heads import choose_head
from mvdefect.runs import RunFolder, read_history
from mvdefect.training.fit import TrainingJob, train_classifier
from mvdefect.training.predictions import predict_logits
from mvdefect.training.probe import PENALTY
from mvdefect.training.stages import find_momentum, plan_stages

SOLVED = (StageConfig(depth_blocks=0, epochs=1, learning_rate=1e-3, solve=True),)


def train(
    sources: dict[str, Source], config: FitConfig, place: Path, keeps_last: bool = False
) -> tuple[np.ndarray, RunFolder]:
    spec, folder = find_backbone("small_cnn"), RunFolder(place)
    place.mkdir(exist_ok=True)
    keras.utils.set_random_seed(0)
    model = build_classifier(spec, config.size_px, choose_head(config), config.taps, None)
    job = TrainingJob(
        spec,
        plan_stages(config, spec),
        config,
        sources["train"],
        sources["val"],
        folder,
        keeps_last=keeps_last,
    )
    return predict_logits(train_classifier(model, job), sources["train"], 32), folder


@pytest.mark.parametrize("pooling", ["avg", "avg_max"])
def test_the_head_is_the_logistic_regression_of_what_it_sees(
    sources: dict[str, Source], tiny_config: FitConfig, tmp_path: Path, pooling: str
) -> None:
    config = tiny_config.model_copy(
        update={
            "stages": SOLVED,
            "head": "pooled",
            "pooling": pooling,
            "views": 1,
            "activation_dtype": "float32",
        }
    )
    still = config.augment.model_copy(
        update={"flip": False, "quarter_turns": False, "brightness": 0.0, "contrast": 0.0}
    )
    logits, folder = train(sources, config.model_copy(update={"augment": still}), tmp_path / "run")
    labels = sources["train"].labels
    assert roc_auc_score(labels, logits) > 0.7
    reference = LogisticRegression(C=PENALTY * 1e3).fit(logits[:, np.newaxis], labels)
    assert reference.coef_[0, 0] > 0  # on its own scale it could only be sharper
    (row,) = read_history(folder)
    assert row.loss == pytest.approx(float(_weighed_loss(labels, logits)), rel=0.05)


def _weighed_loss(labels: np.ndarray, logits: np.ndarray) -> np.floating:
    losses = np.logaddexp(0, -np.where(labels == 1, 1, -1) * logits.astype(np.float64))
    return np.mean([losses[labels == label].mean() for label in (0, 1)])


def test_a_patch_head_is_trained_instead(
    sources: dict[str, Source], tiny_config: FitConfig, tmp_path: Path
) -> None:
    config = tiny_config.model_copy(update={"stages": SOLVED, "head": "patch"})
    _, folder = train(sources, config, tmp_path / "run")
    assert len(read_history(folder)) == 1


def test_where_nothing_is_chosen_the_last_epoch_counts(
    sources: dict[str, Source], tiny_config: FitConfig, tmp_path: Path
) -> None:
    stages = (StageConfig(depth_blocks=0, epochs=3, learning_rate=1e-3),)
    config = tiny_config.model_copy(update={"stages": stages, "patience": 1})
    kept, folder = train(sources, config, tmp_path / "kept", keeps_last=True)
    assert [row.epoch for row in read_history(folder)] == [1, 2, 3]
    longer = config.model_copy(update={"patience": 99})
    best, _ = train(sources, longer, tmp_path / "best")
    assert kept.shape == best.shape


def test_a_stage_that_nobody_named_has_enough_steps() -> None:
    spec = find_backbone("mobilenetv2")
    epochs = [plan_stages(FitConfig(), spec, images)[-1].epochs for images in (20, 160, 320, 5000)]
    assert epochs == [80, 16, 16, 16]
    named = FitConfig(stages=(StageConfig(epochs=2),))
    assert plan_stages(named, spec, 20)[-1].epochs == 2
    assert plan_stages(FitConfig(), spec)[-1].epochs == 16


@pytest.mark.parametrize(
    ("ema", "steps", "momentum"), [(0.98, 1000, 0.98), (0.98, 100, 0.9), (0.5, 100, 0.5), (0.98, 5, 0.0)]
)
def test_an_average_remembers_a_tenth_of_the_steps(ema: float, steps: int, momentum: float) -> None:
    assert find_momentum(ema, steps) == pytest.approx(momentum)
