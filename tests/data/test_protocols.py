"""Protocols: nothing straddles, everything is told, and each plan is what its name says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdefect.core.errors import SplitError
from mvdefect.data.groups import grouping as groups_module
from mvdefect.data.groups.grouping import group_records
from mvdefect.data.scan import Scan
from mvdefect.data.splits.dealing import deal_groups
from mvdefect.data.splits.plan import PARTS, SplitPlan
from mvdefect.data.splits.protocols import PROTOCOLS, assign_for_fit, draw_plans, hold_out_val
from mvdefect.data.splits.withheld import limit_learning
from tests.data.test_groups import link_twins, make_scan

SEEDS = st.integers(0, 1000)
DRAWN = {
    "closed-set": {},
    "good-only": {},
    "unseen-type": {},
    "label-budget": {"k": 3},
    "kfold": {"n": 4},
}


@pytest.fixture(scope="module", autouse=True)
def _cheap_look() -> Iterator[None]:
    """Find twins by equality: what looks alike is tested elsewhere, and here there are many scans."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups_module, "find_links", lambda scan, *_: link_twins(scan))
        yield


def draw(scan: Scan, protocol: str, seed: int, **settings_: int) -> tuple[SplitPlan, ...]:
    return draw_plans(scan, group_records(scan), protocol, seed, **settings_)


few = settings(deadline=None, max_examples=25)


