"""Epochs: every image comes, views go round, balanced strata come equally often."""

from __future__ import annotations

import numpy as np
import pytest

from mvdefect.config import AugmentConfig
from mvdefect.data.views import draw_epoch, list_flips, list_views

STRATA = np.array([0] * 60 + [1] * 9 + [2] * 3)


@pytest.mark.parametrize("views", [0, 1, 8])
def test_an_epoch_shows_each_image_once(views: int) -> None:
    drawn = draw_epoch(STRATA, 0, 5, views, balanced=False)
    assert sorted(drawn.indices) == list(range(len(STRATA)))
    assert set(drawn.slots) == {5 % views if views else 5}


def test_an_epoch_can_be_drawn_again_and_differs_from_others() -> None:
    first, again = (draw_epoch(STRATA, 1, 2, 8, False) for _ in range(2))
    assert np.array_equal(first.indices, again.indices)
    for seed, epoch in ((1, 3), (2, 2)):
        assert not np.array_equal(first.indices, draw_epoch(STRATA, seed, epoch, 8, False).indices)


def test_after_as_many_epochs_as_views_every_view_of_an_image_has_come() -> None:
    shown = np.stack([list_views(20, slot, 0, 8) for slot in range(8)])
    assert all(sorted(column) == list(range(8)) for column in shown.T)
    assert len(set(shown[0])) > 3  # poses are mixed within an epoch


def test_fresh_views_never_come_again() -> None:
    shown = np.stack([list_views(20, slot, 0, 0) for slot in range(50)])
    assert all(len(set(column)) == 50 for column in shown.T)
    assert shown.min() > 0  # view 0 is the image as it is


def test_balanced_strata_come_equally_often_in_any_stretch() -> None:
    drawn = draw_epoch(STRATA, 0, 0, 8, balanced=True)
    came = STRATA[drawn.indices]
    assert len(came) == len(STRATA)
    assert np.bincount(came).tolist() == [24, 24, 24]
    for start in range(0, 72, 12):
        assert np.bincount(came[start : start + 12]).tolist() == [4, 4, 4]
    assert all(np.sum(drawn.indices == rare) == 8 for rare in range(69, 72))


def test_an_image_that_comes_again_comes_in_another_view() -> None:
    drawn = draw_epoch(STRATA, 0, 3, 8, balanced=True)
    pairs = list(zip(drawn.indices, drawn.slots, strict=True))
    assert len(set(pairs)) == len(pairs)
    assert {slot for index, slot in pairs if index == 71} == set(range(8))


@pytest.mark.parametrize(
    ("flip", "turns", "flips"),
    [
        (True, True, ["", "left", "down", "down left"]),
        (True, False, ["", "left"]),
        (False, True, ["", "down left"]),
        (False, False, [""]),
    ],
)
def test_flips_are_the_poses_that_keep_height_and_width(flip: bool, turns: bool, flips: list[str]) -> None:
    found = list_flips(AugmentConfig(flip=flip, quarter_turns=turns))
    assert [" ".join(np.array(["down", "left"])[list(one)]) for one in found] == flips
