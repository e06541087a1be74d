"""The photographs of a report: misses, false alarms and the least certain, with outline and heatmap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import ImageError
from mvdefect.data.images import (
    Pixels,
    ResizeMethod,
    decode_image,
    decode_mask,
    mark_photograph,
    resize_image,
    resize_mask,
)
from mvdefect.data.records import GOOD, Record
from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.evaluation.heatmaps import Heatmaps, choose_heat_range, overlay_heatmap, read_heatmaps
from mvdefect.evaluation.operating_point import DEFECTIVE, REVIEW
from mvdefect.report.contents import RunContents
from mvdefect.report.wording import format_probability
from mvdefect.runs import PredictionRow

PICTURE_SIZE_PX = 300
JPEG_QUALITY = 82
MAX_PICTURES = 150
MAX_BYTES = 6_000_000
LEAST_CERTAIN = 12
WIDE = 1.4  # width to height
CALLED = {DEFECTIVE: "rejected", GOOD: "passed", REVIEW: "left to a person"}
OUTLINE = (255, 200, 60)


@dataclass(frozen=True)
class Picture:
    """A photograph of a gallery.

    Attributes:
        row: What was said of it.
        caption: The same in words.
        alt: What is to be seen.
        photograph: JPEG, with the mask's outline where there is one; None: the file cannot be read.
        heatmap: JPEG of the photograph under its heatmap; None: there is none.
        is_wide: Whether the two go better one above the other.
    """

    row: PredictionRow
    caption: str
    alt: str
    photograph: bytes | None
    heatmap: bytes | None
    is_wide: bool = False


@dataclass(frozen=True)
class Gallery:
    """Photographs of one kind.

    Attributes:
        slug: Name for files.
        title: With the number of all that there are.
        pictures: The worst first.
        left_out: How many found no place.
    """

    slug: str
    title: str
    pictures: tuple[Picture, ...]
    left_out: int


@dataclass(frozen=True)
class Heat:
    """Heatmaps and the colour scale that all of them share."""

    maps: Heatmaps
    low: float
    high: float


def make_galleries(run: RunContents, records: Mapping[str, Record]) -> tuple[Gallery, ...]:
    """Draw what a person should look at, within what a page can hold.

    Args:
        run: Its predictions, and its heatmaps where it has some.
        records: The photographs by id; those that are missing are named without a picture.
    """
    heat, left = read_heat(run), MAX_BYTES
    galleries = []
    for slug, title, rows in choose_rows(run.rows, run.evaluation):
        pictures: list[Picture] = []
        for row in rows[:MAX_PICTURES]:
            picture = draw_picture(row, records.get(row.id), run, heat)
            left -= len(picture.photograph or b"") + len(picture.heatmap or b"")
            if left < 0:
                break
            pictures.append(picture)
        galleries.append(Gallery(slug, title, tuple(pictures), len(rows) - len(pictures)))
    return tuple(galleries)


def choose_rows(
    rows: Sequence[PredictionRow], evaluation: Evaluation
) -> list[tuple[str, str, list[PredictionRow]]]:
    """Return slug, title and rows of each gallery: the worst errors, then what was nearest to them."""
    misses = [row for row in rows if row.label and row.verdict not in (DEFECTIVE, REVIEW)]
    alarms = [row for row in rows if not row.label and row.verdict == DEFECTIVE]
    threshold = evaluation.operating_point.score
    wrong = {row.id for row in (*misses, *alarms)}
    others = sorted((row for row in rows if row.id not in wrong), key=lambda row: abs(row.score - threshold))[
        :LEAST_CERTAIN
    ]
    return [
        ("missed", f"Missed defects ({len(misses)})", sorted(misses, key=lambda row: row.score)),
        ("false_alarm", f"False alarms ({len(alarms)})", sorted(alarms, key=lambda row: -row.score)),
        ("least_certain", "Least certain of the others", others),
    ]


def read_heat(run: RunContents) -> Heat | None:
    """Read the heatmaps of a run, and choose a colour scale by those of good photographs."""
    maps = read_heatmaps(run.folder)
    if maps is None:
        return None
    known = set(maps.ids)
    good = [row.id for row in run.rows if not row.label and row.id in known]
    return Heat(maps, *choose_heat_range(maps.select(good))) if good else None


def draw_picture(row: PredictionRow, record: Record | None, run: RunContents, heat: Heat | None) -> Picture:
    """Draw a photograph with the outline of its defect, and once more under its heatmap."""
    caption = f"{row.defect_type}, {CALLED[row.verdict]} at {format_probability(row.probability)}"
    read = None if record is None else _read(record, run.config.resize)
    if read is None:
        return Picture(row, f"{caption}; the photograph is not there any more", "", None, None)
    image, mask, inside = read
    drawn = None
    if heat is not None and row.id in heat.maps.ids:
        found = overlay_heatmap(image, heat.maps.select([row.id])[0], heat.low, heat.high)
        drawn = _encode(_crop(found, inside))
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    image = cv2.drawContours(np.ascontiguousarray(image), outlines, -1, OUTLINE, 1)
    alt = f"{row.defect_type} photograph{' with the defect outlined' if outlines else ''}"
    image = _crop(image, inside)
    is_wide = image.shape[1] > WIDE * image.shape[0]
    return Picture(row, caption, alt, _encode(image), drawn, is_wide)


def _read(record: Record, method: ResizeMethod) -> tuple[Pixels, Pixels, NDArray[np.bool_]] | None:
    """Return the photograph, its mask, and where the photograph is, all square, as the inspector saw it."""
    try:
        image = decode_image(record.path.read_bytes())
        mask = np.zeros(image.shape[:2], bool)
        if record.mask_path is not None:
            mask = decode_mask(record.mask_path.read_bytes())
    except (ImageError, OSError):
        return None
    shown = resize_image(image, PICTURE_SIZE_PX, method), resize_mask(mask, PICTURE_SIZE_PX, method)
    return *shown, mark_photograph(image.shape[0], image.shape[1], PICTURE_SIZE_PX, method)


def _crop(image: Pixels, inside: NDArray[np.bool_]) -> Pixels:
    return image[inside.any(axis=1)][:, inside.any(axis=0)]


def _encode(image: Pixels) -> bytes:
    encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return bytes(encoded.tobytes())
