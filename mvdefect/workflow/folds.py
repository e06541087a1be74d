"""Folds of train and val: every member is fitted on each, and judged by the images that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mvdefect.config import FitConfig
from mvdefect.data.pipeline import Source
from mvdefect.data.splits.folds import (
    ENOUGH_TO_DECIDE,
    choose_fold_count,
    draw_folds,
    join_train_and_val,
)
from mvdefect.data.splits.plan import SplitPlan
from mvdefect.evaluation.bootstrap import Bools, Floats
from mvdefect.workflow.outcome import list_judged_parts

Score = Callable[[Source], Floats]
Fitted = TypeVar("Fitted")


@dataclass(frozen=True)
class Folds:
    """The parts of a plan, and other ways to divide train and val.

    Attributes:
        parts: Train, val and test by name.
        whole: What is learned from, by all folds together.
        train: Of each fold, what is learned from.
        held_out: Of each fold, what is judged by; together all of val, and with several folds all of train.
    """

    parts: dict[str, Source]
    whole: Source
    train: tuple[Source, ...]
    held_out: tuple[Source, ...]

    @property
    def judged_parts(self) -> tuple[str, ...]:
        """The parts whose images no model judges that was fitted on them."""
        return list_judged_parts(len(self.train))

    @property
    def learned_parts(self) -> tuple[str, ...]:
        """The parts that something is fitted on."""
        return ("train",) if len(self.train) == 1 else ("train", "val")

    def fit_each(self, fit: Callable[[Source], Fitted]) -> list[Fitted]:
        """Fit something on what each fold learns from, and at last what is in use, on all of that together.

        With one fold that is the same, and fitted once.
        """
        found = [fit(source) for source in self.train]
        return found if len(found) == 1 else [*found, fit(self.whole)]

    def settle(self, scores: Sequence[Score], joined: Score) -> dict[str, Floats]:
        """Score each image by the model that has not seen it; test, and what is left, by all of them joined.

        Args:
            scores: What scores a source, one a fold.
            joined: What does by all of them.

        Returns:
            By part, float64 (n,) each, in the order of its rows.
        """
        known: dict[str, float] = {}
        for source, score in zip(self.held_out, scores, strict=True):
            known |= zip([row.id for row in source.rows], score(source).tolist(), strict=True)
        found = {}
        for part, source in self.parts.items():
            names = [row.id for row in source.rows]
            is_known = all(name in known for name in names)
            values = np.array([known[name] for name in names]) if is_known else joined(source)
            found[part] = np.asarray(values, np.float64)
        return found

    def pick(self, scores: dict[str, Floats], source: Source) -> Floats:
        """Return the scores of the images of a source, from those by part."""
        known = {
            row.id: score
            for part, found in scores.items()
            for row, score in zip(self.parts[part].rows, found.tolist(), strict=True)
        }
        return np.array([known[row.id] for row in source.rows], np.float64)

    def list_judged(self) -> tuple[Bools, np.ndarray]:
        """Return labels and groups of the images of `judged_parts`, in their order."""
        judged = [self.parts[part] for part in self.judged_parts]
        labels = np.concatenate([source.labels for source in judged]) == 1
        return labels, np.concatenate([source.groups for source in judged])

    def count_defects(self) -> int:
        """Return how many groups of train and val have a defective image."""
        sources = [self.parts["train"], self.parts["val"]]
        return len({row.group for source in sources for row in source.rows if row.label})

    def pick_judged(self, scores: dict[str, Floats]) -> Floats:
        """Return the scores of the same images, from those by part."""
        return np.concatenate([scores[part] for part in self.judged_parts])


def count_folds(config: FitConfig, plan: SplitPlan, is_pretrained: bool) -> int:
    """Choose how many folds a fit has, unless its settings say so.

    One, the plan's own train and val, where val has defective images of 60 groups, where folders or a table
    named the parts, where too few images are defective, or where a network learns from random weights.
    """
    if config.folds is not None:
        return config.folds
    if not is_pretrained or plan.protocol == "given":
        return 1
    return choose_fold_count(plan, ENOUGH_TO_DECIDE)


def make_folds(parts: dict[str, Source], config: FitConfig) -> Folds:
    """Divide train and val as the settings say.

    Args:
        parts: Those of a plan, by name.
        config: Number of folds and seed.

    Raises:
        SplitError: There are fewer groups of a class than folds.
    """
    store, plan = parts["train"].store, parts["train"].plan
    drawn = draw_folds(plan, config.folds or 1, config.seed)
    train, held_out = (tuple(Source(store, one, part) for one in drawn) for part in ("train", "val"))
    whole = Source(store, join_train_and_val(plan), "train") if len(drawn) > 1 else parts["train"]
    return Folds(parts, whole, train, held_out)
