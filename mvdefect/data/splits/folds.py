"""Folds within train and val: where validation is small, every image of both validates once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mvdefect.core.errors import SplitError
from mvdefect.data.splits.dealing import CLASSES, deal_groups, pool_rare_strata
from mvdefect.data.splits.plan import SplitPlan

SCARCE_FOLDS = 3
ENOUGH_TO_RANK = 20  # groups of defective images in val
ENOUGH_TO_DECIDE = 60  # the same, for a threshold and for what an inspector is made of


def leave_test_out(plan: SplitPlan) -> SplitPlan:
    """Return the train and the val part of a plan alone."""
    return replace(plan, rows=tuple(row for row in plan.rows if row.part != "test"))


def join_train_and_val(plan: SplitPlan) -> SplitPlan:
    """Return a plan whose train part is train and val of another one; nothing else is in it."""
    return replace(plan, rows=tuple(replace(row, part="train") for row in leave_test_out(plan).rows))


def choose_fold_count(plan: SplitPlan, enough: int = ENOUGH_TO_RANK) -> int:
    """Return 1 where val has enough groups of defective images, or there are too few to fold, otherwise 3."""
    held = {row.group for row in plan.select("val") if row.label}
    groups = [{row.group for row in leave_test_out(plan).rows if row.label == label} for label in (0, 1)]
    is_enough = len(held) >= enough or min(map(len, groups)) < SCARCE_FOLDS
    return 1 if is_enough else SCARCE_FOLDS


def draw_folds(plan: SplitPlan, count: int, seed: int) -> tuple[SplitPlan, ...]:
    """Divide train and val anew, so that each image validates once; groups stay whole.

    Args:
        plan: A plan; its test part stays out.
        count: How many folds; 1: the plan's own train and val.
        seed: Of the draw.

    Raises:
        SplitError: There are fewer groups of a class than folds.
    """
    kept = leave_test_out(plan)
    if count == 1:
        return (kept,)
    rows = kept.rows
    classes = np.array([CLASSES[row.label] for row in rows], dtype=object)
    groups = np.array([row.group for row in rows], np.int64)
    for label, name in enumerate(CLASSES):
        held = len({row.group for row in rows if row.label == label})
        if held < count:
            raise SplitError(
                f"{count} folds need as many groups of {name} photographs in train and val; there are {held}"
            )
    strata = np.array([row.stratum for row in rows], dtype=object)
    kinds = [pool_rare_strata(strata, classes, count), classes]
    fold_of = deal_groups(groups, kinds, [1 / count] * count, np.random.default_rng(seed))
    return tuple(
        SplitPlan(
            f"fold {fold + 1} of {count} of train and val",
            seed,
            tuple(
                replace(row, part="val" if mine == fold else "train")
                for row, mine in zip(rows, fold_of, strict=True)
            ),
            rule=plan.rule,
        )
        for fold in range(count)
    )
