"""Batches: what a stage trains on and is validated by, from photographs or from stored activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mvdefect.config import Size
from mvdefect.data.pipeline import Source, Views, make_inference_batches, make_view_batches, read_masks
from mvdefect.data.views import Epoch, Integers, draw_epoch, list_views, pose_view
from mvdefect.training.activations import ActivationStore, ViewSettings

PREFETCH = 4


def number_strata(source: Source) -> Integers:
    """Number each image by its category and class, int64 (n,)."""
    names = [(row.category, row.label) for row in source.rows]
    number_of = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([number_of[name] for name in names], np.int64)


def weigh_strata(strata: Integers) -> NDArray[np.float32]:
    """Return the loss weight of each image that makes all strata count alike, float32 (n,).

    `n / (strata * n_stratum)`, the "balanced" rule of scikit-learn (King & Zeng, 2001).
    """
    counts = np.bincount(strata)
    return np.asarray(len(strata) / (len(counts) * counts[strata]), np.float32)


@dataclass(frozen=True)
class TrainingSet:
    """The train part and what is asked of each of its images.

    Attributes:
        source: The photographs.
        whole: What they are a part of, whose views and stored activations they share.
        views: How they are shown.
        strata: Category and class of each, as a number, int64 (n,).
        balanced: Whether strata come equally often.
        weights: Loss weight of each image, float32 (n,).
        masks: Where each is defective, uint8 (n, rows, columns), or None where the loss needs none.
        mask_weights: 1 where the mask is known, 0 where it is not, float32 (n,).
        devices: How many devices share a batch.
    """

    source: Source
    whole: Source
    views: ViewSettings
    strata: Integers
    balanced: bool
    weights: NDArray[np.float32]
    masks: NDArray[np.uint8] | None
    mask_weights: NDArray[np.float32]
    devices: int

    @cached_property
    def places(self) -> Integers:
        """The number of each image in the whole, int64 (n,)."""
        return self.whole.find(self.source)

    def list_views(self, slot: int) -> Integers:
        """Return which view of each image a slot holds, int64 (n,)."""
        return list_views(self.whole.count, slot, self.views.seed, self.views.count)[self.places]

    def draw_epoch(self, epoch: int) -> Epoch:
        """Draw what comes when in an epoch, counted over all stages from 0."""
        return draw_epoch(self.strata, self.views.seed, epoch, self.views.count, self.balanced)


def make_training_set(
    source: Source,
    views: ViewSettings,
    balance: str,
    mask_cells: Size | None,
    devices: int = 1,
    whole: Source | None = None,
) -> TrainingSet:
    """Collect the targets of a part.

    Args:
        source: The part.
        views: How its images are shown.
        balance: "weights", "batches" or "none"; see `mvdefect.config`.
        mask_cells: Cells of the mask targets, down and across; None: no masks are needed.
        devices: How many devices share a batch.
        whole: What the part is taken from, where several parts of it are trained on; None: it is whole.
    """
    strata = number_strata(source)
    even = np.ones(source.count, np.float32)
    masks = None if mask_cells is None else read_masks(source, mask_cells)
    known = even if masks is None else (masks.any((1, 2)) | (source.labels == 0)).astype(np.float32)
    weights = weigh_strata(strata) if balance == "weights" else even
    is_even = balance == "batches"
    return TrainingSet(source, whole or source, views, strata, is_even, weights, masks, known, devices)


def make_training_batches(
    data: TrainingSet, epoch: int, batch_size: int, store: ActivationStore | None
) -> tf.data.Dataset:
    """Make the batches of one epoch.

    Args:
        data: What to train on.
        epoch: Number of the epoch, counted over all stages, from 0.
        batch_size: Images a batch; the last one may be smaller.
        store: Where the frozen part's activations are, or None to begin at the pixels.

    Returns:
        Batches of (inputs, targets, weights). Inputs are pixels, uint8 (b, size, size, 3), or the stored
        activations, float32. Targets are labels, float32 (b, 1), and with masks also those, float32
        (b, rows, columns, 1); weights are float32 (b,) for each.
    """
    drawn = data.draw_epoch(epoch)
    left_over = len(drawn.indices) % batch_size
    if 0 < left_over < data.devices:  # a device without an image has no loss
        drawn = Epoch(drawn.indices[:-left_over], drawn.slots[:-left_over])
    views = _view_of_each(data, drawn)
    if store is None:
        shown = Views(drawn.indices, views, data.views.seed, data.views.augment)
        inputs = make_view_batches(data.source, shown, batch_size)
    else:
        inputs = _make_stored_batches(data, store, drawn, batch_size)
    targets = _make_targets(data, drawn.indices, views).batch(batch_size)
    joined = tf.data.Dataset.zip((inputs, targets)).map(lambda x, rest: (x, *rest))
    return joined.prefetch(PREFETCH)


def make_plain_batches(source: Source, batch_size: int, store: ActivationStore | None) -> tf.data.Dataset:
    """Make batches of the images of a part as they are, in its order: pixels, or stored activations."""
    if store is None:
        return make_inference_batches(source, batch_size)
    arrays, places = store.open_slot(None), store.source.find(source)

    def read(start: int) -> tuple[np.ndarray, ...]:
        return tuple(array[places[start : start + batch_size]] for array in arrays)

    batches = _read_batches(read, arrays, source.count, batch_size)
    return tf.data.Dataset.zip((batches,)).prefetch(PREFETCH)


def _view_of_each(data: TrainingSet, drawn: Epoch) -> Integers:
    views = np.empty(len(drawn.indices), np.int64)
    for slot in np.unique(drawn.slots):
        chosen = drawn.slots == slot
        views[chosen] = data.list_views(int(slot))[drawn.indices[chosen]]
    return views


def _make_targets(data: TrainingSet, indices: Integers, views: Integers) -> tf.data.Dataset:
    labels = data.source.labels[indices].astype(np.float32)[:, np.newaxis]
    weights = data.weights[indices]
    if data.masks is None:
        return tf.data.Dataset.from_tensor_slices((labels, weights))
    rows = (labels, weights, weights * data.mask_weights[indices], indices, views)
    masks, augment = tf.constant(data.masks[..., np.newaxis]), data.views.augment

    def pose(label: Any, weight: Any, mask_weight: Any, index: Any, view: Any) -> Any:
        mask = tf.cast(pose_view(tf.gather(masks, index), view, augment), tf.float32)
        return (label, mask), (weight, mask_weight)

    return tf.data.Dataset.from_tensor_slices(rows).map(pose)


def _make_stored_batches(
    data: TrainingSet, store: ActivationStore, drawn: Epoch, batch_size: int
) -> tf.data.Dataset:
    slots = {int(slot): store.open_slot(int(slot)) for slot in np.unique(drawn.slots)}
    arrays = next(iter(slots.values()))

    def read(start: int) -> tuple[np.ndarray, ...]:
        batch = slice(start, start + batch_size)
        return _gather(slots, data.places[drawn.indices[batch]], drawn.slots[batch])

    return _read_batches(read, arrays, len(drawn.indices), batch_size)


def _gather(
    slots: dict[int, list[np.ndarray]], indices: Integers, wanted: Integers
) -> tuple[np.ndarray, ...]:
    present = np.unique(wanted)
    if len(present) == 1:
        return tuple(array[indices] for array in slots[int(present[0])])
    batch = [np.empty((len(indices), *array.shape[1:]), array.dtype) for array in slots[int(present[0])]]
    for slot in present:
        chosen = wanted == slot
        for rows, array in zip(batch, slots[int(slot)], strict=True):
            rows[chosen] = array[indices[chosen]]
    return tuple(batch)


def _read_batches(
    read: Callable[[int], tuple[np.ndarray, ...]], arrays: list[np.ndarray], count: int, batch_size: int
) -> tf.data.Dataset:
    """Batches of float32 activations, each read when it is due by the number of its first image.

    A generator would do as well, but half a second goes by until TensorFlow has put one away.
    """

    def load(start: tf.Tensor) -> Any:
        found = tf.numpy_function(read, [start], [array.dtype for array in arrays])
        for tensor, array in zip(found, arrays, strict=True):
            tensor.set_shape((None, *array.shape[1:]))
        return _unpack(found)

    return tf.data.Dataset.range(0, count, batch_size).map(load)


def _unpack(inputs: Sequence[tf.Tensor]) -> Any:
    cast = tuple(tf.cast(tensor, tf.float32) for tensor in inputs)
    return cast[0] if len(cast) == 1 else cast
