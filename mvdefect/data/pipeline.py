"""tf.data: from the prepared store and a split plan to shuffled, augmented batches.

Every random choice is a function of (seed, epoch, position), so an epoch can be drawn again on its
own: a run that goes on after an interrupt sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from mvdefect.config import AugmentConfig
from mvdefect.data.images import Pixels
from mvdefect.data.prepare import PreparedStore
from mvdefect.data.shards import SPLIT
from mvdefect.data.splits import PARTS, SplitPlan

MAX_SHUFFLE_BYTES = 1 << 30  # about 7,000 images of 224 pixels, which are stored as they are


@dataclass(frozen=True)
class Source:
    """The images of one part of a split plan, in a prepared store."""

    store: PreparedStore
    plan: SplitPlan
    part: str

    @property
    def count(self) -> int:
        """How many images the part has."""
        return len(self.plan.select(self.part))


def make_training_batches(
    source: Source,
    batch_size: int,
    augment: AugmentConfig,
    class_weights: Mapping[int, float],
    seed: int,
    epoch: int,
) -> tf.data.Dataset:
    """Make one epoch of training batches.

    Args:
        source: The part to train on.
        batch_size: Images a batch; the last batch may be smaller.
        augment: Which changes an image may undergo.
        class_weights: Loss weight of label 0 and of label 1.
        seed: Seed of the run.
        epoch: Number of the epoch, counted over all stages.

    Returns:
        Batches of (pixels, label, weight): uint8 (b, size, size, 3), float32 (b, 1), float32 (b,).
    """
    weights = tf.constant([class_weights[0], class_weights[1]], tf.float32)
    epoch_seed = seed * 100_003 + epoch

    def finish(position: tf.Tensor, example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        image = _decode_image(example, source.store.size_px)
        image = augment_image(image, tf.stack([tf.cast(epoch_seed, tf.int64), position]), augment)
        label = example["label"]
        return image, tf.cast(label, tf.float32)[tf.newaxis], tf.gather(weights, label)

    buffer = max(1, MAX_SHUFFLE_BYTES // (3 * source.store.size_px**2))
    examples = _read_examples(source, epoch_seed if buffer < source.count else None)
    shuffled = examples.shuffle(min(source.count, buffer), seed=epoch_seed, reshuffle_each_iteration=False)
    images = shuffled.enumerate().map(finish, num_parallel_calls=tf.data.AUTOTUNE)
    return images.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def make_inference_batches(source: Source, batch_size: int) -> tf.data.Dataset:
    """Make batches of the images of a part, unchanged, in the order of `source.plan.select(part)`.

    Returns:
        Batches of pixels: uint8 of shape (b, size, size, 3).
    """
    images = _read_examples(source).map(
        lambda example: _decode_image(example, source.store.size_px),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return images.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def read_pictures(source: Source, ids: Collection[str]) -> dict[str, tuple[Pixels, Pixels]]:
    """Read images of a part for people to look at.

    Returns:
        For each id of the part: the image, uint8 (size, size, 3), and its mask, uint8 (size, size), 255
        where the defect is.
    """
    wanted = tf.constant(sorted(ids), tf.string, shape=(len(ids),))
    pictures = _read_examples(source).filter(lambda example: tf.reduce_any(wanted == example["id"]))
    decoded = pictures.map(
        lambda example: (
            example["id"],
            _decode_image(example, source.store.size_px),
            tf.io.decode_png(example["mask"], channels=1)[:, :, 0],
        )
    )
    return {key.decode(): (image, mask) for key, image, mask in tfds.as_numpy(decoded)}


def augment_image(image: tf.Tensor, seed: tf.Tensor, augment: AugmentConfig) -> tf.Tensor:
    """Flip, turn and relight one image; the same seed gives the same result.

    Args:
        image: uint8 of shape (size, size, 3); height and width are equal, so that it can be turned.
        seed: int64 of shape (2,).
        augment: Which of the changes may happen. Brightness is shifted by up to `brightness` × 255
            grey values, and contrast is scaled about mid-grey by up to 1 ± `contrast`.

    Returns:
        uint8 of the same shape.
    """
    draws = tf.random.stateless_uniform((5,), seed)
    if augment.flip:
        image = tf.cond(draws[0] < 0.5, lambda: image, lambda: tf.reverse(image, [1]))
    if augment.quarter_turns:
        image = tf.image.rot90(image, tf.cast(draws[1] * 4, tf.int32))
    if augment.brightness or augment.contrast:
        signed = 2 * draws - 1
        contrast = 1 + augment.contrast * signed[2]
        shift = 255 * augment.brightness * signed[3]
        light = (tf.cast(image, tf.float32) - 127.5) * contrast + 127.5 + shift
        image = tf.cast(tf.clip_by_value(tf.round(light), 0, 255), tf.uint8)
    return image


def _decode_image(example: dict[str, tf.Tensor], size_px: int) -> tf.Tensor:
    return tf.ensure_shape(tf.io.decode_png(example["image"], channels=3), (size_px, size_px, 3))


def _read_examples(source: Source, shard_seed: int | None = None) -> tf.data.Dataset:
    """Read the examples of one part with images still encoded, sorted by id.

    With a seed the shards come in a drawn order: ids are sorted by class, and a part that is larger than
    the shuffle buffer would come class by class otherwise.
    """
    builder = tfds.builder_from_directory(source.store.path)
    encoded = {"image": tfds.decode.SkipDecoding(), "mask": tfds.decode.SkipDecoding()}
    config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False, add_tfds_id=False)
    if shard_seed is not None:
        draw = np.random.default_rng(shard_seed).permutation
        config.experimental_interleave_sort_fn = lambda files: [files[index] for index in draw(len(files))]
    examples = builder.as_dataset(split=SPLIT, decoders=encoded, read_config=config, shuffle_files=False)
    rows = source.plan.rows
    part_of_id = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            [row.id for row in rows], [PARTS.index(row.part) for row in rows], tf.string, tf.int64
        ),
        default_value=-1,
    )
    wanted = PARTS.index(source.part)
    chosen = examples.filter(lambda example: part_of_id.lookup(example["id"]) == wanted)
    return chosen.apply(tf.data.experimental.assert_cardinality(source.count))
