"""The region that counts: outside of it an image is of one colour, and nothing there is scored or drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from mvdefect.config import ResizeMethod, Size
from mvdefect.core.errors import ConfigError, ImageError, RunError, list_some
from mvdefect.core.files import parse_json, replace_file, show_name
from mvdefect.data.images import Mask, Pixels, decode_mask
from mvdefect.data.resizing import resize_image
from mvdefect.data.sources.annotations.shapes import Scale, make_polygon

NONE, AUTO = "none", "auto"
RegionSetting = str | dict[str, str]
JSON, IMAGE = ".json", ".png"
NEEDED = "region must be a mask image (white counts), a JSON file of polygons, auto or none"
Colour = tuple[int, int, int]
UNREADABLE = (OSError, SyntaxError, ValueError, KeyError, Image.DecompressionBombError)  # Pillow raises all
Corners = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class CountedRegion:
    """What counts of each image of a product that always lies alike, at working size.

    Attributes:
        mask: bool (height, width), true where a pixel counts.
        fill: The colour, RGB, that stands where it does not.
        image_px: Height and width of the images that it was made for.
    """

    mask: Mask
    fill: Colour
    image_px: Size

    @property
    def size_px(self) -> Size:
        """The working size."""
        return self.mask.shape[0], self.mask.shape[1]

    @cached_property
    def digest(self) -> str:
        """Hash of what it does to images."""
        packed = np.packbits(self.mask).tobytes()
        return hashlib.sha256(f"{self.size_px} {self.fill}\n".encode() + packed).hexdigest()[:16]

    def cover(self, image: Pixels) -> Pixels:
        """Return an image at working size, uint8 RGB (height, width, 3), with one colour outside."""
        return np.where(self.mask[..., np.newaxis], image, np.array(self.fill, np.uint8))

    def mark_cells(self, cells: Size) -> Mask:
        """Return where maps of a coarser resolution count, bool (cells): where any pixel of a cell does."""
        shares = cv2.resize(self.mask.astype(np.float32), cells[::-1], interpolation=cv2.INTER_AREA)
        return np.asarray(shares > 0)

    def cut(self, rows: tuple[float, float], columns: tuple[float, float]) -> Mask:
        """Return what counts between two edges each way, as shares of height and width: without padding."""
        top, bottom, left, right = (
            round(share * length)
            for shares, length in zip((rows, columns), self.size_px, strict=True)
            for share in shares
        )
        return self.mask[top:bottom, left:right]

    def mark_picture(self, size_px: Size) -> Mask:
        """Return where a picture counts that is larger or smaller than the working size, bool (size_px)."""
        picture = cv2.resize(self.mask.astype(np.uint8), size_px[::-1], interpolation=cv2.INTER_NEAREST)
        return np.asarray(picture > 0)

    def fits(self, height: int, width: int) -> bool:
        """Whether an image has the shape of those that the region was made for."""
        return is_same_shape((height, width), self.image_px)


def write_region(region: CountedRegion, path: Path) -> None:
    """Write a region as a PNG, white where it counts; its colour and the size of images are notes in it."""
    notes = PngImagePlugin.PngInfo()
    notes.add_text("fill", " ".join(map(str, region.fill)))
    notes.add_text("image", " ".join(map(str, region.image_px)))
    with replace_file(path) as partial:
        Image.fromarray(region.mask.astype(np.uint8) * np.uint8(255)).save(partial, "PNG", pnginfo=notes)


def read_region(path: Path) -> CountedRegion | None:
    """Read what `write_region` wrote; no file is no region: everything counts.

    Raises:
        RunError: The file is damaged.
    """
    if not path.is_file():
        return None
    try:
        with Image.open(path) as image:
            mask, notes = np.asarray(image) > 0, getattr(image, "text", {})
        red, green, blue = map(int, notes["fill"].split())
        height, width = map(int, notes["image"].split())
    except UNREADABLE as error:
        raise RunError(f"the region {path} cannot be read: {error!r}") from error
    if mask.ndim != 2 or not mask.any():
        raise RunError(f"the region {path} is damaged: it must be a grey image with white pixels")
    return CountedRegion(mask, (red, green, blue), (height, width))


@lru_cache(maxsize=8)
def recall_region(path: Path) -> CountedRegion | None:
    """Read a region whose file never changes, as that of a prepared store, once."""
    return read_region(path)


@dataclass(frozen=True)
class Drawing:
    """A region as somebody drew it.

    Attributes:
        name: Of its file, as errors call it.
        mask: bool (height, width), of a mask image; None: there are polygons.
        polygons: Corners (x, y) of each.
        is_relative: Whether corners are fractions of width and height.
        size_px: Height and width of the image that it was drawn on; None: not known.
    """

    name: str
    mask: Mask | None
    polygons: tuple[Corners, ...] = ()
    is_relative: bool = False
    size_px: Size | None = None

    def draw(self, size_px: Size) -> Mask:
        """Return what counts of an image, bool (size_px).

        Raises:
            ConfigError: The drawing is of an image of another size, or nothing of the image counts.
        """
        if self.size_px is not None and not is_same_shape(self.size_px, size_px):
            raise ConfigError(
                f"region {self.name} is of {_name_size(self.size_px)} pixels and images have "
                f"{_name_size(size_px)}: draw it on one of the images, or on one of the same shape"
            )
        drawn = self._draw_polygons(size_px) if self.mask is None else _stretch(self.mask, size_px)
        if not drawn.any():
            raise ConfigError(
                f"region {self.name} is empty: no pixel of an image of {_name_size(size_px)} pixels counts; "
                "make white what counts"
            )
        return drawn

    def _draw_polygons(self, size_px: Size) -> Mask:
        height, width = size_px
        own = (1.0, 1.0) if self.is_relative else self.size_px or size_px
        scale = Scale(width / own[1], height / own[0])
        corners = np.concatenate([np.array(one) for one in self.polygons]) * (scale.x, scale.y)
        if (corners.max(axis=0) > (width, height)).any() or (corners < 0).any():
            x, y = corners[np.argmax(np.abs(corners / (width, height) - 0.5).max(axis=1))]
            raise ConfigError(
                f"region {self.name} has a corner at ({x:g}, {y:g}), outside of an image of "
                f"{_name_size(size_px)} pixels: corners are [x, y] in pixels, or fractions from 0 to 1"
            )
        canvas = np.zeros(size_px, np.uint8)
        for polygon in self.polygons:
            make_polygon(polygon).draw(canvas, scale)
        return canvas > 0


def is_same_shape(first: Size, second: Size) -> bool:
    """Whether two sizes are of one shape, apart from what rounding to whole pixels does."""
    ratio = first[0] * second[1] / (first[1] * second[0])
    return abs(ratio - 1) <= 1 / min(*first, *second)


def _stretch(mask: Mask, size_px: Size) -> Mask:
    grown = cv2.resize(mask.astype(np.uint8), size_px[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(grown > 0)


def _name_size(size_px: Size) -> str:
    return f"{size_px[1]}x{size_px[0]}"


def choose_region(setting: RegionSetting, categories: Iterable[str]) -> str:
    """Return the region of the products that are inspected together: none, auto, or the path of a file.

    Args:
        setting: One of these, a folder with a file for each product (`bottle.png`, `cable.json`), or a
            mapping from product to one of these.
        categories: The products.

    Raises:
        ConfigError: A product has no region, or products have different ones: an inspector does not know
            which of its products an image shows.
    """
    names = sorted(set(categories))
    if isinstance(setting, str) and not Path(setting).is_dir():
        return setting
    regions = {name: _find_own(setting, name) for name in names}
    missing = [name for name, found in regions.items() if found is None]
    if missing:
        known = sorted(setting) if isinstance(setting, dict) else [f"{missing[0]}.png or {missing[0]}.json"]
        raise ConfigError(
            f"region says nothing of {list_some(missing)}; 'none' lets everything count. "
            f"Received: {list_some(known) if isinstance(setting, dict) else f'{setting}, without {known[0]}'}"
        )
    chosen = {str(found) for found in regions.values()}
    if len(chosen) > 1:
        raise ConfigError(
            f"one inspector has one region, and {list_some(names)} have {len(chosen)}: it does not know "
            f"which product an image shows; fit each by itself, as with --category {names[0]}"
        )
    return chosen.pop() if chosen else NONE


def _find_own(setting: RegionSetting, category: str) -> str | None:
    if isinstance(setting, dict):
        return setting.get(category)
    files = (Path(setting, category + suffix) for suffix in (IMAGE, JSON))
    return next((str(file) for file in files if file.is_file()), None)


def read_drawing(path: Path) -> Drawing:
    """Read a region from a mask image, in which every pixel that is not black counts, or from JSON.

    JSON is a list of corners [x, y], a list of such lists, or what LabelMe writes. Corners are pixels, or
    fractions of width and height if all lie from 0 to 1.

    Raises:
        ConfigError: The file is missing, or neither.
    """
    name = show_name(path)
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{NEEDED}. Received: {name}, {error.strerror or error}") from error
    if path.suffix.lower() == JSON:
        return _read_polygons(name, encoded)
    try:
        mask = decode_mask(encoded)
    except ImageError as error:
        raise ConfigError(f"{NEEDED}. Received: {name}: {error}") from error
    if not mask.any():
        raise ConfigError(f"region {name} is empty: all of its pixels are black; make white what counts")
    return Drawing(name, mask, size_px=(mask.shape[0], mask.shape[1]))


def _read_polygons(name: str, encoded: bytes) -> Drawing:
    try:
        tree = parse_json(encoded.decode("utf-8"))
        size_px = None
        if isinstance(tree, dict):
            size_px = int(tree["imageHeight"]), int(tree["imageWidth"])
            tree = [shape["points"] for shape in tree["shapes"]]
        polygons = tuple(map(_parse_corners, tree if _is_nested(tree) else [tree]))
        if not polygons:
            raise ValueError("no polygon")
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"region {name} must be a list of three or more corners [x, y], a list of such lists, or a file "
            f"of LabelMe with polygons. Received: {error}"
        ) from error
    corners = np.concatenate([np.array(one) for one in polygons])
    is_relative = size_px is None and bool((corners >= 0).all() and (corners <= 1).all())
    return Drawing(name, None, polygons, is_relative, size_px)


def _is_nested(tree: Any) -> bool:
    return isinstance(tree[0][0], list) if tree and isinstance(tree[0], list) and tree[0] else False


def _parse_corners(corners: Any) -> Corners:
    found = tuple((float(x), float(y)) for x, y in corners)
    if len(found) < 3 or not np.isfinite(found).all():
        raise ValueError(f"{len(found)} corners" if len(found) < 3 else "a corner that is no number")
    return found


def find_common_size(sizes: NDArray[np.int64], names: Sequence[str], region: str) -> Size:
    """Return the size of most images, if all of them are of one shape.

    Args:
        sizes: Heights and widths, int64 (n, 2), n at least 1.
        names: What the images are called.
        region: What asks, as errors call it.

    Raises:
        ConfigError: Their shapes differ.
    """
    found, counts = np.unique(sizes, axis=0, return_counts=True)
    height, width = map(int, found[np.argmax(counts)])
    odd = [
        f"{name} with {own[1]}x{own[0]}"
        for name, own in zip(names, sizes.tolist(), strict=True)
        if not is_same_shape((own[0], own[1]), (height, width))
    ]
    if odd:
        raise ConfigError(
            f"region {region} needs images of one shape. Most have {width}x{height} pixels, and {len(odd)} "
            f"of {len(names)} have another shape: {list_some(odd)}; leave these out, or set region to none"
        )
    return height, width


def fit_to_working_size(drawn: Mask, size_px: Size, method: ResizeMethod, name: str) -> Mask:
    """Bring a region to the working size, bool (size_px): a pixel counts if all that becomes it does.

    Raises:
        ConfigError: Nothing is left of it.
    """
    small = resize_image(drawn.astype(np.uint8) * np.uint8(255), size_px, method)
    if not (small == 255).any():
        raise ConfigError(
            f"region {name} is too thin: no pixel of it is left at the working size of {_name_size(size_px)} "
            "pixels; draw it wider, or set a larger --resolution"
        )
    return np.asarray(small == 255)
