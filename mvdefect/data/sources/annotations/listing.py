"""What lies below a data root: its images, by any name that an annotation may give them, and other files."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from mvdefect.data.records import normalise_name
from mvdefect.data.sources.folders import PART_NAMES
from mvdefect.data.sources.masks import MASK_ENDING, MASK_FOLDERS
from mvdefect.data.sources.tree import Tree

IMAGE_FOLDERS = ("images", "JPEGImages", "img", "imgs")


@dataclass(frozen=True)
class Listing:
    """The files below a data root.

    Attributes:
        root: Where ids begin.
        images: Every image, sorted.
        others: Every other file by its suffix in lower case, as in ".json", the shallowest first.
    """

    root: Path
    images: tuple[Path, ...]
    others: Mapping[str, tuple[Path, ...]]

    @cached_property
    def image_set(self) -> frozenset[Path]:
        """The images, to look one up."""
        return frozenset(self.images)

    @cached_property
    def stems(self) -> frozenset[str]:
        """The images' names without suffix."""
        return frozenset(path.stem for path in self.images)

    @cached_property
    def _facts(self) -> dict[Path, tuple[str, bool]]:
        return {}

    def find_part(self, folder: Path) -> str:
        """Return the part (train, val or test) that a folder below the root is named after; "" for none."""
        return self._judge(folder)[0]

    def looks_like_mask(self, path: Path) -> bool:
        """Whether an image is a mask by its name, or by that of a folder in which it lies."""
        return bool(MASK_ENDING.search(path.stem)) or self._judge(path.parent)[1]

    def _judge(self, folder: Path) -> tuple[str, bool]:
        if folder not in self._facts:
            names = folder.relative_to(self.root).parts if folder.is_relative_to(self.root) else ()
            self._facts[folder] = (find_part(names), any(map(MASK_FOLDERS.fullmatch, names)))
        return self._facts[folder]

    def list_others(self, *suffixes: str) -> tuple[Path, ...]:
        """List the files of some suffixes, the shallowest first."""
        return tuple(path for suffix in suffixes for path in self.others.get(suffix, ()))

    def describe_path(self, path: Path) -> str:
        """Return a file's path from the root, as text for a message."""
        return normalise_name(
            (path.relative_to(self.root) if path.is_relative_to(self.root) else path).as_posix()
        )

    def list_unnamed(self, named: Collection[Path]) -> list[str]:
        """List the images that are not among some, as text for a message; masks do not count."""
        return [
            self.describe_path(path)
            for path in self.images
            if path not in named and not self.looks_like_mask(path)
        ]


def list_files(tree: Tree) -> Listing:
    """List what was found below a folder."""
    others: defaultdict[str, list[Path]] = defaultdict(list)
    for folder in tree.top.walk():
        for path in folder.others:
            others[path.suffix.lower()].append(path)
    ordered = {
        suffix: tuple(sorted(paths, key=lambda path: (len(path.parts), path)))
        for suffix, paths in others.items()
    }
    return Listing(tree.top.path, tuple(sorted(tree.top.list_images())), ordered)


def find_part(names: Iterable[str]) -> str:
    """Return the part that names of folders or files speak of, as "images/train" and "instances_val2017" do.

    Returns:
        "train", "val" or "test"; "" where none is named, or more than one.
    """
    words = (word for name in names for word in re.split(r"[^a-z]+", name.lower()))
    found = {PART_NAMES[word] for word in words if word in PART_NAMES}
    return found.pop() if len(found) == 1 else ""


@dataclass
class ImageFinder:
    """Finds the images that annotations name, and remembers those that it could not find.

    Attributes:
        listing: Where to look.
        missing: Names that no image has.
        ambiguous: Names that several images have, none of which lies nearer than the others.
    """

    listing: Listing
    missing: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        return _index(self.listing.images, lambda path: path.name)

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        return _index(self.listing.images, lambda path: path.stem)

    def find(self, name: str, near: Path, remember: bool = True) -> Path | None:
        """Find an image.

        Args:
            name: As the annotation has it: a path from anywhere, from another computer, or on S3.
            near: The folder of the annotation's file.
            remember: Note the name where there is none.
        """
        wanted = PurePosixPath(*_split(name))
        named = self._by_name.get(_fold(wanted.name)) or self._by_stem.get(_fold(wanted.stem), [])
        allowed = [path for path in named if self._may_be(path, wanted, near)]
        nearest = self._keep_nearest(allowed, wanted, near)
        if len(nearest) == 1:
            return nearest[0]
        if remember:
            (self.ambiguous if nearest else self.missing).append(name)
        return None

    def _may_be(self, path: Path, wanted: PurePosixPath, near: Path) -> bool:
        """Whether an image is of the part that its name, or else its annotation's folder, speaks of."""
        own = self.listing.find_part(path.parent)
        named = find_part(wanted.parent.parts) or self.listing.find_part(near)
        return not own or not named or own == named

    def _keep_nearest(self, paths: list[Path], wanted: PurePosixPath, near: Path) -> list[Path]:
        """Keep the images whose folders agree best with the name, and then with those of the annotation."""
        if len(paths) < 2:
            return paths
        for folder in (near, self.listing.root):
            if (path := folder / wanted) in self.listing.image_set:
                return [path]
        beside = near.relative_to(self.listing.root).parts if near.is_relative_to(self.listing.root) else ()

        def rate(path: Path) -> tuple[int, int, int]:
            own = path.parent.relative_to(self.listing.root).parts
            agreement = _count_common(own, beside) + _count_common(own[::-1], beside[::-1])
            kind = 1 - self.listing.looks_like_mask(path) + (not frozenset(own).isdisjoint(IMAGE_FOLDERS))
            return _count_common(own[::-1], wanted.parent.parts[::-1]), agreement, kind

        best = max(map(rate, paths))
        return [path for path in paths if rate(path) == best]


def _split(name: str) -> list[str]:
    parts = name.replace("\\", "/").replace("\0", "").split("/")
    return [part for part in parts if part not in ("", ".", "..")] or ["?"]


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _index(paths: Iterable[Path], name: Callable[[Path], str]) -> dict[str, list[Path]]:
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:
        found[_fold(name(path))].append(path)
    return found


def _count_common(first: Iterable[str], second: Iterable[str]) -> int:
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count
