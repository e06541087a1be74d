"""Details of many images, outside of memory, where several processes can read them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from types import TracebackType

import numpy as np

from mvdefect.core.files import cache_dir, name_in_errors
from mvdefect.core.parallel import map_in_threads
from mvdefect.core.progress import track
from mvdefect.data.groups.details import MAX_BLOCKS, MAX_PICTURE_PX, Detail, make_detail
from mvdefect.data.images import Pixels

HEADER = np.dtype([("height", "<u2"), ("width", "<u2"), ("blocks", "<u2")])
SERIALS = count()  # a descriptor's number is used again, and so the path alone does not tell files apart
SLOT_BYTES = HEADER.itemsize + 2 * MAX_PICTURE_PX + MAX_BLOCKS

_opened: dict[DetailReader, int] = {}


@dataclass(frozen=True)
class DetailReader:
    """Reads stored details by the number of their image; it can be sent to another process."""

    path: str
    serial: int

    def get(self, number: int) -> Detail:
        """Return the detail of an image that is stored."""
        stored = os.pread(_open(self), SLOT_BYTES, number * SLOT_BYTES)
        height, width, blocks = np.frombuffer(stored, HEADER, 1)[0].tolist()
        size, start = height * width, HEADER.itemsize
        grey = np.frombuffer(stored, np.uint8, size, start).reshape(height, width)
        structure = np.frombuffer(stored, np.int8, size, start + size).reshape(height, width)
        return Detail(grey, structure, np.frombuffer(stored, np.bool_, blocks, start + 2 * size))


class DetailStore:
    """Keeps details in a sparse file without a name, so that nothing is left behind whatever happens."""

    def __init__(self, read_grey: Callable[[int], Pixels]) -> None:
        """Make a store of images that `read_grey` returns by number, as uint8 of shape (height, width)."""
        self._read_grey = read_grey
        self._folder = cache_dir("details")
        self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (closed by __exit__)
        self._stored: set[int] = set()
        self.reader = DetailReader(f"/proc/{os.getpid()}/fd/{self._file.fileno()}", next(SERIALS))

    def __enter__(self) -> DetailStore:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the space back."""
        self._file.close()

    def fill(self, numbers: Iterable[int]) -> None:
        """Read images and store their details, those that are not stored yet."""
        wanted = sorted(set(numbers) - self._stored)
        done = map_in_threads(self._store, wanted)
        self._stored.update(track(done, "Reading details", len(wanted)))

    def _store(self, number: int) -> int:
        detail = make_detail(self._read_grey(number))
        header = np.array([(*detail.grey.shape, len(detail.is_informative))], HEADER)
        parts = (header, detail.grey, detail.structure, detail.is_informative)
        with name_in_errors(self._folder):
            os.pwrite(self._file.fileno(), b"".join(part.tobytes() for part in parts), number * SLOT_BYTES)
        return number


def _open(reader: DetailReader) -> int:
    """Return the descriptor of a reader's file; that of an earlier reader is closed."""
    if reader not in _opened:
        for descriptor in _opened.values():
            os.close(descriptor)
        _opened.clear()
        _opened[reader] = os.open(reader.path, os.O_RDONLY)
    return _opened[reader]
