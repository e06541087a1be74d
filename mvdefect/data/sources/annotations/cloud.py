"""JSON lines of SageMaker Ground Truth and Lookout for Vision: one image a line, its file on S3.

Format: https://docs.aws.amazon.com/lookout-for-vision/latest/developer-guide/manifest-files.html and
https://docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.core.errors import ImageError
from mvdefect.core.files import describe_state, parse_json, show_name
from mvdefect.core.progress import track
from mvdefect.data.images import decode_image
from mvdefect.data.records import GOOD, name_defect_type
from mvdefect.data.sources.annotations.files import MAX_TABLE_BYTES, read_head, read_text, show_some
from mvdefect.data.sources.annotations.images import AnnotatedImage, Mark, Reading, pair_size
from mvdefect.data.sources.annotations.listing import ImageFinder, Listing, find_part
from mvdefect.data.sources.annotations.shapes import MaskFile, make_box
from mvdefect.data.sources.labels import UNNAMED_DEFECT

NAME = "JSON lines of a cloud service"
SUFFIXES = (".manifest", ".jsonl", ".ndjson")
IMAGE = "source-ref"
METADATA = "-metadata"
WHITE = (255, 255, 255)

Cells = Mapping[str, Any]


def find_files(listing: Listing) -> tuple[Path, ...]:
    """List the files of JSON lines that name images on S3."""
    return tuple(path for path in listing.list_others(*SUFFIXES) if is_manifest(path))


def is_manifest(path: Path) -> bool:
    """Whether a file begins as a manifest of JSON lines does."""
    return f'"{IMAGE}"'.encode() in read_head(path)


@dataclass
class _Found:
    """What the lines have given so far: besides the images, masks and lines without a label."""

    finder: ImageFinder
    reading: Reading = field(default_factory=Reading)
    masks: set[Path] = field(default_factory=set)
    unlabelled: int = 0


def read_files(listing: Listing, files: Sequence[Path]) -> Reading:
    """Read manifests; images that none of them names are left out."""
    found = _Found(ImageFinder(listing))
    notes = found.reading.notes
    for path in files:
        name = listing.describe_path(path)
        try:
            lines = read_text(path, MAX_TABLE_BYTES).split("\n")
        except ValueError as error:
            found.reading.faults.append(f"{name}: {error}")
            continue
        for number, line in enumerate(track(lines, "Reading annotations", len(lines)), start=1):
            try:
                if line.strip():
                    _add_line(found, parse_json(line), path)
            except ValueError as error:
                found.reading.faults.append(f"{name} line {number}: {error}")
    found.reading.add_notes(found.finder)
    if found.unlabelled:
        notes.append(f"left out {found.unlabelled} line(s) without a label")
    if unnamed := listing.list_unnamed(found.reading.images.keys() | found.masks):
        notes.append(f"left out {len(unnamed)} image(s) that are not in it: {show_some(unnamed)}")
    return found.reading


def _add_line(found: _Found, cells: Any, path: Path) -> None:
    if not isinstance(cells, dict) or not isinstance(cells.get(IMAGE), str):
        raise ValueError(f"each line must be a JSON object with {IMAGE!r}")
    image = found.finder.find(cells[IMAGE], path.parent)
    if image is None:
        return
    labels = [
        (value, metadata)
        for key, value in cells.items()
        if isinstance(metadata := cells.get(key + METADATA), dict)
    ]
    if not labels:
        found.unlabelled += 1
        return
    marks = [mark for value, metadata in labels for mark in _read_label(found, value, metadata, path)]
    sizes = [size for value, _ in labels if isinstance(value, dict) for size in _read_sizes(value)]
    part = find_part([path.stem]) or found.finder.listing.find_part(image.parent)
    found.reading.add(AnnotatedImage(image, _drop_general(marks), sizes[0] if sizes else None, part))


def _read_label(found: _Found, value: Any, metadata: Cells, path: Path) -> Iterator[Mark]:
    if "internal-color-map" in metadata:
        mask = found.finder.find(value, path.parent) if isinstance(value, str) else None
        if mask is not None:
            found.masks.add(mask)
            yield from _read_mask(mask, metadata)
    elif isinstance(value, dict) and "annotations" in value:
        yield from _read_boxes(value, metadata)
    else:
        yield from _read_class(value, metadata)


def _read_class(value: Any, metadata: Cells) -> Iterator[Mark]:
    name, names = metadata.get("class-name"), metadata.get("class-map")
    if isinstance(name, str) and name:
        yield Mark(name)
    elif isinstance(value, list) and isinstance(names, dict):
        yield from (Mark(str(names.get(str(number), f"class {number}"))) for number in value)
    elif value in (0, 1, "0", "1"):  # of Lookout for Vision: 1 is an anomaly
        yield Mark(UNNAMED_DEFECT if value in (1, "1") else GOOD)
    else:
        raise ValueError(f"the class needs a class-name, or a label of 0 or 1. Received: {str(value)[:40]}")


def _read_boxes(value: Cells, metadata: Cells) -> Iterator[Mark]:
    class_map = metadata.get("class-map")
    names = class_map if isinstance(class_map, dict) else {}
    for box in _require_list(value["annotations"]):
        numbers = [box.get(side) for side in ("left", "top", "width", "height")]
        given = [float(number) for number in numbers if isinstance(number, int | float)]
        if len(given) < len(numbers):
            raise ValueError(f"a box needs left, top, width and height. Received: {str(numbers)[:60]}")
        number = box.get("class_id")
        yield Mark(str(names.get(str(number), f"class {number}")), make_box(*given))


def _read_sizes(value: Cells) -> Iterator[tuple[int, int]]:
    for size in _require_list(value.get("image_size", [])):
        height, width = size.get("height"), size.get("width")
        if isinstance(height, int) and isinstance(width, int) and (found := pair_size(height, width)):
            yield found


def _read_mask(mask: Path, metadata: Cells) -> Iterator[Mark]:
    """Yield a mark for each class whose colour the mask has; the background has a colour too."""
    colours = dict(_read_colours(metadata["internal-color-map"]))
    background = next((colour for colour, name in colours.items() if name.upper() == "BACKGROUND"), WHITE)
    try:
        pixels = decode_image(mask.read_bytes()).reshape(-1, 3)
    except (OSError, ImageError) as error:
        raise ValueError(f"the mask {show_name(mask.name)} cannot be read: {error}") from error
    shape = MaskFile(mask, describe_state(mask.resolve()), background)
    codes = np.unique(pixels.astype(np.int64) @ (1 << 16, 1 << 8, 1))
    present = [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in codes]
    for colour in present:
        if colour != background:
            yield Mark(colours.get(colour, UNNAMED_DEFECT), shape)


def _read_colours(colour_map: Any) -> Iterator[tuple[tuple[int, int, int], str]]:
    for cells in colour_map.values() if isinstance(colour_map, dict) else ():
        code = str(cells.get("hex-color", "")).removeprefix("#") if isinstance(cells, dict) else ""
        try:
            red, green, blue = bytes.fromhex(code)
        except ValueError:
            raise ValueError(f"hex-color must be as in #2ca02c. Received: {code[:20]}") from None
        yield (red, green, blue), str(cells.get("class-name", ""))


def _require_list(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("a list of objects is needed for boxes and sizes")
    return value


def _drop_general(marks: Iterable[Mark]) -> tuple[Mark, ...]:
    """Drop a class without a place ('anomaly') where the defects are named, with their places."""
    found = tuple(marks)
    named = [mark for mark in found if mark.shape and name_defect_type(mark.name) != GOOD]
    return tuple(named) if named else found
