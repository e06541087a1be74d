"""Training in stages: the head first, then the uppermost blocks with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from mvdefect.config import FitConfig
from mvdefect.core.errors import MvdefectError
from mvdefect.core.files import write_rows
from mvdefect.core.progress import logger, show_steps
from mvdefect.core.runtime import forget_graphs
from mvdefect.data.pipeline import Source
from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.freezing import trainable_summary
from mvdefect.runs import EpochRow, RunFolder
from mvdefect.training.activations import ViewSettings
from mvdefect.training.batches import (
    TrainingSet,
    make_plain_batches,
    make_training_batches,
    make_training_set,
)
from mvdefect.training.checkpoints import (
    Checkpoints,
    TrainingState,
    begin_next_stage,
    copy_values,
    put_values,
    read_state,
    restore_variables,
)
from mvdefect.training.learners import Learner, Learners, count_mask_cells
from mvdefect.training.probe import can_be_solved, solve_head
from mvdefect.training.stages import Stage

SCORED_EPOCHS = 4
CURVES = ("loss", "val_loss", "val_roc_auc", "learning_rate", "seconds")


def write_curves(folder: Path, row: EpochRow) -> None:
    """Add one epoch to the curves.

    Each epoch is a file of its own in TensorBoard's event format, and TensorBoard joins them; so a run that
    goes on after an interrupt adds to what is there and repeats nothing.
    """
    event, summary = tf.compat.v1.Event, tf.compat.v1.Summary
    values = [summary.Value(tag=name, simple_value=getattr(row, name)) for name in CURVES]
    now = time.time()
    folder.mkdir(exist_ok=True)
    path = folder / f"events.out.tfevents.{row.epoch:06}"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        written = event(wall_time=now, step=row.epoch, summary=summary(value=values))
        writer.write(written.SerializeToString())


class DivergedError(MvdefectError, ArithmeticError):
    """The loss became infinite or no number."""


@dataclass(frozen=True)
class TrainingJob:
    """What is trained on what, and where it is kept.

    Attributes:
        spec: The backbone of the classifier.
        stages: What learns when.
        config: Batch size, seed, patience and so on.
        train: The train part.
        val: The validation part.
        whole: What both are parts of, where training begins anew on other parts of it; None: they are all.
        folder: Where the history and the checkpoints go.
        pause_seconds: Of checkpoints, see `mvdefect.training.checkpoints`; 0: one after every epoch.
        keeps_last: Whether the last epoch counts and no stage ends early: then nothing is chosen on val, and
            scores of its images are those of images that were held out.
    """

    spec: BackboneSpec
    stages: tuple[Stage, ...]
    config: FitConfig
    train: Source
    val: Source
    folder: RunFolder
    whole: Source | None = None
    pause_seconds: float = 0.0
    keeps_last: bool = False

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch; the last one may be smaller."""
        return -(-self.train.count // self.config.batch_size)

    def ends_stage(self, state: TrainingState) -> bool:
        """Whether a stage is over: all epochs done, or none better for too long."""
        is_done = state.stage_epochs >= self.stages[state.stage].epochs
        return is_done or state.waited >= self.config.patience

    def scores_epoch(self, state: TrainingState) -> bool:
        """Whether the next epoch is scored: where nothing is chosen by it, one in four, and the last."""
        epoch = state.stage_epochs + 1
        is_last = epoch == self.stages[state.stage].epochs
        return is_last or not self.keeps_last or epoch % SCORED_EPOCHS == 0

    def count_steps_left(self, state: TrainingState) -> int:
        """How many batches are to come, unless a stage ends early."""
        epochs = sum(stage.epochs for stage in self.stages[state.stage :]) - state.stage_epochs
        return epochs * self.steps_per_epoch


def train_classifier(model: Any, job: TrainingJob, learners: Learners | None = None) -> Any:
    """Train through all stages, or go on where an interrupt stopped.

    After every epoch the model is scored by ROC-AUC on the validation part (the loss decides between
    equals); the best epoch's weights are what counts. A stage ends early when `patience` epochs bring
    nothing better, and the next one starts from the best weights so far. Where the validation part holds
    good images alone, there is nothing to score by: every epoch runs, and the last one counts.

    Args:
        model: A fresh classifier; its seed decides the result, so build it after seeding.
        job: What to train it on.
        learners: Of that classifier, where it has been trained before: training begins anew.

    Returns:
        The classifier with the best weights, not compiled.

    Raises:
        DivergedError: The loss is no finite number.
    """
    job.folder.checkpoint.mkdir(exist_ok=True)
    state = read_state(job.folder)
    if state.rows:
        logger.info("going on after epoch %d of an interrupted run", len(state.rows))
    config = job.config
    if learners is None:
        learners = Learners(model, job.spec, job.stages, config, job.train.count)
    learners.begin_anew()
    views, cells = ViewSettings(config.views, config.seed, config.augment), count_mask_cells(model, config)
    data = make_training_set(job.train, views, config.balance, cells, config.devices, job.whole)
    kept = Checkpoints(job.folder, learners.changing, job.pause_seconds)
    with show_steps("training", job.count_steps_left(state)) as advance:
        while state.stage < len(job.stages):
            state = _run_stage(learners, job, data, state, kept, advance)
    restore_variables(job.folder.checkpoint / state.best_file, learners.changing)
    return keras.Model(model.input, model.output, name=model.name)


def _run_stage(
    learners: Learners,
    job: TrainingJob,
    data: TrainingSet,
    state: TrainingState,
    kept: Checkpoints,
    advance: Callable[..., None],
) -> TrainingState:
    stage, checkpoint = job.stages[state.stage], job.folder.checkpoint
    begun = checkpoint / state.last_file if state.stage_epochs else None
    if state.rows:
        restore_variables(begun or checkpoint / state.best_file, kept.variables)
    learner = learners.begin_stage(state.stage, data, job.val)
    _log_stage(learners.model, job, state.stage)
    if begun:
        restore_variables(begun, (), learner.model.optimizer)
    while not job.ends_stage(state):
        state = _run_epoch(learners.model, job, data, learner, state, kept, advance)
    if state.stage_epochs < stage.epochs:
        logger.info(
            "stage %d/%d ends early, after epoch %d of %d: the last %d brought no better validation score",
            *(state.stage + 1, len(job.stages), state.stage_epochs, stage.epochs, state.waited),
        )
    forget_graphs()
    return begin_next_stage(job.folder, state)


def _run_epoch(
    model: Any,
    job: TrainingJob,
    data: TrainingSet,
    learner: Learner,
    state: TrainingState,
    kept: Checkpoints,
    advance: Callable[..., None],
) -> TrainingState:
    """Train for an epoch, score it, and write its variables; only then the state that names their files."""
    started = time.monotonic()
    store = learner.train_store
    if job.stages[state.stage].solve and can_be_solved(store):
        loss = solve_head(model, data, store)
        values = copy_values(learner.model.trainable_variables)
        advance(job.steps_per_epoch)
    else:
        loss, values = _train_epoch(job, data, learner, len(state.rows), advance)
    score_row = _score_epoch(job, learner, state, loss)
    row = replace(score_row, seconds=round(time.monotonic() - started, 2))
    logger.info(
        "stage %d/%d, epoch %d/%d: loss %.4f%s",
        *(row.stage, len(job.stages), state.stage_epochs + 1, job.stages[state.stage].epochs, row.loss),
        "" if np.isnan(row.val_roc_auc) else f", validation ROC-AUC {row.val_roc_auc:.4f}",
    )
    state = replace(
        state, rows=(*state.rows, row), stage_epochs=state.stage_epochs + 1, waited=state.waited + 1
    )
    is_scored = not (job.keeps_last or np.isnan(row.val_roc_auc))
    score = (row.val_roc_auc, -row.val_loss) if is_scored else (float(row.epoch), 0.0)
    if score > state.best_score:
        state = replace(state, best_score=score, best_file=f"best-{row.epoch}.npz", waited=0)
        kept.keep_best()
    put_values(learner.model.trainable_variables, values)  # before averaging; the next epoch goes on there
    state = replace(state, last_file=f"epoch-{row.epoch}.npz")
    write_rows(job.folder.history, EpochRow, state.rows)
    if job.config.tensorboard:
        write_curves(job.folder.tensorboard, row)
    kept.write(state, learner.model.optimizer, job.ends_stage(state))
    return state


def _train_epoch(
    job: TrainingJob, data: TrainingSet, learner: Learner, epoch: int, advance: Callable[..., None]
) -> tuple[float, list[np.ndarray]]:
    """Return the mean loss, and what the variables were before Keras put their averages in place."""
    values: list[np.ndarray] = []
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda *_, **__: advance(),
        on_epoch_end=lambda *_, **__: values.extend(copy_values(learner.model.trainable_variables)),
    )
    batches = make_training_batches(data, epoch, job.config.batch_size, learner.train_store)
    history = learner.model.fit(batches, verbose=0, shuffle=False, callbacks=[callback])
    return float(history.history["loss"][0]), values


