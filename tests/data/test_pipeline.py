"""tf.data: order, seeds, augmentation and weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mvdefect.config import AugmentConfig
from mvdefect.data import pipeline
from mvdefect.data.groups import group_records
from mvdefect.data.images import decode_image, resize_image
from mvdefect.data.layouts import read_records
from mvdefect.data.pipeline import (
    Source,
    augment_image,
    make_inference_batches,
    make_training_batches,
    read_pictures,
)
from mvdefect.data.prepare import prepare_images
from mvdefect.data.protocols import assign_closed_set
from mvdefect.data.scan import scan_images
from mvdefect.data.splits import PARTS
from tests.conftest import make_texture

NOTHING = AugmentConfig(flip=False, quarter_turns=False, brightness=0, contrast=0)
WEIGHTS = {0: 0.5, 1: 2.0}


@pytest.fixture(scope="module")
def sources(parts_root: Path) -> dict[str, Source]:
    scan = scan_images(read_records(parts_root))
    plan = assign_closed_set(scan, group_records(scan), 0)
    store = prepare_images(scan.records, 64, "letterbox")
    return {part: Source(store, plan, part) for part in PARTS}


def test_inference_follows_the_order_of_the_plan(sources: dict[str, Source], parts_root: Path) -> None:
    source = sources["val"]
    batches = list(make_inference_batches(source, 7))
    assert [len(batch) for batch in batches[:-1]] == [7] * (len(batches) - 1)
    images = np.concatenate([batch.numpy() for batch in batches])
    assert len(images) == source.count
    for row, image in zip(source.plan.select("val"), images, strict=True):
        assert np.array_equal(image, resize_image(decode_image((parts_root / row.id).read_bytes()), 64))


def test_parts_share_no_image_and_leave_none_out(sources: dict[str, Source]) -> None:
    assert sum(source.count for source in sources.values()) == 80


def collect(source: Source, seed: int, epoch: int, augment: AugmentConfig = NOTHING) -> list[np.ndarray]:
    batches = make_training_batches(source, 16, augment, WEIGHTS, seed, epoch)
    return [np.concatenate(parts) for parts in zip(*batches.as_numpy_iterator(), strict=True)]


def test_an_epoch_holds_each_image_once_with_its_label_and_weight(sources: dict[str, Source]) -> None:
    source = sources["train"]
    images, labels, weights = collect(source, 0, 0)
    plain = np.concatenate(list(make_inference_batches(source, 16).as_numpy_iterator()))
    assert sorted(image.tobytes() for image in images) == sorted(image.tobytes() for image in plain)
    label_of = {
        image.tobytes(): row.label for image, row in zip(plain, source.plan.select("train"), strict=True)
    }
    assert labels[:, 0].tolist() == [label_of[image.tobytes()] for image in images]
    assert weights.tolist() == [WEIGHTS[int(label)] for label in labels[:, 0]]


def test_the_same_seed_and_epoch_give_the_same_batches(sources: dict[str, Source]) -> None:
    first, again = (
        collect(sources["train"], 1, 2, AugmentConfig()),
        collect(sources["train"], 1, 2, AugmentConfig()),
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(("seed", "epoch"), [(1, 3), (2, 2)])
def test_another_epoch_or_seed_gives_another_order(sources: dict[str, Source], seed: int, epoch: int) -> None:
    first, other = collect(sources["train"], 1, 2)[0], collect(sources["train"], seed, epoch)[0]
    assert not np.array_equal(first, other)


def test_a_part_larger_than_the_buffer_is_mixed_too(
    sources: dict[str, Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sources["train"]
    plain = np.concatenate(list(make_inference_batches(source, 16).as_numpy_iterator()))
    row_of = {image.tobytes(): row for row, image in enumerate(plain)}
    monkeypatch.setattr(pipeline, "MAX_SHUFFLE_BYTES", 4 * plain[0].nbytes)
    orders = [[row_of[image.tobytes()] for image in collect(source, 0, epoch)[0]] for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    for order in orders:
        assert sorted(order) == list(range(len(plain)))
    # Read in their order, the first eight of an epoch would come from the first eight and the buffer.
    assert any(max(order[:8]) >= 8 + 4 for order in orders)


def augment_many(image: np.ndarray, augment: AugmentConfig, count: int = 64) -> list[np.ndarray]:
    """Augment inside `map`, and check that it gives what it gives eagerly."""
    seeds = tf.data.Dataset.range(count).map(lambda number: tf.stack([tf.constant(5, tf.int64), number]))
    inside = [found.numpy() for found in seeds.map(lambda seed: augment_image(image, seed, augment))]
    eager = [augment_image(tf.constant(image), seed, augment).numpy() for seed in seeds]
    assert all(np.array_equal(a, b) for a, b in zip(inside, eager, strict=True))
    return inside


def test_flips_and_turns_give_the_eight_poses_of_a_square() -> None:
    image = make_texture(0, 32, 32)
    mirrored = image[:, ::-1]
    poses = {np.rot90(base, turns).tobytes() for base in (image, mirrored) for turns in range(4)}
    augment = AugmentConfig(flip=True, quarter_turns=True, brightness=0, contrast=0)
    assert {found.tobytes() for found in augment_many(image, augment, 100)} == poses


def test_each_change_can_be_switched_off() -> None:
    image = make_texture(0, 32, 32)
    assert all(np.array_equal(found, image) for found in augment_many(image, NOTHING))
    flips = augment_many(image, NOTHING.model_copy(update={"flip": True}))
    assert {f.tobytes() for f in flips} == {image.tobytes(), np.ascontiguousarray(image[:, ::-1]).tobytes()}
    turns = augment_many(image, NOTHING.model_copy(update={"quarter_turns": True}))
    assert {f.tobytes() for f in turns} == {np.rot90(image, turn).tobytes() for turn in range(4)}


def test_brightness_shifts_within_its_bound() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    shifts = [
        int(f[0, 0, 0]) - 100 for f in augment_many(grey, NOTHING.model_copy(update={"brightness": 0.1}))
    ]
    assert -26 <= min(shifts) < -15
    assert 15 < max(shifts) <= 26


def test_contrast_scales_about_mid_grey() -> None:
    image = np.full((8, 8, 3), 27, np.uint8)
    image[4:] = 228
    for found in augment_many(image, NOTHING.model_copy(update={"contrast": 0.2})):
        low, high = int(found[0, 0, 0]), int(found[7, 0, 0])
        assert 160 <= high - low <= 242
        assert abs((low + high) / 2 - 127.5) <= 1


def test_pictures_are_read_by_id(sources: dict[str, Source]) -> None:
    source = sources["test"]
    rows = [row for row in source.plan.select("test") if row.label][:2]
    pictures = read_pictures(source, [row.id for row in rows])
    assert set(pictures) == {row.id for row in rows}
    for image, mask in pictures.values():
        assert image.shape == (64, 64, 3)
        assert set(np.unique(mask)) == {0, 255}
    assert read_pictures(source, []) == {}
