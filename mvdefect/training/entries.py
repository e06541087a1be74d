"""Entries of an activation store: some arrays and their checksums, written whole or not at all."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mvdefect.paths import replace_file, write_text
from mvdefect.progress import logger

CHUNK_BYTES = 1 << 24
MAX_FLOAT16 = 65504.0
StoredDtype = Literal["float16", "float32"]
Arrays = list[np.ndarray]


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
            expected = json.loads(self.note.read_text(encoding="utf-8"))["crc32"]
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