@st.composite
def scans(draw: st.DrawFn) -> Scan:
    """Draw one or two products with groups of every make: good and defective, of several types."""
    strata: list[str] = []
    for category in draw(st.sampled_from([("nut",), ("nut", "bolt")])):
        counts = {"good": (40, 50), "crack": (24, 32), "dent": (20, 26), "chip": (0, 4), "combined": (0, 5)}
        for name, (least, most) in counts.items():
            strata += [f"{category}/{name}"] * draw(st.integers(least, most))
    count = len(strata)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    looks, files, groups = list(range(count)), list(range(count)), [""] * count
    for same in (looks, files):  # pairs that look alike, or are one file
        for first, second in rng.permutation(count)[: 2 * (count // 12)].reshape(-1, 2):
            same[second] = same[first]
    for number in rng.permutation(count)[: count // 4]:  # names for two or three images each
        groups[number] = f"serial {rng.integers(count // 10)}"
    return make_scan(strata, looks, files, groups)


def make_singles(*strata_and_counts: tuple[str, int]) -> Scan:
    return make_scan([stratum for stratum, count in strata_and_counts for _ in range(count)])


def count_parts(plan: SplitPlan, stratum: str) -> dict[str, int]:
    held = Counter(row.part for row in plan.rows if row.stratum == stratum)
    return {part: held[part] for part in PARTS}


def ids_in(plan: SplitPlan, part: str, label: int) -> set[str]:
    return {row.id for row in plan.select(part) if row.label == label}


def has_note(plan: SplitPlan, pattern: str) -> bool:
    return any(re.search(pattern, note) for note in plan.notes)


@pytest.mark.parametrize("protocol", DRAWN)
@few
@given(scan=scans(), seed=SEEDS)
def test_nothing_that_belongs_together_straddles(protocol: str, scan: Scan, seed: int) -> None:
    # By the scan itself, not by the groups of the plan: its looks, its files, the user's names.
    looks = [thumbnail.tobytes() for thumbnail in scan.thumbnails]
    names = [record.group for record in scan.records]
    place = {record.id: number for number, record in enumerate(scan.records)}
    for plan in draw(scan, protocol, seed, **DRAWN[protocol]):
        assert [row.id for row in plan.rows] == sorted({row.id for row in plan.rows})
        for keys in (looks, scan.sha256, names):
            parts: dict[object, set[str]] = {}
            for row in plan.rows:
                if key := keys[place[row.id]]:
                    parts.setdefault(key, set()).add(row.part)
            assert all(len(found) == 1 for found in parts.values())
        for row in plan.rows:
            assert row.sha256 == scan.sha256[place[row.id]]
            assert row.stratum == scan.records[place[row.id]].stratum


@pytest.mark.parametrize("protocol", DRAWN)
def test_the_seed_decides(protocol: str) -> None:
    scan = make_singles(("nut/good", 50), ("nut/crack", 30), ("nut/dent", 20))

    def draw_by(seed: int) -> tuple[SplitPlan, ...]:
        return draw(scan, protocol, seed, **DRAWN[protocol])

    assert draw_by(3) == draw_by(3)
    assert all(one.digest != other.digest for one, other in zip(draw_by(3), draw_by(4), strict=True))


# Closed set.


@few
@given(
    counts=st.tuples(st.integers(20, 200), st.integers(10, 60), st.integers(5, 60)), seed=st.integers(0, 99)
)
def test_single_images_are_divided_60_20_20_in_every_stratum(counts: tuple[int, ...], seed: int) -> None:
    strata = ("nut/good", "nut/crack", "nut/dent")
    (plan,) = draw(make_singles(*zip(strata, counts, strict=True)), "closed-set", seed)
    for stratum, total in zip(strata, counts, strict=True):
        for held, share in zip(count_parts(plan, stratum).values(), (0.6, 0.2, 0.2), strict=True):
            assert abs(held - share * total) <= 1


@few
@given(scan=scans(), seed=SEEDS)
def test_the_closed_set_holds_every_image(scan: Scan, seed: int) -> None:
    (plan,) = draw(scan, "closed-set", seed)
    assert [row.id for row in plan.rows] == [record.id for record in scan.records]


@pytest.mark.parametrize(("good", "crack", "short"), [(9, 20, "good"), (20, 9, "defective")])
@pytest.mark.parametrize("protocol", ["closed-set", "unseen-type", "kfold"])
def test_too_few_images_of_a_class(protocol: str, good: int, crack: int, short: str) -> None:
    scan = make_singles(("nut/good", good), ("nut/crack", crack))
    with pytest.raises(SplitError, match=f"at least 10 {short} images are needed.*Received: 9"):
        draw(scan, protocol, 0, **DRAWN[protocol])


def test_too_few_groups_of_a_class() -> None:
    looks = [*range(40), *([100] * 6 + [101] * 6)]
    scan = make_scan(["good"] * 40 + ["crack"] * 12, looks)
    with pytest.raises(SplitError, match="form only 2 groups that must stay whole.*and it got 0"):
        draw(scan, "closed-set", 0)


def test_a_type_that_cannot_be_everywhere_is_told() -> None:
    (plan,) = draw(make_singles(("nut/good", 40), ("nut/crack", 20), ("nut/dent", 2)), "closed-set", 0)
    assert has_note(plan, "nut/dent is not in every part: 2 images in 2 groups")


def test_a_type_whose_groups_are_too_large_is_told() -> None:
    groups = [""] * 60 + ["a"] * 8 + ["b"] * 8 + ["c"] * 4
    (plan,) = draw(make_scan(["good"] * 60 + ["crack"] * 20, groups=groups), "closed-set", 0)
    assert {row.part for row in plan.rows if row.label} == set(PARTS)
    assert has_note(plan, "^3 groups that the user named")
    assert has_note(plan, "nut/crack could not be divided 60/20/20 without tearing groups")


@few
@given(sizes=st.lists(st.integers(1, 3), min_size=10, max_size=20), seed=SEEDS)
def test_many_types_of_few_images_are_in_every_part_as_one_class(sizes: list[int], seed: int) -> None:
    types = ((f"nut/type {number}", size) for number, size in enumerate(sizes))
    (plan,) = draw(make_singles(("nut/good", 30), *types), "closed-set", seed)
    for part in PARTS:
        assert len(ids_in(plan, part, 1)) >= 2


# Good images alone.


@pytest.mark.parametrize("defective", [0, 1, 9])
def test_good_images_train_and_validate_and_all_defective_ones_test(defective: int) -> None:
    (plan,) = draw(make_singles(("nut/good", 40), ("nut/crack", defective)), "good-only", 0)
    assert count_parts(plan, "nut/good") == {"train": 20, "val": 12, "test": 8}
    assert count_parts(plan, "nut/crack") == {"train": 0, "val": 0, "test": defective}


def test_good_images_of_a_defective_part_do_not_train() -> None:
    groups = [f"part {number}" for number in range(30)] + ["part 3", "part 4"]
    (plan,) = draw(make_scan(["nut/good"] * 30 + ["nut/crack"] * 2, groups=groups), "good-only", 0)
    held = {row.group: row.part for row in plan.rows if row.label}
    assert [row.part for row in plan.rows if not row.label and row.group in held] == ["test", "test"]


@pytest.mark.parametrize(
    ("defects", "groups", "protocol", "note"),
    [
        ([], [], "good-only", "no defective image.*cannot be told; with 10 independent defective images or"),
        (["crack"], [""], "good-only", "^1 defective image is too few to learn from"),
        (["crack"] * 9, [""] * 9, "good-only", "^9 defective images are too few to learn from"),
        (["crack"] * 30, ["a"] * 30, "good-only", "^30 defective images of 1 independent part are too few"),
        (["crack"] * 10, [""] * 10, "closed-set", ""),
        ([f"type {number}" for number in range(10)], [""] * 10, "closed-set", "type 3 is not in every part"),
    ],
)
def test_a_fit_gets_the_plan_that_suits_its_defects(
    defects: list[str], groups: list[str], protocol: str, note: str
) -> None:
    scan = make_scan(["nut/good"] * 30 + [f"nut/{name}" for name in defects], groups=[""] * 30 + groups)
    plan = assign_for_fit(scan, group_records(scan), 0)
    assert plan.protocol == protocol
    assert not note or has_note(plan, note)
    assert len(plan.rows) == len(scan.records)


def test_a_closed_set_that_cannot_be_drawn_is_no_end() -> None:
    """Nearly all good images lie in one group with the defective ones."""
    groups = [""] * 14 + ["line"] * 20 + ["line"] * 4 + [""] * 9
    scan = make_scan(["nut/good"] * 34 + ["nut/crack"] * 13, groups=groups)
    plan = assign_for_fit(scan, group_records(scan), 0)
    assert {row.part for row in plan.rows if row.label == 0} == set(PARTS)


def test_too_few_good_images_are_refused_whatever_the_defects() -> None:
    scan = make_singles(("nut/good", 9), ("nut/crack", 3))
    with pytest.raises(SplitError, match="at least 10 good images are needed.*Received: 9$"):
        assign_for_fit(scan, group_records(scan), 0)


# Unseen type.


@few
@given(scan=scans(), seed=SEEDS)
def test_the_held_out_type_is_in_test_alone_and_the_rest_as_usual(scan: Scan, seed: int) -> None:
    (usual,) = draw(scan, "closed-set", seed)
    usual_part = {row.id: row.part for row in usual.rows}
    group_of = {row.id: row.group for row in usual.rows}
    kept = {record.id for record in scan.records if record.defect_type != "combined"}
    plans = draw(scan, "unseen-type", seed)
    for plan in plans:
        held_out = plan.protocol.removeprefix("unseen-type ")
        assert {row.id for row in plan.rows} == kept
        assert {row.part for row in plan.rows if row.stratum == held_out} == {"test"}
        dragging = {group_of[row.id] for row in plan.rows if row.stratum == held_out}
        moved = 0
        for row in plan.rows:
            if group_of[row.id] in dragging:
                assert row.part == "test"
                moved += row.stratum != held_out and usual_part[row.id] != "test"
            else:
                assert row.part == usual_part[row.id]
        told = [note for note in plan.notes if note.startswith("in test too")]
        assert sum(map(int, re.findall(r"(\d+) of ", " ".join(told)))) == moved
    askable = {record.stratum for record in scan.records if record.label and record.defect_type != "combined"}
    drawn = {plan.protocol.removeprefix("unseen-type ") for plan in plans}
    for stratum in askable:  # each is held out, or every plan says why it is not
        refused = [has_note(plan, f"^{stratum} is not held out: the .* part needs") for plan in plans]
        assert refused == [stratum not in drawn] * len(plans)
    assert drawn <= askable


def test_what_is_held_out_and_left_out_is_told() -> None:
    scan = make_singles(
        ("bolt/good", 20),
        ("bolt/crack", 15),
        ("cap/good", 20),
        ("nut/good", 30),
        ("nut/combined", 4),
        ("nut/crack", 20),
        ("nut/dent", 20),
    )
    first, second = draw(scan, "unseen-type", 0)
    assert (first.protocol, second.protocol) == ("unseen-type nut/crack", "unseen-type nut/dent")
    for plan in (first, second):
        assert {row.category for row in plan.rows} == {"bolt", "cap", "nut"}
        assert has_note(plan, "4 images of type combined are left out")
        assert has_note(
            plan, "bolt holds nothing out: it has one defect type, crack, and needs one to train on"
        )
        assert has_note(plan, "cap holds nothing out: it has no defect type")
        assert not has_note(plan, "is not in every part|could not be divided")
    assert has_note(first, "nut/crack is held out: its 20 images are in test alone")
    assert has_note(first, "crack stays in train for other products: bolt")
    assert not has_note(second, "stays in train")


def test_products_with_one_type_are_refused_with_the_reason() -> None:
    scan = make_singles(("nut/good", 30), ("nut/combined", 10), ("nut/crack", 20))
    with pytest.raises(SplitError, match="no defect type can be held out. nut holds nothing out: it has one"):
        draw(scan, "unseen-type", 0)


def test_a_type_without_which_nothing_is_left_to_learn_is_refused_and_told() -> None:
    scan = make_singles(("nut/good", 30), ("nut/crack", 30), ("nut/dent", 3))
    (plan,) = draw(scan, "unseen-type", 0)
    assert plan.protocol == "unseen-type nut/dent"
    assert has_note(plan, "nut/crack is not held out: the (train|val) part needs at least 2 defective images")


# Label budget.


@few
@given(scan=scans(), seed=SEEDS)
def test_a_larger_budget_adds_to_train_and_takes_from_test(scan: Scan, seed: int) -> None:
    plans = [draw(scan, "label-budget", seed, k=k)[0] for k in range(1, 6)]
    for smaller, larger in pairwise(plans):
        assert ids_in(smaller, "train", 1) <= ids_in(larger, "train", 1)
        assert ids_in(larger, "test", 1) <= ids_in(smaller, "test", 1)
        for part in PARTS:
            assert ids_in(smaller, part, 0) == ids_in(larger, part, 0)


@few
@given(scan=scans(), seed=SEEDS, k=st.integers(1, 6))
def test_the_budget_is_kept_and_what_is_missing_is_told(scan: Scan, seed: int, k: int) -> None:
    (plan,) = draw(scan, "label-budget", seed, k=k)
    assert not ids_in(plan, "val", 1)
    assert sum(len(ids_in(plan, part, 0)) for part in PARTS) == sum(
        not record.label for record in scan.records
    )
    for stratum in {record.stratum for record in scan.records if record.label}:
        held = count_parts(plan, stratum)
        assert held["train"] <= k
        assert has_note(plan, f"{stratum} has only {held['train']} images that could train") == (
            held["train"] < k
        )
        assert has_note(plan, f"{stratum} is not in test") == (held["test"] == 0)
    left_out = [note for note in plan.notes if note.startswith("left out, since")]
    told = sum(map(int, re.findall(r"(\d+) of ", " ".join(left_out))))
    assert told == len(scan.records) - len(plan.rows)


@few
@given(k=st.integers(1, 19), seed=SEEDS)
def test_of_single_images_exactly_the_budget_trains(k: int, seed: int) -> None:
    scan = make_singles(("nut/good", 40), ("nut/crack", 20), ("nut/dent", 8))
    (plan,) = draw(scan, "label-budget", seed, k=k)
    assert plan.protocol == f"label-budget {k}"
    assert count_parts(plan, "nut/good") == {"train": 24, "val": 8, "test": 8}
    assert count_parts(plan, "nut/crack") == {"train": k, "val": 0, "test": 20 - k}
    assert count_parts(plan, "nut/dent") == {"train": min(k, 8), "val": 0, "test": max(8 - k, 0)}
    assert has_note(plan, "threshold cannot be chosen there by F1")


def test_defective_images_follow_the_good_ones_of_their_group() -> None:
    # Ten groups of one good and one crack each, besides 30 good images and 20 cracks alone.
    names = [f"s{number}" for number in range(10)]
    scan = make_scan(["good"] * 40 + ["crack"] * 30, groups=[*names, *[""] * 30, *names, *[""] * 20])
    (plan,) = draw(scan, "label-budget", 2, k=12)
    part = {row.id: row.part for row in plan.rows}
    paired = [(part[f"{number:04}.png"], part.get(f"{number + 40:04}.png")) for number in range(10)]
    assert {good for good, _ in paired} == set(PARTS)  # or the test would say little
    for good, crack in paired:
        assert crack in {"train": ("train", None), "val": (None,), "test": ("test",)}[good]
    assert len(ids_in(plan, "train", 1)) == 12
    lost = sum(good == "val" for good, _ in paired)
    assert has_note(
        plan, f"left out, since they share a group with good images of validation: {lost} of nut/crack"
    )


def test_what_exceeds_the_budget_in_a_group_is_left_out() -> None:
    groups = [""] * 30 + [f"s{number // 5}" for number in range(20)]
    (plan,) = draw(make_scan(["good"] * 30 + ["crack"] * 20, groups=groups), "label-budget", 0, k=1)
    assert count_parts(plan, "nut/crack") == {"train": 1, "val": 0, "test": 15}
    assert has_note(plan, "share a group with training images, but exceed the budget: 4 of nut/crack")


@pytest.mark.parametrize(
    ("k", "message"), [(0, "at least 1. Received: k=0"), (12, "k=12 leaves no defective image to test on")]
)
def test_a_budget_that_cannot_be_is_refused(k: int, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        draw(make_singles(("nut/good", 20), ("nut/crack", 12)), "label-budget", 0, k=k)


def test_a_budget_needs_good_images_alone_in_numbers() -> None:
    (plan,) = draw(make_singles(("nut/good", 10), ("nut/crack", 2)), "label-budget", 0, k=1)
    assert count_parts(plan, "nut/crack") == {"train": 1, "val": 0, "test": 1}
    with pytest.raises(SplitError, match="at least 10 good images are needed"):
        draw(make_singles(("nut/good", 9), ("nut/crack", 20)), "label-budget", 0, k=1)


# K folds.


@few
@given(scan=scans(), seed=SEEDS, n=st.integers(2, 6))
def test_every_image_is_tested_exactly_once(scan: Scan, seed: int, n: int) -> None:
    plans = draw(scan, "kfold", seed, n=n)
    assert [plan.protocol for plan in plans] == [f"kfold {fold} of {n}" for fold in range(1, n + 1)]
    tested = [row.id for plan in plans for row in plan.select("test")]
    assert sorted(tested) == [record.id for record in scan.records]
    for plan in plans:
        assert [row.id for row in plan.rows] == [record.id for record in scan.records]
        assert all(ids_in(plan, part, label) for part in PARTS for label in (0, 1))


@few
@given(
    counts=st.tuples(st.integers(20, 90), st.integers(16, 40), st.integers(1, 40)),
    n=st.integers(2, 9),
    seed=SEEDS,
)
def test_single_images_are_spread_evenly_over_the_folds(counts: tuple[int, ...], n: int, seed: int) -> None:
    strata = ("nut/good", "nut/crack", "nut/dent")
    plans = draw(make_singles(*zip(strata, counts, strict=True)), "kfold", seed, n=n)
    for stratum, total in zip(strata, counts, strict=True):
        for plan in plans:
            held = count_parts(plan, stratum)
            assert abs(held["test"] - total / n) < 1
            assert abs(held["train"] - 0.75 * (total - held["test"])) <= 1


def test_types_rarer_than_folds_do_not_crowd_into_the_first() -> None:
    scan = make_singles(("nut/good", 30), *((f"nut/type {number}", 1) for number in range(10)))
    plans = draw(scan, "kfold", 0, n=5)
    assert [len(ids_in(plan, "test", 1)) for plan in plans] == [2] * 5


def test_one_group_a_fold_is_the_most() -> None:
    scan = make_singles(("nut/good", 30), ("nut/crack", 12))
    assert [len(ids_in(plan, "test", 1)) for plan in draw(scan, "kfold", 0, n=12)] == [1] * 12


@pytest.mark.parametrize("n", [-1, 0, 1, 13])
def test_a_number_of_folds_out_of_range_is_refused(n: int) -> None:
    scan = make_scan(["good"] * 30 + ["crack"] * 13, groups=[""] * 30 + ["a", "a"] + [""] * 11)
    message = f"there are 30 of good images, 12 of defective images. Received: n={n}"
    with pytest.raises(SplitError, match=message):
        draw(scan, "kfold", 0, n=n)


# Parts that the data names.


def name_parts(*strata_parts_counts: tuple[str, str, int], **more: Sequence[str]) -> Scan:
    rows = [(stratum, part) for stratum, part, count in strata_parts_counts for _ in range(count)]
    return make_scan([stratum for stratum, _ in rows], parts=[part for _, part in rows], **more)


MVTEC_AD = (("good", "train", 20), ("good", "test", 6), ("crack", "test", 8))


def test_official_is_what_the_folders_say() -> None:
    scan = name_parts(*MVTEC_AD)
    (plan,) = draw(scan, "official", 5)
    assert [row.part for row in plan.rows] == [record.part for record in scan.records]
    assert count_parts(plan, "nut/good") == {"train": 20, "val": 0, "test": 6}
    assert count_parts(plan, "nut/crack") == {"train": 0, "val": 0, "test": 8}
    assert plan.digest == draw(scan, "official", 6)[0].digest  # there is nothing to draw
    assert plan.notes == ("there is no defective image in train", "there is no image in val")


@pytest.mark.parametrize("protocol", ["official", "given"])
def test_groups_that_straddle_in_the_data_are_counted(protocol: str) -> None:
    # One across train and test with three images, one within test.
    groups = [""] * 18 + ["a", "a", "a"] + [""] * 5 + ["b", "b"] + [""] * 6
    (plan,) = draw(name_parts(*MVTEC_AD, groups=groups), protocol, 0)
    assert has_note(plan, r"^1 groups that should stay whole .*, with 3 images, lie in more than one part")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            [*MVTEC_AD, ("dent", "train", 2)],
            "trains on good images alone, but 2 in train are defective: 0034.png",
        ),
        ([*MVTEC_AD, ("good", "", 2)], "MVTec AD's folders.* but 2 are not: 0034.png, 0035.png"),
        ([*MVTEC_AD, ("good", "val", 1)], "MVTec AD's folders.* but 1 are not: 0034.png"),
        ([("good", "train", 1), *MVTEC_AD[1:]], "at least 2 good images in train. Received: 1"),
    ],
)
def test_data_that_are_not_official_are_refused(parts: Iterable[tuple[str, str, int]], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        draw(name_parts(*parts), "official", 0)


def test_given_is_what_the_manifest_says() -> None:
    scan = name_parts(*MVTEC_AD, ("crack", "train", 3), ("good", "val", 2))
    (plan,) = draw(scan, "given", 0)
    assert [row.part for row in plan.rows] == [record.part for record in scan.records]
    assert plan.notes == ("there is no defective image in val",)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            [*MVTEC_AD, ("good", "", 2)],
            "needs a part .train, val, test. for every image, .* but 2 have none: 0034.png",
        ),
        ([*MVTEC_AD, ("good", "holdout", 1)], "but 1 have none"),
    ],
)
def test_data_without_parts_for_all_are_refused(parts: Iterable[tuple[str, str, int]], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        draw(name_parts(*parts), "given", 0)


@pytest.mark.parametrize("protocol", ["given", "official"])
def test_parts_without_a_defective_image_are_told(protocol: str) -> None:
    (plan,) = draw(name_parts(*MVTEC_AD[:2]), protocol, 0)
    assert has_note(plan, "^there is no defective image in test$")


# All of them.


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("settings_", [{}, {"k": 3}, {"n": 3}, {"k": 3, "n": 3}])
def test_a_setting_out_of_place_is_refused(protocol: str, settings_: dict[str, int]) -> None:
    budgets = {name: {"k": 3} for name in ("label-budget", "few-labels", "few-labels-unseen")}
    if settings_ == {**budgets, "kfold": {"n": 3}}.get(protocol, {}):
        return
    with pytest.raises(SplitError, match=f"few-labels need k, kfold needs n.*Received: {protocol} with"):
        draw(name_parts(*MVTEC_AD), protocol, 0, **settings_)


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(SplitError, match="unknown protocol 'close-set'. Did you mean 'closed-set'"):
        draw(name_parts(*MVTEC_AD), "close-set", 0)


@few
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    shares=st.sampled_from([(0.6, 0.2, 0.2), (0.75, 0.25), (0.25,) * 4]),
    seed=SEEDS,
)
def test_groups_are_dealt_whole_and_no_part_is_far_from_its_share(
    sizes: list[int], shares: tuple[float, ...], seed: int
) -> None:
    # Any codes will do: gaps between them, and members apart from each other.
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(3 + 5 * np.arange(len(sizes)), sizes))
    parts = deal_groups(groups, [["nut/good"] * len(groups)], shares, np.random.default_rng(seed))
    assert all(len(set(parts[groups == group])) == 1 for group in groups)
    held = np.bincount(parts, minlength=len(shares))
    # A part is never above its share by more than the largest group.
    assert (held <= np.array(shares) * len(groups) + max(sizes)).all()


