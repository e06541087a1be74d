"""Protocols: how a split plan is drawn, and so what a figure measured on it means."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import SplitError, describe_unknown_name
from mvdefect.data.groups.candidates import Indices
from mvdefect.data.groups.grouping import Groups
from mvdefect.data.scan import Scan
from mvdefect.data.splits.dealing import (
    CLASSES,
    EVERY_PART,
    MIN_DEFECTIVE_GROUPS,
    SHARES,
    Names,
    check_counts,
    check_parts,
    deal_groups,
    deal_parts,
    find_gaps,
    pool_rare_strata,
)
from mvdefect.data.splits.plan import PARTS, PlanRow, SplitPlan, make_rows
from mvdefect.data.splits.published import (
    OFFICIAL_PARTS,
    assign_few_labels,
    assign_few_labels_unseen,
    assign_given,
    assign_official,
    assign_random,
    assign_random_75,
)
from mvdefect.data.splits.withheld import (
    BUDGETS,
    assign_good_only,
    assign_label_budget,
    assign_unseen_types,
    describe_few_defects,
)

PROTOCOLS = (
    "closed-set",
    "good-only",
    "unseen-type",
    "label-budget",
    "kfold",
    "official",
    "given",
    "random",
    "random-75",
    "few-labels",
    "few-labels-unseen",
)
WITHOUT_DEFECTS = ("good-only", "official", "given")  # possible with good images alone
SHARES_OF_REST = (0.75, 0.25)  # train and val, of what a fold does not test
SHARE_HELD_OUT = 0.2  # of train, where a plan has no val
NEEDED_IN_FOLD = {**EVERY_PART, "test": (1, 1)}  # down to one group a fold, since folds add up


def draw_plans(
    scan: Scan,
    groups: Groups,
    protocol: str,
    seed: int,
    *,
    k: int | None = None,
    n: int | None = None,
) -> tuple[SplitPlan, ...]:
    """Draw the plans of a protocol: one, or one per type (`unseen-type`, `few-labels-unseen`) or per fold.

    Args:
        scan: The photographs, sorted by id.
        groups: What must stay whole; see `mvdefect.data.groups.grouping.group_records`.
        protocol: One of `PROTOCOLS`.
        seed: Another seed, another draw; `official` and `given` draw nothing.
        k: The defective images in train, per type for `label-budget`, in all for `few-labels`.
        n: The number of folds; for `kfold` alone.

    Raises:
        SplitError: A setting is unknown, missing or out of place, or the photographs cannot be divided.
    """
    drawn = {
        "closed-set": assign_closed_set,
        "good-only": assign_good_only,
        "random": assign_random,
        "random-75": assign_random_75,
    }
    kept = {"official": assign_official, "given": assign_given}
    match protocol, k, n:
        case str(name), None, None if name in drawn:
            return (drawn[name](scan, groups, seed),)
        case str(name), None, None if name in kept:
            return (kept[name](scan, groups),)
        case "unseen-type", None, None:
            return assign_unseen_types(scan, groups, seed)
        case "kfold", None, int(folds):
            return assign_kfold(scan, groups, seed, folds)
        case "label-budget", int(budget), None:
            return (assign_label_budget(scan, groups, seed, budget),)
        case "few-labels", int(budget), None:
            return (assign_few_labels(scan, groups, seed, budget),)
        case "few-labels-unseen", int(budget), None:
            return assign_few_labels_unseen(scan, groups, seed, budget)
    if protocol not in PROTOCOLS:
        raise SplitError(describe_unknown_name("protocol", protocol, PROTOCOLS))
    raise SplitError(
        "label-budget and few-labels need k, kfold needs n, and no other protocol takes either. "
        f"Received: {protocol} with k={k}, n={n}"
    )


def assign_closed_set(scan: Scan, groups: Groups, seed: int) -> SplitPlan:
    """Draw a `closed-set` plan: every category and defect type in all parts, 60/20/20.

    Near-duplicates, identical files and what the user keeps together form groups that stay whole. They
    are dealt from the largest to the smallest, in seeded order among equals, each to the part that lacks
    most of what the group holds.

    Args:
        scan: The photographs, sorted by id.
        groups: What must stay whole; see `mvdefect.data.groups.grouping.group_records`.
        seed: Another seed, another draw.

    Raises:
        SplitError: A class has too few images, or its groups cannot be spread over the parts.
    """
    check_counts(record.label for record in scan.records)
    strata, classes = _name_kinds(scan)

    def deal(*kinds: Names) -> tuple[PlanRow, ...]:
        parts = deal_parts(groups.codes, kinds, np.random.default_rng(seed))
        rows = make_rows(scan, groups.codes, parts)
        check_parts(rows)
        return rows

    try:
        rows = deal(strata)
    except SplitError:  # many types of few images each: they are dealt as one class
        rows = deal(pool_rare_strata(strata, classes, 1 / min(SHARES)), classes)
    notes = groups.notes + find_gaps(rows) + _describe_own_parts(scan)
    return SplitPlan("closed-set", seed, rows, notes)


def _describe_own_parts(scan: Scan) -> tuple[str, ...]:
    """Say that the parts that folders or a table name are not kept, where they could be."""
    held = {(record.part, record.label) for record in scan.records}
    if not {(part, label) for part in OFFICIAL_PARTS for label in (0, 1)} <= held:
        return ()
    counts = Counter(record.part for record in scan.records)
    told = ", ".join(f"{counts[part]} in {part}" for part in PARTS if counts[part])
    return (f"the parts that the data names ({told}) are not kept; --protocol given keeps them",)


def assign_for_fit(scan: Scan, groups: Groups, seed: int) -> SplitPlan:
    """Draw the plan that suits the images: `closed-set`, or `good-only` where defects are too few for it.

    Args:
        scan: The photographs, sorted by id.
        groups: What must stay whole; see `mvdefect.data.groups.grouping.group_records`.
        seed: Another seed, another draw.

    Raises:
        SplitError: There are too few good images for either.
    """
    defective = np.array([record.label == 1 for record in scan.records], bool)
    independent = len(np.unique(groups.codes[defective]))
    if independent >= MIN_DEFECTIVE_GROUPS:
        try:
            return assign_closed_set(scan, groups, seed)
        except SplitError as error:
            reason = f"no closed-set plan can be drawn ({error}), so training uses good images alone"
    else:
        reason = describe_few_defects(int(defective.sum()), independent)
    return assign_good_only(scan, groups, seed, reason)


def assign_kfold(scan: Scan, groups: Groups, seed: int, n: int) -> tuple[SplitPlan, ...]:
    """Draw the `kfold` plans: n folds, each tested by one of them; the rest is dealt 75/25, train and val.

    Args:
        scan: The photographs, sorted by id.
        groups: What must stay whole; see `mvdefect.data.groups.grouping.group_records`.
        seed: Another seed, another draw.
        n: The number of folds, from 2 to the number of groups of each class.

    Raises:
        SplitError: `n` is out of range, or a class cannot be spread over the folds.
    """
    check_counts(record.label for record in scan.records)
    strata, classes = _name_kinds(scan)
    _check_fold_count(n, groups.codes, classes)
    # By class too, or the odd images of all types would end in the first folds.
    kinds = [pool_rare_strata(strata, classes, n), classes]
    fold_of = deal_groups(groups.codes, kinds, [1 / n] * n, np.random.default_rng(seed))
    return tuple(
        _draw_fold(scan, groups, (strata, classes), fold_of == fold, (seed, fold, n)) for fold in range(n)
    )


def _name_kinds(scan: Scan) -> tuple[Names, Names]:
    """Return the stratum and the class of each image."""
    strata = np.array([record.stratum for record in scan.records], dtype=object)
    return strata, np.array([CLASSES[record.label] for record in scan.records], dtype=object)


def _check_fold_count(n: int, groups: Indices, classes: Names) -> None:
    counts = Counter(name for _, name in set(zip(groups.tolist(), classes, strict=True)))
    if not 2 <= n <= min(counts.values()):
        held = ", ".join(f"{counts[name]} of {name} images" for name in CLASSES)
        raise SplitError(
            f"kfold takes 2 folds up to the number of groups of each class; there are {held}. Received: n={n}"
        )


def _draw_fold(
    scan: Scan,
    groups: Groups,
    names: tuple[Names, Names],
    tested: NDArray[np.bool_],
    draw: tuple[int, int, int],
) -> SplitPlan:
    seed, fold, n = draw
    parts = np.full(len(tested), "test", dtype=object)
    rest = np.flatnonzero(~tested)
    rng = np.random.default_rng((seed, fold))
    strata, classes = (column[rest] for column in names)
    kinds = [pool_rare_strata(strata, classes, 1 / min(SHARES_OF_REST)), classes]
    parts[rest] = deal_parts(groups.codes[rest], kinds, rng, SHARES_OF_REST)
    rows = make_rows(scan, groups.codes, parts)
    check_parts(rows, NEEDED_IN_FOLD)
    shares = [share * (1 - 1 / n) for share in SHARES_OF_REST] + [1 / n]
    return SplitPlan(f"kfold {fold + 1} of {n}", seed, rows, groups.notes + find_gaps(rows, shares))


def hold_out_val(plan: SplitPlan, seed: int) -> SplitPlan:
    """Move a fifth of train to val, in whole groups; the test part stays as it is.

    A plan like `official` names no val, but a threshold must be chosen on images that nothing was fitted
    on, and never on test. Defective images that a budget counts out stay in train.

    Args:
        plan: A plan without val.
        seed: Another seed, another draw.
    """
    train = plan.select("train")
    is_budget = plan.protocol.startswith(BUDGETS)
    free = tuple(row for row in train if not (is_budget and row.label))
    groups = np.array([row.group for row in free], np.int64)
    strata = [row.stratum for row in free]
    shares = (1 - SHARE_HELD_OUT, SHARE_HELD_OUT)
    dealt = deal_groups(groups, [strata], shares, np.random.default_rng(seed))
    moved = {row.id for row, part in zip(free, dealt, strict=True) if part == 1}
    rows = tuple(replace(row, part="val") if row.id in moved else row for row in plan.rows)
    note = f"{len(moved)} of {len(train)} images of train were moved to val, as the plan has none there"
    return SplitPlan(plan.protocol, plan.seed, rows, (*plan.notes, note), plan.rule)
