"""Split plan: which image belongs to which part, made once, hashed, and carried along everywhere."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path

from mvdefect.core.errors import SplitError, list_some
from mvdefect.core.files import parse_json, write_text
from mvdefect.data.groups.candidates import Indices
from mvdefect.data.groups.duplicates import RULE
from mvdefect.data.records import Labelled, Record, count_by_stratum
from mvdefect.data.scan import Scan

PARTS = ("train", "val", "test")
LEFT_OUT = ""
OF_PARTS = ("part_id", "view")
MAX_NAMED_FILES = 5
OUTDATED = (
    "the groups of this plan were found by an earlier rule, by thumbnails alone; "
    "`mvdefect data split` draws it anew"
)


@dataclass(frozen=True)
class PlanRow(Labelled):
    """One image of a split plan; `part_id` and `view` are as in `Record`."""

    id: str
    part: str
    category: str
    defect_type: str
    group: int
    sha256: str
    part_id: str = ""
    view: str = ""


@dataclass(frozen=True)
class SplitPlan:
    """Who trains, who validates and who tests; two plans are one when their digests agree.

    Attributes:
        protocol: What a figure measured on this plan means, as in "closed-set" or "kfold 2 of 5".
        seed: What the plan was drawn from; 0 where nothing is drawn.
        rows: One row an image, sorted by id. Images that the protocol leaves out have no row.
        notes: Compromises and warnings that a reader of any figure should know.
        rule: The version of the rule by which images belong to one group.
    """

    protocol: str
    seed: int
    rows: tuple[PlanRow, ...]
    notes: tuple[str, ...] = ()
    rule: int = RULE

    @property
    def digest(self) -> str:
        """SHA-256 over protocol, seed and every row, in hexadecimal."""
        head = f"{self.protocol}\n{self.seed}\n"
        return hashlib.sha256((head + _to_csv(self.rows)).encode()).hexdigest()

    def select(self, part: str) -> tuple[PlanRow, ...]:
        """Return the rows of one part, sorted by id."""
        return tuple(row for row in self.rows if row.part == part)


@dataclass(frozen=True)
class PlanDifferences:
    """How the files at hand differ from those that a plan was made for; ids, each tuple sorted.

    Attributes:
        missing: In the plan, but not at hand.
        changed: At hand, but with other content.
        added: At hand, but not in the plan. Harmless where the protocol leaves images out.
    """

    missing: tuple[str, ...]
    changed: tuple[str, ...]
    added: tuple[str, ...]


def make_rows(scan: Scan, groups: Indices, parts: Iterable[str]) -> tuple[PlanRow, ...]:
    """Make the rows of a plan.

    Args:
        scan: The photographs, sorted by id.
        groups: int64 of shape (n,): the group of each.
        parts: The part of each; `LEFT_OUT` for none.
    """
    return tuple(
        PlanRow(
            id=record.id,
            part=str(part),
            category=record.category,
            defect_type=record.defect_type,
            group=int(group),
            sha256=sha256,
            part_id=record.part_id,
            view=record.view,
        )
        for record, part, group, sha256 in zip(scan.records, parts, groups, scan.sha256, strict=True)
        if part != LEFT_OUT
    )


def compare_plan(plan: SplitPlan, hashes: Mapping[str, str]) -> PlanDifferences:
    """Compare a plan with the files at hand.

    Args:
        plan: The plan.
        hashes: The id and the SHA-256, in hexadecimal, of every file at hand.
    """
    planned = {row.id: row.sha256 for row in plan.rows}
    return PlanDifferences(
        missing=tuple(sorted(planned.keys() - hashes.keys())),
        changed=tuple(sorted(id_ for id_ in planned.keys() & hashes.keys() if planned[id_] != hashes[id_])),
        added=tuple(sorted(hashes.keys() - planned.keys())),
    )


def check_plan(plan: SplitPlan, hashes: Mapping[str, str]) -> None:
    """Refuse files that are not those that the plan was made for; files beside them do no harm.

    Raises:
        SplitError: A file of the plan is missing or has other content.
    """
    found = compare_plan(plan, hashes)
    faults = [
        f"{len(ids)} {fault} ({list_some(ids, MAX_NAMED_FILES)})"
        for ids, fault in ((found.missing, "missing"), (found.changed, "changed"))
        if ids
    ]
    if faults:
        raise SplitError(
            f"the split plan {plan.digest[:12]} was made for other files: of its {len(plan.rows)} images "
            f"{' and '.join(faults)}"
        )


def check_part_ids(plan: SplitPlan, records: Iterable[Record]) -> None:
    """Refuse a plan that knows nothing of the parts that images are named to show, or other ones.

    Raises:
        SplitError: An image has another part in the plan.
    """
    planned = {row.id: row.part_id for row in plan.rows}
    others = [record for record in records if record.part_id != planned.get(record.id, record.part_id)]
    if named := [record for record in others if record.part_id]:
        first = named[0]
        raise SplitError(
            f"the split plan {plan.digest[:12]} names other parts than the images do, so it may tear them "
            f"apart; draw it with `mvdefect data split --part-pattern`. Received: {first.id} of the part "
            f"{first.part_id!r}, in the plan {planned[first.id]!r}"
        )


def write_split_plan(plan: SplitPlan, csv_path: Path) -> None:
    """Write the rows as CSV and, beside it, a JSON header with protocol, seed, notes and digest."""
    header = {
        "protocol": plan.protocol,
        "seed": plan.seed,
        "digest": plan.digest,
        "group_rule": plan.rule,
        "groups": len({row.group for row in plan.rows}),
        "counts": {part: count_by_stratum(plan.select(part)) for part in PARTS},
        "notes": list(plan.notes),
    }
    write_text(csv_path, _to_csv(plan.rows))
    write_text(csv_path.with_suffix(".json"), json.dumps(header, indent=2) + "\n")


def save_plans(plans: Sequence[SplitPlan], folder: Path, overwrite: bool = False) -> tuple[Path, ...]:
    """Write plans into a folder, each under the name of its protocol.

    Raises:
        SplitError: Another plan has such a name there already, and `overwrite` is off; nothing is written.
    """
    paths = tuple(folder / f"{name}.csv" for name in _name_files(plans))
    for path, plan in zip(paths, plans, strict=True):
        if path.exists() and not overwrite and path.read_bytes() != _to_csv(plan.rows).encode():
            raise SplitError(
                f"{path} exists and is another plan. Name another folder with --out, or replace it with "
                "--overwrite"
            )
    folder.mkdir(parents=True, exist_ok=True)
    for path, plan in zip(paths, plans, strict=True):
        write_split_plan(plan, path)
    return paths


def _name_files(plans: Sequence[SplitPlan]) -> list[str]:
    """Name each plan's file after its protocol; where only the signs differ that no name has, number them."""
    names: list[str] = []
    for plan in plans:
        name = base = re.sub(r"[^\w.-]+", "-", plan.protocol)
        number = 2
        while name in names:
            name, number = f"{base}-{number}", number + 1
        names.append(name)
    return names