def _score_epoch(job: TrainingJob, learner: Learner, state: TrainingState, loss: float) -> EpochRow:
    stage, labels, logits = job.stages[state.stage], job.val.labels, np.zeros(0)
    if job.scores_epoch(state):
        batches = make_plain_batches(job.val, job.config.batch_size, learner.val_store)
        logits = learner.predict_logits(batches).astype(np.float64)
    if not (np.isfinite(loss) and np.isfinite(logits).all()):
        raise DivergedError(
            f"training diverged in stage {state.stage + 1}, epoch {state.stage_epochs + 1} (loss {loss}); "
            f"lower the learning rate of that stage. Received: learning_rate={stage.learning_rate}"
        )
    is_ranked = len(logits) and labels.any()
    return EpochRow(
        epoch=len(state.rows) + 1,
        stage=state.stage + 1,
        depth_blocks=stage.depth_blocks,
        learning_rate=stage.learning_rate,
        loss=loss,
        val_loss=float(log_loss(labels, expit(logits), labels=[0, 1])) if len(logits) else float("nan"),
        val_roc_auc=float(roc_auc_score(labels, logits)) if is_ranked else float("nan"),
        seconds=0.0,
    )


def _log_stage(model: Any, job: TrainingJob, index: int) -> None:
    stage = job.stages[index]
    summary = trainable_summary(model, job.spec)
    trainable = sum(block.trainable for block in summary)
    logger.info(
        "stage %d/%d: head and %d of %d blocks learn (%s of %s parameters), learning rate %g",
        index + 1,
        len(job.stages),
        stage.depth_blocks,
        job.spec.max_depth_blocks,
        f"{trainable:,}",
        f"{sum(block.parameters for block in summary):,}",
        stage.learning_rate,
    )
