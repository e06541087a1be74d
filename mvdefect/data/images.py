"""Reading photographs and masks, and bringing them to the working size.

Every format ends as uint8 RGB: grey and palette images are expanded, CMYK is converted, the alpha
channel is dropped, more than 8 bits are scaled by the bits in use (see `Decoding`), and the orientation that
a camera notes in EXIF is applied. Pillow decodes (it tells truncated files and knows every mode), but for
plain PNGs, which OpenCV decodes to the same pixels with less ado, and for colour of 16 bits, of which Pillow
keeps 8; OpenCV resizes. All of this package decodes here: fit, predict, every engine and the server.
"""

from __future__ import annotations

import io
import math
import struct
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mvdefect.core.errors import ImageError
from mvdefect.data.file_kinds import (
    HEAD_BYTES,
    count_tiff_pages,
    explain_unknown,
    has_overlapping_tags,
    is_camera_raw,
)
from mvdefect.data.resizing import resize_image

if TYPE_CHECKING:
    from mvdefect.config import FitConfig, ResizeMethod, Size

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB = 0, 2  # colour types
# No palette, transparency, animation, or text and EXIF data, in which an orientation could be noted.
PLAIN_CHUNKS = frozenset({b"IHDR", b"IDAT", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"tIME"})


Pixels = NDArray[np.uint8]
Values = NDArray[Any]
Mask = NDArray[np.bool_]
THUMBNAIL_SIZE_PX = 24
PNG_BIT_DEPTH_OFFSET = 24
EXIF_ORIENTATION = 274
EXIF_START = b"Exif\0\0"
STANDARD_LUMINANCE_SUM = 3688  # of the 64 steps in the luminance table of the JPEG standard
CANON_RAW = b"CR"  # behind the beginning of a TIFF
TIFF_BITS = 258  # tag of the bits per channel
SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I"})
READ_AS_THEY_ARE = SIXTEEN_BIT_MODES | {"L", "RGB", "F"}
COLOUR_MODES = frozenset({"RGB", "RGBA", "RGBX", "LA"})  # as which Pillow gives the upper 8 of 16 bits
LARGEST_VALUE = 65535
MEGA = 1_000_000
OPENCV_PIXELS, OPENCV_SIDE = 2**30, 2**20  # more is refused by OpenCV
UPRIGHT = {
    1: (False, 0),
    2: (True, 0),
    3: (False, 2),
    4: (True, 2),
    5: (True, 1),
    6: (False, 3),
    7: (True, 3),
    8: (False, 1),
}

_pillow_limit = threading.Lock()


@dataclass(frozen=True)
class Decoding:
    """How image files become 8-bit pixels. It is one for a data set, and for an inspector trained on it.

    Attributes:
        bits: Bits in use in images of more than 8 bits, 8 to 16; None: not known, which decodes as 16.
        max_megapixels: Larger images are refused, since they could fill the memory.
    """

    bits: int | None = None
    max_megapixels: float = 180.0

    @property
    def used_bits(self) -> int:
        """Bits by which values are scaled, 8 to 16."""
        return self.bits or 16

    @property
    def white(self) -> int:
        """The largest value that the bits in use can hold; what lies above becomes white."""
        return (1 << self.used_bits) - 1

    @property
    def max_pixels(self) -> int:
        """Pixels of the largest image that is read."""
        return int(self.max_megapixels * MEGA)


DEFAULT_DECODING = Decoding()


