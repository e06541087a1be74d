"""Annotations with a file for each image, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mvdefect.core.progress import track
from mvdefect.data.sources.annotations.images import AnnotatedImage, Mark, Reading
from mvdefect.data.sources.annotations.listing import ImageFinder, Listing


@dataclass(frozen=True)
class Parsed:
    """What one file says.

    Attributes:
        name: Of the image; "" where it is not given.
        marks: Its annotations.
        size_px: Height and width of the image.
    """

    name: str
    marks: tuple[Mark, ...]
    size_px: tuple[int, int] | None


def read_each(
    listing: Listing,
    files: Sequence[Path],
    parse: Callable[[Path], Parsed | None],
    parts: Mapping[str, str] | None = None,
) -> Reading:
    """Read a file for each image; images without one beside others with one are good.

    Args:
        listing: Where the images are.
        files: What to read.
        parse: Reads one file; None if it holds something else.
        parts: The part of an image by its name without suffix; by default that of its folder.

    Returns:
        What was read; files that cannot be parsed are faults.
    """
    reading, finder = Reading(), ImageFinder(listing)
    others = 0
    for path in track(files, "Reading annotations", len(files)):
        try:
            parsed = parse(path)
        except ValueError as error:
            reading.faults.append(f"{listing.describe_path(path)}: {error}")
            continue
        if parsed is None:
            others += 1
        elif (found := _find_image(finder, path, parsed.name)) is not None:
            part = (parts or {}).get(path.stem) or listing.find_part(found.parent)
            reading.add(AnnotatedImage(found, parsed.marks, parsed.size_px, part))
    if others:
        reading.notes.append(f"{others} file(s) hold something else and are not used")
    reading.add_notes(finder)
    if reading.images:
        reading.add_unmarked(listing)
    return reading


def _find_image(finder: ImageFinder, path: Path, name: str) -> Path | None:
    """Find the image called as the file, which may have been renamed with it; else the one that it names."""
    suffix = Path(name.replace("\\", "/")).suffix
    own = finder.find(path.stem + suffix, path.parent, remember=False)
    return own or finder.find(name or path.stem, path.parent)
