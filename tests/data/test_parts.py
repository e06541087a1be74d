"""Parts: what names tell of part and view, what parts lack, and that a part stays in one group."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvdefect.core.errors import LayoutError, SplitError
from mvdefect.data.groups.grouping import group_records
from mvdefect.data.parts import Usual, describe_parts, find_usual, name_parts, name_view
from mvdefect.data.records import Record
from mvdefect.data.scan import scan_images
from mvdefect.data.sources.manifest import format_manifest, read_manifest
from mvdefect.data.sources.opening import open_source
from mvdefect.data.splits.plan import (
    PlanRow,
    SplitPlan,
    check_part_ids,
    make_rows,
    read_split_plan,
    write_split_plan,
)
from mvdefect.data.splits.protocols import draw_plans
from tests.conftest import make_texture, write_image


def make_records(*ids: str) -> list[Record]:
    return [Record(id_, Path(id_), "nut", "good") for id_ in ids]


@pytest.mark.parametrize(
    ("pattern", "name", "part_id", "view"),
    [
        (r"SN\d+", "good/SN12_cam1.png", "SN12", "cam1"),  # the whole match; the rest of the name
        (r"SN(\d+)", "good/top-SN12.png", "12", "top-SN"),
        (r"SN\d+", "SN12/side-bright.png", "SN12", "side-bright"),  # the part is a folder
        (r"(?P<view>cam\d)/.*?(SN\d+)", "cam2/good/SN7.png", "SN7", "cam2"),
        (r"(?P<part>SN\d+)_(?P<view>cam\d)", "ng/SN7_cam3_20260101.png", "SN7", "cam3"),
        (r"SN\d+", "good/other.png", "", ""),
        (r"SN(\d+)?", "good/SN_a.png", "", ""),  # a group that takes no part
    ],
)
def test_a_pattern_names_part_and_view(pattern: str, name: str, part_id: str, view: str) -> None:
    records = name_parts(make_records(name, "x/SN1.png", "cam1/SN1.png"), pattern)
    assert (records[0].part_id, records[0].view) == (part_id, view)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("[", "is no regular expression"), ("ZZ", "finds nothing in any id, as in 'a.png'")],
)
def test_a_bad_pattern_is_named(pattern: str, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        name_parts(make_records("a.png"), pattern)


def test_a_part_of_its_own_survives_where_the_pattern_finds_nothing() -> None:
    first, other = make_records("a.png", "SN1_x.png")
    named = name_parts([replace(first, part_id="7", view="top"), other], r"SN\d")
    assert [(record.part_id, record.view) for record in named] == [("7", "top"), ("SN1", "x")]


def test_the_view_of_a_part_that_a_table_names_is_the_rest_of_the_name() -> None:
    assert name_view("a/SN1_left.png", "SN1") == "left"
    assert name_view("SN1/left.png", "SN1") == "left"
    assert name_view("a/left.png", "SN1") == "left"


def test_what_most_parts_show_is_usual_and_the_others_lack_it() -> None:
    ids = [f"SN{n}_cam{view}.png" for n in range(5) for view in (1, 2, 3) if (n, view) != (4, 2)]
    records = name_parts(make_records(*ids, "SN3_spare.png", "loose.png"), r"SN\d")
    usual = find_usual(records)
    assert usual == Usual(("cam1", "cam2", "cam3"), 3)
    assert usual.list_missing(["cam3", "cam1"]) == ("cam2",)
    assert describe_parts(records) == (
        "5 parts (15 of 16 images) are kept whole; most show cam1, cam2, cam3",
        "1 of 5 parts lack images: SN4 (cam2)",
        "1 of 16 images belong to no part; each counts as a part of its own",
    )


def test_without_names_of_views_images_are_counted() -> None:
    ids = [f"SN{n}_{10 * n + shot}.png" for n in range(4) for shot in range(3 if n else 1)]
    records = name_parts(make_records(*ids), r"SN\d")
    assert find_usual(records) == Usual((), 3)
    assert "1 of 4 parts lack images: SN0 (2 of 3 images)" in describe_parts(records)


def test_a_part_with_twenty_images_costs_one_line() -> None:
    ids = [f"SN{n}_{shot:02}.png" for n in range(3) for shot in range(20 if n == 1 else 2)]
    (_, large) = describe_parts(name_parts(make_records(*ids), r"SN\d"))
    assert large == "1 part(s) have 20 images or more: SN1 (20)"


def test_data_without_parts_has_nothing_to_say() -> None:
    assert describe_parts(make_records("a.png")) == ()
    assert find_usual([]) == Usual()


def write_parts_folder(root: Path) -> Path:
    """Twenty-four parts of two views each; the views of a defective part have different labels."""
    for number in range(24):
        kind = "dent" if number % 2 else "good"
        write_image(root / kind / f"SN{number:02}_a.png", make_texture(2 * number))
        write_image(root / "good" / f"SN{number:02}_b.png", make_texture(2 * number + 1))
    return root


def test_images_of_a_part_stay_in_one_group_and_in_one_part_of_the_split(tmp_path: Path) -> None:
    layout = open_source(str(write_parts_folder(tmp_path / "data")), part_pattern=r"SN\d+")
    scan = scan_images(layout.records)
    groups = group_records(scan, "none")
    assert len(np.unique(groups.codes)) == 24
    assert "24 parts (48 of 48 images) are kept whole; most show a, b" in groups.notes
    (plan,) = draw_plans(scan, groups, "closed-set", 0)
    where: dict[str, set[str]] = {}
    for row in plan.rows:
        where.setdefault(row.part_id, set()).add(row.part)
    assert len(where) == 24
    assert all(len(parts) == 1 for parts in where.values())


def test_equal_part_ids_of_two_categories_are_two_parts(tmp_path: Path) -> None:
    table = ["path,label,category,part_id"]
    for number, category in enumerate(("nut", "pill")):
        write_image(tmp_path / f"{category}.png", make_texture(number))
        table.append(f"{category}.png,good,{category},7")
    (tmp_path / "table.csv").write_text("\n".join(table))
    scan = scan_images(read_manifest(tmp_path / "table.csv").records)
    assert len(np.unique(group_records(scan, "none").codes)) == 2


def test_a_manifest_names_parts_and_keeps_them(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / f"{number}.png", make_texture(number))
    (tmp_path / "a.csv").write_text("path,label,Part ID,view\n0.png,ok,P1,\n1.png,ng,P1,top\n2.png,ok,,\n")
    records = read_manifest(tmp_path / "a.csv").records
    assert [(record.part_id, record.view) for record in records] == [("P1", "0"), ("P1", "top"), ("", "")]
    (tmp_path / "b.csv").write_text(format_manifest(records, tmp_path))
    assert read_manifest(tmp_path / "b.csv").records == records


def test_an_image_of_two_parts_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", make_texture(0))
    (tmp_path / "a.csv").write_text("path,label,part_id\n0.png,ng,P1\n0.png,ng,P2\n")
    with pytest.raises(LayoutError, match="again, with another part_id"):
        read_manifest(tmp_path / "a.csv")


def make_plan(*part_ids: str) -> SplitPlan:
    rows = [
        PlanRow(f"{n}.png", "test", "nut", "good", n, "", part_id, "cam1" if part_id else "")
        for n, part_id in enumerate(part_ids)
    ]
    return SplitPlan("closed-set", 0, tuple(rows))


@pytest.mark.parametrize("part_ids", [("P1", "P1", ""), ("", "", "")])
def test_a_plan_keeps_its_parts(part_ids: tuple[str, ...], tmp_path: Path) -> None:
    plan = make_plan(*part_ids)
    write_split_plan(plan, tmp_path / "plan.csv")
    assert read_split_plan(tmp_path / "plan.csv") == plan
    header = (tmp_path / "plan.csv").read_text().splitlines()[0]
    assert header.endswith(",part_id,view" if any(part_ids) else ",sha256")  # as before there were parts


def test_parts_are_part_of_what_a_plan_is() -> None:
    assert make_plan("P1", "P1").digest != make_plan("P1", "P2").digest


def test_a_plan_of_other_parts_is_refused() -> None:
    records = [Record("0.png", Path("0.png"), "nut", "good", part_id="P1")]
    check_part_ids(make_plan("P1"), records)
    check_part_ids(make_plan("P1"), [replace(records[0], part_id="")])  # the plan knows them
    check_part_ids(make_plan(), records)  # the image is not in the plan
    with pytest.raises(
        SplitError, match=r"draw it with `mvdefect data split --part-pattern`.* in the plan ''"
    ):
        check_part_ids(make_plan(""), records)


def test_rows_of_a_plan_take_part_and_view_from_the_records(tmp_path: Path) -> None:
    layout = open_source(str(write_parts_folder(tmp_path)), part_pattern=r"SN\d+")
    scan = scan_images(layout.records)
    rows = make_rows(scan, np.arange(48), ["train"] * 48)
    assert {(row.part_id, row.view) for row in rows} == {(f"SN{n:02}", v) for n in range(24) for v in "ab"}
