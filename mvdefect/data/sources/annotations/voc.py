"""Pascal VOC: an XML file for each image, with boxes.

Format: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from xml.etree.ElementTree import Element

from mvdefect.data.sources.annotations.files import (
    MAX_TEXT_BYTES,
    parse_xml,
    read_bytes,
    read_head,
    read_text,
)
from mvdefect.data.sources.annotations.images import Mark, Reading, pair_size
from mvdefect.data.sources.annotations.listing import Listing, find_part
from mvdefect.data.sources.annotations.per_image import Parsed, read_each
from mvdefect.data.sources.annotations.shapes import make_box_of_corners

NAME = "Pascal VOC annotations"
MAX_LOOKED_AT = 20
ROOT = re.compile(rb"<annotation[\s/>]")
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def find_files(listing: Listing) -> tuple[Path, ...]:
    """List the XML files, if one of the first few is VOC's."""
    files = listing.list_others(".xml")
    return files if any(ROOT.search(read_head(path)) for path in islice(files, MAX_LOOKED_AT)) else ()


def read_files(listing: Listing, files: Sequence[Path]) -> Reading:
    """Read VOC's files."""
    return read_each(listing, files, _parse, _read_lists(listing))


def _parse(path: Path) -> Parsed | None:
    root = parse_xml(read_bytes(path, MAX_TEXT_BYTES))
    if root.tag != "annotation":
        return None
    return Parsed(root.findtext("filename", "").strip(), tuple(_make_marks(root)), _read_size(root))


def _make_marks(root: Element) -> Iterator[Mark]:
    for found in root.iter("object"):
        name = found.findtext("name", "").strip()
        box = found.find("bndbox")
        if box is None:
            yield Mark(name)
            continue
        texts = [box.findtext(corner, "").strip() for corner in CORNERS]
        try:
            left, top, right, bottom = map(float, texts)
        except ValueError:
            raise ValueError(f"a box needs {', '.join(CORNERS)}. Received: {texts}") from None
        if right < left or bottom < top:
            raise ValueError(f"a box must not end before it begins. Received: {texts}")
        yield Mark(name, make_box_of_corners((left, top), (right, bottom)))


def _read_size(root: Element) -> tuple[int, int] | None:
    """Return height and width, where they are given."""
    try:
        height, width = (int(root.findtext(f"size/{side}", "")) for side in ("height", "width"))
    except ValueError:
        return None
    return pair_size(height, width)


def _read_lists(listing: Listing) -> dict[str, str]:
    """Return the part of each image that ImageSets/Main/train.txt, val.txt or test.txt lists."""
    parts: dict[str, str] = {}
    for path in listing.list_others(".txt"):
        part = find_part([path.stem])
        if part and "ImageSets" in path.relative_to(listing.root).parts:
            for line in read_text(path).splitlines():
                if words := line.split():
                    parts.setdefault(words[0], part)
    return parts
