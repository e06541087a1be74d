"""Where files go, how they are written whole or not at all."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What reading a damaged .npz, or something else of that name, may raise.
UNREADABLE_NPZ = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,  # an .npy instead of an .npz
    NotImplementedError,  # a way of packing that zipfile does not know
    zipfile.BadZipFile,
    zlib.error,
)


def cache_dir(name: str) -> Path:
    """Return (and make) a folder for what can be computed again.

    It lies in `$MVDEFECT_CACHE`, by default in `~/.cache/mvdefect`.
    """
    root = Path(os.environ.get("MVDEFECT_CACHE") or Path.home() / ".cache" / "mvdefect")
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well.

    A reader sees the old file or the new one, never a half-written one; a failure (a full disk, an
    interrupt) leaves the old file as it was.
    """
    partial = path.with_name(f".{os.getpid()}.{path.name}")  # the suffix stays: Keras goes by it
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8), whole or not at all."""
    with replace_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
