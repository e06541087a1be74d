"""Poses: eight of them, each undone by one, and composed as pictures are."""

from __future__ import annotations

import numpy as np
import pytest

from mvdefect.data.poses import POSES, add_quarter_turns, invert_pose, lay_in_pose

PICTURE = np.arange(12).reshape(1, 3, 4)


def test_there_are_eight_of_them() -> None:
    laid = {
        lay_in_pose(PICTURE, pose).tobytes() + bytes(lay_in_pose(PICTURE, pose).shape) for pose in range(8)
    }
    assert len(laid) == len(POSES) == 8


@pytest.mark.parametrize("pose", range(8))
def test_each_is_undone_by_one(pose: int) -> None:
    (back,) = invert_pose(np.array([pose]))
    assert np.array_equal(lay_in_pose(lay_in_pose(PICTURE, pose), int(back)), PICTURE)


@pytest.mark.parametrize("pose", range(8))
@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (0, 1), (1, 1), (3, 2)])
def test_turns_before_and_after_make_another_pose(pose: int, before: int, after: int) -> None:
    (whole,) = add_quarter_turns(np.array([pose]), np.array([before]), np.array([after]))
    step = np.rot90(lay_in_pose(np.rot90(PICTURE, before, (1, 2)), pose), -after, (1, 2))
    assert np.array_equal(lay_in_pose(PICTURE, int(whole)), step)
