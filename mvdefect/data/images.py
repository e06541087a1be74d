"""Reading photographs and masks, and bringing them to the working size.

Every format ends as uint8 RGB: grey and palette images are expanded, CMYK is converted, the alpha
channel is dropped, 16 bits keep their upper 8, and the orientation that a camera notes in EXIF is
applied. Pillow decodes (it tells truncated files and knows every mode), but for plain PNGs, which OpenCV
decodes to the same pixels with less ado; OpenCV resizes.
"""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mvdefect.core.errors import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB = 0, 2  # colour types
# No palette, transparency, animation, or text and EXIF data, in which an orientation could be noted.
PLAIN_CHUNKS = frozenset({b"IHDR", b"IDAT", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"tIME"})


Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
ResizeMethod = Literal["letterbox", "stretch"]
THUMBNAIL_SIZE_PX = 24
PNG_BIT_DEPTH_OFFSET = 24
EXIF_ORIENTATION = 274
STANDARD_LUMINANCE_SUM = 3688  # of the 64 steps in the luminance table of the JPEG standard
SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I"})


def decode_plain_png(encoded: bytes | memoryview) -> tuple[NDArray[np.uint8], str] | None:
    """Decode a plain PNG, grey or RGB with 8 bits, to the same pixels as Pillow does.

    It is the commonest file of a camera at the line. OpenCV decodes it without taking Python's lock and
    without a second copy of the pixels, so that a thread a core keeps every core busy.

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


@dataclass(frozen=True)
class Header:
    """What an image file says of itself.

    Attributes:
        format: Pillow's name of the format, as in "PNG".
        mode: Pillow's name of the colour mode, as in "RGB" or "L".
        bits: Bits a channel.
        orientation: EXIF orientation, 1 to 8; 1 where none is noted.
        exif_tags: How many EXIF tags there are.
        jpeg_quality: Quality from 1 to 100 by the quantisation table, as libjpeg counts; 0: no JPEG.
    """

    format: str
    mode: str
    bits: int
    orientation: int
    exif_tags: int
    jpeg_quality: int


def is_image(name: str) -> bool:
    """Whether the name of a file, hidden ones aside, has the suffix of an image."""
    path = Path(name)
    return not path.name.startswith(".") and path.suffix.lower() in Image.registered_extensions()


def decode_image(encoded: bytes | memoryview) -> Pixels:
    """Decode an image file.

    Args:
        encoded: The bytes of a PNG, JPEG, BMP, TIFF, WebP or any other format that Pillow reads.

    Returns:
        uint8 RGB pixels of shape (height, width, 3).

    Raises:
        ImageError: The bytes are empty, truncated, no image, or hold more than one frame.
    """
    return decode_with_header(encoded)[0]


def decode_with_header(encoded: bytes | memoryview) -> tuple[Pixels, Header]:
    """Decode an image file, and return what its header says too.

    Raises:
        ImageError: As for `decode_image`.
    """
    pixels, header = _decode(encoded)
    return _expand_grey(pixels), header


def decode_at_size(encoded: bytes | memoryview, size_px: int, method: ResizeMethod = "letterbox") -> Pixels:
    """Decode an image file and bring it to the working size: `resize_image(decode_image(encoded), ...)`.

    A grey photograph stays one channel until it is small, to the same result in half the time.

    Raises:
        ImageError: As for `decode_image`.
    """
    return _expand_grey(resize_image(_decode(encoded)[0], size_px, method))


def _decode(encoded: bytes | memoryview) -> tuple[Pixels, Header]:
    """Decode an image file to uint8 (height, width, 3), or (height, width) where it is grey."""
    plain = decode_plain_png(encoded)
    if plain is not None:
        return plain[0], Header("PNG", plain[1], bits=8, orientation=1, exif_tags=0, jpeg_quality=0)
    image, header = _open_image(encoded)
    return _to_pixels(image), header


def _expand_grey(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8) if pixels.ndim == 2 else pixels


def _to_pixels(image: Image.Image) -> Pixels:
    if image.mode in SIXTEEN_BIT_MODES:
        return (np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
    if image.mode == "L":
        return np.array(image)
    if image.mode == "F":
        raise ImageError("floating-point images have no defined range; save it with 8 or 16 bits")
    if image.mode != "RGB":
        image = image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
    return np.array(image)


def decode_mask(encoded: bytes | memoryview) -> NDArray[np.bool_]:
    """Decode a mask file; every pixel that is not black is defective.

    Returns:
        bool of shape (height, width).

    Raises:
        ImageError: As for `decode_image`.
    """
    return np.asarray(decode_image(encoded).any(axis=2))


def _open_image(encoded: bytes | memoryview) -> tuple[Image.Image, Header]:
    if not encoded:
        raise ImageError("the file is empty")
    try:
        image = Image.open(io.BytesIO(encoded))
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            raise ImageError(f"the file holds {image.n_frames} frames; one is allowed")  # type: ignore[attr-defined]
        image.load()
        header = _read_header(image, encoded)
        upright = image if header.orientation == 1 else ImageOps.exif_transpose(image)  # which always copies
        return upright, header
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("the file is no image that can be recognised") from None
    except Image.DecompressionBombError as error:
        raise ImageError(str(error)) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"the image is broken: {error}") from None


def _read_header(image: Image.Image, encoded: bytes | memoryview) -> Header:
    bits = 1 if image.mode == "1" else 16 if image.mode in SIXTEEN_BIT_MODES else 8
    if image.format == "PNG" and image.mode != "P":
        bits = max(bits, encoded[PNG_BIT_DEPTH_OFFSET])  # Pillow reads 16-bit colour as 8-bit RGB
    exif = image.getexif()
    orientation = exif.get(EXIF_ORIENTATION, 1)
    return Header(
        format=image.format or "",
        mode=image.mode,
        bits=bits,
        orientation=orientation if orientation in range(1, 9) else 1,
        exif_tags=len(exif),
        jpeg_quality=_estimate_jpeg_quality(getattr(image, "quantization", None)),
    )


def _estimate_jpeg_quality(tables: dict[int, list[int]] | None) -> int:
    """Invert libjpeg's formula, by which a quality scales the table of the JPEG standard (annex K)."""
    if not tables or 0 not in tables:
        return 0
    scale = 100 * sum(tables[0]) / STANDARD_LUMINANCE_SUM
    quality = 5000 / scale if scale > 100 else (200 - scale) / 2
    return int(np.clip(round(quality), 1, 100))