def test_few_labels_are_the_published_counts() -> None:
    scan = make_singles(("cell/good", 1508), ("cell/mono", 313), ("cell/poly", 402))
    ten, one = (draw(scan, "few-labels", 3, k=k)[0] for k in (10, 1))
    assert [len(ids_in(ten, "train", label)) for label in (0, 1)] == [1131, 10]
    assert [len(ids_in(ten, "test", label)) for label in (0, 1)] == [377, 705]
    assert not ten.select("val")
    assert ids_in(one, "train", 1) < ids_in(ten, "train", 1)
    assert ids_in(one, "test", 0) == ids_in(ten, "test", 0)
    assert draw(scan, "few-labels", 4, k=10)[0].digest != ten.digest
    fitted = hold_out_val(ten, 0)
    assert ids_in(fitted, "train", 1) == ids_in(ten, "train", 1)
    assert len(ids_in(fitted, "val", 0)) == pytest.approx(1131 / 5, abs=1)


def test_few_labels_of_one_type_are_tested_on_the_others() -> None:
    scan = make_singles(("cell/good", 40), ("cell/mono", 30), ("cell/poly", 20))
    mono, poly = draw(scan, "few-labels-unseen", 0, k=10)
    assert (mono.protocol, poly.protocol) == ("few-labels-unseen 10 mono", "few-labels-unseen 10 poly")
    assert count_parts(mono, "cell/mono") == {"train": 10, "val": 0, "test": 0}
    assert count_parts(mono, "cell/poly") == {"train": 0, "val": 0, "test": 20}
    assert count_parts(mono, "cell/good") == {"train": 30, "val": 0, "test": 10}
    assert ids_in(mono, "test", 0) == ids_in(poly, "test", 0)