def read_split_plan(csv_path: Path) -> SplitPlan:
    """Read a plan back; a note tells of groups that an earlier rule found.

    Raises:
        SplitError: A file is missing or damaged, or the rows are not those that were written.
    """
    try:
        header = parse_json(csv_path.with_suffix(".json").read_text(encoding="utf-8"))
        with csv_path.open(encoding="utf-8", newline="") as stream:
            rows = tuple(
                PlanRow(**{**row, "group": int(row["group"])})  # type: ignore[arg-type]
                for row in csv.DictReader(stream)
            )
        notes = tuple(header["notes"])
        rule = int(header.get("group_rule", 1))
        if rule < RULE and OUTDATED not in notes:
            notes = (*notes, OUTDATED)
        plan = SplitPlan(header["protocol"], header["seed"], rows, notes, rule)
        written = header["digest"]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise SplitError(f"the split plan {csv_path} cannot be read: {error}") from error
    if plan.digest != written:
        raise SplitError(
            f"the split plan {csv_path} was changed after it was made: its header has the digest "
            f"{written}, its rows have {plan.digest}"
        )
    return plan


def _to_csv(rows: Sequence[PlanRow]) -> str:
    is_by_part = any(row.part_id for row in rows)  # a plan without parts is as it was before there were any
    names = [field.name for field in fields(PlanRow) if is_by_part or field.name not in OF_PARTS]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(map(attrgetter(*names), rows))
    return stream.getvalue()
