"""LabelMe: a JSON file for each image, with polygons, rectangles, circles and lines.

Format: https://github.com/wkentaro/labelme
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, Field, TypeAdapter

from mvdefect.data.sources.annotations.files import (
    MAX_IMAGE_BYTES,
    Number,
    parse_model,
    read_bytes,
    read_head,
)
from mvdefect.data.sources.annotations.images import Mark, Reading, pair_size
from mvdefect.data.sources.annotations.listing import Listing
from mvdefect.data.sources.annotations.per_image import Parsed, read_each
from mvdefect.data.sources.annotations.shapes import (
    Shape,
    make_box_of_corners,
    make_circle,
    make_line,
    make_patch,
    make_polygon,
)

NAME = "LabelMe annotations"
MAX_LOOKED_AT = 20
POLYGON_KINDS = frozenset({"polygon", "rotation"})
LINE_KINDS = frozenset({"line", "linestrip", "point", "points"})


class LabelMeShape(BaseModel):
    """One region."""

    label: str
    points: list[tuple[Number, Number]]
    shape_type: str | None = "polygon"
    mask: str | None = None


class LabelMeFile(BaseModel):
    """The annotations of an image; without `shapes` the file is something else."""

    shapes: list[LabelMeShape] | None = None
    image_path: str | None = Field(None, alias="imagePath")
    height: int | None = Field(None, alias="imageHeight")
    width: int | None = Field(None, alias="imageWidth")


FILE = TypeAdapter(LabelMeFile)


def find_files(listing: Listing) -> tuple[Path, ...]:
    """List the JSON files named as images are, if one of the first few is LabelMe's."""
    files = tuple(path for path in listing.list_others(".json") if path.stem in listing.stems)
    return files if any(b'"shapes"' in read_head(path) for path in islice(files, MAX_LOOKED_AT)) else ()


def read_files(listing: Listing, files: Sequence[Path]) -> Reading:
    """Read LabelMe's files."""
    return read_each(listing, files, _parse)


def _parse(path: Path) -> Parsed | None:
    content = parse_model(FILE, read_bytes(path, MAX_IMAGE_BYTES))
    if content.shapes is None:
        return None
    marks = tuple(Mark(shape.label, _make_shape(shape)) for shape in content.shapes)
    return Parsed(content.image_path or "", marks, pair_size(content.height, content.width))


def _make_shape(shape: LabelMeShape) -> Shape:
    kind, points = shape.shape_type or "polygon", shape.points
    if kind in LINE_KINDS:
        return make_line(points)
    if kind in POLYGON_KINDS:
        return make_polygon(points)
    if kind not in ("rectangle", "circle", "mask"):
        raise ValueError(
            f"a shape must be a polygon, rectangle, circle, line, point or mask. Received: {kind!r}"
        )
    if len(points) < 2:
        raise ValueError(f"a {kind} needs 2 points. Received: {len(points)}")
    if kind == "circle":
        return make_circle(points[0], points[1])
    first, last = _find_corners(points)
    if kind == "mask" and shape.mask:
        return make_patch(first, shape.mask)
    return make_box_of_corners(first, last)


def _find_corners(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield two opposite corners of what two or four points span."""
    yield min(x for x, _ in points), min(y for _, y in points)
    yield max(x for x, _ in points), max(y for _, y in points)
