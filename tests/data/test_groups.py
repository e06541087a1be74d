"""Groups: near-duplicates and what the user names hang together, and nothing else does."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdefect.data.groups import grouping as groups_module
from mvdefect.data.groups.details import FINGERPRINT_LENGTH
from mvdefect.data.groups.duplicates import Links, link_equal_names
from mvdefect.data.groups.grouping import are_separated, find_links, group_records, join_links
from mvdefect.data.records import Record
from mvdefect.data.scan import Scan, scan_images
from mvdefect.data.sources.folders import read_layout
from tests.conftest import make_surface, write_image


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
        fingerprints=np.zeros((count, FINGERPRINT_LENGTH), np.float16),
        sizes_px=np.full((count, 2), 100, np.int64),
        defect_shares={},
    )


def make_links(first: Sequence[int], second: Sequence[int], undecided: Sequence[int] = ()) -> Links:
    """Make links of one part."""
    one, other = np.asarray(first, np.int64), np.asarray(second, np.int64)
    evidence = np.ones(len(one), np.float32)
    return Links(
        one, other, np.zeros_like(one), evidence, np.zeros(len(one), bool), np.asarray(undecided, np.int64)
    )


def link_twins(scan: Scan) -> Links:
    """Link the images of `make_scan` that look alike."""
    return make_links(*link_equal_names([thumbnail.tobytes().hex() for thumbnail in scan.thumbnails]))


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
    first, second = link_equal_names([str(look) for look in looks])
    links = make_links(first, second)
    codes = join_links(make_scan(["good"] * count, looks, files, names), links).codes.tolist()
    expected = find_components(count, [looks, files, names])
    for first in range(count):
        for second in range(count):
            assert (codes[first] == codes[second]) == (expected[first] == expected[second])
    seen = list(dict.fromkeys(codes))
    assert seen == list(range(len(seen)))  # numbered by first appearance


def test_a_note_tells_of_the_users_groups() -> None:
    scan = make_scan(["good"] * 6, groups=["a", "", "b", "a", "", "b"])
    assert group_records(scan, "none").notes == (
        "2 groups that the user named (4 of 6 images) are kept whole, as near-duplicates are; all images "
        "together form 4 groups",
    )
    assert group_records(make_scan(["good"] * 6), "none").notes == ()


def test_one_name_links_across_products() -> None:
    codes = group_records(
        make_scan(["nut/good", "bolt/good", "bolt/good"], groups=["s1", "s1", ""]), "none"
    ).codes
    assert codes.tolist() == [0, 0, 1]


def test_groups_of_the_user_that_separate_one_part_are_told_and_kept_together_all_the_same() -> None:
    scan = make_scan(["good"] * 5, groups=["a", "b", "", "a", "c"])
    links = make_links([0, 0, 2], [1, 3, 4])
    assert are_separated(scan, links.first, links.second).tolist() == [True, False, False]
    groups = join_links(scan, links)
    assert groups.codes.tolist() == [0, 0, 1, 0, 1]
    assert "your groups separate 1 pairs that look like the same part, as 0000.png and 0001.png" in " ".join(
        groups.notes
    )


def test_identical_files_in_two_groups_of_the_user_are_told_too() -> None:
    scan = make_scan(["good"] * 3, files=[1, 1, 2], groups=["a", "b", "c"])
    assert "your groups separate 1 pairs" in " ".join(join_links(scan, make_links([], [])).notes)


def test_what_could_not_be_decided_is_told() -> None:
    groups = join_links(make_scan(["good"] * 4), make_links([], [], [1, 3]))
    assert groups.codes.tolist() == [0, 1, 2, 3]
    assert groups.notes[0].startswith("2 images show too little detail")


@pytest.fixture
def twice(tmp_path: Path) -> Scan:
    """Twelve images, one of which lies there mirrored too, and one byte for byte."""
    for number in range(12):
        write_image(tmp_path / "nut" / "good" / f"{number:02}.png", make_surface(number))
    write_image(tmp_path / "nut" / "good" / "20.png", make_surface(3)[:, ::-1])
    shutil.copy(tmp_path / "nut" / "good" / "05.png", tmp_path / "nut" / "good" / "21.png")
    return scan_images(read_layout(tmp_path / "nut").records)


def test_what_counts_as_near_duplicates_is_the_users_choice(twice: Scan) -> None:
    both = [*range(12), 3, 5]
    assert group_records(twice).codes.tolist() == both
    assert group_records(twice, "image").codes.tolist() == both
    assert group_records(twice, "none").codes.tolist() == [*range(12), 12, 5]


def test_links_are_remembered_while_the_files_are_the_same(
    twice: Scan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path / "cache"))
    first = find_links(twice)
    monkeypatch.setattr(groups_module, "_search", lambda _: pytest.fail("sought again"))
    again = find_links(twice)
    assert [again.first.tolist(), again.second.tolist()] == [[3], [12]]
    assert [first.pose.tolist(), first.is_same_image.tolist()] == [[4], [True]]
    (kept,) = (tmp_path / "cache" / "links").iterdir()
    kept.write_bytes(b"damaged")
    monkeypatch.undo()
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path / "cache"))
    assert find_links(twice).first.tolist() == [3]
