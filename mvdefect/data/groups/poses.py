"""The eight poses of an image: as it is, mirrored, and turned by quarter turns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

POSES = (
    "as it is",
    "turned by 90 degrees",
    "turned by 180 degrees",
    "turned by 270 degrees",
    "mirrored",
    "mirrored and turned by 90 degrees",
    "mirrored and turned by 180 degrees",
    "mirrored and turned by 270 degrees",
)
MIRRORED = 4  # the first pose that is


def lay_in_pose(images: NDArray[Any], pose: int) -> NDArray[Any]:
    """Mirror images left and right, then turn them anticlockwise.

    Args:
        images: Of shape (n, height, width).
        pose: Index into `POSES`.
    """
    mirrored = images[:, :, ::-1] if pose >= MIRRORED else images
    return np.rot90(mirrored, pose % 4, axes=(1, 2))


def invert_pose(pose: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the poses that undo poses; mirrored ones undo themselves."""
    return np.where(pose < MIRRORED, -pose % 4, pose)


def turn_by_half(pose: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return poses with half a turn more."""
    return pose // MIRRORED * MIRRORED + (pose + 2) % MIRRORED
