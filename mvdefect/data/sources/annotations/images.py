"""What a file of annotations says of an image."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from mvdefect.data.records import GOOD, name_defect_type
from mvdefect.data.sources.annotations.files import show_some
from mvdefect.data.sources.annotations.listing import IMAGE_FOLDERS, ImageFinder, Listing, find_part
from mvdefect.data.sources.annotations.shapes import MAX_COORDINATE, Shape
from mvdefect.data.sources.labels import UNNAMED_DEFECT, join_types

MAX_NAME_LENGTH = 100  # it may become the name of a file


@dataclass(frozen=True)
class Mark:
    """One annotated region, or one class of an image.

    Attributes:
        name: The class, as annotated.
        shape: Where it is; None where only the class is known.
    """

    name: str
    shape: Shape | None = None


@dataclass(frozen=True)
class AnnotatedImage:
    """An image and its annotations.

    Attributes:
        path: The image.
        marks: Its annotations; none for a good image.
        size_px: Height and width that coordinates refer to; None for the image's own, and (1, 1) for
            fractions of it.
        part: "train", "val" or "test" where the annotations name it.
    """

    path: Path
    marks: tuple[Mark, ...] = ()
    size_px: tuple[int, int] | None = None
    part: str = ""

    def name_defect_type(self, good: Iterable[str] = ()) -> str:
        """Return "good", or the classes of its defects, sorted and joined by "+".

        Args:
            good: What else good images are called; a class of such a name does not count.
        """
        found = {name_defect_type(clean_name(mark.name), good) for mark in self.marks} - {GOOD}
        return join_types(found) if found else GOOD

    def list_shapes(self, good: Iterable[str] = ()) -> tuple[Shape, ...]:
        """Return where its defects are; regions of a class that means good are left out."""
        return tuple(
            mark.shape
            for mark in self.marks
            if mark.shape and name_defect_type(clean_name(mark.name), good) != GOOD
        )


@dataclass
class Reading:
    """What was read from the annotations of a data set.

    Attributes:
        images: By path.
        faults: What stops the work, each in one line.
        notes: What should be known, each in one line.
        repeated: Images that were annotated in more than one place.
        unmarked: How many images have no file of annotations, and count as good.
    """

    images: dict[Path, AnnotatedImage] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    repeated: list[Path] = field(default_factory=list)
    unmarked: int = 0

    def add(self, image: AnnotatedImage) -> None:
        """Add an image, or join its annotations to those that it has already."""
        known = self.images.get(image.path)
        if known is None:
            self.images[image.path] = image
            return
        self.repeated.append(image.path)
        known_marks = frozenset(known.marks)
        new = tuple(mark for mark in image.marks if mark not in known_marks)
        size_px, part = known.size_px or image.size_px, known.part or image.part
        self.images[image.path] = replace(known, marks=known.marks + new, size_px=size_px, part=part)

    def add_unmarked(self, listing: Listing) -> None:
        """Add the images without a file of annotations as good: those beside others that have one, and those
        below a folder `images`."""
        folders = {path.parent for path in self.images}
        for path in listing.images:
            parts = path.relative_to(listing.root).parent.parts
            is_among_images = path.parent in folders or not frozenset(parts).isdisjoint(IMAGE_FOLDERS)
            if path not in self.images and is_among_images and not listing.looks_like_mask(path):
                self.add(AnnotatedImage(path, part=find_part(parts)))
                self.unmarked += 1
        self.note_unused(listing, "lie in other folders")

    def note_unused(self, listing: Listing, reason: str) -> None:
        """Note the images that are not read; masks do not count."""
        if unused := listing.list_unnamed(self.images):
            self.notes.append(f"left out {len(unused)} image(s) that {reason}: {show_some(unused)}")

    def add_notes(self, finder: ImageFinder) -> None:
        """Note what was not found, and what was found twice."""
        for names, reason in (
            (finder.missing, "annotated but are not there"),
            (finder.ambiguous, "annotated by a name that several images have"),
        ):
            if names:
                self.notes.append(f"left out {len(names)} image(s) that are {reason}: {show_some(names)}")
        if self.repeated:
            names = [finder.listing.describe_path(path) for path in self.repeated]
            self.notes.append(
                f"{len(names)} image(s) are annotated more than once, joined: {show_some(names)}"
            )


def pair_size(height: int | None, width: int | None) -> tuple[int, int] | None:
    """Return height and width, or None where they are not given; many tools leave them at 0.

    Raises:
        ValueError: No image has such a size.
    """
    if not height or not width:
        return None
    if not (0 < height <= MAX_COORDINATE and 0 < width <= MAX_COORDINATE):
        raise ValueError(f"an image of {width}x{height} pixels cannot be")
    return height, width


def clean_name(name: str) -> str:
    """Make the name of a class fit for a defect type, in one line and without '/'."""
    printable = "".join(letter if letter.isprintable() else " " for letter in name)
    named = re.sub(r"\s*[/\\]\s*", "-", " ".join(printable.split()))
    return named[:MAX_NAME_LENGTH] or UNNAMED_DEFECT
