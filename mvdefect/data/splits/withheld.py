"""Protocols that withhold something from train: all or most defective images, or one defect type."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import SplitError
from mvdefect.data.groups.grouping import Groups
from mvdefect.data.records import GOOD, Record
from mvdefect.data.scan import Scan
from mvdefect.data.splits.dealing import (
    GOOD_IN_EVERY_PART,
    MIN_DEFECTIVE_GROUPS,
    MIN_IMAGES_PER_PART,
    SHARES_OF_GOOD,
    check_counts,
    check_parts,
    deal_groups,
    deal_parts,
    find_gaps,
)
from mvdefect.data.splits.plan import LEFT_OUT, PlanRow, SplitPlan, make_rows

Mask = NDArray[np.bool_]
Names = NDArray[np.object_]

NEEDED = {
    "train": (MIN_IMAGES_PER_PART, 1),
    "val": (MIN_IMAGES_PER_PART, 0),
    "test": (MIN_IMAGES_PER_PART, 0),
}


BUDGETS = ("label-budget", "few-labels")  # protocols whose defective images in train are counted out
COMBINED = "combined"  # MVTec AD's name for photographs that show several types of defect
NEEDED_BESIDE = {
    "train": (MIN_IMAGES_PER_PART, MIN_IMAGES_PER_PART),
    "val": (MIN_IMAGES_PER_PART, MIN_IMAGES_PER_PART),
    "test": (MIN_IMAGES_PER_PART, 0),
}


def assign_good_only(scan: Scan, groups: Groups, seed: int, reason: str = "") -> SplitPlan:
    """Draw a `good-only` plan: good images 50/30/20, every defective one in test; there may be none.

    Validation holds good images alone, from which a threshold follows that rejects few of them. Good images
    that share a group with defective ones follow them into test.

    Args:
        scan: The photographs, sorted by id.
        groups: What must stay whole; see `mvdefect.data.groups.grouping.group_records`.
        seed: Another seed, another draw.
        reason: Why no other plan was drawn, for the notes.

    Raises:
        SplitError: There are fewer than 10 good images, or their groups cannot be spread over the parts.
    """
    strata = np.array([record.stratum for record in scan.records], dtype=object)
    labels = np.array([record.label for record in scan.records])
    check_counts(labels.tolist(), ("good",))
    free = ~np.isin(groups.codes, groups.codes[labels == 1])
    parts = np.full(len(labels), "test", dtype=object)
    rng = np.random.default_rng(seed)
    parts[free] = deal_parts(groups.codes[free], [strata[free]], rng, SHARES_OF_GOOD)
    rows = make_rows(scan, groups.codes, parts)
    check_parts(rows, GOOD_IN_EVERY_PART)
    note = reason or "training and validation hold good images alone; every defective one is in test"
    return SplitPlan("good-only", seed, rows, (*groups.notes, note))


def describe_few_defects(count: int, independent: int) -> str:
    """Say what so few defective images can and cannot serve for, of which some are independent."""
    later = (
        f"with {MIN_DEFECTIVE_GROUPS} independent defective images or more, the same command also trains a "
        "classifier"
    )
    if not count:
        return (
            "there is no defective image: the inspector rejects what is unlike good images, and what share "
            f"of defects it catches cannot be told; {later}"
        )
    told = f"{count} defective image{'s' if count > 1 else ''}"
    if independent < count:
        told += f" of {independent} independent part{'s' if independent > 1 else ''}"
    return (
        f"{told} {'are' if count > 1 else 'is'} too few to learn from: the inspector rejects what is unlike "
        f"good images, and every defective image tests it; {later}"
    )


def assign_label_budget(scan: Scan, groups: Groups, seed: int, k: int) -> SplitPlan:
    """Draw a `label-budget` plan: k defective images of each category and type in train, the rest in test.

    Good images are dealt 60/20/20, the same for every k; validation has no others. Each type has one
    seeded order, and its first k train, so that a larger budget only adds to train and takes from test.
    Groups stay whole: defective images that share one with training images but exceed the budget are
    left out. Those that share one with good images follow them: into test, into the budget, or out (val).

    Args:
        scan: The photographs, sorted by id.
        groups: What must stay whole; see `mvdefect.data.groups.grouping.group_records`.
        seed: Another seed, another draw.
        k: Defective images a category and type in train, at least 1; all of them where there are fewer.

    Raises:
        SplitError: There are too few images, or the budget leaves no defective image to test on.
    """
    if k < 1:
        raise SplitError(f"label-budget needs a budget k of at least 1. Received: k={k}")
    records = scan.records
    check_counts((record.label for record in records), ("good",))
    defective = np.array([record.label == 1 for record in records])
    strata = np.array([record.stratum for record in records], dtype=object)
    rng = np.random.default_rng(seed)
    parts = np.full(len(records), LEFT_OUT, dtype=object)
    parts[~defective] = deal_parts(groups.codes[~defective], [strata[~defective].tolist()], rng)
    beside = _find_good_company(groups.codes, defective, parts)
    open_to_train = defective & np.isin(beside, (LEFT_OUT, "train"))
    chosen = _spend_budget(strata, open_to_train, rng.permutation(len(records)), k)
    in_touch = np.isin(groups.codes, groups.codes[chosen])
    parts[defective & ((beside == "test") | ((beside == LEFT_OUT) & ~in_touch))] = "test"
    parts[chosen] = "train"
    rows = make_rows(scan, groups.codes, parts)
    if not any(row.label for row in rows if row.part == "test"):
        raise SplitError(f"a budget of k={k} leaves no defective image to test on; a smaller k may")
    check_parts(rows, NEEDED)
    notes = _describe_budget(records, parts, beside, k)
    gaps = find_gaps([row for row in rows if not row.label])
    return SplitPlan(f"label-budget {k}", seed, rows, groups.notes + notes + gaps)


def _find_good_company(groups: NDArray[np.int64], defective: Mask, parts: Names) -> Names:
    """Return, for each image, the part of the good images in its group; `LEFT_OUT` where there are none."""
    part_of_group = np.full(groups.max() + 1, LEFT_OUT, dtype=object)
    part_of_group[groups[~defective]] = parts[~defective]
    return part_of_group[groups]


def _spend_budget(strata: Names, candidates: Mask, order: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the first `k` candidates of each stratum in the given order of all images."""
    spent: Counter[str] = Counter()
    chosen = []
    for number in order[candidates[order]].tolist():
        if spent[strata[number]] < k:
            spent[strata[number]] += 1
            chosen.append(number)
    return np.array(chosen, np.int64)


