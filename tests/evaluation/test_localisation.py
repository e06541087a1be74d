"""Localisation figures against scikit-learn, brute force, and values worked out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, roc_auc_score

from mvdefect.core.errors import ConfigError
from mvdefect.evaluation.localisation import (
    Localisation,
    count_pixels,
    measure_localisation,
    per_region_overlap,
    pixel_roc_auc,
)

Case = tuple[np.ndarray, np.ndarray]


def flood(mask: np.ndarray) -> list[np.ndarray]:
    """Find regions by growing each from a pixel, to all eight neighbours."""
    left, regions = {tuple(place) for place in np.argwhere(mask)}, []
    while left:
        grown, fresh = set(), [left.pop()]
        while fresh:
            y, x = fresh.pop()
            grown.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            fresh += near
        regions.append(np.isin(np.arange(mask.size), [y * mask.shape[1] + x for y, x in grown]))
    return regions


def brute_force_pro(maps: np.ndarray, masks: np.ndarray, limit: float = 0.3) -> float:
    """One threshold after the other, one region after the other; the curve ends between two points."""
    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        above = maps >= threshold
        rates.append(above[~masks].mean())
        shares = [
            one.ravel()[region].mean()
            for one, mask in zip(above, masks, strict=True)
            for region in flood(mask)
        ]
        overlaps.append(float(np.mean(shares)))
    after = next(number for number, rate in enumerate(rates) if rate > limit)
    share = (limit - rates[after - 1]) / (rates[after] - rates[after - 1])
    end = overlaps[after - 1] + share * (overlaps[after] - overlaps[after - 1])
    return float(auc([*rates[:after], limit], [*overlaps[:after], end]) / limit)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A few small maps with many ties, of masks with several regions each."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    shape = (draw(st.integers(2, 4)), draw(st.integers(3, 7)), draw(st.integers(3, 7)))
    masks = rng.random(shape) < draw(st.floats(0.05, 0.5))
    masks[0, 0, :2] = [True, False]
    masks[1] = False  # a good photograph
    maps = rng.normal(0, 1, shape) + masks * draw(st.floats(-2, 3))
    return (maps.round() if draw(st.booleans()) else maps), masks


def measure(maps: np.ndarray, masks: np.ndarray, **settings_: object) -> Localisation:
    return measure_localisation(maps, masks, np.arange(len(maps)), **{"replicates": 20, **settings_})


@settings(deadline=None, max_examples=60)
@given(case=cases())
def test_figures_equal_scikit_learn_and_brute_force(case: Case) -> None:
    maps, masks = case
    found = measure(maps, masks)
    assert found.pixel_roc_auc.value == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-9)
    assert found.pro.value == pytest.approx(brute_force_pro(maps, masks), abs=1e-9)
    assert found.images == len(maps)
    assert found.defective == masks.any((1, 2)).sum() < len(maps)
    assert found.regions == sum(len(flood(mask)) for mask in masks)


@settings(deadline=None, max_examples=30)
@given(case=cases(), seed=st.integers(0, 99))
def test_a_weight_is_a_photograph_that_comes_so_often(case: Case, seed: int) -> None:
    maps, masks = case
    weights = np.random.default_rng(seed).integers(0, 3, len(maps))
    weights[0] = 1
    again = np.repeat(np.arange(len(maps)), weights)
    counts = count_pixels(maps, masks, np.ones_like(masks))
    row = weights[np.newaxis].astype(float)
    expected = roc_auc_score(masks[again].ravel(), maps[again].ravel())
    assert pixel_roc_auc(counts, row)[0] == pytest.approx(expected, abs=1e-9)
    assert per_region_overlap(counts, row)[0] == pytest.approx(
        brute_force_pro(maps[again], masks[again]), abs=1e-9
    )


def make_scene(seed: int, count: int = 30, size: int = 64) -> Case:
    """Coarse noise that is higher at a disc in two of three photographs, and masks of the discs."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, size, size), np.uint8)
    for mask in masks[: 2 * count // 3]:
        for _ in range(rng.integers(1, 3)):
            centre = tuple(int(place) for place in rng.integers(4, size - 4, 2))
            cv2.circle(mask, centre, int(rng.integers(1, 8)), 1, -1)
    seen = np.stack([cv2.resize(mask * 1.0, (8, 8), interpolation=cv2.INTER_AREA) for mask in masks])
    return (rng.normal(0, 0.2, seen.shape) + seen).astype(np.float16), masks > 0


def test_many_values_are_ranked_by_quantiles_and_coarse_maps_are_spread() -> None:
    maps, masks = make_scene(0)
    fine = np.stack([cv2.resize(one.astype(np.float64), (64, 64)) for one in maps])
    assert len(np.unique(fine)) > 20_000
    found = measure(maps, masks)
    expected = roc_auc_score(masks.ravel(), fine.ravel())
    assert 0.7 < expected < 0.99
    assert found.pixel_roc_auc.value == pytest.approx(expected, abs=1e-4)
    thinned = np.unique(fine)[::-997]
    coarser = np.take(thinned[::-1], np.searchsorted(thinned[::-1], fine).clip(max=len(thinned) - 1))
    assert found.pro.value == pytest.approx(brute_force_pro(coarser, masks), abs=0.02)


def test_perfect_inverted_and_constant_maps() -> None:
    _, masks = make_scene(1, count=6, size=32)
    perfect = measure(masks.astype(np.float32), masks)
    assert perfect.pixel_roc_auc.value == perfect.pro.value == perfect.pointing.value == 1
    assert perfect.pointing.method == "Wilson on groups"
    assert perfect.pointing.low < 0.8
    inverted = measure(1 - masks.astype(np.float32), masks, tolerance_px=0)
    assert inverted.pixel_roc_auc.value == inverted.pro.value == inverted.pointing.value == 0
    constant = measure(np.zeros(masks.shape, np.float32), masks)
    assert constant.pixel_roc_auc.value == pytest.approx(0.5)
    assert constant.pro.value == pytest.approx(0.15)
    assert constant.pointing.value == pytest.approx(constant.pointing_chance)
    assert 0 < constant.pointing_chance < 1


def test_a_perfect_map_of_many_values_is_still_perfect() -> None:
    rng = np.random.default_rng(0)
    _, masks = make_scene(2, count=9, size=32)
    found = measure(rng.random(masks.shape) + masks, masks)
    assert found.pixel_roc_auc.value == pytest.approx(1, abs=1e-12)
    assert found.pro.value > 0.999


def test_the_pointing_game_by_hand() -> None:
    """Defects at row 2, columns 2 and 3; the maxima lie in it, 3 pixels right of it, and 5 below it."""
    masks = np.zeros((4, 10, 10), bool)
    masks[:3, 2, 2:4] = True
    maps = np.zeros((4, 10, 10), np.float32)
    maps[0, 2, 2] = maps[1, 2, 6] = maps[2, 7, 2] = maps[3, 9, 9] = 1
    for tolerance, hits in ((0, 1), (2, 1), (3, 2), (4, 2), (5, 3)):
        found = measure(maps, masks, tolerance_px=tolerance)
        assert found.pointing.value == pytest.approx(hits / 3), tolerance
        assert found.tolerance_px == tolerance
    assert measure(maps, masks, tolerance_px=0).pointing_chance == pytest.approx(0.02)
    assert measure(maps, masks, tolerance_px=1).pointing_chance == pytest.approx(0.08)
    maps[0, 9, 9] = 1  # as high as the one that hits
    assert measure(maps, masks, tolerance_px=0).pointing.value == pytest.approx(0.5 / 3)


def test_pixels_outside_of_the_photograph_do_not_count() -> None:
    maps, masks = make_scene(3, count=9, size=32)
    wide, wider = (np.pad(array, ((0, 0), (8, 8), (0, 0))) for array in (masks, np.ones_like(masks)))
    fine = np.stack([cv2.resize(one.astype(np.float32), (32, 32)) for one in maps])
    rng = np.random.default_rng(0)
    framed = rng.normal(3, 1, wide.shape)  # the padding looks more suspicious than anything
    framed[:, 8:-8] = fine
    expected, found = measure(fine, masks), measure(framed, wide, inside=wider)
    for name in ("pixel_roc_auc", "pro", "pointing"):
        assert getattr(found, name) == getattr(expected, name), name
    assert found.pointing_chance == pytest.approx(expected.pointing_chance)
    assert measure(framed, wide).pixel_roc_auc.value < found.pixel_roc_auc.value - 0.1


def test_a_defect_without_a_mask_is_left_out() -> None:
    maps, masks = make_scene(4, count=9, size=32)
    groups = np.arange(9) // 2
    expected = measure_localisation(maps, masks, groups, replicates=50)
    more = np.concatenate([maps, 9 + maps[:2]])
    nothing = np.concatenate([masks, np.zeros((2, 32, 32), bool)])
    known = np.arange(11) < 9
    found = measure_localisation(more, nothing, np.arange(11) // 2, known, replicates=50)
    assert found.left_out == 2
    assert found.images == 9
    assert (found.pixel_roc_auc, found.pro, found.pointing) == (
        expected.pixel_roc_auc,
        expected.pro,
        expected.pointing,
    )


def test_photographs_of_one_group_are_drawn_together() -> None:
    """Ten copies of three photographs are no fresh evidence, so their interval stays as wide."""
    maps, masks = make_scene(5, count=9, size=32)
    alone = measure_localisation(maps, masks, np.arange(9), replicates=1000)
    copies = np.tile(np.arange(9), 10)
    together = measure_localisation(maps[copies], masks[copies], copies, replicates=1000)
    apart = measure_localisation(maps[copies], masks[copies], np.arange(90), replicates=1000)
    for name in ("pixel_roc_auc", "pro", "pointing"):
        one, same, other = (getattr(found, name) for found in (alone, together, apart))
        assert one.low < one.value < one.high
        assert (same.low, same.high) == pytest.approx((one.low, one.high), abs=1e-3)
        assert other.high - other.low < 0.6 * (one.high - one.low)


@pytest.mark.slow
def test_intervals_hold_what_they_promise() -> None:
    """Of many small sets of photographs, most intervals hold the figure of a large one."""
    maps, masks = make_scene(6, count=900, size=32)
    truth = measure(maps, masks)
    held: dict[str, list[bool]] = {"pixel_roc_auc": [], "pro": [], "pointing": []}
    rng = np.random.default_rng(0)
    for _ in range(60):
        chosen = rng.choice(900, 60, replace=False)
        found = measure_localisation(maps[chosen], masks[chosen], np.arange(60), replicates=300)
        for name, list_ in held.items():
            figure = getattr(found, name)
            list_.append(figure.low <= getattr(truth, name).value <= figure.high)
    assert all(np.mean(list_) >= 0.85 for list_ in held.values()), held


def test_what_is_not_defined_is_nan() -> None:
    maps = np.random.default_rng(0).random((3, 4, 4))
    for masks in (np.zeros((3, 4, 4), bool), np.ones((3, 4, 4), bool)):
        found = measure(maps, masks)
        assert np.isnan([found.pixel_roc_auc.value, found.pixel_roc_auc.low, found.pro.value]).all()
    assert measure(maps, np.ones((3, 4, 4), bool)).pointing.value == 1
    nothing = measure(maps, np.zeros((3, 4, 4), bool))
    assert np.isnan([nothing.pointing.value, nothing.pointing_chance]).all()
    none = measure(maps[:0], np.zeros((0, 4, 4), bool))
    assert (none.images, none.defective) == (0, 0)
    assert np.isnan(none.pixel_roc_auc.value)


GOOD = (np.zeros((2, 3, 3), np.float32), np.zeros((2, 6, 6), bool), np.arange(2))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"maps": GOOD[0][0]},
            "must be of shape \\(images, height, width\\). Received: maps of shape \\(3, 3\\)",
        ),
        ({"maps": np.zeros((3, 3, 3), np.float32)}, "as many images as maps. Received: 3 maps"),
        ({"groups": np.arange(3)}, "groups \\(3,\\)"),
        ({"known": np.ones(3, bool)}, "known \\(3,\\)"),
        ({"inside": np.ones((2, 3, 3), bool)}, "inside \\(2, 3, 3\\)"),
        ({"masks": GOOD[1].astype(np.uint8)}, "must be bool. Received: uint8"),
        ({"maps": np.full((2, 3, 3), np.nan)}, "must be finite floats"),
        ({"maps": np.zeros((2, 3, 3), np.uint8)}, "must be finite floats. Received: uint8"),
        ({"tolerance_px": -1}, "at least 0. Received: tolerance_px=-1"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, object], message: str) -> None:
    given_ = {"maps": GOOD[0], "masks": GOOD[1], "groups": GOOD[2], **changed}
    with pytest.raises(ConfigError, match=message):
        measure_localisation(**given_)


def test_many_photographs_are_measured_at_once() -> None:
    maps, masks = make_scene(7, count=90, size=112)
    assert 0.5 < measure_localisation(maps, masks, np.arange(90)).pixel_roc_auc.value < 1
