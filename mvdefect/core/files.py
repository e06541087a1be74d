"""Files: where they go, how they are written whole or not at all, and tables as CSV."""

from __future__ import annotations

import atexit
import csv
import errno
import json
import lzma
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from mvdefect.core.errors import RunError
from mvdefect.core.progress import logger

# What reading a member of a damaged zip may raise.
UNREADABLE_ZIP = (
    OSError,  # of bzip2 as well
    MemoryError,  # it asks for more than there is
    EOFError,
    ValueError,
    KeyError,
    NotImplementedError,  # a way of packing that zipfile does not know
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
# The same for an .npz, or something else of that name.
UNREADABLE_NPZ = (*UNREADABLE_ZIP, TypeError, AttributeError)  # the last: an .npy instead of an .npz


DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})

Row = TypeVar("Row")
KINDS: dict[str, type] = {"int": int, "float": float, "str": str}


def cache_dir(name: str) -> Path:
    """Return (and make) a folder for what can be computed again.

    It lies in `$MVDEFECT_CACHE`, by default in `~/.cache/mvdefect`; in a folder of another user, each one
    has an own folder within, for nobody can lock or mend what belongs to others. Where nothing can be
    written, this process and those it begins use a temporary folder instead, and a warning says so.
    """
    root = Path(os.environ.get("MVDEFECT_CACHE") or Path.home() / ".cache" / "mvdefect")
    try:
        if root.is_dir() and root.stat().st_uid != os.getuid():
            root /= f"user-{os.getuid()}"
        return _make_writable(root / name)
    except OSError as error:
        temporary = Path(tempfile.mkdtemp(prefix="mvdefect-"))
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        os.environ["MVDEFECT_CACHE"] = str(temporary)
        logger.warning(
            "the cache %s cannot be written (%s), so nothing is kept for the next command; set "
            "MVDEFECT_CACHE to another folder",
            root,
            error.strerror,
        )
        return _make_writable(temporary / name)


def _make_writable(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
    return folder


def escape_name(name: str | os.PathLike[str]) -> str:
    r"""Return the name of a file as text: bytes of it that are not UTF-8 are written as in "caf\xe9"."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def show_name(name: str | os.PathLike[str]) -> str:
    r"""Return the name of a file as it can stand in one line: also signs that move a cursor are escaped."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in escape_name(name))


def describe_state(path: Path) -> bytes:
    """Return what tells whether a file is still the same without reading it.

    Args:
        path: The file.

    Returns:
        Its path, size, times of writing and of any change, and inode: who puts another file of the same
        size in its place can give it the old time of writing, but neither of the last two.

    Raises:
        OSError: There is no such file.
    """
    found = path.stat()
    numbers = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    return b"%s\0%d\0%d\0%d\0%d\n" % (os.fsencode(path), *numbers)


def parse_json(text: str | bytes) -> Any:
    """Read JSON.

    Raises:
        ValueError: It is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@contextmanager
def name_in_errors(path: Path) -> Iterator[None]:
    """Name a file in the errors of its disk that name none, as that of a full one."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_ERRORS:
            error.filename = error.filename or os.fspath(path)
        raise


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well.

    A reader sees the old file or the new one, never a half-written one; a failure (a full disk, an
    interrupt) leaves the old file as it was.
    """
    partial = path.with_name(f".{os.getpid()}.{path.name}")  # the suffix stays: Keras goes by it
    try:
        with name_in_errors(path):
            yield partial
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8), whole or not at all."""
    with replace_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_rows(
    path: Path, row_type: type[Any], rows: Iterable[Any], spread: Mapping[str, Iterable[str]] | None = None
) -> None:
    """Write rows under the names of their fields, whole or not at all.

    Args:
        path: Where the table goes.
        row_type: The dataclass of the rows.
        rows: Any number of them.
        spread: Fields that are mappings of numbers, with their keys; each key has a column.
    """
    spread = {name: tuple(keys) for name, keys in (spread or {}).items()}
    names = [key for field in fields(row_type) for key in spread.get(field.name, (field.name,))]
    trees = (
        {**tree, **{key: value for name in spread for key, value in tree[name].items()}}
        for tree in map(asdict, rows)
    )
    write_table(path, names, ([tree[name] for name in names] for tree in trees))


def write_table(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, whole or not at all.

    Args:
        path: Where it goes.
        names: Of the columns.
        rows: One value a column each.
    """
    with replace_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)


def read_rows(
    path: Path, row_type: type[Row], spread: Mapping[str, Iterable[str]] | None = None
) -> tuple[Row, ...]:
    """Read what `write_rows` wrote.

    Raises:
        RunError: The file is missing or damaged.
    """
    spread = {name: tuple(keys) for name, keys in (spread or {}).items()}
    kinds = {field.name: KINDS[str(field.type)] for field in fields(row_type) if field.name not in spread}  # type: ignore[arg-type]

    def parse(row: dict[str, str]) -> Row:
        mappings = {name: {key: float(row.pop(key)) for key in keys} for name, keys in spread.items()}
        return row_type(**{name: kinds[name](value) for name, value in row.items()}, **mappings)

    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return tuple(map(parse, csv.DictReader(stream)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
