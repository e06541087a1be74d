"""What the header of an image file says, read without decoding a pixel."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass

from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from mvdefect.server.refusals import Refusal
from mvdefect.server.settings import MEGA, Limits

# The classes themselves: `PIL.Image.open` warns of large images, and tries formats that no engine reads.
KINDS: tuple[tuple[bytes, str, Callable[[io.BytesIO], ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", ".png", PngImageFile),
    (b"\xff\xd8\xff", ".jpg", JpegImageFile),
    (b"BM", ".bmp", BmpImageFile),
)
FAULTS = (OSError, SyntaxError, ValueError, OverflowError, MemoryError, struct.error)


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
    """Return what a file says of itself; None: it is no PNG, JPEG or BMP."""
    for start, suffix, reader in KINDS:
        if file.startswith(start):
            try:
                width, height = reader(io.BytesIO(file)).size
            except FAULTS:
                return None
            return ImageHeader(suffix, abs(width), abs(height)) if width and height else None
    return None


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
