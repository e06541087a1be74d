"""Photographs as they come to be inspected: files, folders, patterns, archives, or names on a stream."""

from __future__ import annotations

import glob
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mvdefect.core.errors import ArgumentTypeError, ImageError, LayoutError
from mvdefect.core.files import UNREADABLE_ZIP, escape_name
from mvdefect.data.images import Pixels, is_image
from mvdefect.data.sources.folders import list_files

STDIN = "-"
MAX_MEMBERS, MAX_MEMBER_BYTES = 1_000_000, 2**29
LAST_SECOND = 253_402_300_799  # of the year 9999; a file may claim to be from a later one
PATTERN_SIGNS = "*?["
COLOUR_DIMENSIONS, BATCH_DIMENSIONS = 3, 4
CHANNELS = ((), (1,), (3,))
FAST_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)
TAKEN = (
    "an image must be a path, the bytes of a file, uint8 pixels of shape (height, width), (height, width, 3) "
    "or (n, height, width, 3), or an iterable of these"
)


PhotographKey = tuple[str, int, str]


@dataclass(frozen=True)
class Photograph:
    """One photograph that is to be inspected.

    Attributes:
        name: What its row is called: the path as it was given or found, escaped where it is not UTF-8; within
            an archive `<archive>/<member>`.
        path: The file, or the archive that holds it.
        member: Its name in the archive, "" outside of one.
        size_bytes: Of the file or member when it was found.
        modified_ns: When the file or the archive was last written by then, in nanoseconds since 1970; None
            where it was gone.
    """

    name: str
    path: Path
    member: str = ""
    size_bytes: int = 0
    modified_ns: int | None = None

    @property
    def modified(self) -> str:
        """When it was last written, in UTC, as in "2026-03-01T07:30:00.000000000Z"; "" where it was gone."""
        if self.modified_ns is None:
            return ""
        seconds, rest = divmod(self.modified_ns, 10**9)
        seconds = min(seconds, LAST_SECOND)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"

    @property
    def key(self) -> PhotographKey:
        """What tells it apart from all others; a camera may write a new photograph under an old name."""
        return self.name, self.size_bytes, self.modified

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            OSError: It cannot be read.
            ImageError: It is damaged or too large within its archive, or the archive is.
        """
        if not self.member:
            return self.path.read_bytes()
        try:
            with zipfile.ZipFile(self.path) as archive:
                return _read_member(archive, self.member)
        except (*UNREADABLE_ZIP, RuntimeError) as error:  # the last: it is encrypted
            raise ImageError(f"it cannot be unpacked: {error or type(error).__name__}") from error


def find_photograph(path: Path) -> Photograph:
    """Return the photograph that a file holds, and is called after."""
    try:
        found = path.stat()
    except OSError:  # whoever reads it will say why
        return Photograph(escape_name(path), path)
    return Photograph(escape_name(path), path, "", found.st_size, found.st_mtime_ns)


def list_photographs(sources: Iterable[str], lines: Iterable[str] = ()) -> Iterator[Photograph]:
    """Yield photographs one by one, in the order of the sources, sorted within a folder, pattern or archive.

    Args:
        sources: Files, folders (with all that lies below), patterns such as "line/*.png", `.zip` archives,
            and "-" for the names in `lines`. A file that is named is taken as it is; in a folder or an
            archive only what has the suffix of an image counts.
        lines: One name a line.

    Raises:
        LayoutError: A source does not exist, or a pattern fits nothing.
    """
    for source in sources:
        if source == STDIN:
            yield from list_photographs(name for line in lines if (name := line.strip()))
        else:
            yield from _list_source(source)


def _list_source(source: str) -> Iterator[Photograph]:
    path = Path(source)
    if path.is_dir():
        yield from (find_photograph(found) for found in list_files(path) if is_image(found.name))
    elif path.is_file():
        yield from _list_archive(path) if path.suffix.lower() == ".zip" else [find_photograph(path)]
    elif any(sign in source for sign in PATTERN_SIGNS):
        names = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        if not names:
            raise LayoutError(f"no file fits the pattern {source}")
        for name in names:
            yield from _list_source(name)
    else:
        raise LayoutError(f"there is no photograph, folder or archive {source}")


def _list_archive(path: Path) -> Iterator[Photograph]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {one.filename: one.file_size for one in archive.infolist() if not one.is_dir()}
        modified_ns = path.stat().st_mtime_ns
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise LayoutError(f"the archive {path} is damaged: {error}") from error
    if len(members) > MAX_MEMBERS:
        raise LayoutError(
            f"an archive may hold {MAX_MEMBERS:,} files; unpack it and name the folder. "
            f"Received: {len(members):,} in {path}"
        )
    for member, size_bytes in sorted(members.items()):
        if is_image(member):
            yield Photograph(f"{escape_name(path)}/{member}", path, member, size_bytes, modified_ns)


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size  # no more than that is unpacked, whatever comes
    if size > MAX_MEMBER_BYTES:
        raise ValueError(f"at most {MAX_MEMBER_BYTES:,} bytes are read. Received: {size:,}")
    return archive.read(name)


def read_images(images: Any) -> Iterator[bytes]:
    """Yield image files, whatever names or holds them; `Inspector.predict` says what that may be.

    Raises:
        ArgumentTypeError: An image is nothing that can be one.
        LayoutError: A path does not exist.
    """
    if isinstance(images, str | PathLike):
        yield from (_read_or_nothing(photograph) for photograph in list_photographs([str(images)]))
    elif isinstance(images, bytes | bytearray | memoryview):
        yield bytes(images)
    elif hasattr(images, "__array__"):
        yield from _encode_pixels(images)
    elif isinstance(images, Iterable) and not isinstance(images, Mapping):
        for image in images:
            yield from read_images(image)
    else:
        raise ArgumentTypeError(f"{TAKEN}. Received: {type(images).__name__}")


def _read_or_nothing(photograph: Photograph) -> bytes:
    """Return the bytes of a file; none, which no inspector can read, where there is no getting at them."""
    try:
        return photograph.read()
    except (OSError, ImageError):
        return b""


def _encode_pixels(images: Any) -> Iterator[bytes]:
    pixels = np.asarray(images)
    channels = pixels.shape[3:] if pixels.ndim == BATCH_DIMENSIONS else pixels.shape[2:]
    if pixels.dtype != np.uint8 or not 2 <= pixels.ndim <= BATCH_DIMENSIONS or channels not in CHANNELS:
        raise ArgumentTypeError(f"{TAKEN}. Received: {pixels.dtype} of shape {pixels.shape}")
    yield from map(encode_image, pixels if pixels.ndim == BATCH_DIMENSIONS else pixels[np.newaxis])


def encode_image(image: Pixels) -> bytes:
    """Encode pixels, uint8 (height, width) or RGB (height, width, 3), as a PNG file, which loses nothing."""
    ordered = np.ascontiguousarray(image[..., ::-1] if image.ndim == COLOUR_DIMENSIONS else image)
    encoded: bytes = cv2.imencode(".png", ordered, FAST_PNG)[1].tobytes()  # OpenCV writes BGR
    return encoded
