"""The protocol `unseen-type`: a defect type that nobody was trained on comes in the test."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from mvdefect.data.dealing import MIN_IMAGES_PER_PART, check_counts, check_parts, deal_parts, find_gaps
from mvdefect.data.groups import Groups
from mvdefect.data.records import GOOD, Record
from mvdefect.data.scan import Scan
from mvdefect.data.splits import LEFT_OUT, PlanRow, SplitPlan, make_rows
from mvdefect.errors import SplitError

COMBINED = "combined"  # MVTec AD's name for photographs that show several types of defect
NEEDED_BESIDE = {
    "train": (MIN_IMAGES_PER_PART, MIN_IMAGES_PER_PART),
    "val": (MIN_IMAGES_PER_PART, MIN_IMAGES_PER_PART),
    "test": (MIN_IMAGES_PER_PART, 0),
}


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
        groups: What must stay whole; see `mvdefect.data.groups.group_records`.
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
