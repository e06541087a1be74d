"""The activation store: what the frozen part makes of each image and view, computed once and kept.

One folder holds the activations of one part of a split plan at one cut of one network; its name is a hash
of all that decides them. In it lies one entry a slot, and a slot holds one view of every image (see
`mvdefect.data.views`), so an epoch reads one entry. Entries are computed when they are first asked for,
checked when they are opened, and mapped into memory. `fill_stores` fills those of several cuts at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from mvdefect.config import AugmentConfig
from mvdefect.core.files import parse_json, replace_file, write_text
from mvdefect.core.progress import logger, show_steps
from mvdefect.data.pipeline import Source, Views, make_inference_batches, make_view_batches
from mvdefect.data.resolution import bound_batch
from mvdefect.data.views import list_views
from mvdefect.models.classifier import CutClassifier, join_frozen
from mvdefect.training.budget import hold_store

CHUNK_BYTES = 1 << 24
MAX_FLOAT16 = 65504.0
StoredDtype = Literal["float16", "float32"]
Arrays = list[np.ndarray]


FORMAT_VERSION = 1
BATCH_SIZE = 64
PLAIN = "plain"
Run = Callable[[tf.Tensor], list[tf.Tensor]]


@dataclass(frozen=True)
class Entry:
    """The files of one entry, whether they are there or not.

    Attributes:
        folder: Of the store.
        name: Of the entry.
        shapes: Of its arrays.
        dtype: Of its arrays.
    """

    folder: Path
    name: str
    shapes: tuple[tuple[int, ...], ...]
    dtype: StoredDtype

    @property
    def note(self) -> Path:
        """The file with the checksums, which is written last."""
        return self.folder / f"{self.name}.json"

    @property
    def paths(self) -> list[Path]:
        """One file an array."""
        return [self.folder / f"{self.name}.{number}.npy" for number in range(len(self.shapes))]

    def is_whole(self) -> bool:
        """Whether every array holds what was written; the log says where one does not."""
        try:
            expected = parse_json(self.note.read_text(encoding="utf-8"))["crc32"]
            found = [_sum_array(path) for path in self.paths]
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError, TypeError):
            found, expected = [], None
        if found != expected:
            logger.warning("the stored activations %s are damaged; they are computed again", self.name)
        return bool(found == expected)

    def open(self) -> Arrays:
        """Map the arrays into memory, read-only."""
        return [np.load(path, mmap_mode="r") for path in self.paths]


@contextmanager
def write_entry(entry: Entry) -> Iterator[Callable[[Sequence[np.ndarray]], None]]:
    """Write an entry block by block.

    Its files appear when the `with` block ends well, the note last; otherwise nothing changes.

    Yields:
        A function that appends the next rows, one float32 array (b, ...) for each array of the entry.

    Raises:
        OSError: The disk is full.
    """
    entry.folder.mkdir(parents=True, exist_ok=True)
    sums = [0] * len(entry.shapes)
    with ExitStack() as stack:
        streams = [
            stack.enter_context(stack.enter_context(replace_file(path)).open("wb")) for path in entry.paths
        ]
        for stream, shape in zip(streams, entry.shapes, strict=True):
            _write_header(stream, shape, entry.dtype)

        def append(outputs: Sequence[np.ndarray]) -> None:
            for number, (stream, output) in enumerate(zip(streams, outputs, strict=True)):
                block = _to_dtype(output, entry.dtype).tobytes()
                sums[number] = zlib.crc32(block, sums[number])
                stream.write(block)

        yield append
    write_text(entry.note, json.dumps({"crc32": sums}) + "\n")


def _to_dtype(output: np.ndarray, dtype: StoredDtype) -> np.ndarray:
    if dtype == "float16":
        output = np.clip(output, -MAX_FLOAT16, MAX_FLOAT16)
    return output.astype(dtype)


def _write_header(stream: Any, shape: tuple[int, ...], dtype: str) -> None:
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)


def _sum_array(path: Path) -> int:
    with path.open("rb") as stream:
        np.lib.format.read_magic(stream)
        np.lib.format.read_array_header_1_0(stream)
        total = 0
        while block := stream.read(CHUNK_BYTES):
            total = zlib.crc32(block, total)
    return total


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
    batch_size = bound_batch(source.store.size_px, BATCH_SIZE)
    return iter(make_view_batches(source, shown, batch_size).prefetch(2))


def fill_stores(stores: Sequence[ActivationStore], slots: Sequence[int | None]) -> None:
    """Compute what is missing of some slots; afterwards every store holds all of them.

    Stores hold what they would compute on their own. What is whole already is not touched, and where
    everything is whole, nothing runs. A batch at a time is in memory.

    Args:
        stores: Stores of one source and the same views, at cuts that share the layers of one backbone;
            see `mvdefect.models.freezing.join_frozen`. Two of one folder count as one.
        slots: The slots; None stands for the images as they are.

    Raises:
        ValueError: The stores are of several sources, views or backbones, or hold no views and slots of
            views are asked for.
        OSError: The disk is full.
    """
    _check_stores(stores)
    distinct = list({store.folder: store for store in stores}.values())
    runs: dict[tuple[int, ...], Run] = {}
    for slot in slots:
        missing = [number for number, store in enumerate(distinct) if not store.find_entry(slot).is_whole()]
        if not missing:
            continue
        chosen, key = [distinct[number] for number in missing], tuple(missing)
        if key not in runs:
            runs[key] = _trace(chosen)
        compute_entries(chosen, slot, runs[key])


def _check_stores(stores: Sequence[ActivationStore]) -> None:
    shown = [(store.source.store.key, store.source.part, store.source.rows, store.views) for store in stores]
    if any(other != shown[0] for other in shown):
        raise ValueError(
            "stores that are filled together must be of one source and the same views. "
            f"Received: {len(stores)} stores of "
            f"{', '.join(sorted({f'{part} of {key}' for key, part, *_ in shown}))}"
        )


def _trace(stores: Sequence[ActivationStore]) -> Run:
    if len(stores) == 1:
        return stores[0].frozen.run
    return trace_frozen(join_frozen([store.frozen.cut.below for store in stores]))
