"""Groups by name: what a pattern finds, and which pattern the names of files suggest."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdefect.core.errors import SplitError
from mvdefect.data.groups.grouping import name_groups, suggest_pattern
from mvdefect.data.records import Record
from tests.data.test_groups import find_components


def make_records(*ids_and_groups: tuple[str, str]) -> list[Record]:
    return [Record(id_, Path(id_), "nut", "good", group=group) for id_, group in ids_and_groups]


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


def suggest(*ids: str) -> tuple[str, int] | None:
    found = suggest_pattern([Record(id_, Path(id_), "nut", "good") for id_ in ids])
    return (found.pattern, found.groups) if found else None


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([f"good/kos{n // 8:02}_{n:03}.jpg" for n in range(96)], ("kos[0-9]+", 12)),
        ([f"good/top_SN{n // 4:04}_{n % 4}.png" for n in range(80)], ("SN[0-9]+", 20)),
        (
            [f"good/IMG_20240131_{10 + n // 6}2233_{n % 6}.jpg" for n in range(60)],
            ("(?:19|20)[0-9]{6}[-_ tT]?[0-9]{6}", 10),
        ),
        (  # a burst of some seconds: by the minute
            [f"good/2024-01-31 {10 + n // 6}-22-{7 * (n % 6):02}.jpg" for n in range(60)],
            ("(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}[-_ tT][0-9]{2}[-_:][0-9]{2}", 10),
        ),
    ],
)
def test_names_that_come_back_suggest_groups(ids: list[str], expected: tuple[str, int]) -> None:
    assert suggest(*ids) == expected


def test_a_number_alone_is_found_by_its_place_in_the_name() -> None:
    ids = [f"good/{n // 5:03}_{n:04}.png" for n in range(60)]
    found = suggest_pattern([Record(id_, Path(id_), "nut", "good") for id_ in ids])
    assert found is not None
    assert (found.groups, found.example) == (12, "000")
    named = name_groups([Record(id_, Path(id_), "nut", "good") for id_ in ids], found.pattern)
    assert [record.group for record in named] == [f"{n // 5:03}" for n in range(60)]
    assert f"use --group-pattern {found.pattern!r}" in found.describe()


@pytest.mark.parametrize(
    "ids",
    [
        [],
        [f"good/cell{n:04}.png" for n in range(50)],  # a running number
        [f"{kind}/{n:03}.png" for kind in ("good", "crack", "dent") for n in range(30)],  # in each folder
        [f"good/exp{n % 6}_num_{n}.png" for n in range(90)],  # six cameras
        [f"good/lot{n // 30}_{n:03}.png" for n in range(90)],  # three lots
    ],
)
def test_names_that_only_number_or_sort_suggest_nothing(ids: list[str]) -> None:
    assert suggest(*ids) is None
