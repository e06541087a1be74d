"""Split plan: which image belongs to which part, made once, hashed, and carried along everywhere."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from mvdefect.data.duplicates import Indices, group_near_duplicates
from mvdefect.data.records import GOOD, count_by_stratum
from mvdefect.data.scan import Scan
from mvdefect.errors import SplitError
from mvdefect.paths import write_text

PARTS = ("train", "val", "test")
FRACTIONS = (0.6, 0.2, 0.2)
MIN_IMAGES_PER_CLASS = 10
MIN_IMAGES_PER_PART = 2
MAX_SHARE_DEVIATION = 0.1


@dataclass(frozen=True)
class PlanRow:
    """One image of a split plan."""

    id: str
    part: str
    category: str
    defect_type: str
    group: int
    sha256: str

    @property
    def label(self) -> int:
        """1 for defective, 0 for good."""
        return int(self.defect_type != GOOD)

    @property
    def stratum(self) -> str:
        """Category and defect type."""
        return f"{self.category}/{self.defect_type}"


@dataclass(frozen=True)
class SplitPlan:
    """Who trains, who validates and who tests; two plans are one when their digests agree.

    Attributes:
        protocol: What a figure measured on this plan means, as in "closed-set".
        seed: What the plan was drawn from.
        rows: One row an image, sorted by id.
        notes: Compromises and warnings that a reader of any figure should know.
    """

    protocol: str
    seed: int
    rows: tuple[PlanRow, ...]
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 over protocol, seed and every row, in hexadecimal."""
        head = f"{self.protocol}\n{self.seed}\n"
        return hashlib.sha256((head + _to_csv(self.rows)).encode()).hexdigest()

    def select(self, part: str) -> tuple[PlanRow, ...]:
        """Return the rows of one part, sorted by id."""
        return tuple(row for row in self.rows if row.part == part)


def assign_closed_set(scan: Scan, seed: int, min_correlation: float = 0.98) -> SplitPlan:
    """Draw a `closed-set` plan: every category and defect type in all parts, 60/20/20.

    Groups of near-duplicates and identical files stay whole. They are dealt from the largest to the
    smallest, in seeded order among equals, each to the part that lacks most of what the group holds.

    Args:
        scan: The photographs, sorted by id.
        seed: Another seed, another draw.
        min_correlation: Above this correlation of thumbnails two images are near-duplicates.

    Raises:
        SplitError: A class has too few images, or its groups cannot be spread over the parts.
    """
    _check_counts([record.label for record in scan.records])
    found = group_near_duplicates(
        scan.thumbnails, scan.sha256, [record.category for record in scan.records], min_correlation
    )
    strata = [record.stratum for record in scan.records]
    parts = _deal_groups(found.codes, strata, np.random.default_rng(seed))
    rows = tuple(
        PlanRow(record.id, PARTS[part], record.category, record.defect_type, int(group), sha256)
        for record, part, group, sha256 in zip(scan.records, parts, found.codes, scan.sha256, strict=True)
    )
    plan = SplitPlan("closed-set", seed, rows, found.notes + _find_gaps(rows))
    _check_parts(plan)
    return plan


def write_split_plan(plan: SplitPlan, csv_path: Path) -> None:
    """Write the rows as CSV and, beside it, a JSON header with protocol, seed, notes and digest."""
    header = {
        "protocol": plan.protocol,
        "seed": plan.seed,
        "digest": plan.digest,
        "groups": len({row.group for row in plan.rows}),
        "counts": {part: count_by_stratum(plan.select(part)) for part in PARTS},
        "notes": list(plan.notes),
    }
    write_text(csv_path, _to_csv(plan.rows))
    write_text(csv_path.with_suffix(".json"), json.dumps(header, indent=2) + "\n")


