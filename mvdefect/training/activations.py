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
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from mvdefect.config import AugmentConfig
from mvdefect.data.epochs import list_views
from mvdefect.data.pipeline import Source, Views, make_inference_batches, make_view_batches
from mvdefect.models.cut import CutClassifier
from mvdefect.paths import replace_file, write_text
from mvdefect.progress import logger, show_steps

FORMAT_VERSION = 1
BATCH_SIZE = 64
CHUNK_BYTES = 1 << 24
PLAIN = "plain"
MAX_FLOAT16 = 65504.0
StoredDtype = Literal["float16", "float32"]
Arrays = list[np.ndarray]


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


@dataclass(frozen=True)
class ActivationStore:
    """The activations of one part at one cut.

    Attributes:
        folder: Where the entries lie; see `name_store`.
        cut: The network.
        source: The part.
        views: How its images are shown.
        dtype: What activations are stored as. float16 keeps 11 bits and saturates at ±65504.
    """

    folder: Path
    cut: CutClassifier
    source: Source
    views: ViewSettings
    dtype: StoredDtype
    opened: dict[str, Arrays] = field(default_factory=dict, compare=False, repr=False)

    @property
    def bytes_per_slot(self) -> int:
        """Size of an entry."""
        return self.source.count * count_image_bytes(self.cut, self.dtype)

    def open_slot(self, slot: int | None) -> Arrays:
        """Return the activations of a slot, or of the images as they are (None).

        An entry that is missing, damaged or of another shape is computed first.

        Returns:
            One read-only, memory-mapped array (n, ...) for each tensor at the cut, in the order of the part.

        Raises:
            OSError: The disk is full.
        """
        name = PLAIN if slot is None else f"slot-{slot:04}"
        if name not in self.opened:
            paths = self._list_files(name)
            if not _is_whole(self._note(name), paths):
                self._compute(name, paths, slot)
            self.opened[name] = [np.load(path, mmap_mode="r") for path in paths]
            os.utime(self.folder)  # the time of the last use, by which old stores make room
        return self.opened[name]

    def _compute(self, name: str, paths: Sequence[Path], slot: int | None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shapes = [(self.source.count, *tensor.shape[1:]) for tensor in self.cut.frozen.outputs]
        sums = [0] * len(paths)
        with ExitStack() as stack:
            streams = [
                stack.enter_context(stack.enter_context(replace_file(path)).open("wb")) for path in paths
            ]
            for stream, shape in zip(streams, shapes, strict=True):
                _write_header(stream, shape, self.dtype)
            advance = stack.enter_context(show_steps("running the frozen part", self.source.count))
            for outputs in self._run_frozen(slot):
                for number, (stream, output) in enumerate(zip(streams, outputs, strict=True)):
                    block = _to_dtype(output, self.dtype).tobytes()
                    sums[number] = zlib.crc32(block, sums[number])
                    stream.write(block)
                advance(len(outputs[0]))
        write_text(self._note(name), json.dumps({"crc32": sums}) + "\n")

    def _run_frozen(self, slot: int | None) -> Iterator[Arrays]:
        settings, count = self.views, self.source.count
        if slot is None:
            batches = make_inference_batches(self.source, BATCH_SIZE)
        else:
            views = list_views(count, slot, settings.seed, settings.count)
            shown = Views(np.arange(count), views, settings.seed, settings.augment)
            batches = make_view_batches(self.source, shown, BATCH_SIZE).prefetch(2)
        run = _compile(self.cut.frozen)
        for pixels in batches:
            yield [keras.ops.convert_to_numpy(output) for output in run(pixels)]

    def _note(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _list_files(self, name: str) -> list[Path]:
        return [self.folder / f"{name}.{number}.npy" for number in range(len(self.cut.names))]


def name_store(cut: CutClassifier, source: Source, views: ViewSettings, dtype: StoredDtype) -> str:
    """Hash all that decides the activations: weights, preprocessing, images and views."""
    key = hashlib.sha256()
    settings = {
        "format": FORMAT_VERSION,
        "backbone": cut.backbone,
        "cut": cut.names,
        "policy": keras.config.dtype_policy().name,
        "prepared": source.store.key,
        "part": source.part,
        "images": [(row.id, row.sha256) for row in source.rows],
        "views": [views.count, views.seed, views.augment.model_dump()],
        "dtype": dtype,
    }
    key.update(json.dumps(settings, sort_keys=True).encode())
    for variable in cut.frozen.variables:
        key.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
    return key.hexdigest()[:32]


def count_image_bytes(cut: CutClassifier, dtype: StoredDtype) -> int:
    """Return the bytes that the activations of one image take."""
    values = sum(int(np.prod(tensor.shape[1:])) for tensor in cut.frozen.outputs)
    return values * np.dtype(dtype).itemsize


def _compile(frozen: Any) -> Any:
    """Trace once for any batch size. Never with XLA on a processor: it is many times slower there."""
    shape = (None, *frozen.input_shape[1:])

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)])  # type: ignore[untyped-decorator]
    def run(pixels: tf.Tensor) -> list[tf.Tensor]:
        return [tf.cast(output, tf.float32) for output in keras.tree.flatten(frozen(pixels, training=False))]

    return run


def _to_dtype(output: np.ndarray, dtype: StoredDtype) -> np.ndarray:
    if dtype == "float16":
        output = np.clip(output, -MAX_FLOAT16, MAX_FLOAT16)
    return output.astype(dtype)


def _write_header(stream: Any, shape: tuple[int, ...], dtype: str) -> None:
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)


def _is_whole(note: Path, paths: Sequence[Path]) -> bool:
    """Whether every array holds what was written."""
    try:
        expected = json.loads(note.read_text(encoding="utf-8"))["crc32"]
        found = [_sum_array(path) for path in paths]
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        found, expected = [], None
    if found != expected:
        logger.warning("the stored activations %s are damaged; they are computed again", note.stem)
    return bool(found == expected)


def _sum_array(path: Path) -> int:
    with path.open("rb") as stream:
        np.lib.format.read_magic(stream)
        np.lib.format.read_array_header_1_0(stream)
        total = 0
        while block := stream.read(CHUNK_BYTES):
            total = zlib.crc32(block, total)
    return total
