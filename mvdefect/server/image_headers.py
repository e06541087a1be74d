"""What the header of an image file says, read without decoding a pixel."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mvdefect.data.file_kinds import HEAD_BYTES, explain_unknown, has_overlapping_tags
from mvdefect.server.refusals import Refusal
from mvdefect.server.settings import MEGA, Limits

# Chunks and segments of a file are followed one by one, here and by decoders; honest files have few.
FEW, BYTES_PER_PART = 64, 512
MAX_SCANS = 100  # a progressive JPEG has about ten, and each is decoded over all pixels
START_OF_SCAN = b"\xff\xda"
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
MAX_TAGS, SHORT = 512, 3
TIFF_SIZES = (256, 257)  # tags of width and height
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
    """Return what a file says of itself; None: it is of no kind in `KINDS`, or is made to be slow to read."""
    for start, suffix, read_size in KINDS:
        if file.startswith(start):
            try:
                width, height = read_size(file)
            except (struct.error, IndexError, ValueError):
                return None
            return ImageHeader(suffix, abs(width), abs(height)) if width and height else None
    return None


def explain_unreadable(file: bytes) -> str:
    """Say why `read_header` returns nothing for a file."""
    if not file:
        return "the file is empty"
    if any(file.startswith(start) for start, _, _ in KINDS):
        return "the file is broken, or made to be slow to read"
    return explain_unknown(file[:HEAD_BYTES])


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


def _read_tiff_size(file: bytes) -> tuple[int, int]:
    """Read width and height in the first directory; whoever decodes it reads the content of every tag."""
    order = "<" if file.startswith(b"II") else ">"
    (place,) = struct.unpack_from(f"{order}I", file, 4)
    (count,) = struct.unpack_from(f"{order}H", file, place)
    if count > MAX_TAGS or has_overlapping_tags(file):
        raise ValueError("it has too many tags")
    sizes = {}
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", file, entry)
        if tag in TIFF_SIZES:
            (sizes[tag],) = struct.unpack_from(order + ("H" if kind == SHORT else "I"), file, entry + 8)
    width, height = (sizes.get(tag, 0) for tag in TIFF_SIZES)
    return width, height


def _read_webp_size(file: bytes) -> tuple[int, int]:
    kind = file[8:16]
    if kind == b"WEBPVP8X":
        return 1 + int.from_bytes(file[24:27], "little"), 1 + int.from_bytes(file[27:30], "little")
    if kind == b"WEBPVP8L":
        (sides,) = struct.unpack_from("<I", file, 21)
        return 1 + (sides & 0x3FFF), 1 + (sides >> 14 & 0x3FFF)
    if kind != b"WEBPVP8 ":
        raise ValueError("it is no WebP")
    width, height = struct.unpack_from("<HH", file, 26)
    return width & 0x3FFF, height & 0x3FFF


KINDS = (
    (b"\x89PNG\r\n\x1a\n", ".png", _read_png_size),
    (b"\xff\xd8\xff", ".jpg", _read_jpeg_size),
    (b"BM", ".bmp", _read_bmp_size),
    (b"II*\0", ".tif", _read_tiff_size),
    (b"MM\0*", ".tif", _read_tiff_size),
    (b"RIFF", ".webp", _read_webp_size),
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
