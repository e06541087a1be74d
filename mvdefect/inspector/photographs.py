"""Photographs as they come to be inspected: files, folders, patterns, archives, or names on a stream."""

from __future__ import annotations

import glob
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import IO, Any

import cv2
import numpy as np

from mvdefect.core.errors import ArgumentTypeError, ImageError, LayoutError, list_some
from mvdefect.core.files import UNREADABLE_ZIP, escape_name
from mvdefect.core.progress import logger
from mvdefect.data.file_kinds import HEAD_BYTES, explain_unknown, is_side_file, looks_like_image
from mvdefect.data.images import Pixels, is_image
from mvdefect.data.sources.folders import MASK_FOLDER, MASK_SUFFIX, list_files
from mvdefect.data.sources.manifest import list_table_images
from mvdefect.data.sources.opening import is_manifest

STDIN = "-"
MAX_MEMBERS, MAX_MEMBER_BYTES = 1_000_000, 2**29
LAST_SECOND = 253_402_300_799  # of the year 9999; a file may claim to be from a later one
PATTERN_SIGNS = "*?["
MASK_FOLDERS = frozenset({MASK_FOLDER, "mask", "masks"})
HIDDEN = re.compile(r"(^|/)(\.|__MACOSX/)")
SHOWN_NAMES = 5
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
            ImageError: It is no image, by its first bytes; or it is damaged or too large within its archive,
                or the archive is.
        """
        if not self.member:
            with self.path.open("rb") as stream:
                return _read_image(stream, self.path.name)
        try:
            with zipfile.ZipFile(self.path) as archive:
                return _read_member(archive, self.member)
        except ImageError:
            raise
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
            tables (CSV) with a column of paths, and "-" for the names in `lines`. Any other file that is
            named is taken as it is. Of a folder, a pattern or an archive all is taken but notes, tables and
            the like, and masks of a data set; a message says how many were left out.
        lines: One name a line.

    Raises:
        LayoutError: A source does not exist, or a pattern fits nothing.
    """
    for source in sources:
        if source == STDIN:
            for line in lines:
                if name := line.strip():
                    yield from _list_source(name)
        elif is_manifest(source) and Path(source).is_file():
            yield from _list_table(Path(source))
        else:
            yield from _list_source(source)


def _list_table(path: Path) -> Iterator[Photograph]:
    """Yield the images that a table names; a text that is no table is taken as it is, as other files are."""
    try:
        yield from map(find_photograph, list_table_images(path))
    except LayoutError:
        if path.suffix.lower() != ".txt":
            raise
        yield find_photograph(path)


def _list_source(source: str) -> Iterator[Photograph]:
    path = Path(source)
    if path.is_dir():
        names = sort_names([found.relative_to(path).as_posix() for found in list_files(path)])
        names.tell(source)
        yield from (find_photograph(path / name) for name in names.images)
    elif path.is_file():
        yield from _list_archive(path) if path.suffix.lower() == ".zip" else [find_photograph(path)]
    elif any(sign in source for sign in PATTERN_SIGNS):
        found = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        if not found:
            raise LayoutError(f"no file fits the pattern {source}")
        names = sort_names(found, has_masks=False)
        names.tell(source)
        for name in names.images:
            yield from _list_source(name)
    else:
        raise LayoutError(f"there is no image, folder or archive {source}")


@dataclass(frozen=True)
class SortedNames:
    """Names of files, by what they are.

    Attributes:
        images: What is inspected, or is a row that says why not.
        notes: Notes, tables, logs and the like.
        masks: Masks of a data set, which are no products.
    """

    images: tuple[str, ...]
    notes: tuple[str, ...]
    masks: tuple[str, ...]

    def tell(self, place: str) -> None:
        """Say what is left out."""
        for names, what in (
            (self.notes, "file(s) whose names are not those of images"),
            (self.masks, "mask(s)"),
        ):
            if names:
                shown = list_some(list(map(escape_name, names)), SHOWN_NAMES)
                logger.info("%s: left out %d %s: %s", escape_name(place), len(names), what, shown)


def sort_names(names: Sequence[str], has_masks: bool = True) -> SortedNames:
    """Tell files that are to be inspected from what lies beside them, by their names alone.

    Args:
        names: Below a folder, with "/" between its parts.
        has_masks: Whether there may be masks: below a folder that is called as those of masks are, or called
            `<name>_mask` beside an image `<name>`.
    """
    stems = {PurePosixPath(name).with_suffix("").as_posix() for name in names}
    kinds: dict[str, list[str]] = {"images": [], "notes": [], "masks": []}
    for name in names:
        kind = "notes" if is_side_file(name) else "images"
        if has_masks and _is_mask(PurePosixPath(name), stems):
            kind = "masks"
        kinds[kind].append(name)
    return SortedNames(**{kind: tuple(found) for kind, found in kinds.items()})


def _is_mask(name: PurePosixPath, stems: Set[str]) -> bool:
    if not MASK_FOLDERS.isdisjoint(part.lower() for part in name.parts[:-1]):
        return True
    stem = name.with_suffix("").as_posix()
    return stem.endswith(MASK_SUFFIX) and stem.removesuffix(MASK_SUFFIX) in stems


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
    names = sort_names([name for name in sorted(members) if not HIDDEN.search(name)])
    names.tell(str(path))
    for member in names.images:
        yield Photograph(f"{escape_name(path)}/{member}", path, member, members[member], modified_ns)


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size  # no more than that is unpacked, whatever comes
    if size > MAX_MEMBER_BYTES:
        raise ValueError(f"at most {MAX_MEMBER_BYTES:,} bytes are read. Received: {size:,}")
    with archive.open(name) as stream:
        return _read_image(stream, name)


def _read_image(stream: IO[bytes], name: str) -> bytes:
    """Read a file to its end; one that is not called as an image only if it begins as one.

    Raises:
        ImageError: It does not.
    """
    if is_image(name):
        return stream.read()
    head = stream.read(HEAD_BYTES)
    if head and not looks_like_image(head, name):
        raise ImageError(explain_unknown(head, name))
    return head + stream.read()


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
