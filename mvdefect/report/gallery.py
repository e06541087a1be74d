"""The images of a report: what was caught, missed and rejected by mistake, with heatmap and outline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.config import FitConfig
from mvdefect.core.errors import ImageError
from mvdefect.data.counted_region import CountedRegion, read_region
from mvdefect.data.images import Pixels, choose_decoding, decode_image, decode_mask
from mvdefect.data.records import GOOD, Record
from mvdefect.data.resizing import place_image, resize_image, resize_mask
from mvdefect.evaluation.evaluate import Evaluation, is_foreign
from mvdefect.evaluation.heatmaps import Heatmaps, HeatScale, read_heat_scale, read_heatmaps
from mvdefect.evaluation.operating_point import DEFECTIVE, REVIEW
from mvdefect.evaluation.overlays import draw_regions, overlay_heatmap
from mvdefect.evaluation.regions import ImagePlace, cut_heat, find_place, trace_regions
from mvdefect.report.contents import RunContents
from mvdefect.report.wording import format_probability
from mvdefect.runs import PredictionRow

PICTURE_SIZE_PX = 300  # edge of a square one; a longer one has as many pixels
LONGEST_PX = 900
JPEG_QUALITY = 80
MAX_PICTURES = 60
MAX_BYTES = 2_000_000  # of all images; as text in a page they are a third larger
MAX_CAUGHT_BYTES = 800_000
MAX_CAUGHT = 18
MAX_CAUGHT_OF_TYPE = 4
LEAST_CERTAIN = 6
WIDE = 1.4  # width to height
CALLED = {DEFECTIVE: "rejected", GOOD: "passed", REVIEW: "left to a person"}
OUTLINE = (255, 200, 60)


@dataclass(frozen=True)
class Picture:
    """An image of a gallery.

    Attributes:
        row: What was said of it.
        caption: The same in words.
        alt: What is to be seen.
        photograph: JPEG of the image as it is; None: the file cannot be read.
        heatmap: JPEG of the image under its heatmap, its suspicious regions outlined; None: there is none.
        outline: JPEG of the image with the outline of its mask; None: there is no mask.
        is_wide: Whether they are better shown one above the other.
    """

    row: PredictionRow
    caption: str
    alt: str
    photograph: bytes | None
    heatmap: bytes | None
    outline: bytes | None = None
    is_wide: bool = False

    @property
    def views(self) -> tuple[tuple[str, bytes, str], ...]:
        """Name, JPEG and alternative text of each view that there is, from left to right."""
        found = (
            ("", self.photograph, self.alt),
            ("_heatmap", self.heatmap, "The same under its heatmap, suspicious regions outlined"),
            ("_outline", self.outline, "The same with the defect outlined"),
        )
        return tuple((name, encoded, alt) for name, encoded, alt in found if encoded is not None)


@dataclass(frozen=True)
class Gallery:
    """Images of one kind.

    Attributes:
        slug: Name for files.
        title: With the number of all that there are.
        pictures: The worst, or the most doubtful, first.
        left_out: How many are not shown.
    """

    slug: str
    title: str
    pictures: tuple[Picture, ...]
    left_out: int


@dataclass(frozen=True)
class Heat:
    """Heatmaps, the scale that all of them share, and the region that they are drawn in."""

    maps: Heatmaps
    scale: HeatScale
    region: CountedRegion | None = None


def make_galleries(run: RunContents, records: Mapping[str, Record]) -> tuple[Gallery, ...]:
    """Draw what a person should look at, within what a page can hold.

    Args:
        run: Its predictions, and its heatmaps where it has some.
        records: The images by id; those that are missing are named without a picture.
    """
    heat, caught = read_heat(run), choose_caught(run.rows)
    galleries, left = [], MAX_BYTES
    budget = min(MAX_BYTES, MAX_CAUGHT_BYTES)
    for place, (title, rows, count) in enumerate(caught, start=1):
        shown, rest = _draw_within(rows, budget, run, records, heat)
        galleries.append(Gallery(f"caught_{place:02}", title, shown, count - len(shown)))
        budget, left = rest, left - (budget - rest)
    for slug, title, rows in choose_rows(run.rows, run.evaluation):
        shown, left = _draw_within(rows[:MAX_PICTURES], left, run, records, heat)
        galleries.append(Gallery(slug, title, shown, len(rows) - len(shown)))
    return tuple(galleries)


def _draw_within(
    rows: Sequence[PredictionRow],
    budget: int,
    run: RunContents,
    records: Mapping[str, Record],
    heat: Heat | None,
) -> tuple[tuple[Picture, ...], int]:
    """Draw rows in their order as long as they fit into a number of bytes; return what is left of it."""
    pictures: list[Picture] = []
    for row in rows:
        picture = draw_picture(row, records.get(row.id), run, heat)
        size = sum(len(encoded) for _, encoded, _ in picture.views)
        if size > budget:
            break
        budget -= size
        pictures.append(picture)
    return tuple(pictures), budget


def choose_caught(rows: Sequence[PredictionRow]) -> list[tuple[str, list[PredictionRow], int]]:
    """Choose caught defects to show: some of each type, those nearest to being missed first.

    All types have a share of `MAX_CAUGHT`, and the first types what does not divide.

    Returns:
        Title, rows and the number of all that were caught, for each type in alphabetical order.
    """
    several = len({row.category for row in rows}) > 1
    by_type: dict[str, list[PredictionRow]] = defaultdict(list)
    for row in rows:
        if row.label and row.verdict == DEFECTIVE:
            by_type[f"{row.category}: {row.defect_type}" if several else row.defect_type].append(row)
    found, room = [], MAX_CAUGHT
    for place, name in enumerate(sorted(by_type)):
        caught = sorted(by_type[name], key=lambda row: (row.score, row.id))
        count = min(MAX_CAUGHT_OF_TYPE, -(-room // (len(by_type) - place)), len(caught))
        room -= count
        if count:
            shown = f"{count} of {len(caught)}, the most doubtful first" if count < len(caught) else count
            found.append((f"Caught: {name} ({shown})", caught[:count], len(caught)))
    return found


def choose_rows(
    rows: Sequence[PredictionRow], evaluation: Evaluation
) -> list[tuple[str, str, list[PredictionRow]]]:
    """Return slug, title and rows of the errors, the worst first, and of what was nearest to them."""
    misses = [row for row in rows if row.label and row.verdict not in (DEFECTIVE, REVIEW)]
    alarms = [row for row in rows if not row.label and row.verdict == DEFECTIVE]
    threshold = evaluation.operating_point.score
    others = [row for row in rows if row.verdict == REVIEW or (not row.label and row.verdict == GOOD)]
    others = sorted(others, key=lambda row: (abs(row.score - threshold), row.id))[:LEAST_CERTAIN]
    return [
        ("missed", f"Missed defects ({len(misses)})", sorted(misses, key=lambda row: (row.score, row.id))),
        (
            "false_alarm",
            f"False alarms ({len(alarms)})",
            sorted(alarms, key=lambda row: (-row.score, row.id)),
        ),
        ("least_certain", "Nearest to the threshold of those passed or left to a person", others),
    ]


def read_heat(run: RunContents) -> Heat | None:
    """Read the heatmaps of a run, the scale that was chosen by those of good images, and its region."""
    maps, scale = read_heatmaps(run.folder), read_heat_scale(run.folder)
    return None if maps is None or scale is None else Heat(maps, scale, read_region(run.folder.region))


def draw_picture(row: PredictionRow, record: Record | None, run: RunContents, heat: Heat | None) -> Picture:
    """Draw an image as it is, under its heatmap, and with the outline of its defect."""
    caption = f"{row.defect_type}, {CALLED[row.verdict]} at {format_probability(row.probability)}"
    if is_foreign(row, run.evaluation.operating_point):
        caption += ", not this product"
    read = None if record is None else _read(record, run.config)
    if read is None:
        return Picture(row, f"{caption}; the image is not there any more", "", None, None)
    image, mask, place = read
    drawn = outlined = None
    if heat is not None and row.id in heat.maps.ids:
        drawn = _encode(_draw_heat(image, heat.maps.select([row.id])[0], place, heat, row))
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if outlines:
        marked = cv2.drawContours(image.copy(), outlines, -1, OUTLINE, 1)
        outlined = _encode(np.asarray(marked, np.uint8))
    is_wide = image.shape[1] > WIDE * image.shape[0]
    return Picture(row, caption, f"{row.defect_type} image", _encode(image), drawn, outlined, is_wide)


def _draw_heat(
    image: Pixels, heatmap: NDArray[np.float16], place: ImagePlace, heat: Heat, row: PredictionRow
) -> Pixels:
    """Lay a heatmap over an image, and outline what is suspicious in it."""
    scale = heat.scale
    counted = None if heat.region is None else heat.region.cut(place.rows, place.columns)
    found = overlay_heatmap(image, cut_heat(heatmap, place), scale.low, scale.high, counted=counted)
    if scale.rule is not None:
        draw_regions(found, trace_regions(heatmap, place, scale.rule, needs_peak=row.verdict != GOOD))
    return found


def _read(record: Record, config: FitConfig) -> tuple[Pixels, Pixels, ImagePlace] | None:
    """Return the image and its mask as they are shown, and where they lay in what the inspector saw."""
    try:
        image = decode_image(record.path.read_bytes(), choose_decoding(config))
        mask = np.zeros(image.shape[:2], bool)
        if record.mask_path is not None:
            mask = decode_mask(record.mask_path.read_bytes(), choose_decoding(config))
    except (ImageError, OSError):
        return None
    height, width = image.shape[:2]
    longest_px, method = float(PICTURE_SIZE_PX), config.resize
    if method == "letterbox":
        longest_px = min(LONGEST_PX, longest_px * (max(height, width) / min(height, width)) ** 0.5)
    scale = longest_px / max(config.size_px)
    frame = (round(config.size_px[0] * scale), round(config.size_px[1] * scale))
    crop = place_image(height, width, frame, method)
    shown, marked = resize_image(image, frame, method)[crop], resize_mask(mask, frame, method)[crop]
    place = find_place(height, width, config.size_px, method)
    own = replace(place, height=shown.shape[0], width=shown.shape[1])
    return np.ascontiguousarray(shown), np.ascontiguousarray(marked), own


def _encode(image: Pixels) -> bytes:
    encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return bytes(encoded.tobytes())
