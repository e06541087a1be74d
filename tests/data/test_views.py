"""Views: poses and light, each a function of (seed, image, number)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mvdefect.config import AugmentConfig
from mvdefect.data.views import list_poses, pose_view, show_view
from tests.conftest import make_texture

NOTHING = AugmentConfig(flip=False, quarter_turns=False, brightness=0, contrast=0)


def show_many(image: np.ndarray, augment: AugmentConfig, count: int = 64, index: int = 5) -> list[np.ndarray]:
    """Show views inside `map`, and check that it gives what it gives eagerly."""
    number = tf.constant(index, tf.int64)
    views = tf.data.Dataset.range(count)
    inside = [f.numpy() for f in views.map(lambda view: show_view(image, number, view, 7, augment))]
    eager = [show_view(tf.constant(image), number, view, 7, augment).numpy() for view in views]
    assert all(np.array_equal(a, b) for a, b in zip(inside, eager, strict=True))
    return inside


def test_view_0_is_the_image_itself() -> None:
    image = make_texture(0, 32, 32)
    for augment in (AugmentConfig(), NOTHING, AugmentConfig(brightness=0.5, contrast=0.9)):
        assert np.array_equal(show_many(image, augment, 1)[0], image)


def test_eight_views_are_the_eight_poses_of_a_square() -> None:
    image = make_texture(0, 32, 32)
    poses = {np.rot90(base, turns).tobytes() for base in (image, image[:, ::-1]) for turns in range(4)}
    augment = AugmentConfig(brightness=0, contrast=0)
    assert {found.tobytes() for found in show_many(image, augment, 8)} == poses
    assert len(list_poses(augment)) == 8


def test_each_change_can_be_switched_off() -> None:
    image = make_texture(0, 32, 32)
    assert all(np.array_equal(found, image) for found in show_many(image, NOTHING))
    flips = show_many(image, NOTHING.model_copy(update={"flip": True}))
    assert {f.tobytes() for f in flips} == {image.tobytes(), np.ascontiguousarray(image[:, ::-1]).tobytes()}
    turns = show_many(image, NOTHING.model_copy(update={"quarter_turns": True}))
    assert {f.tobytes() for f in turns} == {np.rot90(image, turn).tobytes() for turn in range(4)}


def test_light_depends_on_seed_image_and_view() -> None:
    grey = tf.fill((8, 8, 3), tf.constant(100, tf.uint8))
    augment = NOTHING.model_copy(update={"brightness": 0.4})
    seen = {
        int(show_view(grey, tf.constant(i, tf.int64), tf.constant(v, tf.int64), s, augment)[0, 0, 0])
        for i, v, s in ((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2))
    }
    assert len(seen) == 4


def test_brightness_shifts_within_its_bound() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    shown = show_many(grey, NOTHING.model_copy(update={"brightness": 0.1}))
    shifts = [int(found[0, 0, 0]) - 100 for found in shown]
    assert -26 <= min(shifts) < -15
    assert 15 < max(shifts) <= 26


def test_contrast_scales_about_mid_grey() -> None:
    image = np.full((8, 8, 3), 27, np.uint8)
    image[4:] = 228
    for found in show_many(image, NOTHING.model_copy(update={"contrast": 0.2})):
        low, high = int(found[0, 0, 0]), int(found[7, 0, 0])
        assert 160 <= high - low <= 242
        assert abs((low + high) / 2 - 127.5) <= 1


def test_a_mask_is_posed_as_its_image() -> None:
    image = make_texture(0, 32, 32)
    coarse = image.reshape(8, 4, 8, 4, 3).max((1, 3))
    augment = AugmentConfig(brightness=0, contrast=0)
    for view, shown in enumerate(show_many(image, augment, 8)):
        posed = pose_view(tf.constant(coarse), tf.constant(view, tf.int64), augment).numpy()
        assert np.array_equal(posed, shown.reshape(8, 4, 8, 4, 3).max((1, 3)))
