"""The protocol `label-budget`: how far a model comes with few defective photographs to learn from."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from mvdefect.data.dealing import MIN_IMAGES_PER_PART, check_counts, check_parts, deal_parts, find_gaps
from mvdefect.data.groups import Groups
from mvdefect.data.records import Record
from mvdefect.data.scan import Scan
from mvdefect.data.splits import LEFT_OUT, SplitPlan, make_rows
from mvdefect.errors import SplitError

Mask = NDArray[np.bool_]
Names = NDArray[np.object_]

NEEDED = {
    "train": (MIN_IMAGES_PER_PART, 1),
    "val": (MIN_IMAGES_PER_PART, 0),
    "test": (MIN_IMAGES_PER_PART, 0),
}


def assign_label_budget(scan: Scan, groups: Groups, seed: int, k: int) -> SplitPlan:
    """Draw a `label-budget` plan: k defective images of each category and type in train, the rest in test.

    Good images are dealt 60/20/20, the same for every k; validation has no others. Each type has one
    seeded order, and its first k train, so that a larger budget only adds to train and takes from test.
    Groups stay whole: defective images that share one with training images but exceed the budget are
    left out. Those that share one with good images follow them: into test, into the budget, or out (val).

    Args:
        scan: The photographs, sorted by id.
        groups: What must stay whole; see `mvdefect.data.groups.group_records`.
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
