"""The first look at every file: its hash, its size, a thumbnail, and whether it can be read at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvdefect.data.images import THUMBNAIL_SIZE_PX, Pixels, decode_image, decode_mask, make_thumbnail
from mvdefect.data.records import Record
from mvdefect.errors import ImageError, list_some
from mvdefect.parallel import map_in_threads
from mvdefect.paths import cache_dir, replace_file
from mvdefect.progress import logger, track


@dataclass(frozen=True)
class Scan:
    """What the files of a data set say of themselves, row by row in the order of `records`.

    Attributes:
        records: The readable records, sorted by id.
        sha256: Hash of each file, in hexadecimal.
        thumbnails: uint8 of shape (n, 24, 24), grey.
        sizes_px: int64 of shape (n, 2): height and width.
    """

    records: tuple[Record, ...]
    sha256: tuple[str, ...]
    thumbnails: NDArray[np.uint8]
    sizes_px: NDArray[np.int64]


@dataclass(frozen=True)
class _FileFacts:
    sha256: str
    thumbnail: Pixels
    size_px: tuple[int, int]
    fault: str


def scan_images(records: Sequence[Record], skip_broken: bool = False) -> Scan:
    """Read every image and mask once, in parallel.

    The result is cached by the names, sizes and modification times of the files.

    Args:
        records: What to read.
        skip_broken: Leave unreadable images out (and say so) instead of stopping.

    Raises:
        ImageError: An image or its mask cannot be read and `skip_broken` is off; it names them all.
    """
    cached = _cache_file(records)
    facts = _load_facts(cached, len(records)) or _read_all(records)
    _store_facts(cached, facts)
    broken = [
        f"{record.path}: {fact.fault}" for record, fact in zip(records, facts, strict=True) if fact.fault
    ]
    if broken and not skip_broken:
        raise ImageError(
            f"{len(broken)} file(s) cannot be used. Mend or remove them, or leave them out with "
            f"--skip-broken: {list_some(broken)}"
        )
    if broken:
        logger.warning("left out %d file(s) that cannot be used: %s", len(broken), list_some(broken))
    kept = [index for index, fact in enumerate(facts) if not fact.fault]
    return Scan(
        records=tuple(records[index] for index in kept),
        sha256=tuple(facts[index].sha256 for index in kept),
        thumbnails=np.array([facts[index].thumbnail for index in kept], np.uint8).reshape(
            -1, THUMBNAIL_SIZE_PX, THUMBNAIL_SIZE_PX
        ),
        sizes_px=np.array([facts[index].size_px for index in kept], np.int64).reshape(-1, 2),
    )


def _read_all(records: Sequence[Record]) -> list[_FileFacts]:
    facts = map_in_threads(_read_file, records)
    return list(track(facts, "Reading photographs", len(records)))


def _read_file(record: Record) -> _FileFacts:
    encoded = record.path.read_bytes()
    digest = hashlib.sha256(encoded).hexdigest()
    blank = np.zeros((THUMBNAIL_SIZE_PX, THUMBNAIL_SIZE_PX), np.uint8)
    try:
        image = decode_image(encoded)
    except ImageError as error:
        return _FileFacts(digest, blank, (0, 0), str(error))
    size_px = (image.shape[0], image.shape[1])
    return _FileFacts(digest, make_thumbnail(image), size_px, _find_mask_fault(record, size_px))


def _find_mask_fault(record: Record, size_px: tuple[int, int]) -> str:
    if record.mask_path is None:
        return ""
    try:
        mask = decode_mask(record.mask_path.read_bytes())
    except ImageError as error:
        return f"its mask {record.mask_path} cannot be read: {error}"
    if mask.shape != size_px:
        height, width = size_px
        return (
            f"its mask must have the image's size, {width}x{height} pixels. "
            f"Received: {mask.shape[1]}x{mask.shape[0]} in {record.mask_path}"
        )
    return ""


def _cache_file(records: Sequence[Record]) -> Path:
    key = hashlib.sha256()
    for record in records:
        for path in filter(None, (record.path, record.mask_path)):
            status = path.stat()
            key.update(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return cache_dir("scans") / f"{key.hexdigest()[:32]}.npz"


def _load_facts(path: Path, count: int) -> list[_FileFacts] | None:
    try:
        with np.load(path) as stored:
            rows = json.loads(str(stored["facts"]))
            thumbnails = stored["thumbnails"]
    except (OSError, ValueError, KeyError, EOFError):
        return None  # absent or damaged: read the photographs themselves
    if len(rows) != count or len(thumbnails) != count:
        return None
    return [
        _FileFacts(sha256, thumbnail, (height, width), fault)
        for (sha256, height, width, fault), thumbnail in zip(rows, thumbnails, strict=True)
    ]


def _store_facts(path: Path, facts: list[_FileFacts]) -> None:
    if path.exists():
        return
    rows = [(fact.sha256, *fact.size_px, fact.fault) for fact in facts]
    with replace_file(path) as partial, partial.open("wb") as stream:
        np.savez(stream, facts=json.dumps(rows), thumbnails=np.array([fact.thumbnail for fact in facts]))