def test_random_75_is_stratified_by_type_and_is_that_of_scikit_learn() -> None:
    from sklearn.model_selection import train_test_split

    scan = make_singles(("cell/good", 80), ("cell/mono", 12), ("cell/poly", 8))
    (plan,) = draw(scan, "random-75", 42)
    assert count_parts(plan, "cell/mono") == {"train": 9, "val": 0, "test": 3}
    assert count_parts(plan, "cell/poly") == {"train": 6, "val": 0, "test": 2}
    ids, strata = zip(*[(record.id, record.stratum) for record in scan.records], strict=True)
    _, test = train_test_split(ids, test_size=0.25, stratify=strata, random_state=42)
    assert {row.id for row in plan.select("test")} == set(test)


@pytest.mark.parametrize(
    ("protocol", "k", "message"),
    [
        ("few-labels", 0, "at least 1. Received: k=0"),
        ("few-labels", 5, "needs 5 defective images to train on and one or more to test on.*5 and 0"),
        ("few-labels-unseen", 5, "two defect types or more. Received: mono"),
        ("few-labels", None, "few-labels need k"),
        ("random-75", 3, "no other protocol takes either"),
    ],
)
def test_published_protocols_say_what_they_need(protocol: str, k: int | None, message: str) -> None:
    scan = make_singles(("cell/good", 40), ("cell/mono", 5))
    with pytest.raises(SplitError, match=message):
        draw_plans(scan, group_records(scan), protocol, 0, k=k)


def test_fewer_images_to_learn_from_leave_the_test_part_alone() -> None:
    scan = make_singles(("nut/good", 200), ("nut/crack", 50), ("nut/dent", 50))
    (plan,) = draw(scan, "closed-set", 0)
    fewer = limit_learning(plan, 120)
    assert fewer.select("test") == plan.select("test")
    assert count_parts(fewer, "nut/good") == {"train": 60, "val": 20, "test": 40}
    assert count_parts(fewer, "nut/crack") == {"train": 15, "val": 5, "test": 10}
    assert "120 of the 240 images" in fewer.notes[-1]
    assert limit_learning(plan, 240) is plan
    (budget,) = draw(scan, "label-budget", 0, k=3)
    kept = limit_learning(budget, 40)
    assert ids_in(kept, "train", 1) == ids_in(budget, "train", 1)
    assert [len(ids_in(kept, part, 0)) for part in ("train", "val")] == [30, 10]
    assert not {row.group for row in kept.rows if row.part == "train"} & {
        row.group for row in kept.rows if row.part == "val"
    }
