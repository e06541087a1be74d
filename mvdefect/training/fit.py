"""Training in stages: the head first, then the uppermost blocks with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from mvdefect.config import FitConfig
from mvdefect.data.pipeline import Source, make_training_batches
from mvdefect.data.splits import SplitPlan
from mvdefect.errors import MvdefectError
from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.freezing import trainable_summary, unfreeze
from mvdefect.paths import replace_file
from mvdefect.progress import logger, show_steps
from mvdefect.runs import EpochRow, RunFolder, read_json, write_json, write_rows
from mvdefect.training.predictions import predict_logits
from mvdefect.training.stages import Stage

STATE_FILE = "state.json"
WARMUP_SHARE = 0.1


class DivergedError(MvdefectError, ArithmeticError):
    """The loss became infinite or no number."""


@dataclass(frozen=True)
class TrainingState:
    """How far a training has come; with the files that it names, all that is needed to go on.

    Attributes:
        rows: The epochs done.
        stage: Index of the stage that runs.
        stage_epochs: Epochs of that stage done.
        waited: Epochs since the best one of that stage.
        best_score: ROC-AUC and negative loss on validation of the best epoch of all stages.
        best_file: Every variable of the model and of its optimizer after that epoch.
        last_file: The same after the last epoch.
    """

    rows: tuple[EpochRow, ...] = ()
    stage: int = 0
    stage_epochs: int = 0
    waited: int = 0
    best_score: tuple[float, float] = (float("-inf"), float("-inf"))
    best_file: str = ""
    last_file: str = ""


@dataclass(frozen=True)
class TrainingJob:
    """What is trained on what, and where it is kept.

    Attributes:
        spec: The backbone of the classifier.
        stages: What learns when.
        config: Batch size, seed, patience and so on.
        train: The train part.
        val: The validation part.
        folder: Where the history and the checkpoints go.
    """

    spec: BackboneSpec
    stages: tuple[Stage, ...]
    config: FitConfig
    train: Source
    val: Source
    folder: RunFolder

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch; the last one may be smaller."""
        return -(-self.train.count // self.config.batch_size)


def train_classifier(model: Any, job: TrainingJob) -> Any:
    """Train through all stages, or go on where an interrupt stopped.

    After every epoch the model is scored by ROC-AUC on the validation part (the loss decides between
    equals); the best epoch's weights are what counts. A stage ends early when `patience` epochs bring
    nothing better, and the next one starts from the best weights so far. Where the validation part holds
    good images alone, there is nothing to score by: every epoch runs, and the last one counts.

    Args:
        model: A fresh classifier; its seed decides the result, so build it after seeding.
        job: What to train it on.

    Returns:
        The classifier with the best weights, not compiled.

    Raises:
        DivergedError: The loss is no finite number.
    """
    job.folder.checkpoint.mkdir(exist_ok=True)
    state = _read_state(job.folder.checkpoint)
    if state.rows:
        logger.info("going on after epoch %d of an interrupted run", len(state.rows))
    while state.stage < len(job.stages):
        state = _run_stage(model, job, state)
    _restore_variables(model, job.folder.checkpoint / state.best_file, with_optimizer=False)
    return keras.Model(model.input, model.output, name=model.name)


def count_class_weights(plan: SplitPlan, part: str) -> dict[int, float]:
    """Return the loss weight of each label that makes both classes count alike.

    `n / (2 * n_label)`, the "balanced" rule of scikit-learn (King & Zeng, 2001).
    """
    labels = [row.label for row in plan.select(part)]
    return {label: len(labels) / (2 * labels.count(label)) for label in (0, 1)}


def _run_stage(model: Any, job: TrainingJob, state: TrainingState) -> TrainingState:
    stage = job.stages[state.stage]
    unfreeze(model, job.spec, stage.depth_blocks)
    _compile(model, job, stage)
    _log_stage(model, job, state.stage)
    if state.stage_epochs > 0:
        _restore_variables(model, job.folder.checkpoint / state.last_file, with_optimizer=True)
    elif state.best_file:
        _restore_variables(model, job.folder.checkpoint / state.best_file, with_optimizer=False)
    while state.stage_epochs < stage.epochs and state.waited < job.config.patience:
        row = _run_epoch(model, job, state)
        state = _record_epoch(model, job.folder, state, row)
    return _store_state(job.folder, replace(state, stage=state.stage + 1, stage_epochs=0, waited=0))


def _compile(model: Any, job: TrainingJob, stage: Stage) -> None:
    steps = job.steps_per_epoch * stage.epochs
    warmup = max(1, round(WARMUP_SHARE * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=stage.learning_rate / 10,
        decay_steps=steps - warmup + 1,
        alpha=0.01,
        warmup_target=stage.learning_rate,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=job.config.weight_decay, clipnorm=1.0)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, loss=keras.losses.BinaryCrossentropy(from_logits=True))


def _run_epoch(model: Any, job: TrainingJob, state: TrainingState) -> EpochRow:
    config, stage = job.config, job.stages[state.stage]
    started = time.monotonic()
    weights = count_class_weights(job.train.plan, job.train.part)
    batches = make_training_batches(
        job.train, config.batch_size, config.augment, weights, config.seed, len(state.rows)
    )
    title = f"stage {state.stage + 1}/{len(job.stages)}, epoch {state.stage_epochs + 1}/{stage.epochs}"
    with show_steps(title, job.steps_per_epoch) as advance:
        callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: advance())
        loss = float(model.fit(batches, verbose=0, shuffle=False, callbacks=[callback]).history["loss"][0])
    logits = predict_logits(model, job.val, config.batch_size)
    if not (np.isfinite(loss) and np.isfinite(logits).all()):
        raise DivergedError(
            f"training diverged in {title} (loss {loss}); lower the learning rate of that stage. "
            f"Received: learning_rate={stage.learning_rate}"
        )
    labels = np.array([row.label for row in job.val.plan.select(job.val.part)])
    row = EpochRow(
        epoch=len(state.rows) + 1,
        stage=state.stage + 1,
        depth_blocks=stage.depth_blocks,
        learning_rate=stage.learning_rate,
        loss=loss,
        val_loss=float(log_loss(labels, expit(logits.astype(np.float64)), labels=[0, 1])),
        val_roc_auc=float(roc_auc_score(labels, logits)) if labels.any() else float("nan"),
        seconds=round(time.monotonic() - started, 2),
    )
    logger.info("%s: loss %.4f, validation ROC-AUC %.4f", title, row.loss, row.val_roc_auc)
    return row