def _describe_budget(records: tuple[Record, ...], parts: Names, beside: Names, k: int) -> tuple[str, ...]:
    defective = [number for number, record in enumerate(records) if record.label]
    held = Counter((records[number].stratum, parts[number]) for number in defective)
    left_out = [number for number in defective if parts[number] == LEFT_OUT]
    notes = [
        "validation holds good images alone, since the defective ones are what the budget is about: a "
        "threshold cannot be chosen there by F1"
    ]
    for stratum in sorted({records[number].stratum for number in defective}):
        in_train, in_test = held[stratum, "train"], held[stratum, "test"]
        if in_train < k:
            notes.append(
                f"{stratum} has only {in_train} images that could train, fewer than the budget of {k}"
            )
        if not in_test:
            notes.append(f"{stratum} is not in test: no image of it is left beside the budget")
    for beside_val, reason in (
        (False, "they share a group with training images, but exceed the budget"),
        (True, "they share a group with good images of validation"),
    ):
        lost = Counter(records[n].stratum for n in left_out if (beside[n] == "val") == beside_val)
        if lost:
            told = ", ".join(f"{count} of {stratum}" for stratum, count in sorted(lost.items()))
            notes.append(f"left out, since {reason}: {told}")
    return tuple(notes)


def limit_learning(plan: SplitPlan, count: int) -> SplitPlan:
    """Keep about so many images in train and val together; the test part stays as it is.

    Whole groups go, and all types and both parts keep their proportions. Where the defective images of train
    are counted out (`label-budget`, `few-labels`), all of them stay, beside so many good ones.

    Args:
        plan: A plan; its seed draws what stays.
        count: Images to keep, at least 1; all of them where there are fewer.

    Raises:
        SplitError: `count` is below 1.
    """
    if count < 1:
        raise SplitError(f"at least 1 image must be kept to learn from. Received: {count}")
    is_budget = plan.protocol.startswith(BUDGETS)
    learned = [row for row in plan.rows if row.part != "test"]
    free = [row for row in learned if not (is_budget and row.label)]
    if count >= len(free):
        return plan
    share = count / len(free)
    groups = np.array([row.group for row in free], np.int64)
    kinds = [[f"{row.stratum} {row.part}" for row in free]]
    dealt = deal_groups(groups, kinds, (share, 1 - share), np.random.default_rng(plan.seed))
    gone = {row.id for row, place in zip(free, dealt, strict=True) if place == 1}
    rows = tuple(row for row in plan.rows if row.id not in gone)
    note = f"{len(learned) - len(gone)} of the {len(learned)} images of train and val are used, by a limit"
    return replace(plan, rows=rows, notes=(*plan.notes, note))


