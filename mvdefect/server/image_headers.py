"""What the header of an image file says, read without decoding a pixel."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mvdefect.server.refusals import Refusal
from mvdefect.server.settings import MEGA, Limits

# Chunks and segments of a file are followed one by one, here and by decoders; honest files have few.
FEW, BYTES_PER_PART = 64, 512
MAX_SCANS = 100  # a progressive JPEG has about ten, and each is decoded over all pixels
START_OF_SCAN = b"\xff\xda"
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xDA)})


@dataclass(frozen=True)
class ImageHeader:
    """What kind of file it is.

    Attributes:
        suffix: That its name should have, by its content.
        width: In pixels, as stored.
        height: In pixels, as stored.
    """

    suffix: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """How many it has."""
        return self.width * self.height


def read_header(file: bytes) -> ImageHeader | None:
    """Return what a file says of itself; None: it is no PNG, JPEG or BMP, or is made to be slow to read."""
    for start, suffix, read_size in KINDS:
        if file.startswith(start):
            try:
                width, height = read_size(file)
            except (struct.error, IndexError, ValueError):
                return None
            return ImageHeader(suffix, abs(width), abs(height)) if width and height else None
    return None


def _read_png_size(file: bytes) -> tuple[int, int]:
    if file[12:16] != b"IHDR":
        raise ValueError("it does not begin with its size")
    position = 8
    for _ in range(FEW + len(file) // BYTES_PER_PART):
        if position + 8 > len(file) or file[position + 4 : position + 8] == b"IEND":
            return struct.unpack_from(">II", file, 16)
        position += 12 + int.from_bytes(file[position : position + 4], "big")
    raise ValueError("it has too many chunks")


def _read_jpeg_size(file: bytes) -> tuple[int, int]:
    if file.count(START_OF_SCAN) > MAX_SCANS:
        raise ValueError("it has too many scans")
    position = 2
    for _ in range(FEW + len(file) // BYTES_PER_PART):
        marker = file[position + 1]
        if file[position] != 0xFF or marker == START_OF_SCAN[1]:
            raise ValueError("its size does not come before its pixels")
        if marker in FRAME_MARKERS:
            height, width = struct.unpack_from(">HH", file, position + 5)
            return width, height
        if marker == 0xFF:  # a byte that fills up
            position += 1
        elif marker in BARE_MARKERS:
            position += 2
        else:
            position += 2 + struct.unpack_from(">H", file, position + 2)[0]
    raise ValueError("it has too many segments")


def _read_bmp_size(file: bytes) -> tuple[int, int]:
    is_old = int.from_bytes(file[14:18], "little") == 12  # OS/2
    return struct.unpack_from("<HH" if is_old else "<ii", file, 18)


KINDS = (
    (b"\x89PNG\r\n\x1a\n", ".png", _read_png_size),
    (b"\xff\xd8\xff", ".jpg", _read_jpeg_size),
    (b"BM", ".bmp", _read_bmp_size),
)


def check_pixels(pixels: int, limits: Limits) -> None:
    """Refuse a photograph that would fill the memory once it is decoded.

    Raises:
        Refusal: It has too many pixels.
    """
    if pixels > limits.max_pixels:
        raise Refusal(
            413,
            f"a photograph may have {limits.max_megapixels:g} megapixels at most. "
            f"Received: {pixels / MEGA:.1f} megapixels",
            "pixels",
        )
