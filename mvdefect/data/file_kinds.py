"""What a file is by its name and its first bytes, where it is no image or none that is read."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

HEAD_BYTES = 64
CONVERT = "convert it to PNG or JPEG"
MANY_PAGES = 1000  # no more are counted
RAW, VIDEO, ARCHIVE = "a raw image of a camera", "a video", "an archive"
TIFF_BYTES = {2: 1, 3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # by type
MOST_ENTRIES = 65_535
PREVIEW_TAG, DNG_TAG = 254, 50706  # of a TIFF

# By the suffix: images that are not read, and what may hold images.
UNSUPPORTED = {
    "HEIC": "heic",
    "HEIF": "heif|hif",
    "AVIF": "avif",
    "JPEG XL": "jxl",
    "JPEG XR": "jxr|wdp",
    "NumPy's format": "npy|npz",
    "MATLAB's format": "mat",
    "DICOM": "dcm",
    "OpenEXR": "exr",
    "SVG": "svg",
    RAW: "raw|dng|cr2|cr3|crw|nef|nrw|arw|srf|sr2|raf|orf|rw2|pef|srw|x3f|iiq",
    VIDEO: "mp4|avi|mov|mkv|wmv|webm|m4v",
    ARCHIVE: "zip|tar|gz|tgz|xz|txz|bz2|7z|rar",
}
# The same by the first bytes.
UNSUPPORTED_STARTS = (
    (re.compile(rb"....ftyp(heic|heix|hevc|heim|heis|hevm|hevs)", re.DOTALL), "HEIC"),
    (re.compile(rb"....ftyp(mif1|msf1)", re.DOTALL), "HEIF"),
    (re.compile(rb"....ftypav", re.DOTALL), "AVIF"),
    (re.compile(rb"....ftypcrx", re.DOTALL), RAW),
    (re.compile(rb"....ftyp", re.DOTALL), VIDEO),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "JPEG XL"),
    (re.compile(rb"\x93NUMPY"), "NumPy's format"),
    (re.compile(rb"FUJIFILMCCD-RAW|IIR[OS]|IIU\0"), RAW),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|\xfd7zXZ|7z\xbc\xaf|Rar!"), ARCHIVE),
    (re.compile(rb"v/1\x01"), "OpenEXR"),
)
# Of files whose names do not say that they are images: what is read as one all the same.
IMAGE_START = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|BM|GIF8|II[*+]\0|MM\0[*+]|RIFF....WEBP|\0\0\0\x0cjP  |P[1-6]\s"
    rb"|....ftypavi[fs]",
    re.DOTALL,
)
ENDS = {b"\x89PNG": b"IEND\xaeB`\x82", b"\xff\xd8\xff": b"\xff\xd9"}
TIFF_START = re.compile(rb"II[*+]\0|MM\0[*+]")
# By the suffix: what lies beside images and is none.
SIDE_SUFFIX = (
    "txt|text|log|md|rst|json|jsonl|ndjson|csv|tsv|xml|ya?ml|toml|ini|cfg|conf|html?|css|js|py|ipynb|sh|bat|pdf"
    "|docx?|xlsx?|pptx?|od[pst]|db|sqlite|lnk|url|sha256|md5|xmp|aae|bak|tmp|part|partial|crdownload"
)


def find_suffix(name: str) -> str:
    """Return the suffix of a name in small letters, without its dot."""
    return PurePath(name).suffix[1:].lower()


def is_side_file(name: str) -> bool:
    """Whether a name is that of a note, a table, a log or the like, and of no image."""
    return re.fullmatch(SIDE_SUFFIX, find_suffix(name)) is not None


def find_unsupported(name: str) -> str:
    """Return what kind of file that is not read as an image a name tells; "" for none."""
    suffix = find_suffix(name)
    return next((kind for kind, known in UNSUPPORTED.items() if re.fullmatch(known, suffix)), "")


def looks_like_image(head: bytes, name: str) -> bool:
    """Whether a file whose name is not that of an image is one by its first `HEAD_BYTES` bytes.

    A TIFF that is called as a camera's raw images are holds a preview.
    """
    is_image = IMAGE_START.match(head) is not None
    return is_image and not (TIFF_START.match(head) and find_unsupported(name))


def has_image_ends(head: bytes, tail: bytes) -> bool:
    """Whether a file begins as an image does and, if it is a PNG or JPEG, ends as one that is whole.

    Some programs write more behind the end, so False is a suspicion alone.

    Args:
        head: Its first `HEAD_BYTES` bytes.
        tail: Its last bytes.
    """
    ends = (end for start, end in ENDS.items() if head.startswith(start))
    return IMAGE_START.match(head) is not None and tail.endswith(next(ends, b""))


def explain_unknown(head: bytes, name: str = "") -> str:
    """Say why a file is not read as an image.

    Args:
        head: Its first `HEAD_BYTES` bytes.
        name: Its name, which counts where they tell nothing.
    """
    kind = next((kind for start, kind in UNSUPPORTED_STARTS if start.match(head)), "")
    kind = kind or find_unsupported(name)
    if kind == ARCHIVE:
        return "the file is an archive; unpack it"
    if kind in (RAW, VIDEO):
        return f"the file is {kind}; {CONVERT}"
    if kind:
        return f"{kind} is not supported; {CONVERT}"
    if TIFF_START.match(head):
        return "a TIFF of this kind is not read, or it is broken; save it with 8 or 16 bits a channel"
    return "the file is no image that can be recognised"


def is_camera_raw(tags: Mapping[int, Any]) -> bool:
    """Whether a TIFF's first page is the preview of a raw image, by its tags: DNG, NEF and ARW are such."""
    return DNG_TAG in tags or bool(tags.get(PREVIEW_TAG, 0) & 1)