@dataclass(frozen=True)
class _Draw:
    """The closed-set draw that all plans of a seed begin with, and share their rows with."""

    seed: int
    rows: tuple[PlanRow, ...]
    notes: tuple[str, ...]


def assign_unseen_types(scan: Scan, groups: Groups, seed: int) -> tuple[SplitPlan, ...]:
    """Draw an `unseen-type` plan for each defect type of each category: that type in test alone.

    Each plan is the closed-set draw of the same seed, but every group that holds the held-out type is in
    test, and images of type `combined`, which may show that type too, are left out. Plans that differ in
    nothing else can be compared image by image. A category with one type holds nothing out: no defect of
    that product would be left to train on.

    Args:
        scan: The photographs, sorted by id.
        groups: What must stay whole; see `mvdefect.data.groups.grouping.group_records`.
        seed: Another seed, another draw.

    Returns:
        The plans, sorted by category and type.

    Raises:
        SplitError: A class has too few images, or no type can be held out; it names the reasons.
    """
    check_counts(record.label for record in scan.records if record.defect_type != COMBINED)
    strata, refusals = _list_held_out(scan.records)
    draw = _draw_usual(scan, groups, seed)
    plans = []
    for stratum in strata:
        try:
            plans.append(_hold_out(draw, stratum))
        except SplitError as error:
            refusals.append(f"{stratum} is not held out: {error}")
    if not plans:
        raise SplitError(f"no defect type can be held out. {'; '.join(refusals)}")
    return tuple(replace(plan, notes=(*plan.notes, *refusals)) for plan in plans)


def _list_held_out(records: Iterable[Record]) -> tuple[list[str], list[str]]:
    """Return the strata that can be held out, and of each other category why it holds nothing out."""
    types: defaultdict[str, set[str]] = defaultdict(set)
    for record in records:
        types[record.category] |= {record.defect_type} - {GOOD, COMBINED}
    strata, refusals = [], []
    for category, names in sorted(types.items()):
        if len(names) > 1:
            strata += [f"{category}/{name}" for name in sorted(names)]
        else:
            held = f"one defect type, {', '.join(names)}" if names else "no defect type"
            refusals.append(
                f"{category} holds nothing out: it has {held}, and needs one to train on and one to hold "
                f"out ({COMBINED} does not count)"
            )
    return strata, refusals


def _draw_usual(scan: Scan, groups: Groups, seed: int) -> _Draw:
    """Draw the closed set, and then leave out what shows several types."""
    parts = deal_parts(
        groups.codes, [[record.stratum for record in scan.records]], np.random.default_rng(seed)
    )
    combined = np.array([record.defect_type == COMBINED for record in scan.records])
    parts[combined] = LEFT_OUT
    notes = groups.notes
    if combined.any():
        notes += (f"{combined.sum()} images of type {COMBINED} are left out, since they may show the type",)
    return _Draw(seed, make_rows(scan, groups.codes, parts), notes)


def _hold_out(draw: _Draw, held_out: str) -> SplitPlan:
    held = {row.group for row in draw.rows if row.stratum == held_out}
    rows = tuple(
        replace(row, part="test") if row.group in held and row.part != "test" else row for row in draw.rows
    )
    beside = [row for row in rows if row.stratum != held_out]
    check_parts(beside, NEEDED_BESIDE)
    notes = [f"{held_out} is held out: its {len(rows) - len(beside)} images are in test alone"]
    dragged = Counter(
        row.stratum
        for row in draw.rows
        if row.group in held and row.part != "test" and row.stratum != held_out
    )
    if dragged:
        told = ", ".join(f"{count} of {stratum}" for stratum, count in sorted(dragged.items()))
        notes.append(f"in test too, being in one group with images of {held_out}: {told}")
    name = held_out.partition("/")[2]
    if namesakes := sorted({row.category for row in beside if row.defect_type == name}):
        notes.append(f"{name} stays in train for other products: {', '.join(namesakes)}")
    notes += find_gaps(beside)
    return SplitPlan(f"unseen-type {held_out}", draw.seed, rows, (*draw.notes, *notes))
