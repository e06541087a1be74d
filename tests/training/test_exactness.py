"""Exactness: training on stored activations is training of the whole model, step by step."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mvdefect.config import FitConfig, StageConfig
from mvdefect.core.runtime import seed_everything
from mvdefect.data.pipeline import Source
from mvdefect.models.backbones import find_backbone
from mvdefect.models.classifier import build_classifier
from mvdefect.models.freezing import unfreeze
from mvdefect.models.heads import choose_head
from mvdefect.training.activations import ViewSettings
from mvdefect.training.batches import make_plain_batches, make_training_batches, make_training_set
from mvdefect.training.learners import count_mask_cells, make_learner
from mvdefect.training.stages import plan_stages

CASES = [
    ("small_cnn", 0, {"head": "patch", "mask_loss_weight": 1.0}),
    ("small_cnn", 2, {"head": "patch", "balance": "batches", "loss": "focal", "ema": 0.9}),
    ("mobilenetv2", 0, {"pooling": "avg_max"}),
    ("mobilenetv2", 1, {"head": "patch", "learn_sharpness": True}),
    ("mobilenetv2", 4, {"bn_policy": "adapt", "label_smoothing": 0.1}),
    ("efficientnetb0", 0, {}),
    ("efficientnetb0", 3, {"taps": 1}),
    ("resnet50", 1, {"head": "patch"}),
    ("densenet121", 1, {}),
]


TRACED = "small_cnn"


def train(
    config: FitConfig, sources: dict[str, Source], budget_gb: float, epochs: int = 2
) -> tuple[list[float], np.ndarray, bool]:
    """Return the loss of every step, the logits of the validation part after the last, and what it ran on."""
    config = config.model_copy(update={"activation_budget_gb": budget_gb})
    spec = find_backbone(config.backbone)
    seed_everything(0)
    model = build_classifier(spec, (64, 64), choose_head(config), config.taps, None)
    stage = plan_stages(config, spec)[0]
    unfreeze(model, spec, stage.depth_blocks, config.bn_policy)
    views = ViewSettings(config.views, config.seed, config.augment)
    cells = count_mask_cells(model, config)
    data = make_training_set(sources["train"], views, config.balance, cells)
    learner = make_learner(model, spec, stage, config, data, sources["val"], data.source.count)
    learner.model.run_eagerly = spec.name != TRACED  # for six steps tracing does not pay
    losses: list[float] = []
    reset = keras.callbacks.LambdaCallback(  # otherwise Keras gives the mean since the epoch began
        on_train_batch_begin=lambda *_, **__: learner.model.reset_metrics(),
        on_train_batch_end=lambda _, logs: losses.append(logs["loss"]),
    )
    for epoch in range(epochs):
        batches = make_training_batches(data, epoch, config.batch_size, learner.train_store)
        learner.model.fit(batches, verbose=0, shuffle=False, callbacks=[reset])
    logits = learner.predict_logits(make_plain_batches(sources["val"], 16, learner.val_store))
    return losses, logits, learner.train_store is not None


@pytest.mark.parametrize(("backbone", "depth_blocks", "changes"), CASES)
def test_losses_and_predictions_are_those_of_the_unsplit_model(
    sources: dict[str, Source], backbone: str, depth_blocks: int, changes: dict[str, object]
) -> None:
    config = FitConfig(
        backbone=backbone,
        weights="none",
        views=3,
        dropout=0.3,
        activation_dtype="float32",
        batch_size=20,
        stages=(StageConfig(depth_blocks=depth_blocks, epochs=2, learning_rate=1e-3, block_decay=0.5),),
        **changes,
    )
    plain_losses, plain_logits, is_stored = train(config, sources, budget_gb=0)
    assert not is_stored
    losses, logits, is_stored = train(config, sources, budget_gb=1)
    assert is_stored
    assert len(losses) == 2 * -(-sources["train"].count // 20)
    assert len(set(np.round(losses, 6))) > 2  # it learns something in every step
    assert np.allclose(losses, plain_losses, atol=1e-4)
    assert np.allclose(logits, plain_logits, atol=1e-4)