def decode_plain_png(
    encoded: bytes | memoryview, max_pixels: int = DEFAULT_DECODING.max_pixels
) -> tuple[Values, str] | None:
    """Decode a plain PNG, grey or RGB with 8 or 16 bits, to the same values as Pillow does.

    It is the commonest file of a camera at the line. OpenCV decodes it without taking Python's lock and
    without a second copy of the pixels, so that a thread a core keeps every core busy.

    Args:
        encoded: The bytes of any file.
        max_pixels: Larger images are left to `decode_image`, which refuses them.

    Returns:
        uint8 or uint16 values and Pillow's name of the mode: (height, width) and "L" or "I;16", or
        (height, width, 3) and "RGB"; or None where the file is no plain PNG or is broken.
    """
    if encoded[:8] != SIGNATURE or encoded[12:16] != b"IHDR" or not _has_plain_chunks(encoded):
        return None
    width, height, bits, colour_type, _, _, interlace = struct.unpack_from(">IIBBBBB", encoded, 16)
    if bits not in (8, 16) or colour_type not in (GREY, RGB) or interlace:
        return None
    if width * height > min(max_pixels, OPENCV_PIXELS) or max(width, height) > OPENCV_SIDE:
        return None
    flag = cv2.IMREAD_GRAYSCALE if colour_type == GREY else cv2.IMREAD_COLOR_RGB
    values = cv2.imdecode(np.frombuffer(encoded, np.uint8), flag | (cv2.IMREAD_ANYDEPTH if bits == 16 else 0))
    if values is None:  # a checksum is wrong
        return None
    return np.asarray(values), "RGB" if colour_type == RGB else "L" if bits == 8 else "I;16"


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
        peak: The largest value of an image of more than 8 bits; 0 for all others.
    """

    format: str
    mode: str
    bits: int
    orientation: int
    exif_tags: int
    jpeg_quality: int
    peak: int = 0


def is_image(name: str) -> bool:
    """Whether the name of a file, hidden ones aside, has the suffix of an image."""
    path = Path(name)
    return not path.name.startswith(".") and path.suffix.lower() in Image.registered_extensions()


def is_shallow(head: bytes) -> bool:
    """Whether a file is known by its first bytes to have 8 bits a channel at most."""
    if head[:8] == SIGNATURE:
        return head[PNG_BIT_DEPTH_OFFSET : PNG_BIT_DEPTH_OFFSET + 1] != b"\x10"
    return head.startswith((b"\xff\xd8\xff", b"BM", b"GIF8", b"RIFF"))


def choose_decoding(config: FitConfig) -> Decoding:
    """Return what the settings `bits` and `max_megapixels` come to."""
    return Decoding(None if config.bits == "auto" else config.bits, config.max_megapixels)


def decode_image(encoded: bytes | memoryview, decoding: Decoding = DEFAULT_DECODING) -> Pixels:
    """Decode an image file.

    Args:
        encoded: The bytes of a PNG, JPEG, BMP, TIFF, WebP or any other format that Pillow reads.
        decoding: How more than 8 bits are scaled, and what is too large.

    Returns:
        uint8 RGB pixels of shape (height, width, 3).

    Raises:
        ImageError: The bytes are empty, truncated, no image, hold more than one page or frame, more pixels
            than are allowed, or values that are neither whole numbers from 0 to 65535 nor lie from 0 to 1.
    """
    return decode_with_header(encoded, decoding)[0]


def decode_with_header(
    encoded: bytes | memoryview, decoding: Decoding = DEFAULT_DECODING
) -> tuple[Pixels, Header]:
    """Decode an image file, and return what its header says too.

    Raises:
        ImageError: As for `decode_image`.
    """
    pixels, header = _decode(encoded, decoding)
    return _expand_grey(pixels), header


def decode_at_size(
    encoded: bytes | memoryview,
    size_px: Size,
    method: ResizeMethod = "letterbox",
    decoding: Decoding = DEFAULT_DECODING,
) -> Pixels:
    """Decode an image file and bring it to the working size: `resize_image(decode_image(encoded), ...)`.

    A grey image stays one channel until it is small, to the same result in half the time.

    Raises:
        ImageError: As for `decode_image`.
    """
    return decode_at_size_with_header(encoded, size_px, method, decoding)[0]


def decode_at_size_with_header(
    encoded: bytes | memoryview, size_px: Size, method: ResizeMethod, decoding: Decoding
) -> tuple[Pixels, Header, Size]:
    """Decode an image file at the working size; return what its header says and its own size, upright, too.

    Raises:
        ImageError: As for `decode_image`.
    """
    pixels, header = _decode(encoded, decoding)
    height, width = pixels.shape[:2]
    return _expand_grey(resize_image(pixels, size_px, method)), header, (height, width)


def _decode(encoded: bytes | memoryview, decoding: Decoding) -> tuple[Pixels, Header]:
    """Decode an image file to uint8 (height, width, 3), or (height, width) where it is grey."""
    values, header = _read_values(encoded, decoding.max_pixels)
    if values.dtype == np.uint8:
        return values, header
    if values.dtype == np.float32:
        return _scale_fractions(values), header
    peak = _check_range(values)
    shifted = values >> (decoding.used_bits - 8)
    pixels = (np.minimum(shifted, 255) if peak > decoding.white else shifted).astype(np.uint8)
    return pixels, replace(header, peak=peak)


def _expand_grey(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8) if pixels.ndim == 2 else pixels


def _read_values(encoded: bytes | memoryview, max_pixels: int) -> tuple[Values, Header]:
    """Read what a file holds: uint8, whole numbers of more bits, or float32, upright, grey or RGB."""
    plain = decode_plain_png(encoded, max_pixels)
    if plain is not None:
        values, mode = plain
        return values, Header("PNG", mode, 8 * values.itemsize, orientation=1, exif_tags=0, jpeg_quality=0)
    image, header = _open_image(encoded, max_pixels)
    if header.bits > 8 and image.mode in COLOUR_MODES:
        return _read_deep_colour(encoded, header), header
    if image.mode == "P":
        image = image.convert("RGBA")
    if image.mode not in READ_AS_THEY_ARE:  # to convert is to copy
        image = image.convert("RGB")
    return np.array(image), header


def _read_deep_colour(encoded: bytes | memoryview, header: Header) -> Values:
    """Read colour of 16 bits, (height, width, 3), of a file that Pillow has found to be whole."""
    values = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3:
        raise ImageError(
            f"this {header.format} with {header.bits} bits a channel is not read; save it as PNG"
        )
    mirrored, turns = UPRIGHT[header.orientation]  # a TIFF is upright already, and its header says so
    values = values[..., 2::-1]
    return np.ascontiguousarray(np.rot90(values[:, ::-1] if mirrored else values, turns))


def _check_range(values: Values) -> int:
    """Return the largest of whole numbers; refuse what 16 bits do not hold."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > LARGEST_VALUE:
        raise ImageError(
            f"its values must be whole numbers from 0 to {LARGEST_VALUE}; bring them there and save with 16 "
            f"bits. Received: {low} to {high}"
        )
    return high


