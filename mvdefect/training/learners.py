"""Learners: the model that a stage trains, compiled, and the stored activations that it begins from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mvdefect.config import FitConfig, Size
from mvdefect.core.files import cache_dir
from mvdefect.core.progress import logger
from mvdefect.core.runtime import list_gpus
from mvdefect.data.pipeline import Source
from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.classifier import HEAD, CutClassifier, cut_classifier, join_head
from mvdefect.models.freezing import list_changing_variables, unfreeze
from mvdefect.models.heads import add_map_output
from mvdefect.training.activations import ActivationStore, FrozenPart, ViewSettings, name_store
from mvdefect.training.batches import TrainingSet
from mvdefect.training.budget import make_room
from mvdefect.training.checkpoints import copy_values, put_values
from mvdefect.training.losses import make_loss, make_mask_loss
from mvdefect.training.stages import Stage, make_optimizer


@dataclass(frozen=True)
class Learner:
    """What a stage trains.

    Attributes:
        model: The classifier, or the part of it above the cut; compiled. All its layers are those of the
            classifier.
        train_store: The activations that it begins from, or None where it begins at the pixels.
        val_store: The same for the validation part, which is shown as it is.
    """

    model: Any
    train_store: ActivationStore | None
    val_store: ActivationStore | None

    def predict_logits(self, batches: tf.data.Dataset) -> NDArray[np.float32]:
        """Return the logit of each image of plain batches, float32 (n,)."""
        outputs = keras.tree.flatten(self.model.predict(batches, verbose=0))
        return np.asarray(outputs[0], np.float32)[:, 0]


class Learners:
    """The learners of all stages of a classifier, each made once, however often training begins anew.

    Args:
        model: A classifier; from what it is now, training begins.
        spec: Its backbone.
        stages: What learns when.
        config: Batch size, averages and so on.
        images: How many an epoch has at most, by which rates fall.
    """

    def __init__(
        self, model: Any, spec: BackboneSpec, stages: tuple[Stage, ...], config: FitConfig, images: int
    ) -> None:
        self.model, self.spec, self.stages, self.config, self.images = model, spec, stages, config, images
        deepest = max(stage.depth_blocks for stage in stages)
        self.changing = list_changing_variables(model, spec, deepest)
        self._first = copy_values(self.changing)
        self._made: dict[int, tuple[Learner, list[np.ndarray]]] = {}

    def begin_anew(self) -> None:
        """Put the classifier back to what it was at first."""
        put_values(self.changing, self._first)

    def begin_stage(self, number: int, data: TrainingSet, val: Source) -> Learner:
        """Return the learner of a stage, its optimizer as at first.

        Args:
            number: Of the stage, from 0.
            data: What it learns from; of one whole each time.
            val: What it is judged by; each time in that whole, or the same.
        """
        stage = self.stages[number]
        unfreeze(self.model, self.spec, stage.depth_blocks, self.config.bn_policy)
        if number not in self._made:
            made = make_learner(self.model, self.spec, stage, self.config, data, val, self.images)
            self._made[number] = made, copy_values(made.model.optimizer.variables)
        learner, first = self._made[number]
        put_values(learner.model.optimizer.variables, first)
        return learner


def make_learner(
    model: Any,
    spec: BackboneSpec,
    stage: Stage,
    config: FitConfig,
    data: TrainingSet,
    val: Source,
    images: int,
) -> Learner:
    """Cut and compile a classifier for a stage; what learns must have been set before.

    Where nothing is frozen, views never come again, or activations do not fit the budget, the learner
    begins at the pixels.
    """
    head = _choose_head(model, config)
    cut = cut_classifier(model, spec, stage.depth_blocks, head)
    stores = None if cut is None else _find_stores(cut, stage, config, data, val)
    if cut is None or stores is None:
        learner = Learner(join_head(model, head), None, None)
    else:
        learner = Learner(cut.rest, *stores)
    steps = stage.epochs * -(-images // config.batch_size)
    optimizer = make_optimizer(
        model,
        spec,
        stage,
        steps,
        variables=learner.model.trainable_variables,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        ema=config.ema,
    )
    _compile(learner.model, optimizer, config)
    return learner


def make_stores(
    cut: CutClassifier, config: FitConfig, train: Source, val: Source
) -> tuple[ActivationStore, ActivationStore]:
    """Return the stores of a cut: for training, with views, and for validation. Nothing is computed.

    Where the validation part is in what is trained on, as in folds, they are one.
    """
    frozen, dtype, root = FrozenPart(cut), config.activation_dtype, cache_dir("activations")

    def find(source: Source, views: ViewSettings | None) -> ActivationStore:
        return ActivationStore(root / name_store(frozen, source, views, dtype), frozen, source, views, dtype)

    first = find(train, ViewSettings(config.views, config.seed, config.augment))
    return first, first if train.holds(val) else find(val, None)


def count_slots(config: FitConfig, epochs: int) -> int:
    """Return how many slots so many epochs read; with balanced batches an epoch may read any of them."""
    return config.views if config.balance == "batches" else min(config.views, epochs)


def count_mask_cells(model: Any, config: FitConfig) -> Size | None:
    """Return height and width of the head's map where masks take part in the loss, otherwise None."""
    if not config.mask_loss_weight:
        return None
    height, width = add_map_output(model.get_layer(HEAD)).outputs[1].shape[1:3]
    return height, width


def _choose_head(model: Any, config: FitConfig) -> Any:
    head = model.get_layer(HEAD)
    return add_map_output(head) if config.mask_loss_weight else head


def _compile(model: Any, optimizer: Any, config: FitConfig) -> None:
    losses, weights = [make_loss(config.loss, config.label_smoothing, config.focal_gamma)], [1.0]
    if config.mask_loss_weight:
        losses.append(make_mask_loss())
        weights.append(config.mask_loss_weight)
    use_xla = bool(list_gpus()) and config.devices == 1  # on a processor XLA is many times slower
    if len(losses) == 1:
        model.compile(optimizer, loss=losses[0], jit_compile=use_xla)
    else:
        model.compile(optimizer, loss=losses, loss_weights=weights, jit_compile=use_xla)


def _find_stores(
    cut: CutClassifier, stage: Stage, config: FitConfig, data: TrainingSet, val: Source
) -> tuple[ActivationStore, ActivationStore] | None:
    if not config.views:
        logger.info("the frozen part runs in every epoch: views is 0, so each epoch shows new ones")
        return None
    train_store, val_store = make_stores(cut, config, data.whole, val)
    slots = count_slots(config, stage.epochs)
    needed = {train_store.folder.name: slots * train_store.bytes_per_slot}
    needed[val_store.folder.name] = needed.get(val_store.folder.name, 0) + val_store.bytes_per_slot
    return (train_store, val_store) if make_room(needed, config.activation_budget_gb) else None