def read_split_plan(csv_path: Path) -> SplitPlan:
    """Read a plan back.

    Raises:
        SplitError: A file is missing or damaged, or the rows are not those that were written.
    """
    try:
        header = json.loads(csv_path.with_suffix(".json").read_text(encoding="utf-8"))
        with csv_path.open(encoding="utf-8", newline="") as stream:
            rows = tuple(
                PlanRow(**{**row, "group": int(row["group"])})  # type: ignore[arg-type]
                for row in csv.DictReader(stream)
            )
        plan = SplitPlan(header["protocol"], header["seed"], rows, tuple(header["notes"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SplitError(f"the split plan {csv_path} cannot be read: {error}") from error
    if plan.digest != header["digest"]:
        raise SplitError(
            f"the split plan {csv_path} was changed after it was made: its header has the digest "
            f"{header['digest']}, its rows have {plan.digest}"
        )
    return plan


def _to_csv(rows: Sequence[PlanRow]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [field.name for field in fields(PlanRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return stream.getvalue()


def _check_counts(labels: Sequence[int]) -> None:
    defective = sum(labels)
    for name, count in (("good", len(labels) - defective), ("defective", defective)):
        if count < MIN_IMAGES_PER_CLASS:
            raise SplitError(
                f"at least {MIN_IMAGES_PER_CLASS} {name} images are needed, to train, to validate and "
                f"to test on. Received: {count}"
            )


def _deal_groups(groups: Indices, strata: Sequence[str], rng: np.random.Generator) -> Indices:
    """Return the part (an index into `PARTS`) of each image.

    Each group goes where it lowers chi-square most, the distance between what the parts hold of each
    stratum and what they should hold.
    """
    _, stratum = np.unique(np.asarray(strata, dtype=str), return_inverse=True)
    held = np.zeros((groups.max() + 1, stratum.max() + 1))  # images of each group in each stratum
    np.add.at(held, (groups, stratum), 1)
    wanted = np.outer(FRACTIONS, held.sum(axis=0))  # (part, stratum)
    dealt = np.zeros_like(wanted)
    part_of_group = np.zeros(len(held), np.int64)
    shuffled = rng.permutation(len(held))
    for group in shuffled[np.argsort(-held[shuffled].sum(axis=1), kind="stable")]:
        excess = dealt - wanted
        change = ((excess + held[group]) ** 2 - excess**2) / wanted
        filled = (dealt / wanted)[:, held[group] > 0].sum(axis=1)  # among equals, the emptiest part
        part_of_group[group] = part = int(np.lexsort([filled, change.sum(axis=1).round(9)])[0])
        dealt[part] += held[group]
    return part_of_group[groups]


def _find_gaps(rows: Sequence[PlanRow]) -> tuple[str, ...]:
    """Say which defect types are missing in a part, or are far from their share in it."""
    notes = []
    for stratum in sorted({row.stratum for row in rows}):
        members = [row for row in rows if row.stratum == stratum]
        counts = {part: sum(row.part == part for row in members) for part in PARTS}
        groups = len({row.group for row in members})
        held = ", ".join(f"{count} in {part}" for part, count in counts.items())
        if 0 in counts.values():
            notes.append(f"{stratum} is not in every part: {len(members)} images in {groups} groups: {held}")
            continue
        shares = [counts[part] / len(members) - share for part, share in zip(PARTS, FRACTIONS, strict=True)]
        if max(map(abs, shares)) > MAX_SHARE_DEVIATION and len(members) >= MIN_IMAGES_PER_CLASS:
            notes.append(
                f"{stratum} could not be divided 60/20/20 without tearing groups of near-duplicates: {held}"
            )
    return tuple(notes)


def _check_parts(plan: SplitPlan) -> None:
    for part in PARTS:
        labels = [row.label for row in plan.select(part)]
        for name, count in (("good", labels.count(0)), ("defective", labels.count(1))):
            if count < MIN_IMAGES_PER_PART:
                total = {row.group for row in plan.rows if row.label == (name == "defective")}
                raise SplitError(
                    f"each part needs at least {MIN_IMAGES_PER_PART} {name} images, but the {name} images "
                    f"form only {len(total)} groups that must stay whole (near-duplicates), and {part} "
                    f"got {count}. Add photographs of other parts"
                )