def _record_epoch(model: Any, folder: RunFolder, state: TrainingState, row: EpochRow) -> TrainingState:
    """Write the variables of this epoch, and only then the state that names their file."""
    is_scored = not np.isnan(row.val_roc_auc)
    score = (row.val_roc_auc, -row.val_loss) if is_scored else (float(row.epoch), 0.0)
    state = replace(
        state, rows=(*state.rows, row), stage_epochs=state.stage_epochs + 1, waited=state.waited + 1
    )
    name = f"epoch-{row.epoch}.npz"
    _save_variables(model, folder.checkpoint / name)
    write_rows(folder.history, state.rows)
    if score > state.best_score:
        state = replace(state, best_score=score, best_file=name, waited=0)
    return _store_state(folder, replace(state, last_file=name))


def _save_variables(model: Any, path: Path) -> None:
    """Save weights, the states of random generators, and what the optimizer remembers.

    Keras's own file would not do: when it loads a model, it makes all layers of a nested one trainable,
    and then finds that the optimizer has too few variables.
    """
    arrays = {f"model_{index}": value for index, value in enumerate(_to_numpy(model.variables))}
    arrays |= {
        f"optimizer_{index}": value for index, value in enumerate(_to_numpy(model.optimizer.variables))
    }
    with replace_file(path) as partial, partial.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def _restore_variables(model: Any, path: Path, with_optimizer: bool) -> None:
    with np.load(path) as arrays:
        for index, variable in enumerate(model.variables):
            variable.assign(arrays[f"model_{index}"])
        for index, variable in enumerate(model.optimizer.variables if with_optimizer else ()):
            variable.assign(arrays[f"optimizer_{index}"])


def _to_numpy(variables: Sequence[Any]) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def _store_state(folder: RunFolder, state: TrainingState) -> TrainingState:
    write_json(folder.checkpoint / STATE_FILE, asdict(state))
    for path in folder.checkpoint.iterdir():
        if path.name not in {STATE_FILE, state.best_file, state.last_file}:
            path.unlink()
    return state


def _read_state(checkpoint: Path) -> TrainingState:
    path = checkpoint / STATE_FILE
    if not path.is_file():
        return TrainingState()
    tree = read_json(path)
    rows = tuple(EpochRow(**row) for row in tree.pop("rows"))
    score = tuple(tree.pop("best_score"))
    return TrainingState(rows=rows, best_score=score, **tree)


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
