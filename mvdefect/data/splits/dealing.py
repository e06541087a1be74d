"""Dealing whole groups into parts, and saying where the parts fall short of what was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import SplitError
from mvdefect.data.groups.candidates import Indices
from mvdefect.data.splits.plan import PARTS, PlanRow

SHARES = (0.6, 0.2, 0.2)
SHARES_OF_GOOD = (0.5, 0.3, 0.2)  # more to choose a threshold by, which then rests on good images alone
MIN_IMAGES_PER_CLASS = 10
MIN_DEFECTIVE_GROUPS = 10  # independent defects from which a classifier learns
MIN_IMAGES_PER_PART = 2
MAX_SHARE_DEVIATION = 0.1
CLASSES = ("good", "defective")

Names = NDArray[np.object_]

EVERY_PART = dict.fromkeys(PARTS, (MIN_IMAGES_PER_PART, MIN_IMAGES_PER_PART))
GOOD_IN_EVERY_PART = dict.fromkeys(PARTS, (MIN_IMAGES_PER_PART, 0))


def deal_groups(
    groups: Indices, kinds: Sequence[Sequence[str] | Names], shares: Sequence[float], rng: np.random.Generator
) -> Indices:
    """Deal groups into parts so that every kind of image has its share in each.

    From the largest to the smallest, in seeded order among equals, each group goes where it lowers
    chi-square most, the distance between what the parts hold of each kind and what they should hold.

    Args:
        groups: int64 of shape (n,): the group of each image.
        kinds: One sequence of n names or more; the parts are balanced over the names of all of them.
        shares: The share of each part, above 0; they add to 1.
        rng: Decides among equals.

    Returns:
        int64 of shape (n,): the part of each image, an index into `shares`.
    """
    _, group = np.unique(groups, return_inverse=True)
    sizes = np.bincount(group)
    held, totals = _count_kinds(group, kinds)
    wanted = [[share * total for total in totals] for share in shares]
    dealt = [[0] * len(totals) for _ in shares]
    part_of_group = np.zeros(len(sizes), np.int64)
    shuffled = rng.permutation(len(sizes))
    for number in shuffled[np.argsort(-sizes[shuffled], kind="stable")].tolist():
        part = min(range(len(shares)), key=lambda part: _rank(held[number], dealt[part], wanted[part]))
        part_of_group[number] = part
        for kind, count in held[number]:
            dealt[part][kind] += count
    return part_of_group[group]


def deal_parts(
    groups: Indices,
    kinds: Sequence[Sequence[str] | Names],
    rng: np.random.Generator,
    shares: Sequence[float] = SHARES,
) -> Names:
    """Deal groups into the first of `PARTS`, one a share; return the part's name of each image."""
    dealt = deal_groups(groups, kinds, shares, rng)
    return np.array(PARTS, dtype=object)[dealt]


def pool_rare_strata(strata: Names, classes: Names, least: float) -> Names:
    """Return the strata, but the class where a stratum has fewer than `least` images.

    Such a stratum cannot be in every part. Each of them dealt for itself would end in the largest part,
    or in the first of equals, and all of them together with it.
    """
    _, code, counts = np.unique(strata.astype(str), return_inverse=True, return_counts=True)
    return np.where(counts[code] < least, classes, strata)


def _count_kinds(
    group: Indices, kinds: Sequence[Sequence[str] | Names]
) -> tuple[list[list[tuple[int, int]]], list[int]]:
    """Return what each group holds, as (kind, count) in order of kind, and the total of each kind."""
    codes: list[Indices] = []
    width = 0
    for names in kinds:
        distinct, code = np.unique(np.asarray(names, dtype=str), return_inverse=True)
        codes.append(code + width)
        width += len(distinct)
    pairs, counts = np.unique(np.concatenate([group * width + code for code in codes]), return_counts=True)
    held: list[list[tuple[int, int]]] = [[] for _ in range(int(group.max(initial=-1)) + 1)]
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        held[pair // width].append((pair % width, count))
    return held, np.bincount(np.concatenate(codes), minlength=width).tolist()


def _rank(held: list[tuple[int, int]], dealt: list[int], wanted: list[float]) -> tuple[int, float]:
    """Return by how much a group would raise a part's chi-square, and how full the part is already."""
    change = filled = 0.0
    for kind, count in held:
        excess = dealt[kind] - wanted[kind]
        after = excess + count
        change += (after * after - excess * excess) / wanted[kind]
        filled += dealt[kind] / wanted[kind]
    return round(change * 1e9), filled


def find_gaps(rows: Sequence[PlanRow], shares: Sequence[float] = SHARES) -> tuple[str, ...]:
    """Say which defect types are missing in a part, or are far from their share in it.

    Args:
        rows: Rows of a plan.
        shares: The share that each of `PARTS` should have.
    """
    held = Counter((row.stratum, row.part) for row in rows)
    groups = Counter(stratum for stratum, _ in {(row.stratum, row.group) for row in rows})
    notes = []
    for stratum in sorted(groups):
        counts = [held[stratum, part] for part in PARTS]
        total = sum(counts)
        told = ", ".join(f"{count} in {part}" for part, count in zip(PARTS, counts, strict=True))
        if 0 in counts:
            notes.append(
                f"{stratum} is not in every part: {total} images in {groups[stratum]} groups: {told}"
            )
            continue
        deviations = [abs(count / total - share) for count, share in zip(counts, shares, strict=True)]
        if max(deviations) > MAX_SHARE_DEVIATION and total >= MIN_IMAGES_PER_CLASS:
            asked = "/".join(f"{100 * share:.0f}" for share in shares)
            notes.append(
                f"{stratum} could not be divided {asked} without tearing groups that must stay whole: {told}"
            )
    return tuple(notes)


def check_counts(labels: Iterable[int], classes: Sequence[str] = CLASSES) -> None:
    """Refuse data with too few images of a class.

    Args:
        labels: 0 for good, 1 for defective.
        classes: Which classes to look at.

    Raises:
        SplitError: A class has fewer than 10 images.
    """
    counts = Counter(labels)
    for name in classes:
        count = counts[CLASSES.index(name)]
        if count < MIN_IMAGES_PER_CLASS:
            hint = (
                "; the protocol good-only, which fit chooses by itself, needs none" if name != "good" else ""
            )
            raise SplitError(
                f"at least {MIN_IMAGES_PER_CLASS} {name} images are needed, to train, to validate and "
                f"to test on. Received: {count}{hint}"
            )


def check_parts(rows: Sequence[PlanRow], least: Mapping[str, tuple[int, int]] = EVERY_PART) -> None:
    """Refuse parts with too few images of a class.

    Args:
        rows: Rows of a plan.
        least: How many good and how many defective images a part needs at least.

    Raises:
        SplitError: A part has fewer.
    """
    held = Counter((row.part, row.label) for row in rows)
    for part, needed in least.items():
        for label, (name, minimum) in enumerate(zip(CLASSES, needed, strict=True)):
            count = held[part, label]
            if count < minimum:
                groups = {row.group for row in rows if row.label == label}
                raise SplitError(
                    f"the {part} part needs at least {minimum} {name} images, but the {name} images form "
                    f"only {len(groups)} groups that must stay whole (near-duplicates, or what the user "
                    f"keeps together), and it got {count}. Add photographs of other workpieces"
                )
