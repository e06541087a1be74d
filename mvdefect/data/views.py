"""Views and epochs: how an image is shown, and which image comes when; functions of seed and number.

View 0 is the image as it is. The others go through all poses by turns, each under a light of its own,
so that what is computed for a view can be kept and used again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mvdefect.config import AugmentConfig

Integers = NDArray[np.int64]
FRESH_OFFSETS = 1 << 13


def list_poses(augment: AugmentConfig, is_square: bool = True) -> tuple[tuple[int, bool], ...]:
    """Return the poses that are allowed: quarter turns (counter-clockwise) and whether mirrored before.

    An image that is not square is turned by 180 degrees alone.
    """
    turns = range(0, 4, 1 if is_square else 2) if augment.quarter_turns else range(1)
    mirrored = (False, True) if augment.flip else (False,)
    return tuple((turn, mirror) for mirror in mirrored for turn in turns)


def list_flips(augment: AugmentConfig) -> tuple[tuple[bool, bool], ...]:
    """Return the poses that are allowed and keep height and width: whether rows and columns are reversed.

    The first one is the image as it is, and its mirror image follows if that is allowed.
    """
    if augment.flip:
        return tuple(
            (down, left) for down in (False, True)[: 1 + augment.quarter_turns] for left in (False, True)
        )
    return ((False, False), (True, True))[: 1 + augment.quarter_turns]


def show_view(
    image: tf.Tensor, index: tf.Tensor, view: tf.Tensor, seed: int, augment: AugmentConfig
) -> tf.Tensor:
    """Pose and relight one image; the same arguments give the same result.

    Args:
        image: uint8 of shape (height, width, 3).
        index: int64 scalar, number of the image.
        view: int64 scalar, number of the view; 0 is the image as it is.
        seed: Seed of the run.
        augment: What is allowed. Brightness is shifted by up to `brightness` × 255 grey values, and
            contrast is scaled about mid-grey by up to 1 ± `contrast`.

    Returns:
        uint8 of the same shape.
    """
    posed = pose_view(image, view, augment)
    if not (augment.brightness or augment.contrast):
        return posed
    draws = 2 * tf.random.stateless_uniform((2,), tf.stack([seed * 1_000_003 + view, index])) - 1
    draws = tf.where(view > 0, draws, 0.0)
    light = (tf.cast(posed, tf.float32) - 127.5) * (1 + augment.contrast * draws[0])
    light += 127.5 + 255 * augment.brightness * draws[1]
    return tf.cast(tf.clip_by_value(tf.round(light), 0, 255), tf.uint8)


def pose_view(image: tf.Tensor, view: tf.Tensor, augment: AugmentConfig) -> tf.Tensor:
    """Mirror and turn an image or a mask, (height, width, c) of any dtype, as its view asks."""
    shape = image.shape
    poses = list_poses(augment, shape[0] == shape[1])
    number = view % len(poses)
    turns, mirrored = (tf.gather([pose[part] for pose in poses], number) for part in (0, 1))
    if augment.flip:
        image = tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)
    if augment.quarter_turns:
        image = tf.image.rot90(image, turns)
    return tf.ensure_shape(image, shape)


@dataclass(frozen=True)
class Epoch:
    """One pass over a part.

    Attributes:
        indices: Numbers of the images in the order in which they come, int64 (m,).
        slots: For each of them the slot that its view comes from, int64 (m,): slot s holds one view of
            every image, see `list_views`.
    """

    indices: Integers
    slots: Integers


def draw_epoch(strata: Integers, seed: int, epoch: int, views: int, balanced: bool) -> Epoch:
    """Draw the order of an epoch.

    Args:
        strata: What shall come equally often where `balanced` is on, as a number from 0 an image, (n,).
        seed: Seed of the run.
        epoch: Number of the epoch, counted over all stages, from 0.
        views: How many views an image has; 0: new ones in every epoch.
        balanced: Draw every stratum equally often, going through its images by turns; otherwise each
            image comes once.

    Returns:
        As many images as there are. One that comes again within the epoch comes in another view.
    """
    rng = np.random.default_rng([seed, epoch])
    indices = _draw_balanced(strata, rng) if balanced else rng.permutation(len(strata))
    slots = epoch + _count_earlier(indices)
    return Epoch(indices.astype(np.int64), slots % views if views else slots)


def list_views(count: int, slot: int, seed: int, views: int) -> Integers:
    """Return which view of each image a slot holds, int64 (count,).

    Each image begins at a view drawn for it, and goes on to the next one from slot to slot, so that the
    poses are mixed in every epoch and all views of an image have come after `views` epochs.

    Args:
        count: How many images there are.
        slot: Number of the slot; below `views`, where that is not 0.
        seed: Seed of the run.
        views: How many views an image has; 0: the views never come again, and view 0 never comes.
    """
    offsets = np.random.default_rng([seed, FRESH_OFFSETS]).integers(0, views or FRESH_OFFSETS, count)
    return np.asarray((offsets + slot) % views if views else offsets + slot + 1, np.int64)


def _draw_balanced(strata: Integers, rng: np.random.Generator) -> Integers:
    """Deal strata by turns in a drawn order, each from one shuffled round of its images after the other."""
    names = np.unique(strata)
    rounds = -(-len(strata) // len(names))
    columns = []
    for name in names:
        members = np.flatnonzero(strata == name)
        repeats = -(-rounds // len(members))
        columns.append(np.concatenate([rng.permutation(members) for _ in range(repeats)])[:rounds])
    table = rng.permuted(np.stack(columns, axis=1), axis=1)
    return np.asarray(table.reshape(-1)[: len(strata)])


def _count_earlier(indices: Integers) -> Integers:
    """For each place, count how often its image came before."""
    order = np.argsort(indices, kind="stable")
    ranked = indices[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    lengths = np.diff(np.append(starts, len(ranked)))
    counts = np.empty(len(indices), np.int64)
    counts[order] = np.arange(len(ranked)) - np.repeat(starts, lengths)
    return counts
