"""Poses: eight of them, each undone by one, and composed as pictures are."""

from __future__ import annotations

import numpy as np
import pytest

from mvdefect.data.groups.poses import POSES, invert_pose, lay_in_pose, turn_by_half

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
def test_half_a_turn_more_is_a_pose_too(pose: int) -> None:
    (turned,) = turn_by_half(np.array([pose]))
    assert np.array_equal(lay_in_pose(PICTURE, int(turned)), np.rot90(lay_in_pose(PICTURE, pose), 2, (1, 2)))