def _scale_fractions(values: Values) -> Pixels:
    """Bring floating-point numbers from 0 to 1 to 0 to 255."""
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # nor where one is not a number
        raise ImageError(
            "its floating-point values must lie between 0 and 1: divide them by the largest that the camera "
            f"can give, or save it with 8 or 16 bits. Received: {low:g} to {high:g}"
        )
    return np.asarray(np.rint(values * 255), np.uint8)


def read_header(encoded: bytes | memoryview) -> Header:
    """Return what the header of an image file says, without decoding a pixel.

    Raises:
        ImageError: It is no image.
    """
    try:
        return _read_header(_open_header(encoded), encoded)
    except Exception as error:  # as in `_open_image`
        raise ImageError(f"the file is no image that can be recognised: {error}") from None


def decode_mask(encoded: bytes | memoryview, decoding: Decoding = DEFAULT_DECODING) -> NDArray[np.bool_]:
    """Decode a mask file; every pixel that is not black is defective, however few of its bits are in use.

    Returns:
        bool of shape (height, width).

    Raises:
        ImageError: As for `decode_image`.
    """
    values = _read_values(encoded, decoding.max_pixels)[0] != 0
    return np.asarray(values.any(axis=2) if values.ndim == 3 else values)


def _open_image(encoded: bytes | memoryview, max_pixels: int) -> tuple[Image.Image, Header]:
    if not encoded:
        raise ImageError("the file is empty")
    try:
        image = _open_header(encoded)
        _check_kind(image, encoded, max_pixels)
        image.load()
        header = _read_header(image, encoded)
        upright = image if header.orientation == 1 else ImageOps.exif_transpose(image)  # which always copies
        return upright, header
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(explain_unknown(bytes(encoded[:HEAD_BYTES]))) from None
    except Exception as error:  # each of Pillow's readers raises errors of its own
        raise ImageError(f"the image is broken: {error or type(error).__name__}") from None


def _open_header(encoded: bytes | memoryview) -> Image.Image:
    """Let Pillow read the header of an image of any size; `_check_kind` says what is too large."""
    if has_overlapping_tags(encoded):
        raise ImageError("the tags of the TIFF overlap, which no camera writes")
    with _pillow_limit:
        kept, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(encoded))
        finally:
            Image.MAX_IMAGE_PIXELS = kept


def _check_kind(image: Image.Image, encoded: bytes | memoryview, max_pixels: int) -> None:
    """Refuse, before any pixel is decoded, what is too large or shows more or less than one image."""
    width, height = image.size
    if width * height > max_pixels:
        megapixels = width * height / MEGA
        raise ImageError(
            f"the image has {width}x{height} pixels, {megapixels:.4g} megapixels, and at most "
            f"{max_pixels / MEGA:g} are read; --max-megapixels {math.ceil(megapixels)} allows it"
        )
    if image.format == "TIFF":
        if is_camera_raw(image.tag_v2) or encoded[8:10] == CANON_RAW:  # type: ignore[attr-defined]
            raise ImageError(
                "the file is a raw image of a camera, of which only a preview could be read; convert it to "
                "PNG or JPEG"
            )
        pages, word = count_tiff_pages(encoded), "pages"
    else:
        pages, word = getattr(image, "n_frames", 1), "frames"
    if pages > 1 and image.format != "MPO":
        raise ImageError(f"the file holds {pages} {word}, and one is allowed; save each as a file of its own")


def read_size(path: Path) -> Size:
    """Return height and width of an image file, upright, without decoding a pixel.

    Raises:
        ImageError: It is no image.
        OSError: It cannot be read.
    """
    encoded = path.read_bytes()
    try:
        image = _open_header(encoded)
        _, turns = UPRIGHT.get(image.getexif().get(EXIF_ORIENTATION, 1), UPRIGHT[1])
        return (image.width, image.height) if turns % 2 else (image.height, image.width)
    except Exception as error:  # as in `_open_image`
        raise ImageError(f"the file is no image that can be recognised: {error}") from None


def _read_header(image: Image.Image, encoded: bytes | memoryview) -> Header:
    bits = 1 if image.mode == "1" else 16 if image.mode in SIXTEEN_BIT_MODES else 8
    if image.format == "PNG" and image.mode != "P":
        bits = max(bits, encoded[PNG_BIT_DEPTH_OFFSET])  # Pillow reads 16-bit colour as 8-bit RGB
    elif image.format == "TIFF":
        bits = max(bits, *image.tag_v2.get(TIFF_BITS, (1,)))  # type: ignore[attr-defined]
    if has_overlapping_tags(image.info.get("exif", b"").removeprefix(EXIF_START)):
        raise ImageError("the tags of EXIF overlap, which no camera writes")
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
