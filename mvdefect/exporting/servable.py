"""Which files a SavedModel reads by itself, as in TensorFlow Serving, which has nothing of this package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mvdefect.core.errors import ImageError
from mvdefect.core.progress import logger
from mvdefect.data.images import Decoding, Header, decode_image, read_header
from mvdefect.inspector.photographs import encode_image

JPEG_MODES, BMP_MODES = ("L", "RGB"), ("L", "RGB")


def is_servable(header: Header) -> bool:
    """Whether TensorFlow decodes such a file to the pixels of `decode_image`."""
    if header.format in ("JPEG", "MPO"):
        return header.mode in JPEG_MODES
    return header.format == "PNG" or (header.format == "BMP" and header.mode in BMP_MODES)


def make_servable(encoded: bytes, decoding: Decoding) -> bytes:
    """Return a file as it is, or a PNG of its pixels where TensorFlow does not read it.

    Raises:
        ImageError: It is no image.
    """
    return encoded if is_servable(read_header(encoded)) else encode_image(decode_image(encoded, decoding))


def warn_of_formats(paths: Sequence[Path]) -> None:
    """Say which of these images a SavedModel does not read by itself."""
    counts: Counter[str] = Counter()
    for path in paths:
        try:
            header = read_header(path.read_bytes())
        except (ImageError, OSError):  # whoever asks about it says so
            continue
        if not is_servable(header):
            counts[describe_format(header)] += 1
    if counts:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        logger.warning(
            "a SavedModel does not read %d of %d test images by itself (%s). `mvdefect predict` and `serve` "
            "read them, but TensorFlow Serving, which reads PNG, JPEG and BMP, will call them unreadable: "
            "convert them for it, or use --format openvino",
            counts.total(),
            len(paths),
            kinds,
        )


def describe_format(header: Header) -> str:
    """Return what kind of file this is, as in "TIFF" or "BMP with a palette"."""
    if header.format in ("JPEG", "MPO"):
        return f"JPEG in {header.mode}"
    return "BMP with a palette" if (header.format, header.mode) == ("BMP", "P") else header.format
