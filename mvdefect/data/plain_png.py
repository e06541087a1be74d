"""The fast way for the commonest file of a camera at the line: a plain PNG, grey or RGB with 8 bits.

OpenCV decodes it without taking Python's lock and without a second copy of the pixels, so that a thread a
core keeps every core busy. A file that is anything but plain and whole is left to Pillow, which knows every
mode and tells what is wrong.
"""

from __future__ import annotations

import math
import struct

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB = 0, 2  # colour types
# No palette, transparency, animation, or text and EXIF data, in which an orientation could be noted.
PLAIN_CHUNKS = frozenset({b"IHDR", b"IDAT", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"tIME"})


def decode_plain_png(encoded: bytes | memoryview) -> tuple[NDArray[np.uint8], str] | None:
    """Decode a plain PNG to the same pixels as Pillow does.

    Args:
        encoded: The bytes of any file.

    Returns:
        uint8 pixels and Pillow's name of the mode: (height, width) and "L", or (height, width, 3) and "RGB";
        or None where the file is no plain PNG or is broken.
    """
    if encoded[:8] != SIGNATURE or encoded[12:16] != b"IHDR" or not _has_plain_chunks(encoded):
        return None
    width, height, bits, colour_type, _, _, interlace = struct.unpack_from(">IIBBBBB", encoded, 16)
    if bits != 8 or colour_type not in (GREY, RGB) or interlace:
        return None
    if width * height > (Image.MAX_IMAGE_PIXELS or math.inf):  # Pillow says what it thinks of that
        return None
    flag, mode = (cv2.IMREAD_GRAYSCALE, "L") if colour_type == GREY else (cv2.IMREAD_COLOR_RGB, "RGB")
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flag)
    if pixels is None:  # a checksum is wrong
        return None
    return np.asarray(pixels, np.uint8), mode


def _has_plain_chunks(encoded: bytes | memoryview) -> bool:
    """Follow the chunks to the end of the image; a truncated file has no end."""
    position, end = len(SIGNATURE), len(encoded)
    while position + 12 <= end:
        length, kind = struct.unpack_from(">I4s", encoded, position)
        position += 12 + length
        if kind == b"IEND":
            return bool(length == 0 and position <= end)
        if kind not in PLAIN_CHUNKS:
            return False
    return False
