"""Protocols: how a split plan is drawn, and so what a figure measured on it means."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import SplitError, describe_unknown_name, list_some
from mvdefect.data.groups.candidates import Indices
from mvdefect.data.groups.grouping import Groups
from mvdefect.data.scan import Scan
from mvdefect.data.splits.dealing import (
    CLASSES,
    EVERY_PART,
    MIN_DEFECTIVE_GROUPS,
    MIN_IMAGES_PER_PART,
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
from mvdefect.data.splits.withheld import (
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
)
WITHOUT_DEFECTS = ("good-only", "official", "given")  # possible with good images alone
OFFICIAL_PARTS = ("train", "test")
SHARES_OF_REST = (0.75, 0.25)  # train and val, of what a fold does not test
SHARE_HELD_OUT = 0.2  # of train, where a plan has no val
NEEDED_IN_FOLD = {**EVERY_PART, "test": (1, 1)}  # down to one group a fold, since folds add up
MAX_NAMED_FILES = 5


def draw_plans(
    scan: Scan,
    groups: Groups,
    protocol: str,
    seed: int,
    *,
    k: int | None = None,
    n: int | None = None,
) -> tuple[SplitPlan, ...]:
    """Draw the plans of a protocol: one, or for `unseen-type` one a type, and for `kfold` one a fold.

    Args:
        scan: The photographs, sorted by id.
        groups: What must stay whole; see `mvdefect.data.groups.grouping.group_records`.
        protocol: One of `PROTOCOLS`.
        seed: Another seed, another draw; `official` and `given` draw nothing.
        k: The defective images a type in train; for `label-budget` alone.
        n: The number of folds; for `kfold` alone.

    Raises:
        SplitError: A setting is unknown, missing or out of place, or the photographs cannot be divided.
    """
    match protocol, k, n:
        case "closed-set", None, None:
            return (assign_closed_set(scan, groups, seed),)
        case "good-only", None, None:
            return (assign_good_only(scan, groups, seed),)
        case "unseen-type", None, None:
            return assign_unseen_types(scan, groups, seed)
        case "label-budget", int(budget), None:
            return (assign_label_budget(scan, groups, seed, budget),)
        case "kfold", None, int(folds):
            return assign_kfold(scan, groups, seed, folds)
        case "official", None, None:
            return (assign_official(scan, groups),)
        case "given", None, None:
            return (assign_given(scan, groups),)
        case "random", None, None:
            return (assign_random(scan, groups, seed),)
    if protocol not in PROTOCOLS:
        raise SplitError(describe_unknown_name("protocol", protocol, PROTOCOLS))
    raise SplitError(
        f"label-budget needs k, kfold needs n, and no other protocol takes either. "
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


def assign_official(scan: Scan, groups: Groups) -> SplitPlan:
    """Make the `official` plan: MVTec AD's own folders, good images alone in train, nothing in val.

    For comparison with literature on one-class methods. Groups may straddle; a note counts them.

    Args:
        scan: The photographs, sorted by id.
        groups: What must stay whole; see `mvdefect.data.groups.grouping.group_records`.

    Raises:
        SplitError: The data names no such parts, or train is not good images alone.
    """
    others = [record.id for record in scan.records if record.part not in OFFICIAL_PARTS]
    if others:
        raise SplitError(
            "official needs every image in one of MVTec AD's folders train and test (or so named by a "
            f"manifest's column split), but {len(others)} are not: {list_some(others, MAX_NAMED_FILES)}"
        )
    defective = [record.id for record in scan.records if record.part == "train" and record.label]
    if defective:
        raise SplitError(
            f"official trains on good images alone, but {len(defective)} in train are defective: "
            f"{list_some(defective, MAX_NAMED_FILES)}"
        )
    return _keep_parts("official", scan, groups)


def assign_given(scan: Scan, groups: Groups) -> SplitPlan:
    """Make the `given` plan: every image in the part that the data names, as in a manifest's column split.

    Groups may straddle, and val may be empty; notes tell.

    Args:
        scan: The photographs, sorted by id.
        groups: What must stay whole; see `mvdefect.data.groups.grouping.group_records`.

    Raises:
        SplitError: An image has no part, or train or test could not serve.
    """
    others = [record.id for record in scan.records if record.part not in PARTS]
    if others:
        raise SplitError(
            f"given needs a part ({', '.join(PARTS)}) for every image, as in a manifest's column split, but "
            f"{len(others)} have none: {list_some(others, MAX_NAMED_FILES)}"
        )
    return _keep_parts("given", scan, groups)


def assign_random(scan: Scan, groups: Groups, seed: int) -> SplitPlan:
    """Make a `random` plan: 80/10/10, stratified by label alone, as much published code splits.

    For comparison with such figures only: near-duplicates straddle, a note counts them, and the figures are
    too good.

    Args:
        scan: The photographs, sorted by id.
        groups: What should stay whole, and does not.
        seed: Of scikit-learn's `train_test_split`, used twice.

    Raises:
        SplitError: A class has too few images.
    """
    from sklearn.model_selection import train_test_split

    labels = np.array([record.label for record in scan.records])
    check_counts(labels.tolist())
    parts = np.full(len(labels), "train", dtype=object)
    everything = np.arange(len(labels))
    _, rest = train_test_split(everything, test_size=0.2, stratify=labels, random_state=seed)
    val, test = train_test_split(rest, test_size=0.5, stratify=labels[rest], random_state=seed)
    parts[val], parts[test] = "val", "test"
    return _keep_parts("random", scan, groups, parts, seed)


def _keep_parts(
    protocol: str, scan: Scan, groups: Groups, parts: Sequence[str] | Names | None = None, seed: int = 0
) -> SplitPlan:
    named = [record.part for record in scan.records] if parts is None else parts
    rows = make_rows(scan, groups.codes, named)
    held = Counter((row.part, row.label) for row in rows)
    for part in ("train", "test"):
        if held[part, 0] < MIN_IMAGES_PER_PART:
            raise SplitError(
                f"{protocol} needs at least {MIN_IMAGES_PER_PART} good images in {part}. "
                f"Received: {held[part, 0]}"
            )
    absent = []
    for part in PARTS:
        lacking = [name for label, name in enumerate(CLASSES) if not held[part, label]]
        if lacking:
            kind = "" if len(lacking) == len(CLASSES) else f"{lacking[0]} "
            absent.append(f"there is no {kind}image in {part}")
    return SplitPlan(protocol, seed, rows, (*groups.notes, *absent, *_find_straddlers(rows)))


def hold_out_val(plan: SplitPlan, seed: int) -> SplitPlan:
    """Move a fifth of train to val, in whole groups; the test part stays as it is.

    A plan like `official` names no val, but a threshold must be chosen on images that nothing was fitted
    on, and never on test.

    Args:
        plan: A plan without val.
        seed: Another seed, another draw.
    """
    train = plan.select("train")
    groups = np.array([row.group for row in train], np.int64)
    strata = [row.stratum for row in train]
    shares = (1 - SHARE_HELD_OUT, SHARE_HELD_OUT)
    dealt = deal_groups(groups, [strata], shares, np.random.default_rng(seed))
    moved = {row.id for row, part in zip(train, dealt, strict=True) if part == 1}
    rows = tuple(replace(row, part="val") if row.id in moved else row for row in plan.rows)
    note = f"{len(moved)} of {len(train)} images of train were moved to val, as the plan has none there"
    return SplitPlan(plan.protocol, plan.seed, rows, (*plan.notes, note), plan.rule)


def _find_straddlers(rows: Sequence[PlanRow]) -> tuple[str, ...]:
    sizes = Counter(row.group for row in rows)
    parts_of: defaultdict[int, set[str]] = defaultdict(set)
    for row in rows:
        parts_of[row.group].add(row.part)
    torn = [group for group, parts in parts_of.items() if len(parts) > 1]
    if not torn:
        return ()
    return (
        f"{len(torn)} groups that should stay whole (near-duplicates, or what the user keeps together), with "
        f"{sum(sizes[group] for group in torn)} images, lie in more than one part: "
        "the figures may be too good",
    )
