"""The first look at every file: what it says of itself, and whether it can be read at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from mvdefect.core.errors import ImageError, list_some
from mvdefect.core.files import UNREADABLE_NPZ, cache_dir, describe_state, escape_name, replace_file
from mvdefect.core.parallel import map_in_threads
from mvdefect.core.progress import logger, track
from mvdefect.data.bits import UsedBits, find_used_bits, refuse_mixture
from mvdefect.data.file_kinds import HEAD_BYTES, has_image_ends
from mvdefect.data.groups.details import FINGERPRINT_LENGTH, make_detail, take_fingerprint
from mvdefect.data.images import (
    DEFAULT_DECODING,
    THUMBNAIL_SIZE_PX,
    Decoding,
    Header,
    Mask,
    Pixels,
    decode_mask,
    decode_with_header,
    is_shallow,
    make_thumbnail,
)
from mvdefect.data.records import Record
from mvdefect.data.resolution import measure_defect

BORDER_SHARE = 0.02  # of the smaller side
FACTS_VERSION = 4  # of the cache
MAX_SUSPECTS = 100  # files that a quick look decodes

UseImage = Callable[[Record, Pixels, Mask | None], None]
FileLook: TypeAlias = "tuple[FileFacts, Pixels, NDArray[np.float16]]"


@dataclass(frozen=True)
class Tones:
    """Plain statistics of the pixels, 0 to 255, which a defect of a few percent of the area hardly moves.

    Attributes:
        extremes: The darkest and the brightest grey value.
        mean: Mean of the grey values between the 10th and the 90th percentile.
        spread: Grey values about the 75th percentile less those about the 25th.
        border: Red, green and blue of the outermost 2%: means of the middle half.
    """

    extremes: tuple[int, int]
    mean: float
    spread: float
    border: tuple[float, float, float]


@dataclass(frozen=True)
class MaskFacts:
    """What the mask of an image says of itself.

    Attributes:
        size_px: Height and width.
        share: Defective share of its pixels, 0 to 1.
        defect_px: Side of a square as large as its largest connected defect, in its pixels; 0 for no defect.
        fault: Why it cannot be read; "" where it can.
    """

    size_px: tuple[int, int]
    share: float
    defect_px: float = 0.0
    fault: str = ""


@dataclass(frozen=True)
class FileFacts:
    """What an image file says of itself.

    Attributes:
        sha256: Hash in hexadecimal.
        size_bytes: Length of the file.
        size_px: Height and width, as seen when EXIF orientation is applied; (0, 0) where unreadable.
        header: None where the file cannot be read.
        tones: None where the file cannot be read.
        mask: None where there is no mask.
        fault: Why the image cannot be read; "" where it can.
    """

    sha256: str
    size_bytes: int
    size_px: tuple[int, int] = (0, 0)
    header: Header | None = None
    tones: Tones | None = None
    mask: MaskFacts | None = None
    fault: str = ""

    @property
    def peak(self) -> int:
        """The largest value of an image of more than 8 bits; 0 for all others."""
        return self.header.peak if self.header else 0

    @property
    def mask_fault(self) -> str:
        """Why the mask cannot be used; "" where it can, or where there is none."""
        if self.mask is None or self.mask.fault:
            return self.mask.fault if self.mask else ""
        if self.fault or self.mask.size_px == self.size_px:
            return ""
        (height, width), (mask_height, mask_width) = self.size_px, self.mask.size_px
        return (
            f"its mask must have the image's size, {width}x{height} pixels. "
            f"Received: {mask_width}x{mask_height}"
        )


def read_file_facts(
    record: Record, use: UseImage | None = None, decoding: Decoding = DEFAULT_DECODING
) -> FileLook:
    """Read an image and its mask once.

    Args:
        record: The image.
        use: Is given the record, the image and its mask, if both can be used.
        decoding: How it is decoded.

    Returns:
        The facts; the thumbnail, uint8 (24, 24), black where the image cannot be read; and the fingerprint,
        float16 (`FINGERPRINT_LENGTH`,), all 0 then.
    """
    encoded = record.path.read_bytes()
    sha256 = hashlib.sha256(encoded).hexdigest()
    mask_facts, mask = _read_mask(record.mask_path, decoding) if record.mask_path else (None, None)
    try:
        image, header = decode_with_header(encoded, decoding)
    except ImageError as error:
        blank = np.zeros((THUMBNAIL_SIZE_PX, THUMBNAIL_SIZE_PX), np.uint8)
        nothing = np.zeros(FINGERPRINT_LENGTH, np.float16)
        return FileFacts(sha256, len(encoded), mask=mask_facts, fault=str(error)), blank, nothing
    size_px = (image.shape[0], image.shape[1])
    facts = FileFacts(sha256, len(encoded), size_px, header, measure_tones(image), mask_facts)
    if use is not None and not facts.mask_fault:
        use(record, image, mask)
    detail = make_detail(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    return facts, make_thumbnail(image), take_fingerprint(detail)


def measure_tones(image: Pixels) -> Tones:
    """Measure brightness, spread and border colour.

    Args:
        image: uint8 RGB of shape (height, width, 3).
    """
    counts = count_values(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    present = np.flatnonzero(counts)
    width = max(1, round(BORDER_SHARE * min(image.shape[:2])))
    strips = (image[:width], image[-width:], image[width:-width, :width], image[width:-width, -width:])
    border = np.concatenate([strip.reshape(-1, 3) for strip in strips])
    red, green, blue = (average_between(count_values(border[:, channel]), 0.25, 0.75) for channel in range(3))
    return Tones(
        extremes=(int(present[0]), int(present[-1])),
        mean=average_between(counts, 0.1, 0.9),
        spread=average_between(counts, 0.7, 0.8) - average_between(counts, 0.2, 0.3),
        border=(red, green, blue),
    )


def count_values(values: Pixels) -> NDArray[np.int64]:
    """Count how often each value from 0 to 255 occurs, int64 of shape (256,)."""
    return np.bincount(values.ravel(), minlength=256)


def average_between(counts: NDArray[np.int64], low: float, high: float) -> float:
    """Average the values whose rank lies between two shares, 0 to 1, of all values in order.

    Args:
        counts: How often each value occurs, as `count_values` returns it.
        low: Where to begin.
        high: Where to end.
    """
    ends = np.clip(np.cumsum(counts), low * counts.sum(), high * counts.sum())
    weights = np.diff(ends, prepend=low * counts.sum())
    return float((weights @ np.arange(len(counts))) / weights.sum())


def _read_mask(path: Path, decoding: Decoding) -> tuple[MaskFacts, Mask | None]:
    try:
        mask = decode_mask(path.read_bytes(), decoding)
    except (ImageError, OSError) as error:
        return MaskFacts((0, 0), 0.0, fault=f"its mask {escape_name(path)} cannot be read: {error}"), None
    size_px = (mask.shape[0], mask.shape[1])
    return MaskFacts(size_px, float(mask.mean()), measure_defect(mask)), mask


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
        decoding: How they were decoded.
        used: How many bits are in use; None: no image has more than 8.
    """

    records: tuple[Record, ...]
    facts: tuple[FileFacts, ...]
    thumbnails: NDArray[np.uint8]
    fingerprints: NDArray[np.float16]
    decoding: Decoding = DEFAULT_DECODING
    used: UsedBits | None = None

    def select(self, kept: Sequence[bool]) -> FirstLook:
        """Return the rows where `kept` is true."""
        return replace(
            self,
            records=tuple(compress(self.records, kept)),
            facts=tuple(compress(self.facts, kept)),
            thumbnails=self.thumbnails[np.asarray(kept, bool)],
            fingerprints=self.fingerprints[np.asarray(kept, bool)],
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
        decoding: How they were decoded, with the bits that are in use.
    """

    records: tuple[Record, ...]
    sha256: tuple[str, ...]
    thumbnails: NDArray[np.uint8]
    fingerprints: NDArray[np.float16]
    sizes_px: NDArray[np.int64]
    defect_shares: dict[str, float]
    decoding: Decoding = DEFAULT_DECODING


def scan_images(
    records: Sequence[Record],
    skip_broken: bool = False,
    use: UseImage | None = None,
    decoding: Decoding = DEFAULT_DECODING,
) -> Scan:
    """Read every image and mask once, and keep those that can be used.

    Args:
        records: What to read.
        skip_broken: Leave unreadable images out (and say so) instead of stopping.
        use: See `look_at_files`.
        decoding: See `look_at_files`.

    Raises:
        ImageError: An image or its mask cannot be used and `skip_broken` is off; it names them all. Or images
            use different numbers of bits.
    """
    look = look_at_files(records, use, decoding)
    faults = [fact.fault or fact.mask_fault for fact in look.facts]
    broken = [
        f"{escape_name(record.path)}: {fault}" for record, fault in zip(records, faults, strict=True) if fault
    ]
    if not skip_broken:
        _refuse(broken)
    if broken:
        logger.warning("left out %d file(s) that cannot be used: %s", len(broken), list_some(broken))
    refuse_mixture(look.used)
    if look.used is not None:
        logger.info("%s", look.used.describe())
    return make_scan(look.select([not fault for fault in faults]))


def refuse_broken(records: Sequence[Record], decoding: Decoding = DEFAULT_DECODING) -> None:
    """Refuse files that are broken, as far as a quick look tells; `scan_images` finds the others.

    Of each file the beginning and the end are read. Up to `MAX_SUSPECTS` that do not look whole are decoded.

    Raises:
        ImageError: An image or its mask cannot be used; it names those that were found.
    """
    whole = map_in_threads(_looks_whole, records)
    seen = zip(records, track(whole, "Looking at the files", len(records)), strict=True)
    suspects = [record for record, is_whole in seen if not is_whole][:MAX_SUSPECTS]
    _refuse(
        [f"{escape_name(one.path)}: {fault}" for one in suspects if (fault := _find_fault(one, decoding))]
    )


def _looks_whole(record: Record) -> bool:
    """Whether an image and its mask begin and end as images do."""
    try:
        return all(has_image_ends(*_read_ends(path)) for path in (record.path, record.mask_path) if path)
    except OSError:
        return False


def _read_ends(path: Path) -> tuple[bytes, bytes]:
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        stream.seek(max(0, path.stat().st_size - HEAD_BYTES))
        return head, stream.read()


def _find_fault(record: Record, decoding: Decoding) -> str:
    try:
        facts, _, _ = read_file_facts(record, decoding=decoding)
    except OSError as error:
        return str(error.strerror or error)
    return facts.fault or facts.mask_fault


def _refuse(broken: Sequence[str]) -> None:
    if broken:
        raise ImageError(
            f"{len(broken)} file(s) cannot be used. Mend or remove them, or leave them out with "
            f"--skip-broken: {list_some(broken)}"
        )


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
        decoding=look.decoding,
    )


def hash_files(records: Sequence[Record]) -> dict[str, str]:
    """Return the SHA-256 of each image file by id, in hexadecimal; nothing is decoded."""
    hashes = map_in_threads(lambda record: hashlib.sha256(record.path.read_bytes()).hexdigest(), records)
    names = [record.id for record in records]
    return dict(zip(names, track(hashes, "Hashing photographs", len(names)), strict=True))


def look_at_files(
    records: Sequence[Record], use: UseImage | None = None, decoding: Decoding = DEFAULT_DECODING
) -> FirstLook:
    """Read every image and mask once, in parallel; where not all of 16 bits are in use, such images twice.

    The result is cached by the files' names, sizes, times and inodes; see `describe_state`.

    Args:
        records: What to read.
        use: Is given each record, image and mask that is decoded, by several threads; of images that are
            found in the cache, none. What is read twice it is given twice, and the second time counts.
        decoding: How; without bits these are found.
    """
    cached = _cache_file(records, decoding)
    found = _load_look(cached, records)
    if found is None:
        found = _read_look(records, use, decoding)
        _store_look(cached, found)
    return _settle_bits(found, decoding)


def _read_look(records: Sequence[Record], use: UseImage | None, decoding: Decoding) -> FirstLook:
    read = _read_all(records, use, decoding)
    used = _find_used_bits(records, [facts for facts, _, _ in read], decoding)
    if used is not None and used.bits != decoding.used_bits:
        deep = [number for number, (facts, _, _) in enumerate(read) if facts.peak]
        settled = replace(decoding, bits=used.bits)
        again = _read_all([records[number] for number in deep], use, settled)
        for number, one in zip(deep, again, strict=True):
            read[number] = one
    shape = (-1, THUMBNAIL_SIZE_PX, THUMBNAIL_SIZE_PX)
    thumbnails = np.array([thumbnail for _, thumbnail, _ in read], np.uint8).reshape(shape)
    fingerprints = np.array([found for _, _, found in read], np.float16).reshape(-1, FINGERPRINT_LENGTH)
    return FirstLook(tuple(records), tuple(facts for facts, _, _ in read), thumbnails, fingerprints)


def _read_all(records: Sequence[Record], use: UseImage | None, decoding: Decoding) -> list[FileLook]:
    work = map_in_threads(partial(read_file_facts, use=use, decoding=decoding), records)
    return list(track(work, "Reading photographs", len(records)))


def _settle_bits(look: FirstLook, decoding: Decoding) -> FirstLook:
    """Note with a look how many bits are in use."""
    used = _find_used_bits(look.records, look.facts, decoding)
    settled = decoding if used is None else replace(decoding, bits=used.bits)
    return replace(look, decoding=settled, used=used)


def _find_used_bits(
    records: Sequence[Record], facts: Sequence[FileFacts], decoding: Decoding
) -> UsedBits | None:
    peaks = {record.id: fact.peak for record, fact in zip(records, facts, strict=True)}
    return find_used_bits(peaks, decoding.bits)


def settle_decoding(records: Sequence[Record], decoding: Decoding) -> Decoding:
    """Find the bits that are in use; of files of 8 bits only the beginning is read.

    Args:
        records: The images.
        decoding: What is known already; its bits are taken as they are.

    Raises:
        ImageError: Images use different numbers of bits.
    """
    if decoding.bits is not None:
        return decoding
    peaks = map_in_threads(lambda record: _find_peak(record.path, decoding), records)
    used = find_used_bits(dict(zip((record.id for record in records), peaks, strict=True)))
    refuse_mixture(used)
    if used is None:
        return decoding
    logger.info("%s", used.describe())
    return replace(decoding, bits=used.bits)


def _find_peak(path: Path, decoding: Decoding) -> int:
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
            return 0 if is_shallow(head) else decode_with_header(head + stream.read(), decoding)[1].peak
    except (ImageError, OSError):  # whoever prepares it says so
        return 0


def _cache_file(records: Sequence[Record], decoding: Decoding) -> Path:
    key = hashlib.sha256(f"{FACTS_VERSION} {decoding.bits} {decoding.max_pixels}\n".encode())
    for record in records:
        for path in filter(None, (record.path, record.mask_path)):
            key.update(describe_state(path.resolve()))
    return cache_dir("scans") / f"{key.hexdigest()[:32]}.npz"


def _load_look(path: Path, records: Sequence[Record]) -> FirstLook | None:
    try:
        with np.load(path) as stored:
            facts = FACTS.validate_json(stored["facts"].tobytes())
            thumbnails, fingerprints = stored["thumbnails"], stored["fingerprints"]
    except (*UNREADABLE_NPZ, ValidationError):
        return None  # absent or damaged: read the photographs themselves
    if {len(facts), len(thumbnails), len(fingerprints)} != {len(records)}:
        return None
    return FirstLook(tuple(records), facts, thumbnails, fingerprints)


def _store_look(path: Path, look: FirstLook) -> None:
    facts = np.frombuffer(FACTS.dump_json(look.facts), np.uint8)
    with replace_file(path) as partial, partial.open("wb") as stream:
        np.savez(stream, facts=facts, thumbnails=look.thumbnails, fingerprints=look.fingerprints)