def count_tiff_pages(encoded: bytes | memoryview) -> int:
    """Count the pages of a TIFF by the chain of its directories, up to `MANY_PAGES`; no tag is read."""
    pages = 0
    try:
        form, place = _find_directory(encoded)
        while place and pages < MANY_PAGES:
            pages += 1
            (entries,) = struct.unpack_from(form.length, encoded, place)
            place += struct.calcsize(form.length) + struct.calcsize(form.entry) * entries
            (place,) = struct.unpack_from(form.offset, encoded, place)
    except (struct.error, OverflowError):
        pass  # the chain leads out of the file
    return pages


def has_overlapping_tags(encoded: bytes | memoryview) -> bool:
    """Whether the tags of a TIFF, or of a block of EXIF, claim more bytes than there are twice.

    Who reads the content of each would fill the memory: thousands of tags may name the same megabytes.
    """
    if not TIFF_START.match(bytes(encoded[:4])):
        return False
    claimed = 0
    try:
        form, place = _find_directory(encoded)
        (entries,) = struct.unpack_from(form.length, encoded, place)
        place += struct.calcsize(form.length)
        for number in range(min(entries, MOST_ENTRIES)):
            _, kind, values, _ = struct.unpack_from(
                form.entry, encoded, place + number * struct.calcsize(form.entry)
            )
            claimed += values * TIFF_BYTES.get(kind, 1)
    except (struct.error, OverflowError):
        pass  # it ends before, and whoever decodes it says so
    return claimed > 2 * len(encoded)


class _TiffForm(NamedTuple):
    """How the numbers of a directory are packed: how many entries, an entry, and where the next one is."""

    length: str
    entry: str
    offset: str


def _find_directory(encoded: bytes | memoryview) -> tuple[_TiffForm, int]:
    """Return the form of a TIFF, and where its first directory is."""
    order = "<" if encoded[:2] == b"II" else ">"
    is_big = encoded[2:4] in (b"+\0", b"\0+")
    form = _TiffForm(*(order + packed for packed in (("Q", "HHQQ", "Q") if is_big else ("H", "HHII", "I"))))
    (place,) = struct.unpack_from(form.offset, encoded, 8 if is_big else 4)
    return form, place
