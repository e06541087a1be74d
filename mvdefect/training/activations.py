"""The activation store: what the frozen part makes of each image and view, computed once and kept.

One folder holds the activations of one part of a split plan at one cut of one network; its name is a hash
of all that decides them. In it lies one entry a slot, and a slot holds one view of every image (see
`mvdefect.data.epochs`), so an epoch reads one entry. Entries are computed when they are first asked for,
checked when they are opened, and mapped into memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mvdefect.config import AugmentConfig
from mvdefect.data.epochs import list_views
from mvdefect.data.pipeline import Source, Views, make_inference_batches, make_view_batches
from mvdefect.models.cut import CutClassifier
from mvdefect.progress import show_steps
from mvdefect.training.entries import Arrays, Entry, StoredDtype, write_entry
from mvdefect.training.room import hold_store

FORMAT_VERSION = 1
BATCH_SIZE = 64
PLAIN = "plain"
Run = Callable[[tf.Tensor], list[tf.Tensor]]


@dataclass(frozen=True)
class ViewSettings:
    """How images are shown in training; see `mvdefect.data.views`.

    Attributes:
        count: Views an image; 0: new ones in every epoch.
        seed: Seed of the run.
        augment: What views are made of.
    """

    count: int
    seed: int
    augment: AugmentConfig


@dataclass(frozen=True, eq=False)
class FrozenPart:
    """The frozen part of a cut, hashed and traced at most once, by whatever stores there are of it.

    Attributes:
        cut: The network; what is frozen must not change any more.
    """

    cut: CutClassifier

    @cached_property
    def digest(self) -> str:
        """Hash of all weights."""
        key = hashlib.sha256()
        for variable in self.cut.frozen.variables:
            key.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
        return key.hexdigest()

    @cached_property
    def run(self) -> Run:
        """From uint8 pixels (b, size, size, 3) to float32 activations; traced at the first call."""
        return trace_frozen(self.cut.frozen)


@dataclass(frozen=True)
class ActivationStore:
    """The activations of one part at one cut.

    Attributes:
        folder: Where the entries lie; see `name_store`.
        frozen: The network.
        source: The part.
        views: How its images are shown, or None where they are only shown as they are.
        dtype: What activations are stored as. float16 keeps 11 bits and saturates at ±65504.
    """

    folder: Path
    frozen: FrozenPart
    source: Source
    views: ViewSettings | None
    dtype: StoredDtype
    opened: dict[str, Arrays] = field(default_factory=dict, compare=False, repr=False)

    @property
    def bytes_per_slot(self) -> int:
        """Size of an entry."""
        return self.source.count * count_image_bytes(self.frozen.cut, self.dtype)

    def find_entry(self, slot: int | None) -> Entry:
        """Return the entry of a slot, or of the images as they are (None); it may not be there yet.

        Raises:
            ValueError: The store holds no views.
        """
        if slot is not None and self.views is None:
            raise ValueError(f"this store holds images as they are, so slot must be None. Received: {slot}")
        name = PLAIN if slot is None else f"slot-{slot:04}"
        shapes = tuple((self.source.count, *tensor.shape[1:]) for tensor in self.frozen.cut.frozen.outputs)
        return Entry(self.folder, name, shapes, self.dtype)

    def open_slot(self, slot: int | None) -> Arrays:
        """Return the activations of a slot, or of the images as they are (None).

        An entry that is missing or damaged is computed first.

        Returns:
            One read-only, memory-mapped array (n, ...) for each tensor at the cut, in the order of the part.

        Raises:
            ValueError: The store holds no views.
            OSError: The disk is full.
        """
        entry = self.find_entry(slot)
        if entry.name not in self.opened:
            hold_store(self.folder)
            if not entry.is_whole():
                compute_entries([self], slot, self.frozen.run)
            self.opened[entry.name] = entry.open()
            os.utime(self.folder)  # the time of the last use, by which old stores make room
        return self.opened[entry.name]


def compute_entries(stores: Sequence[ActivationStore], slot: int | None, run: Run) -> None:
    """Compute one slot of one or several stores, batch by batch.

    Args:
        stores: Stores of one source and the same views.
        slot: The slot, or None for the images as they are.
        run: From pixels to the activations of all stores, those of the first store first.

    Raises:
        ValueError: A store holds no views.
        OSError: The disk is full.
    """
    first, entries = stores[0], [store.find_entry(slot) for store in stores]
    for store in stores:
        hold_store(store.folder)
    with ExitStack() as stack:
        writers = [stack.enter_context(write_entry(entry)) for entry in entries]
        advance = stack.enter_context(show_steps("running the frozen part", first.source.count))
        for pixels in _show(first.source, first.views, slot):
            outputs = [keras.ops.convert_to_numpy(output) for output in run(pixels)]
            advance(len(outputs[0]))
            for entry, append in zip(entries, writers, strict=True):
                append(outputs[: len(entry.shapes)])
                del outputs[: len(entry.shapes)]


def trace_frozen(model: Any) -> Run:
    """Trace once for any batch size. Never with XLA on a processor: it is many times slower there."""
    shape = (None, *model.input_shape[1:])

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)])  # type: ignore[untyped-decorator]
    def run(pixels: tf.Tensor) -> list[tf.Tensor]:
        return [tf.cast(output, tf.float32) for output in keras.tree.flatten(model(pixels, training=False))]

    return run  # type: ignore[no-any-return]


def name_store(frozen: FrozenPart, source: Source, views: ViewSettings | None, dtype: StoredDtype) -> str:
    """Hash all that decides the activations: weights, preprocessing, images and views."""
    cut = frozen.cut
    settings = {
        "format": FORMAT_VERSION,
        "backbone": cut.backbone,
        "cut": cut.below.layers,
        "policy": keras.config.dtype_policy().name,
        "prepared": source.store.key,
        "part": source.part,
        "images": [(row.id, row.sha256) for row in source.rows],
        "views": views and [views.count, views.seed, views.augment.model_dump()],
        "dtype": dtype,
        "weights": frozen.digest,
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]


def count_image_bytes(cut: CutClassifier, dtype: StoredDtype) -> int:
    """Return the bytes that the activations of one image take."""
    values = sum(int(np.prod(tensor.shape[1:])) for tensor in cut.frozen.outputs)
    return values * np.dtype(dtype).itemsize


def _show(source: Source, views: ViewSettings | None, slot: int | None) -> Iterator[tf.Tensor]:
    if slot is None or views is None:
        return iter(make_inference_batches(source, BATCH_SIZE))
    listed = list_views(source.count, slot, views.seed, views.count)
    shown = Views(np.arange(source.count), listed, views.seed, views.augment)
    return iter(make_view_batches(source, shown, BATCH_SIZE).prefetch(2))
