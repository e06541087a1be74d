"""tf.data: from the prepared store and a split plan to batches, in any order and any view."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import tensorflow as tf

from mvdefect.config import AugmentConfig, Size
from mvdefect.core.errors import ImageError, list_some
from mvdefect.data.resolution import bound_batch
from mvdefect.data.shards import NAME, read_facts
from mvdefect.data.splits.plan import PlanRow, SplitPlan
from mvdefect.data.store import PreparedStore
from mvdefect.data.views import Integers, show_view

IMAGE = tf.io.FixedLenFeature((), tf.string)


@dataclass(frozen=True)
class Source:
    """The images of one part of a split plan, in a prepared store."""

    store: PreparedStore
    plan: SplitPlan
    part: str

    @cached_property
    def rows(self) -> tuple[PlanRow, ...]:
        """The rows of the part, sorted by id; images go by their numbers in it."""
        return tuple(self.plan.select(self.part))

    @property
    def count(self) -> int:
        """How many images the part has."""
        return len(self.rows)

    @cached_property
    def labels(self) -> Integers:
        """0 for good, 1 for defective, int64 (n,)."""
        return np.array([row.label for row in self.rows], np.int64)

    @cached_property
    def groups(self) -> Integers:
        """Number of the group of each image, int64 (n,)."""
        return np.array([row.group for row in self.rows], np.int64)

    def find(self, other: Source) -> Integers:
        """Return the numbers, in this part, of the images of another one that are all in it, int64 (n,)."""
        number_of = {row.id: number for number, row in enumerate(self.rows)}
        return np.array([number_of[row.id] for row in other.rows], np.int64)

    def holds(self, other: Source) -> bool:
        """Whether all images of another part are in this one."""
        return {row.id for row in other.rows} <= {row.id for row in self.rows}

    @cached_property
    def places(self) -> Integers:
        """Shard, offset and length in bytes of each image, int64 (n, 3).

        Raises:
            ImageError: The store lacks images of the part.
        """
        places = _index_store(self.store.path)
        missing = [row.id for row in self.rows if row.id not in places]
        if missing:
            raise ImageError(
                f"{len(missing)} image(s) of the split plan are not in the prepared store "
                f"{self.store.path}: {list_some(missing)}"
            )
        return np.array([places[row.id] for row in self.rows], np.int64).reshape(-1, 3)


@dataclass(frozen=True)
class Views:
    """Which image comes when, and how it is shown.

    Attributes:
        indices: Numbers of images, int64 (m,).
        views: A view of each, int64 (m,); see `mvdefect.data.views`.
        seed: Seed of the run.
        augment: What views are made of.
    """

    indices: Integers
    views: Integers
    seed: int
    augment: AugmentConfig


def make_view_batches(source: Source, views: Views, batch_size: int) -> tf.data.Dataset:
    """Make batches of images in the order and the views that are asked for.

    Returns:
        Batches of pixels: uint8 (b, size, size, 3); the last one may be smaller.
    """
    places = tf.data.Dataset.from_tensor_slices((source.places[views.indices], views.indices, views.views))
    read, size_px = _make_reader(source.store), source.store.size_px

    def show(place: tf.Tensor, index: tf.Tensor, view: tf.Tensor) -> tf.Tensor:
        image = _decode_image(_parse(read(place), "image"), size_px)
        return show_view(image, index, view, views.seed, views.augment)

    return places.map(show, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)


def make_inference_batches(source: Source, batch_size: int) -> tf.data.Dataset:
    """Make batches of the images of a part, unchanged, in the order of `source.rows`.

    Args:
        source: The part.
        batch_size: Images a batch, if they are small; see `bound_batch`.

    Returns:
        Batches of pixels: uint8 of shape (b, height, width, 3).
    """
    read, size_px = _make_reader(source.store), source.store.size_px
    images = tf.data.Dataset.from_tensor_slices(source.places).map(
        lambda place: _decode_image(_parse(read(place), "image"), size_px),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return images.batch(bound_batch(size_px, batch_size)).prefetch(tf.data.AUTOTUNE)


def read_masks(source: Source, cells: Size) -> np.ndarray:
    """Read the masks of a part at a coarse resolution, uint8 (n, *cells).

    A cell is 1 where any pixel of it is defective, so that small defects stay. Images without a mask
    have none set.

    Args:
        source: The part.
        cells: Cells down and across; divisors of the height and the width of the store.
    """
    height, width = (size // count for size, count in zip(source.store.size_px, cells, strict=True))
    masks = np.empty((source.count, *cells), np.uint8)
    examples = tf.data.Dataset.from_tensor_slices(source.places).map(
        _make_reader(source.store), num_parallel_calls=tf.data.AUTOTUNE
    )
    for number, example in enumerate(examples.prefetch(tf.data.AUTOTUNE)):
        mask = tf.io.decode_png(_parse(example, "mask"), channels=1).numpy()
        masks[number] = mask.reshape(cells[0], height, cells[1], width).max((1, 3)) > 127
    return masks


@lru_cache(maxsize=8)
def _index_store(path: Path) -> dict[str, tuple[int, int, int]]:
    """Find each image: number of its shard, offset and length of its example."""
    places = {}
    for number, shard in enumerate(_list_shards(path)):
        facts = read_facts(shard)
        if facts is None:
            raise ImageError(f"the prepared store {path} is damaged: {shard.name}; remove the folder")
        for key, offset, length in zip(facts.ids, facts.offsets, facts.lengths, strict=True):
            places[key] = (number, offset, length)
    return places


def _list_shards(path: Path) -> list[Path]:
    return sorted(file for file in path.glob(f"{NAME}-*.tfrecord-*") if file.suffix != ".json")


def _make_reader(store: PreparedStore):  # type: ignore[no-untyped-def]
    """Return a function from a place, int64 (3,), to the serialised example there, for use in `map`."""
    shards = _list_shards(store.path)

    def read(place: np.ndarray) -> bytes:
        shard, offset, length = map(int, place)
        with shards[shard].open("rb", buffering=0) as stream:
            return os.pread(stream.fileno(), length, offset)

    return lambda place: tf.ensure_shape(tf.numpy_function(read, [place], tf.string, stateful=False), ())


def _parse(example: tf.Tensor, name: str) -> tf.Tensor:
    return tf.io.parse_single_example(example, {name: IMAGE})[name]


def _decode_image(encoded: tf.Tensor, size_px: Size) -> tf.Tensor:
    return tf.ensure_shape(tf.io.decode_png(encoded, channels=3), (*size_px, 3))
