"""Split plans: nothing straddles, everything is told, and what was written is what is read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdefect.data.records import Record
from mvdefect.data.scan import Scan
from mvdefect.data.splits import PARTS, assign_closed_set, read_split_plan, write_split_plan
from mvdefect.errors import SplitError

TYPES = ("good", "crack", "dent")


def make_scan(types: list[str], looks: list[int], files: list[int] | None = None) -> Scan:
    """Make a scan whose images look alike when `looks` agree and are one file when `files` agree."""
    order = range(len(types))
    records = tuple(
        Record(f"{number:04}.png", Path(f"{number:04}.png"), "nut", types[number]) for number in order
    )
    thumbnails = [
        np.random.default_rng(1 + look).integers(0, 256, (24, 24)).astype(np.uint8) for look in looks
    ]
    names = files if files is not None else list(order)
    return Scan(
        records=records,
        sha256=tuple(f"{name:064x}" for name in names),
        thumbnails=np.array(thumbnails, np.uint8),
        sizes_px=np.full((len(types), 2), 100, np.int64),
    )


@st.composite
def scans(draw: st.DrawFn) -> Scan:
    good = draw(st.integers(30, 60))
    crack = draw(st.integers(15, 30))
    dent = draw(st.integers(0, 15))
    types = ["good"] * good + ["crack"] * crack + ["dent"] * dent
    count = len(types)
    # Small groups of images that look alike or are one file; the last ones hold two types.
    order = draw(st.permutations(range(count)))
    looks, files = list(range(count)), list(range(count))
    for first, second in zip(order[: count // 4], order[count // 4 : count // 2], strict=False):
        looks[second] = looks[first]
    for first, second in zip(order[count // 4 : count // 3], order[count // 2 :], strict=False):
        files[second] = files[first]
    return make_scan(types, looks, files)


@settings(deadline=None, max_examples=60)
@given(scan=scans(), seed=st.integers(0, 1000))
def test_no_group_and_no_file_straddles_a_split(scan: Scan, seed: int) -> None:
    plan = assign_closed_set(scan, seed)
    assert [row.id for row in plan.rows] == [record.id for record in scan.records]
    for key in ("group", "sha256"):
        parts: dict[object, set[str]] = {}
        for row in plan.rows:
            parts.setdefault(getattr(row, key), set()).add(row.part)
        assert all(len(found) == 1 for found in parts.values()), key
    # Images that look alike are in one group, by an independent look at the thumbnails.
    flat = scan.thumbnails.reshape(len(plan.rows), -1)
    groups = np.array([row.group for row in plan.rows])
    for number in range(len(flat)):
        twins = (flat == flat[number]).all(axis=1)
        assert len(set(groups[twins])) == 1


@settings(deadline=None, max_examples=30)
@given(
    counts=st.tuples(st.integers(20, 200), st.integers(10, 60), st.integers(5, 60)), seed=st.integers(0, 99)
)
def test_single_images_are_divided_60_20_20_in_every_stratum(counts: tuple[int, ...], seed: int) -> None:
    types = [name for name, count in zip(TYPES, counts, strict=True) for _ in range(count)]
    plan = assign_closed_set(make_scan(types, list(range(len(types)))), seed)
    for name, total in zip(TYPES, counts, strict=True):
        held = Counter(row.part for row in plan.rows if row.defect_type == name)
        for part, share in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
            assert abs(held[part] - share * total) <= 1


def test_the_seed_decides() -> None:
    scan = make_scan(["good"] * 50 + ["crack"] * 30, list(range(80)))
    assert assign_closed_set(scan, 3) == assign_closed_set(scan, 3)
    assert assign_closed_set(scan, 3).digest != assign_closed_set(scan, 4).digest


def test_a_plan_survives_the_disk(tmp_path: Path) -> None:
    plan = assign_closed_set(make_scan(["good"] * 20 + ["crack"] * 20, list(range(40))), 0)
    path = tmp_path / "split_plan.csv"
    write_split_plan(plan, path)
    assert read_split_plan(path) == plan
    assert sum(len(plan.select(part)) for part in PARTS) == 40


def test_a_plan_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split_plan.csv"
    write_split_plan(assign_closed_set(make_scan(["good"] * 20 + ["crack"] * 20, list(range(40))), 0), path)
    path.write_text(path.read_text().replace(",test,", ",train,", 1))
    with pytest.raises(SplitError, match="was changed after it was made"):
        read_split_plan(path)


@pytest.mark.parametrize("damage", ["", "id,part\nx,train\n", "\x00"])
def test_a_damaged_plan_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "split_plan.csv"
    write_split_plan(assign_closed_set(make_scan(["good"] * 20 + ["crack"] * 20, list(range(40))), 0), path)
    path.write_text(damage)
    with pytest.raises(SplitError):
        read_split_plan(path)
    (tmp_path / "split_plan.json").unlink()
    with pytest.raises(SplitError, match="cannot be read"):
        read_split_plan(path)


@pytest.mark.parametrize(("good", "crack", "short"), [(9, 20, "good"), (20, 9, "defective")])
def test_too_few_images_of_a_class(good: int, crack: int, short: str) -> None:
    types = ["good"] * good + ["crack"] * crack
    with pytest.raises(SplitError, match=f"at least 10 {short} images are needed.*Received: 9"):
        assign_closed_set(make_scan(types, list(range(len(types)))), 0)


def test_too_few_groups_of_a_class() -> None:
    types = ["good"] * 40 + ["crack"] * 12
    looks = [*range(40), *([100] * 6 + [101] * 6)]
    with pytest.raises(SplitError, match="form only 2 groups that must stay whole"):
        assign_closed_set(make_scan(types, looks), 0)


def test_a_type_that_cannot_be_everywhere_is_told() -> None:
    types = ["good"] * 40 + ["crack"] * 20 + ["dent"] * 2
    plan = assign_closed_set(make_scan(types, list(range(62))), 0)
    assert any("nut/dent is not in every part: 2 images in 2 groups" in note for note in plan.notes)


def test_a_type_whose_groups_are_too_large_is_told() -> None:
    types = ["good"] * 60 + ["crack"] * 20
    looks = [*range(60), *([100] * 8 + [101] * 8 + [102] * 4)]
    plan = assign_closed_set(make_scan(types, looks), 0)
    assert {row.part for row in plan.rows if row.label} == set(PARTS)
    assert "nut/crack could not be divided 60/20/20" in plan.notes[0]
