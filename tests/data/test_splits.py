"""Split plans: what was written is what is read, and what was planned is what lies on the disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdefect.core.errors import SplitError
from mvdefect.data.groups.duplicates import RULE
from mvdefect.data.groups.grouping import group_records
from mvdefect.data.splits.plan import (
    PARTS,
    PlanDifferences,
    PlanRow,
    SplitPlan,
    check_plan,
    compare_plan,
    read_split_plan,
    save_plans,
    write_split_plan,
)
from mvdefect.data.splits.protocols import assign_closed_set, assign_official
from tests.data.test_groups import make_scan

words = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)
plan_rows = st.builds(
    PlanRow, words, st.sampled_from(PARTS), words, words, st.integers(0, 99), st.text("0123456789abcdef")
)
plans = st.builds(SplitPlan, words, st.integers(), st.lists(plan_rows).map(tuple), st.lists(words).map(tuple))


@pytest.fixture(scope="module")
def plan() -> SplitPlan:
    scan = make_scan(["good"] * 20 + ["crack"] * 20)
    return assign_closed_set(scan, group_records(scan, "none"), 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plans")


@given(plan=plans)
def test_a_plan_survives_the_disk(plan: SplitPlan, folder: Path) -> None:
    path = folder / "split_plan.csv"
    write_split_plan(plan, path)
    assert read_split_plan(path) == plan
    assert read_split_plan(path).digest == plan.digest


def test_a_plan_with_an_empty_part_survives_the_disk(tmp_path: Path) -> None:
    scan = make_scan(["good"] * 8 + ["crack"] * 4, parts=["train"] * 4 + ["test"] * 8)
    plan = assign_official(scan, group_records(scan, "none"))
    write_split_plan(plan, tmp_path / "plan.csv")
    again = read_split_plan(tmp_path / "plan.csv")
    assert again == plan
    assert [len(again.select(part)) for part in PARTS] == [4, 0, 8]
    counts = json.loads((tmp_path / "plan.json").read_text())["counts"]
    assert counts == {"train": {"nut/good": 4}, "val": {}, "test": {"nut/crack": 4, "nut/good": 4}}


def test_the_digest_is_that_of_earlier_plans() -> None:
    # Runs and exports carry it: it must not change for a plan that does not.
    row = PlanRow('a,"b".png', "train", "nut", "good", 3, "ff")
    digest = SplitPlan("closed-set", 7, (row,), ("a note",)).digest
    assert digest == "5c27c7ed1b783dd5e6b7c3f72a169ca3c1ba46e3bea5303e18d49a5520e3c676"
    assert digest == SplitPlan("closed-set", 7, (row,)).digest
    assert digest != SplitPlan("closed-set", 8, (row,)).digest
    assert digest != SplitPlan("kfold 1 of 2", 7, (row,)).digest


def test_a_plan_that_was_changed_is_refused(plan: SplitPlan, tmp_path: Path) -> None:
    path = tmp_path / "split_plan.csv"
    write_split_plan(plan, path)
    path.write_text(path.read_text().replace(",test,", ",train,", 1))
    with pytest.raises(SplitError, match="was changed after it was made"):
        read_split_plan(path)


@pytest.mark.parametrize("damage", ["", "id,part\nx,train\n", "\x00"])
def test_a_damaged_plan_is_refused(plan: SplitPlan, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "split_plan.csv"
    write_split_plan(plan, path)
    path.write_text(damage)
    with pytest.raises(SplitError):
        read_split_plan(path)


@pytest.mark.parametrize("header", [None, "{", "[]", "{}", '{"protocol": "x", "seed": 0, "notes": []}'])
def test_a_plan_without_a_whole_header_is_refused(
    plan: SplitPlan, tmp_path: Path, header: str | None
) -> None:
    path = tmp_path / "split_plan.csv"
    write_split_plan(plan, path)
    if header is None:
        path.with_suffix(".json").unlink()
    else:
        path.with_suffix(".json").write_text(header)
    with pytest.raises(SplitError, match="cannot be read"):
        read_split_plan(path)


def hash_all(plan: SplitPlan) -> dict[str, str]:
    return {row.id: row.sha256 for row in plan.rows}


def test_the_files_of_a_plan_pass(plan: SplitPlan) -> None:
    assert compare_plan(plan, hash_all(plan)) == PlanDifferences((), (), ())
    check_plan(plan, hash_all(plan))


def test_every_difference_is_found(plan: SplitPlan) -> None:
    hashes = hash_all(plan)
    del hashes["0003.png"], hashes["0001.png"]
    hashes |= {"0007.png": "0" * 64, "new.png": "1" * 64}
    expected = PlanDifferences(("0001.png", "0003.png"), ("0007.png",), ("new.png",))
    assert compare_plan(plan, hashes) == expected
    message = (
        rf"{plan.digest[:12]} was made for other files: of its 40 images 2 missing \(0001.png, 0003.png\) "
        r"and 1 changed \(0007.png\)"
    )
    with pytest.raises(SplitError, match=message):
        check_plan(plan, hashes)


def test_files_beside_the_plan_do_no_harm(plan: SplitPlan) -> None:
    fewer = replace(plan, rows=plan.rows[::2])
    assert len(compare_plan(fewer, hash_all(plan)).added) == 20
    check_plan(fewer, hash_all(plan))


def test_another_data_set_is_told_in_one_short_line(plan: SplitPlan) -> None:
    with pytest.raises(SplitError, match="40 missing .*and 35 more") as caught:
        check_plan(plan, {})
    assert "\n" not in str(caught.value)


def test_each_plan_gets_a_file_of_its_own(plan: SplitPlan, tmp_path: Path) -> None:
    # Types in any script, and some that differ in signs alone.
    protocols = ["unseen-type nut/Riß", "unseen-type nut/裂", "unseen-type nut/a b", "unseen-type nut/a+b"]
    plans = [replace(plan, protocol=protocol) for protocol in protocols]
    paths = save_plans(plans, tmp_path / "plans")
    assert [read_split_plan(path) for path in paths] == plans
    assert paths[0].name == "unseen-type-nut-Riß.csv"
    assert {path.parent for path in paths} == {tmp_path / "plans"}
    assert save_plans(plans, tmp_path / "plans") == paths  # the same again does no harm


def test_another_plan_is_not_overwritten_unasked(plan: SplitPlan, tmp_path: Path) -> None:
    other = replace(plan, rows=plan.rows[1:])
    (path,) = save_plans([plan], tmp_path)
    with pytest.raises(SplitError, match="exists and is another plan"):
        save_plans([replace(plan, protocol="new"), other], tmp_path)
    assert read_split_plan(path) == plan
    assert not (tmp_path / "new.csv").exists()
    save_plans([other], tmp_path, overwrite=True)
    assert read_split_plan(path) == other


def test_a_plan_says_by_which_rule_its_groups_were_found(plan: SplitPlan, tmp_path: Path) -> None:
    path = tmp_path / "plan.csv"
    write_split_plan(plan, path)
    header = json.loads(path.with_suffix(".json").read_text())
    assert header["group_rule"] == plan.rule == RULE == 2
    assert read_split_plan(path).notes == plan.notes


def test_a_plan_of_an_earlier_rule_is_read_and_says_so(plan: SplitPlan, tmp_path: Path) -> None:
    path = tmp_path / "plan.csv"
    write_split_plan(plan, path)
    header = json.loads(path.with_suffix(".json").read_text())
    del header["group_rule"]
    path.with_suffix(".json").write_text(json.dumps(header))
    old = read_split_plan(path)
    assert old.digest == plan.digest
    assert old.rule == 1
    assert "earlier rule" in old.notes[-1]
    write_split_plan(old, path)  # as a run does with the plan that it was given
    assert read_split_plan(path) == old