def resize_image(image: Pixels, size_px: int, method: ResizeMethod = "letterbox") -> Pixels:
    """Bring an image to the working size.

    Args:
        image: uint8 RGB of shape (height, width, 3), or grey of shape (height, width).
        size_px: Height and width of the result.
        method: "letterbox" keeps the aspect ratio and pads with black, centred; "stretch" does not.

    Returns:
        uint8 of shape (size_px, size_px, 3) or (size_px, size_px), averaged over the area of a pixel where
        the image shrinks, and interpolated linearly where it grows.
    """
    height, width = image.shape[:2]
    new_height, new_width = _fit_size(height, width, size_px, method)
    shrinks = new_height * new_width < height * width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(image, (new_width, new_height), interpolation=interpolation)
    canvas = np.zeros((size_px, size_px, *image.shape[2:]), np.uint8)
    canvas[_centre(new_height, size_px), _centre(new_width, size_px)] = resized
    return canvas


def resize_mask(mask: NDArray[np.bool_], size_px: int, method: ResizeMethod = "letterbox") -> Pixels:
    """Bring a mask to the working size.

    Args:
        mask: bool of shape (height, width).
        size_px: Height and width of the result.
        method: As for `resize_image`.

    Returns:
        uint8 of shape (size_px, size_px), 255 wherever any part of a pixel was defective, so that a
        hairline scratch does not vanish, and 0 elsewhere.
    """
    grey = resize_image(mask.astype(np.uint8) * np.uint8(255), size_px, method)
    return np.where(grey > 0, 255, 0).astype(np.uint8)


def mark_photograph(
    height: int, width: int, size_px: int, method: ResizeMethod = "letterbox"
) -> NDArray[np.bool_]:
    """Tell the photograph from its padding, once it is at working size.

    Args:
        height: Of the photograph as it was, in pixels.
        width: Of the photograph as it was, in pixels.
        size_px: Height and width of the result.
        method: As for `resize_image`.

    Returns:
        bool of shape (size_px, size_px), false where `resize_image` pads.
    """
    new_height, new_width = _fit_size(height, width, size_px, method)
    marked = np.zeros((size_px, size_px), bool)
    marked[_centre(new_height, size_px), _centre(new_width, size_px)] = True
    return marked


def _fit_size(height: int, width: int, size_px: int, method: ResizeMethod) -> tuple[int, int]:
    if method == "stretch":
        return size_px, size_px
    scale = size_px / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _centre(length: int, size_px: int) -> slice:
    start = (size_px - length) // 2
    return slice(start, start + length)


def make_thumbnail(image: Pixels) -> Pixels:
    """Shrink an image to the 24×24 grey pixels by which images that look alike are found.

    Args:
        image: uint8 RGB of shape (height, width, 3).

    Returns:
        uint8 of shape (24, 24).
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    size = (THUMBNAIL_SIZE_PX, THUMBNAIL_SIZE_PX)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
