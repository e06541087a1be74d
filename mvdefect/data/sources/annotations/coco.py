"""COCO: one JSON file for many images, with boxes, polygons or run lengths.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from mvdefect.data.sources.annotations.files import (
    MAX_TABLE_BYTES,
    Number,
    parse_model,
    read_bytes,
    read_head,
    show_some,
)
from mvdefect.data.sources.annotations.images import AnnotatedImage, Mark, Reading, pair_size
from mvdefect.data.sources.annotations.listing import ImageFinder, Listing, find_part
from mvdefect.data.sources.annotations.shapes import Shape, make_box, make_polygon, make_runs

NAME = "COCO annotations"
MAX_CANDIDATES = 100
TABLES = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')
COLUMNS = re.compile(rb'"(file_name|image_id|supercategory)"\s*:')

Id = int | str


class CocoRuns(BaseModel):
    """A region as run lengths."""

    size: tuple[int, int]
    counts: str | list[int]


class CocoAnnotation(BaseModel):
    """One region of one image; with `iscrowd` it is a group of defects, which counts as one."""

    image_id: Id
    category_id: Id | None = None
    bbox: list[Number] | None = None
    segmentation: CocoRuns | list[list[Number]] | None = None


class CocoImage(BaseModel):
    """One image."""

    id: Id
    file_name: str
    width: int | None = None
    height: int | None = None


class CocoCategory(BaseModel):
    """One class."""

    id: Id
    name: str


class CocoFile(BaseModel):
    """A file of annotations; one without `annotations` only lists images."""

    images: list[CocoImage] = []
    annotations: list[CocoAnnotation] | None = None
    categories: list[CocoCategory] = []


FILE = TypeAdapter(CocoFile)


def find_files(listing: Listing) -> tuple[Path, ...]:
    """List the JSON files that look like COCO's; one beside an image of the same name is of that image."""
    candidates = [path for path in listing.list_others(".json") if path.stem not in listing.stems]
    return tuple(path for path in candidates[:MAX_CANDIDATES] if is_coco(path))


def is_coco(path: Path) -> bool:
    """Whether a file begins as COCO's do."""
    head = read_head(path)
    return bool(TABLES.search(head) and COLUMNS.search(head))


def read_files(listing: Listing, files: Sequence[Path]) -> Reading:
    """Read COCO's files; images that none of them names are left out."""
    reading = Reading()
    finder = ImageFinder(listing)
    for path in files:
        name = listing.describe_path(path)
        try:
            content = parse_model(FILE, read_bytes(path, MAX_TABLE_BYTES))
        except ValueError as error:
            reading.faults.append(f"{name}: {error}")
            continue
        if content.annotations is None:
            reading.notes.append(f"{name} has no annotations and is not used")
            continue
        _add_images(reading, content, finder, path)
    reading.add_notes(finder)
    reading.note_unused(listing, "are not in it")
    return reading


def _add_images(reading: Reading, content: CocoFile, finder: ImageFinder, path: Path) -> None:
    name = finder.listing.describe_path(path)
    marks = _collect_marks(reading, content, name)
    twice = [id_ for id_, count in Counter(str(image.id) for image in content.images).items() if count > 1]
    if twice:
        reading.faults.append(f"{name}: several images have the id {show_some(twice)}")
    for image in content.images:
        own_marks = tuple(marks.pop(str(image.id), ()))
        found = finder.find(image.file_name, path.parent)
        if found is None:
            continue
        try:
            size_px = pair_size(image.height, image.width)
        except ValueError as error:
            reading.faults.append(f"{name}: {image.file_name}: {error}")
            continue
        reading.add(AnnotatedImage(found, own_marks, size_px, _find_part(path, found, finder.listing)))
    if marks:
        count = sum(map(len, marks.values()))
        reading.notes.append(f"{count} annotation(s) in {name} belong to no image in it and are not used")


def _collect_marks(reading: Reading, content: CocoFile, name: str) -> dict[str, list[Mark]]:
    """Return the annotations by image; those of a class without a name are called after its number."""
    named = {(str(category.id), category.name) for category in content.categories}
    classes = dict(named)
    if len(classes) < len(named):
        reading.faults.append(f"{name}: several categories have one id")
    marks: defaultdict[str, list[Mark]] = defaultdict(list)
    unknown: Counter[str] = Counter()
    for number, annotation in enumerate(content.annotations or ()):
        class_name = classes.get(str(annotation.category_id)) if annotation.category_id is not None else ""
        if class_name is None:
            class_name = f"category {annotation.category_id}"
            unknown[class_name] += 1
        try:
            marks[str(annotation.image_id)] += _make_marks(class_name, annotation)
        except ValueError as error:
            reading.faults.append(f"{name}: annotations.{number}: {error}")
    if unknown:
        reading.notes.append(f"{name} does not name {show_some(unknown)} ({unknown.total()} annotation(s))")
    return marks


def _make_marks(class_name: str, annotation: CocoAnnotation) -> Iterator[Mark]:
    shapes = list(_make_shapes(annotation))
    yield from (Mark(class_name, shape) for shape in shapes)
    if not shapes:
        yield Mark(class_name)


def _make_shapes(annotation: CocoAnnotation) -> Iterator[Shape]:
    """Yield the outlines, or the box where there is none."""
    region = annotation.segmentation
    if isinstance(region, CocoRuns):
        yield make_runs(*region.size, region.counts)
    elif region:
        for numbers in region:
            if len(numbers) % 2:
                raise ValueError(f"a polygon needs pairs of numbers. Received: {len(numbers)} numbers")
            yield make_polygon(list(zip(numbers[::2], numbers[1::2], strict=True)))
    elif annotation.bbox:
        if len(annotation.bbox) != 4:
            raise ValueError(f"a box needs 4 numbers. Received: {len(annotation.bbox)}")
        yield make_box(*annotation.bbox)


def _find_part(path: Path, image: Path, listing: Listing) -> str:
    """Return the part that the file, its folder or the image's folder is named after."""
    return find_part([path.stem]) or listing.find_part(path.parent) or listing.find_part(image.parent)
