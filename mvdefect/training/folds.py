"""Training in folds: one classifier for each, none of which has seen the images that it is judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvdefect.core.files import write_rows
from mvdefect.core.progress import logger
from mvdefect.data.pipeline import Source
from mvdefect.models.classifier import copy_classifier
from mvdefect.models.members import join_members
from mvdefect.runs import EpochRow, RunFolder, read_history
from mvdefect.training.checkpoints import copy_values, put_values
from mvdefect.training.fit import DivergedError, TrainingJob, train_classifier, write_curves
from mvdefect.training.learners import Learners
from mvdefect.training.predictions import predict_logits

PAUSE_S = 60.0  # between checkpoints of a fold: writing one takes as long as an epoch of few images


@dataclass(frozen=True)
class FoldNetworks:
    """The classifiers of all folds: one, and the values that it has in each of them.

    Attributes:
        model: The classifier.
        judge: The same as it is in use, where it may look twice.
        changing: Its variables that training changes.
        values: Those of each fold.
    """

    model: Any
    judge: Any
    changing: Sequence[Any]
    values: tuple[list[np.ndarray], ...]

    def predict(self, number: int, source: Source, batch_size: int) -> NDArray[np.float64]:
        """Return what the classifier of a fold says of each image of a part, logits (n,)."""
        put_values(self.changing, self.values[number])
        return predict_logits(self.judge, source, batch_size).astype(np.float64)

    def separate(self) -> tuple[Any, ...]:
        """Return a classifier for each fold."""
        if len(self.values) == 1:
            put_values(self.changing, self.values[0])
            return (self.model,)
        return tuple(self._copy(values) for values in self.values)

    def _copy(self, values: list[np.ndarray]) -> Any:
        put_values(self.changing, values)
        return copy_classifier(self.model)


def train_folds(
    build: Callable[[], Any],
    job: TrainingJob,
    divided: Sequence[tuple[Source, Source]],
    gives_up: Callable[[Any], bool],
) -> FoldNetworks | None:
    """Train a classifier for each fold, or go on where an interrupt stopped.

    With one fold the best epoch on validation counts. With several the last one does, so that nothing is
    chosen on the images held out.

    Args:
        build: Makes a fresh classifier, seeded.
        job: What is trained, and where the run is; with several folds its train part is all of them together.
        divided: Of each fold, what it learns from and what it is judged by.
        gives_up: Whether the classifier of the first of several folds shows that training is in vain.

    Returns:
        The classifiers; None where the training of one of several folds diverged or was given up.

    Raises:
        DivergedError: The only one diverged.
    """
    most = max(train.count for train, _ in divided)
    learners = Learners(build(), job.spec, job.stages, job.config, most)
    judge = join_members([(learners.model, 1.0)], job.config.looks_twice)
    if len(divided) == 1:
        model = train_classifier(learners.model, job, learners)
        return FoldNetworks(model, judge, learners.changing, (copy_values(learners.changing),))
    found, histories = [], []
    job.folder.checkpoint.mkdir(exist_ok=True)
    for number, (train, held_out) in enumerate(divided, start=1):
        logger.info("fold %d of %d: %d images to learn from", number, len(divided), train.count)
        own = _take_fold(job, number, train, held_out)
        try:
            model = train_classifier(learners.model, own, learners)
        except DivergedError as error:
            logger.warning("no network takes part: %s", error)
            return None
        found.append(copy_values(learners.changing))
        histories.append(read_history(own.folder))
        if number == 1 and gives_up(judge):
            break
    _write_mean(job, histories)
    is_whole = len(found) == len(divided)
    return FoldNetworks(model, judge, learners.changing, tuple(found)) if is_whole else None


def _take_fold(job: TrainingJob, number: int, train: Source, held_out: Source) -> TrainingJob:
    folder = RunFolder(job.folder.checkpoint / f"fold-{number}")
    folder.path.mkdir(exist_ok=True)
    return replace(
        job,
        config=job.config.model_copy(update={"tensorboard": False}),
        train=train,
        val=held_out,
        whole=job.train,
        folder=folder,
        pause_seconds=PAUSE_S,
        keeps_last=True,
    )


def _write_mean(job: TrainingJob, histories: Sequence[Sequence[EpochRow]]) -> None:
    """Write the mean of the histories of all folds as that of the run."""
    history = tuple(_average(rows) for rows in zip(*histories, strict=True))
    write_rows(job.folder.history, EpochRow, history)
    for row in history if job.config.tensorboard else ():
        write_curves(job.folder.tensorboard, row)


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
