"""Training in folds: one classifier for each, none of which has seen the images that it is judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mvdefect.config import FitConfig
from mvdefect.core.files import write_rows
from mvdefect.core.progress import logger
from mvdefect.data.pipeline import Source
from mvdefect.models.backbones import BackboneSpec
from mvdefect.runs import EpochRow, RunFolder, read_history
from mvdefect.training.fit import DivergedError, TrainingJob, train_classifier, write_curves
from mvdefect.training.stages import Stage

PAUSE_S = 60.0  # between checkpoints of a fold: writing one takes as long as an epoch of few images


def train_folds(
    build: Callable[[], Any],
    spec: BackboneSpec,
    stages: tuple[Stage, ...],
    config: FitConfig,
    train: Sequence[Source],
    held_out: Sequence[Source],
    folder: RunFolder,
    gives_up: Callable[[Any], bool],
) -> tuple[Any, ...]:
    """Train a classifier for each fold, or go on where an interrupt stopped.

    With one fold the best epoch on validation counts. With several the last one does, so that nothing is
    chosen on the images held out.

    Args:
        build: Makes a fresh classifier, seeded.
        spec: Its backbone.
        stages: What learns when.
        config: Batch size, seed and so on.
        train: What each fold learns from.
        held_out: What each is judged by.
        folder: Of the run; its history is the mean of those of all folds.
        gives_up: Whether the classifier of the first of several folds shows that training is in vain.

    Returns:
        The classifiers, one a fold; none where the training of one of several diverged or was given up.

    Raises:
        DivergedError: The only one diverged.
    """
    if len(train) == 1:
        return (train_classifier(build(), TrainingJob(spec, stages, config, train[0], held_out[0], folder)),)
    networks, histories = [], []
    folder.checkpoint.mkdir(exist_ok=True)
    plain = config.model_copy(update={"tensorboard": False})
    for number, (source, judged) in enumerate(zip(train, held_out, strict=True), start=1):
        logger.info("fold %d of %d: %d images to learn from", number, len(train), source.count)
        place = RunFolder(folder.checkpoint / f"fold-{number}")
        place.path.mkdir(exist_ok=True)
        job = TrainingJob(spec, stages, plain, source, judged, place, PAUSE_S, keeps_last=True)
        try:
            networks.append(train_classifier(build(), job))
        except DivergedError as error:
            logger.warning("no network takes part: %s", error)
            return ()
        histories.append(read_history(place))
        if number == 1 and gives_up(networks[0]):
            networks.clear()
            break
    history = tuple(_average(rows) for rows in zip(*histories, strict=True))
    write_rows(folder.history, EpochRow, history)
    for row in history if config.tensorboard else ():
        write_curves(folder.tensorboard, row)
    return tuple(networks)


def _average(rows: Sequence[EpochRow]) -> EpochRow:
    """Return the mean of one epoch of all folds."""

    def find_mean(name: str) -> float:
        return float(np.mean([getattr(row, name) for row in rows]))

    return replace(
        rows[0],
        loss=find_mean("loss"),
        val_loss=find_mean("val_loss"),
        val_roc_auc=find_mean("val_roc_auc"),
        seconds=round(sum(row.seconds for row in rows), 2),
    )
