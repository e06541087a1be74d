"""Groups: near-duplicates and what the user names hang together, and nothing else does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mvdefect.data.duplicates import Links, link_equal_names
from mvdefect.data.groups import group_records, join_links, name_groups
from mvdefect.data.records import Record
from mvdefect.data.scan import Scan
from mvdefect.errors import SplitError


def make_scan(
    strata: Sequence[str],
    looks: Sequence[int] | None = None,
    files: Sequence[int] | None = None,
    groups: Sequence[str] | None = None,
    parts: Sequence[str] | None = None,
) -> Scan:
    """Make a scan of images of "category/type" (or "type", of a nut).

    Images look alike where `looks` agree, are one file where `files` agree, and belong together for the
    user where `groups` agree and are not empty.
    """
    count = len(strata)
    order = list(range(count))
    products = [stratum.split("/") if "/" in stratum else ["nut", stratum] for stratum in strata]
    records = tuple(
        Record(
            id=f"{number:04}.png",
            path=Path(f"{number:04}.png"),
            category=products[number][0],
            defect_type=products[number][1],
            group=groups[number] if groups else "",
            part=parts[number] if parts else "",
        )
        for number in order
    )
    thumbnails = [
        np.random.default_rng(1 + look).integers(0, 256, (24, 24)).astype(np.uint8) for look in looks or order
    ]
    return Scan(
        records=records,
        sha256=tuple(f"{name:064x}" for name in files or order),
        thumbnails=np.array(thumbnails, np.uint8).reshape(-1, 24, 24),
        sizes_px=np.full((count, 2), 100, np.int64),
        defect_shares={},
    )


def make_records(*ids_and_groups: tuple[str, str]) -> list[Record]:
    return [Record(id_, Path(id_), "nut", "good", group=group) for id_, group in ids_and_groups]


def find_components(count: int, keys: Sequence[Sequence[object]]) -> list[int]:
    """Join items that agree in any key (None and "" agree with nothing), by naive relabelling."""
    codes = list(range(count))
    for key in keys:
        first: dict[object, int] = {}
        for number in range(count):
            if key[number] not in (None, ""):
                old, new = codes[number], codes[first.setdefault(key[number], number)]
                codes = [new if code == old else code for code in codes] if old != new else codes
    return codes


@settings(deadline=None, max_examples=40)
@given(data=st.data(), count=st.integers(1, 24))
def test_groups_are_the_components_of_looks_files_and_names(data: st.DataObject, count: int) -> None:
    numbers = st.lists(st.integers(0, 60), min_size=count, max_size=count)
    looks, files = data.draw(numbers), data.draw(numbers)
    names = data.draw(st.lists(st.sampled_from(["", "", "", "a", "b", "c"]), min_size=count, max_size=count))
    assume(max(looks.count(look) for look in looks) <= 2 + count // 4)  # or all look alike
    first, second = link_equal_names([str(look) for look in looks])
    links = Links(first, second, np.zeros_like(first), np.ones(len(first), np.float32))
    codes = join_links(make_scan(["good"] * count, looks, files, names), links).codes.tolist()
    expected = find_components(count, [looks, files, names])
    for first in range(count):
        for second in range(count):
            assert (codes[first] == codes[second]) == (expected[first] == expected[second])
    seen = list(dict.fromkeys(codes))
    assert seen == list(range(len(seen)))  # numbered by first appearance


def test_what_looks_alike_is_sought_in_the_thumbnails() -> None:
    looks = [0, 1, 2, 1, 3, 4]
    assert group_records(make_scan(["good"] * 6, looks)).codes.tolist() == [0, 1, 2, 1, 3, 4]


def test_a_note_tells_of_the_users_groups() -> None:
    scan = make_scan(["good"] * 6, groups=["a", "", "b", "a", "", "b"])
    assert group_records(scan).notes == (
        "2 groups that the user named (4 of 6 images) are kept whole, as near-duplicates are; all images "
        "together form 4 groups",
    )
    assert group_records(make_scan(["good"] * 6)).notes == ()


def test_one_name_links_across_products() -> None:
    codes = group_records(make_scan(["nut/good", "bolt/good", "bolt/good"], groups=["s1", "s1", ""])).codes
    assert codes.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"sn\d+", "sn12"),  # the whole match
        (r"sn(\d+)", "12"),  # the first group
        (r"(good)/.*sn(?P<group>\d)", "1"),  # the group of that name
        (r"(?P<serial>sn\d+)_(?P<group>\w)\.", "b"),
    ],
)
def test_the_pattern_decides_what_names_a_group(pattern: str, expected: str) -> None:
    first, other = name_groups(make_records(("good/sn12_b.png", ""), ("good/other.png", "")), pattern)
    assert first.group == expected
    assert other.group == ""


def test_a_group_that_takes_no_part_names_nothing() -> None:
    records = name_groups(make_records(("a1.png", ""), ("b.png", "")), r"(\d)?\.png")
    assert [record.group for record in records] == ["1", ""]


def test_a_record_with_a_group_of_its_own_belongs_to_both() -> None:
    records = make_records(("s1_x.png", "lot7"), ("s1_y.png", ""), ("s2_z.png", "lot7"), ("w.png", "lot9"))
    named = name_groups(records, r"s\d")
    assert [record.group for record in named] == ["lot7", "lot7", "lot7", "lot9"]
    assert [record.id for record in named] == [record.id for record in records]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["", "p", "q", "r"])), min_size=1, max_size=12
    )
)
def test_both_names_link_whatever_the_order(names: list[tuple[str, str]]) -> None:
    records = make_records(*((f"{number:02}_{match}.png", own) for number, (match, own) in enumerate(names)))
    found = [record.group for record in name_groups(records, r"_(\w)")]
    expected = find_components(len(names), [[match for match, _ in names], [own for _, own in names]])
    for first in range(len(names)):
        for second in range(len(names)):
            assert (found[first] == found[second]) == (expected[first] == expected[second])
    assert set(found) <= {name for pair in names for name in pair}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("sn(", r"no regular expression: .*Received: 'sn\('"),
        (r"lot\d", r"'lot\\\\d' finds nothing in any id, as in 'good/sn12.png'"),
        (r"(x)?", "finds nothing in any id"),
    ],
)
def test_a_pattern_that_is_no_use_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(SplitError, match=message) as caught:
        name_groups(make_records(("good/sn12.png", "")), pattern)
    assert "\n" not in str(caught.value)
