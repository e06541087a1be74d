"""One walk through a folder of images: what lies where, and what is left out."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePath

from mvdefect.core.errors import LayoutError, list_some
from mvdefect.core.files import show_name
from mvdefect.core.progress import logger
from mvdefect.data.images import is_image
from mvdefect.data.records import normalise_name

MAX_DEPTH = 64
NO_IMAGES = "that are no images"  # how a note tells of side files
MAX_KINDS_LISTED = 6
FILES_UNTIL_A_LINE = 200_000
SKIPPED_FOLDERS = frozenset(
    {"@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "__macosx", "lost+found"}
    | {"$recycle.bin", "system volume information"}
)
IGNORED_FILES = frozenset({"thumbs.db", "desktop.ini"})
# What is no image, whatever Pillow could write under that name; all else is looked at.
SIDE_FILE = re.compile(
    r"\.(jsonl?|xml|txt|[ct]sv|md|rst|ya?ml|toml|ini|cfg|log|html?|pdf|docx?|xlsx?|ods|pptx?|db|sqlite|np[yz]|h5"
    r"|hdf5?|mat|pkl|pth?|onnx|py|ipynb|sh|bat|zip|tar|t?gz|xz|7z|rar|lnk|url|mpe?g|mp4|avi|mov|mkv|wmv|e?ps|svg"
    r"|[we]mf|bufr|grib)"
)
UNREAD_PICTURE = re.compile(r"\.(hei[cf]|dng|raw|cr[23]|nef|nrw|arw|orf|rw2|raf|pef|srw|x3f)")
SIGNATURES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0\x0cjP  ",
)
SIGNATURE_BYTES = 14
Identity = tuple[int, int]  # of a folder: device and inode


@dataclass(frozen=True)
class Folder:
    """A folder that was walked through.

    Attributes:
        path: Where it is.
        files: The names of the images that lie in it directly, sorted.
        folders: The folders in it, sorted by name.
        others: The files in it that are no images, sorted by name.
    """

    path: Path
    files: tuple[str, ...]
    folders: tuple[Folder, ...]
    others: tuple[Path, ...] = ()

    @cached_property
    def images(self) -> tuple[Path, ...]:
        """The images that lie in it directly, sorted by name."""
        return tuple(map(self.path.joinpath, self.files))

    @cached_property
    def name(self) -> str:
        """Its name, in one spelling and one line, without spaces around it."""
        return show_name(normalise_name(self.path.name)).strip()

    @cached_property
    def count(self) -> int:
        """How many images lie in it and below."""
        return len(self.files) + sum(folder.count for folder in self.folders)

    def list_images(self) -> list[Path]:
        """Return the images in it and below."""
        return [*self.images, *(path for folder in self.folders for path in folder.list_images())]

    def walk(self) -> Iterator[Folder]:
        """Yield it and all folders below."""
        yield self
        for folder in self.folders:
            yield from folder.walk()


class Risk(str):
    """A note of what may spoil the result; plain text tells what was left out or assumed."""

    __slots__ = ()


@dataclass
class _LeftOut:
    """What a walk leaves out: counted, and told in one note."""

    files: Counter[str] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)
    links: int = 0
    seen: int = 0

    def count(self, entry: os.DirEntry[str]) -> None:
        """Say now and then that a long walk goes on."""
        self.seen += 1
        if self.seen % FILES_UNTIL_A_LINE == 0:
            logger.info("still looking for images: %d files so far, now %s", self.seen, show_name(entry.path))

    def add(self, entry: os.DirEntry[str]) -> None:
        """Count what is neither a folder nor an image."""
        if not entry.is_file():
            self.links += entry.is_symlink()
        elif entry.name.lower() not in IGNORED_FILES:
            self.files[show_name(PurePath(entry.name).suffix.lower()) or "without a suffix"] += 1

    def describe(self) -> tuple[str, ...]:
        """Return the notes."""
        notes: list[str] = []
        if self.files:
            notes.append(f"left out {self.files.total()} file(s) {NO_IMAGES}: {_list(self.files)}")
        if pictures := Counter({kind: n for kind, n in self.files.items() if UNREAD_PICTURE.fullmatch(kind)}):
            told = f"{_list(pictures)} cannot be read: save such images as PNG, TIFF or JPEG"
            notes.append(Risk(told))
        if self.folders:
            notes.append(f"left out the folder(s) of systems and programs: {_list(self.folders)}")
        if self.links:
            notes.append(f"left out {self.links} link(s) that lead nowhere, in a circle or to a folder again")
        return tuple(notes)


def _list(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return list_some([f"{count} {name}" for name, count in ordered], MAX_KINDS_LISTED)


@dataclass(frozen=True)
class Tree:
    """All images below a folder.

    Attributes:
        top: The folder.
        notes: What was left out.
    """

    top: Folder
    notes: tuple[str, ...]


def name_root(root: Path) -> str:
    """Return the name of a folder of images: that of its product, where nothing else names one."""
    return show_name(normalise_name(root.resolve().name)).strip() or "images"


def read_tree(root: Path) -> Tree:
    """Walk through a folder, its links included; hidden files are passed over.

    A file counts as an image by the suffix of its name or, if the suffix is none that is known, by its first
    bytes. A folder that links lead to is walked through once more for them, however many they are.

    Raises:
        LayoutError: Folders are nested too deeply.
        OSError: A folder cannot be read, so that images would be missing unnoticed.
    """
    left_out = _LeftOut()
    whole = root.resolve()
    above = frozenset(_identify(place) for place in (whole, *whole.parents))
    return Tree(_walk(root, above, set(), left_out), left_out.describe())


def _identify(path: str | Path) -> Identity:
    state = Path(path).stat()
    return state.st_dev, state.st_ino


def _walk(
    place: Path, above: frozenset[Identity], linked: set[Identity], left_out: _LeftOut, depth: int = 0
) -> Folder:
    if depth > MAX_DEPTH:
        raise LayoutError(f"folders may be nested {MAX_DEPTH} deep. Received: {show_name(place)[:300]}...")
    images, folders, others = [], [], []
    for entry in _scan(place):
        left_out.count(entry)
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if (key := _enter(entry, above, linked, left_out)) is not None:
                folders.append(_walk(Path(entry.path), above | {key}, linked, left_out, depth + 1))
        elif entry.is_file() and _counts_as_image(entry):
            images.append(entry.name)
        else:
            left_out.add(entry)
            others += [Path(entry.path)] if entry.is_file() else []
    return Folder(place, tuple(images), tuple(folders), tuple(others))


def _scan(place: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):  # it has gone in the meantime
        return []


def _enter(
    entry: os.DirEntry[str], above: frozenset[Identity], linked: set[Identity], left_out: _LeftOut
) -> Identity | None:
    """Return which folder it is, or None if it is left out, or leads to where the walk has been."""
    if entry.name.lower() in SKIPPED_FOLDERS:
        left_out.folders[show_name(entry.name)] += 1
        return None
    key = _identify(entry.path)
    if key in above or (entry.is_symlink() and key in linked):
        left_out.links += 1
        return None
    if entry.is_symlink():
        linked.add(key)
    return key


@lru_cache(maxsize=256)
def _has_image_suffix(suffix: str) -> bool | None:
    """Whether it is the suffix of an image; None: only the file can tell."""
    if SIDE_FILE.fullmatch(suffix) or UNREAD_PICTURE.fullmatch(suffix):
        return False
    return True if is_image(f"image{suffix}") else None


def _counts_as_image(entry: os.DirEntry[str]) -> bool:
    known = _has_image_suffix(os.path.splitext(entry.name)[1].lower())  # noqa: PTH122 (50,000 Paths take long)
    if known is None:
        return entry.name.lower() not in IGNORED_FILES and has_signature(entry.path)
    return known


def has_signature(path: str | Path) -> bool:
    """Whether a file begins as an image does; one that cannot be read does not."""
    try:
        with open(path, "rb") as stream:  # noqa: PTH123
            head = stream.read(SIGNATURE_BYTES)
    except OSError:
        return False
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    is_bmp = head[:2] == b"BM" and head[6:10] == b"\0\0\0\0"
    return head.startswith(SIGNATURES) or is_webp or is_bmp
