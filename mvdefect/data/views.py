"""Views: the ways in which a training image is shown, each a function of (seed, image, number).

View 0 is the image as it is. The others go through all poses by turns, each under a light of its own,
so that what is computed for a view can be kept and used again.
"""

from __future__ import annotations

import tensorflow as tf

from mvdefect.config import AugmentConfig


def list_poses(augment: AugmentConfig) -> tuple[tuple[int, bool], ...]:
    """Return the poses that are allowed: quarter turns (counter-clockwise) and whether mirrored before."""
    turns = range(4) if augment.quarter_turns else range(1)
    mirrored = (False, True) if augment.flip else (False,)
    return tuple((turn, mirror) for mirror in mirrored for turn in turns)


def show_view(
    image: tf.Tensor, index: tf.Tensor, view: tf.Tensor, seed: int, augment: AugmentConfig
) -> tf.Tensor:
    """Pose and relight one image; the same arguments give the same result.

    Args:
        image: uint8 of shape (size, size, 3); height and width are equal, so that it can be turned.
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
    """Mirror and turn an image or a mask, (size, size, c) of any dtype, as its view asks."""
    poses = list_poses(augment)
    number = view % len(poses)
    shape = image.shape
    turns, mirrored = (tf.gather([pose[part] for pose in poses], number) for part in (0, 1))
    if augment.flip:
        image = tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)
    if augment.quarter_turns:
        image = tf.image.rot90(image, turns)
    return tf.ensure_shape(image, shape)
