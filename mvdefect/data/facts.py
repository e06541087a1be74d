"""What one file says of itself: hash, header, size, thumbnail, tones, and the same of its mask."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.data.details import FINGERPRINT_LENGTH, make_detail, take_fingerprint
from mvdefect.data.images import (
    THUMBNAIL_SIZE_PX,
    Header,
    Pixels,
    decode_mask,
    decode_with_header,
    make_thumbnail,
)
from mvdefect.data.records import Record
from mvdefect.errors import ImageError

BORDER_SHARE = 0.02  # of the smaller side


@dataclass(frozen=True)
class Tones:
    """Plain statistics of the pixels, 0 to 255, which a defect of a few percent of the area hardly moves.

    Attributes:
        extremes: The darkest and the brightest grey value.
        mean: Mean of the grey values between the 10th and the 90th percentile.
        spread: Grey values about the 75th percentile less those about the 25th.
        border: Red, green and blue of the outermost 2%: means of the middle half.
    """

    extremes: tuple[int, int]
    mean: float
    spread: float
    border: tuple[float, float, float]


@dataclass(frozen=True)
class MaskFacts:
    """What the mask of an image says of itself.

    Attributes:
        size_px: Height and width.
        share: Defective share of its pixels, 0 to 1.
        fault: Why it cannot be read; "" where it can.
    """

    size_px: tuple[int, int]
    share: float
    fault: str = ""


@dataclass(frozen=True)
class FileFacts:
    """What an image file says of itself.

    Attributes:
        sha256: Hash in hexadecimal.
        size_bytes: Length of the file.
        size_px: Height and width, as seen when EXIF orientation is applied; (0, 0) where unreadable.
        header: None where the file cannot be read.
        tones: None where the file cannot be read.
        mask: None where there is no mask.
        fault: Why the image cannot be read; "" where it can.
    """

    sha256: str
    size_bytes: int
    size_px: tuple[int, int] = (0, 0)
    header: Header | None = None
    tones: Tones | None = None
    mask: MaskFacts | None = None
    fault: str = ""

    @property
    def mask_fault(self) -> str:
        """Why the mask cannot be used; "" where it can, or where there is none."""
        if self.mask is None or self.mask.fault:
            return self.mask.fault if self.mask else ""
        if self.fault or self.mask.size_px == self.size_px:
            return ""
        (height, width), (mask_height, mask_width) = self.size_px, self.mask.size_px
        return (
            f"its mask must have the image's size, {width}x{height} pixels. "
            f"Received: {mask_width}x{mask_height}"
        )


def read_file_facts(record: Record) -> tuple[FileFacts, Pixels, NDArray[np.float16]]:
    """Read an image and its mask once.

    Returns:
        The facts; the thumbnail, uint8 (24, 24), black where the image cannot be read; and the fingerprint,
        float16 (`FINGERPRINT_LENGTH`,), all 0 then.
    """
    encoded = record.path.read_bytes()
    sha256 = hashlib.sha256(encoded).hexdigest()
    mask = _read_mask(record.mask_path) if record.mask_path else None
    try:
        image, header = decode_with_header(encoded)
    except ImageError as error:
        blank = np.zeros((THUMBNAIL_SIZE_PX, THUMBNAIL_SIZE_PX), np.uint8)
        nothing = np.zeros(FINGERPRINT_LENGTH, np.float16)
        return FileFacts(sha256, len(encoded), mask=mask, fault=str(error)), blank, nothing
    size_px = (image.shape[0], image.shape[1])
    facts = FileFacts(sha256, len(encoded), size_px, header, measure_tones(image), mask)
    detail = make_detail(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    return facts, make_thumbnail(image), take_fingerprint(detail)


def measure_tones(image: Pixels) -> Tones:
    """Measure brightness, spread and border colour.

    Args:
        image: uint8 RGB of shape (height, width, 3).
    """
    counts = count_values(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    present = np.flatnonzero(counts)
    width = max(1, round(BORDER_SHARE * min(image.shape[:2])))
    strips = (image[:width], image[-width:], image[width:-width, :width], image[width:-width, -width:])
    border = np.concatenate([strip.reshape(-1, 3) for strip in strips])
    red, green, blue = (average_between(count_values(border[:, channel]), 0.25, 0.75) for channel in range(3))
    return Tones(
        extremes=(int(present[0]), int(present[-1])),
        mean=average_between(counts, 0.1, 0.9),
        spread=average_between(counts, 0.7, 0.8) - average_between(counts, 0.2, 0.3),
        border=(red, green, blue),
    )


def count_values(values: Pixels) -> NDArray[np.int64]:
    """Count how often each value from 0 to 255 occurs, int64 of shape (256,)."""
    return np.bincount(values.ravel(), minlength=256)


def average_between(counts: NDArray[np.int64], low: float, high: float) -> float:
    """Average the values whose rank lies between two shares, 0 to 1, of all values in order.

    Args:
        counts: How often each value occurs, as `count_values` returns it.
        low: Where to begin.
        high: Where to end.
    """
    ends = np.clip(np.cumsum(counts), low * counts.sum(), high * counts.sum())
    weights = np.diff(ends, prepend=low * counts.sum())
    return float((weights @ np.arange(len(counts))) / weights.sum())


def _read_mask(path: Path) -> MaskFacts:
    try:
        mask = decode_mask(path.read_bytes())
    except (ImageError, OSError) as error:
        return MaskFacts((0, 0), 0.0, f"its mask {path} cannot be read: {error}")
    return MaskFacts((mask.shape[0], mask.shape[1]), float(mask.mean()))
