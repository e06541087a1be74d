"""The first look at every file: what it says of itself, and whether it can be read at all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from mvdefect.data.details import FINGERPRINT_LENGTH
from mvdefect.data.facts import FileFacts, read_file_facts
from mvdefect.data.images import THUMBNAIL_SIZE_PX
from mvdefect.data.records import Record
from mvdefect.errors import ImageError, list_some
from mvdefect.parallel import map_in_threads
from mvdefect.paths import cache_dir, replace_file
from mvdefect.progress import logger, track

FACTS_VERSION = 3  # of the cache
FACTS = TypeAdapter(tuple[FileFacts, ...])


@dataclass(frozen=True)
class FirstLook:
    """What every file says of itself, row by row in the order of `records`, unreadable ones included.

    Attributes:
        records: Sorted by id.
        facts: One a record.
        thumbnails: uint8 of shape (n, 24, 24), grey; black for a file that cannot be read.
        fingerprints: float16 of shape (n, `FINGERPRINT_LENGTH`), as `take_fingerprint` takes them; 0 for a
            file that cannot be read.
    """

    records: tuple[Record, ...]
    facts: tuple[FileFacts, ...]
    thumbnails: NDArray[np.uint8]
    fingerprints: NDArray[np.float16]

    def select(self, kept: Sequence[bool]) -> FirstLook:
        """Return the rows where `kept` is true."""
        return FirstLook(
            tuple(compress(self.records, kept)),
            tuple(compress(self.facts, kept)),
            self.thumbnails[np.asarray(kept, bool)],
            self.fingerprints[np.asarray(kept, bool)],
        )

    def select_readable(self) -> FirstLook:
        """Leave out the images that cannot be read; their masks do not count."""
        return self.select([not facts.fault for facts in self.facts])


@dataclass(frozen=True)
class Scan:
    """The files of a data set that can be used, row by row in the order of `records`.

    Attributes:
        records: The readable records, sorted by id.
        sha256: Hash of each file, in hexadecimal.
        thumbnails: uint8 of shape (n, 24, 24), grey.
        fingerprints: float16 of shape (n, `FINGERPRINT_LENGTH`), as `take_fingerprint` takes them.
        sizes_px: int64 of shape (n, 2): height and width.
        defect_shares: Defective share of the pixels by id, 0 to 1, of the records with a mask.
    """

    records: tuple[Record, ...]
    sha256: tuple[str, ...]
    thumbnails: NDArray[np.uint8]
    fingerprints: NDArray[np.float16]
    sizes_px: NDArray[np.int64]
    defect_shares: dict[str, float]


def scan_images(records: Sequence[Record], skip_broken: bool = False) -> Scan:
    """Read every image and mask once, and keep those that can be used.

    Args:
        records: What to read.
        skip_broken: Leave unreadable images out (and say so) instead of stopping.

    Raises:
        ImageError: An image or its mask cannot be used and `skip_broken` is off; it names them all.
    """
    look = look_at_files(records)
    faults = [fact.fault or fact.mask_fault for fact in look.facts]
    broken = [f"{record.path}: {fault}" for record, fault in zip(records, faults, strict=True) if fault]
    if broken and not skip_broken:
        raise ImageError(
            f"{len(broken)} file(s) cannot be used. Mend or remove them, or leave them out with "
            f"--skip-broken: {list_some(broken)}"
        )
    if broken:
        logger.warning("left out %d file(s) that cannot be used: %s", len(broken), list_some(broken))
    return make_scan(look.select([not fault for fault in faults]))


def make_scan(look: FirstLook) -> Scan:
    """Return what a split needs to know of readable files."""
    return Scan(
        records=look.records,
        sha256=tuple(facts.sha256 for facts in look.facts),
        thumbnails=look.thumbnails,
        fingerprints=look.fingerprints,
        sizes_px=np.array([facts.size_px for facts in look.facts], np.int64).reshape(-1, 2),
        defect_shares={
            record.id: facts.mask.share
            for record, facts in zip(look.records, look.facts, strict=True)
            if facts.mask is not None
        },
    )


def hash_files(records: Sequence[Record]) -> dict[str, str]:
    """Return the SHA-256 of each image file by id, in hexadecimal; nothing is decoded."""
    hashes = map_in_threads(lambda record: hashlib.sha256(record.path.read_bytes()).hexdigest(), records)
    names = [record.id for record in records]
    return dict(zip(names, track(hashes, "Hashing photographs", len(names)), strict=True))


def look_at_files(records: Sequence[Record]) -> FirstLook:
    """Read every image and mask once, in parallel.

    The result is cached by the names, sizes and modification times of the files.
    """
    cached = _cache_file(records)
    found = _load_look(cached, records)
    if found is None:
        read = list(track(map_in_threads(read_file_facts, records), "Reading photographs", len(records)))
        shape = (-1, THUMBNAIL_SIZE_PX, THUMBNAIL_SIZE_PX)
        thumbnails = np.array([thumbnail for _, thumbnail, _ in read], np.uint8).reshape(shape)
        fingerprints = np.array([found for _, _, found in read], np.float16).reshape(-1, FINGERPRINT_LENGTH)
        found = FirstLook(tuple(records), tuple(facts for facts, _, _ in read), thumbnails, fingerprints)
        _store_look(cached, found)
    return found


def _cache_file(records: Sequence[Record]) -> Path:
    key = hashlib.sha256(f"{FACTS_VERSION}\n".encode())
    for record in records:
        for path in filter(None, (record.path, record.mask_path)):
            status = path.stat()
            key.update(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return cache_dir("scans") / f"{key.hexdigest()[:32]}.npz"


def _load_look(path: Path, records: Sequence[Record]) -> FirstLook | None:
    try:
        with np.load(path) as stored:
            facts = FACTS.validate_json(stored["facts"].tobytes())
            thumbnails, fingerprints = stored["thumbnails"], stored["fingerprints"]
    except (OSError, ValueError, KeyError, EOFError, ValidationError):
        return None  # absent or damaged: read the photographs themselves
    if {len(facts), len(thumbnails), len(fingerprints)} != {len(records)}:
        return None
    return FirstLook(tuple(records), facts, thumbnails, fingerprints)


def _store_look(path: Path, look: FirstLook) -> None:
    facts = np.frombuffer(FACTS.dump_json(look.facts), np.uint8)
    with replace_file(path) as partial, partial.open("wb") as stream:
        np.savez(stream, facts=facts, thumbnails=look.thumbnails, fingerprints=look.fingerprints)
