"""Flaws of a data set: which images have them, and how copies, broken files and wrong masks are made."""

from __future__ import annotations

import dataclasses
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from mvdefect.core.errors import ConfigError, describe_unknown_name
from mvdefect.data.images import Pixels, decode_image, decode_mask
from mvdefect.drawing.canvas import Region
from mvdefect.drawing.catalogue import draw_image
from mvdefect.drawing.photos import (
    HIGH_QUALITY,
    SHORTCUTS,
    Photo,
    choose_quality,
    draw_cue,
    encode_image,
    write_file,
)

TRANSFORMATIONS = (
    "mirrored",
    "turned_90",
    "turned_180",
    "turned_270",
    "recompressed",
    "resized",
    "brightened",
)
WAYS_TO_BREAK = ("truncated", "empty", "text", "animated", "wrong_extension")
MASK_FAULTS = ("missing", "empty", "on_good", "other_size", "orphaned")


QUARTER_TURNS = {"turned_90": 1, "turned_180": 2, "turned_270": 3}
EXIF_ORIENTATION = 0x0112
TURN_CLOCKWISE_TO_VIEW = 6


@dataclass(frozen=True)
class Faults:
    """What to plant in a data set; nothing, unless told otherwise.

    Attributes:
        near_duplicates: Copies that are mirrored, turned, recompressed, resized or brightened, in turn.
        exact_duplicates: Copies, byte by byte, under another name in the same class.
        conflicts: Copies of good images, byte by byte, in the folder of a defect type.
        broken: Files that are truncated, empty, text, animated, or of another format than their suffix
            says (which can still be read), in turn.
        wrong_masks: Masks that are missing, empty, of a good image, of another size, or without an image,
            in turn.
        exif_rotated: Photographs stored lying on their side, as JPEG with EXIF orientation 6.
        shortcut: "border", "brightness", "category", "compression" or "size": what gives the label away.

    Raises:
        ConfigError: A count is negative, or the shortcut is unknown.
    """

    near_duplicates: int = 0
    exact_duplicates: int = 0
    conflicts: int = 0
    broken: int = 0
    wrong_masks: int = 0
    exif_rotated: int = 0
    shortcut: str = ""

    def __post_init__(self) -> None:
        for name in KINDS:
            count = getattr(self, name)
            if count < 0:
                raise ConfigError(f"the number of {name} must be 0 or more. Received: {count}")
        if self.shortcut and self.shortcut not in SHORTCUTS:
            raise ConfigError(describe_unknown_name("shortcut", self.shortcut, SHORTCUTS))


KINDS = tuple(field.name for field in dataclasses.fields(Faults) if field.name != "shortcut")
FAULTLESS = Faults()


@dataclass(frozen=True)
class Fault:
    """One fault, and the photograph that gets it.

    Attributes:
        kind: One of `KINDS`.
        how: One of `TRANSFORMATIONS`, `WAYS_TO_BREAK` or `MASK_FAULTS`; "" for other kinds.
        photo: A photograph that no other fault touches.
        copy: The new name, where the fault makes one.
    """

    kind: str
    photo: Photo
    how: str = ""
    copy: Photo | None = None

    def describe(self) -> list[str]:
        """Return the row of this fault in `planted.json`; `write_parts` says what it holds."""
        image = self.copy or self.photo
        if self.kind == "near_duplicates":
            return [image.id, self.photo.id, self.how]
        if self.kind in ("exact_duplicates", "conflicts"):
            return [image.id, self.photo.id]
        if self.kind == "wrong_masks":
            return [image.mask_id, "" if self.how == "orphaned" else image.id, self.how]
        return [image.id, self.how] if self.kind == "broken" else [image.id]


class Stock:
    """The photographs that have no fault yet, in random order, and the numbers that are free."""

    def __init__(self, photos: Sequence[Photo], rng: np.random.Generator) -> None:
        self._left: list[Photo] = [photos[index] for index in rng.permutation(len(photos))]
        self._next = Counter[tuple[str, str]]()
        for photo in photos:
            key = photo.category, photo.defect_type
            self._next[key] = max(self._next[key], photo.number + 1)

    def take(self, wanted: Callable[[Photo], bool], purpose: str) -> Photo:
        """Take a photograph that no other fault has.

        Raises:
            ConfigError: None is left.
        """
        for index, photo in enumerate(self._left):
            if wanted(photo):
                del self._left[index]
                return photo
        raise ConfigError(f"there are too few images for these faults: none is left for {purpose}; draw more")

    def name_copy(self, photo: Photo, defect_type: str, suffix: str) -> Photo:
        """Return a new name beside a photograph, or in the folder of another defect type."""
        number = self._next[photo.category, defect_type]
        self._next[photo.category, defect_type] += 1
        part = photo.part if defect_type == photo.defect_type else "test"
        return Photo(photo.category, part, defect_type, number, suffix)


def parse_faults(assignments: Sequence[str]) -> Faults:
    """Read "kind=value" assignments, as in "near-duplicates=10" or "shortcut=size".

    Raises:
        ConfigError: A kind is unknown, or a value is not allowed.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        kind = name.replace("-", "_")
        if kind not in (*KINDS, "shortcut"):
            allowed = [known.replace("_", "-") for known in (*KINDS, "shortcut")]
            raise ConfigError(describe_unknown_name("fault", name, allowed))
        if kind != "shortcut" and not value.isdigit():
            raise ConfigError(f"{name} takes a whole number, as in {name}=10. Received: {assignment!r}")
        values[kind] = value if kind == "shortcut" else int(value)
    return Faults(**values)


def plan_faults(faults: Faults, photos: Sequence[Photo], seed: int) -> tuple[Fault, ...]:
    """Pick the photographs that get the faults, each at most one.

    Raises:
        ConfigError: There are too few photographs.
    """
    rng = np.random.default_rng([seed, len(photos)])
    stock = Stock(photos, rng)
    planned = [_plan_mask(stock, MASK_FAULTS[n % len(MASK_FAULTS)]) for n in range(faults.wrong_masks)]
    planned += [_plan_conflict(stock, photos, rng) for _ in range(faults.conflicts)]
    for n in range(faults.near_duplicates):
        planned.append(_plan_near_duplicate(stock, TRANSFORMATIONS[n % len(TRANSFORMATIONS)]))
    for _ in range(faults.exact_duplicates):
        photo = stock.take(_is_any, "exact_duplicates")
        copy = stock.name_copy(photo, photo.defect_type, photo.suffix)
        planned.append(Fault("exact_duplicates", photo, copy=copy))
    for n in range(faults.broken):
        photo = stock.take(_is_any, "broken")
        planned.append(Fault("broken", photo, WAYS_TO_BREAK[n % len(WAYS_TO_BREAK)]))
    for _ in range(faults.exif_rotated):
        photo = stock.take(_is_any, "exif_rotated")
        planned.append(Fault("exif_rotated", photo, copy=dataclasses.replace(photo, suffix=".jpg")))
    return tuple(planned)


def _plan_near_duplicate(stock: Stock, how: str) -> Fault:
    photo = stock.take(_is_any, "near_duplicates")
    suffix = ".jpg" if how == "recompressed" else photo.suffix
    return Fault("near_duplicates", photo, how, stock.name_copy(photo, photo.defect_type, suffix))


def _plan_mask(stock: Stock, how: str) -> Fault:
    if how == "on_good":
        photo = stock.take(lambda photo: not photo.is_defective and photo.part == "test", "wrong_masks")
        return Fault("wrong_masks", photo, how)
    photo = stock.take(lambda photo: photo.is_defective, "wrong_masks")
    orphan = stock.name_copy(photo, photo.defect_type, photo.suffix) if how == "orphaned" else None
    return Fault("wrong_masks", photo, how, orphan)


def _plan_conflict(stock: Stock, photos: Sequence[Photo], rng: np.random.Generator) -> Fault:
    types: dict[str, set[str]] = {}
    for photo in photos:
        if photo.is_defective:
            types.setdefault(photo.category, set()).add(photo.defect_type)
    photo = stock.take(lambda photo: not photo.is_defective and photo.category in types, "conflicts")
    defect_type = str(rng.choice(sorted(types[photo.category])))
    return Fault("conflicts", photo, copy=stock.name_copy(photo, defect_type, photo.suffix))


def _is_any(_: Photo) -> bool:
    return True


def plant_fault(fault: Fault, root: Path, seed: int, shortcut: str) -> None:
    """Change, add or remove the files that make a fault.

    Args:
        fault: What to plant, on a photograph that is written and has no other fault.
        root: Of the data set.
        seed: Of the data set.
        shortcut: Of the data set; copies bear the same cue.
    """
    if fault.kind == "near_duplicates":
        _plant_near_duplicate(fault, root, seed, shortcut)
    elif fault.kind == "exact_duplicates":
        _copy_bytes(fault, root)
    elif fault.kind == "conflicts":
        _plant_conflict(fault, root, seed)
    elif fault.kind == "broken":
        path = root / fault.photo.id
        path.write_bytes(break_file(path.read_bytes(), fault.photo.suffix, fault.how))
    elif fault.kind == "wrong_masks":
        _plant_wrong_mask(fault, root)
    else:
        _lay_on_its_side(fault, root)


def transform(image: Pixels, mask: Region, how: str, rng: np.random.Generator) -> tuple[Pixels, Region]:
    """Make a near-duplicate of a photograph and its mask.

    Args:
        image: uint8 RGB (height, width, 3).
        mask: bool (height, width).
        how: One of `TRANSFORMATIONS`; "recompressed" is left to the encoder.
        rng: Draws the amount, where there is one to draw.
    """
    if how == "mirrored":
        return image[:, ::-1], mask[:, ::-1]
    if how in QUARTER_TURNS:
        return np.rot90(image, QUARTER_TURNS[how]), np.rot90(mask, QUARTER_TURNS[how])
    if how == "resized":
        scale = rng.choice([rng.uniform(0.7, 0.9), rng.uniform(1.1, 1.3)])
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8), _resize_mask(
            mask, size
        )
    if how == "brightened":
        gain, offset = rng.uniform(0.9, 1.1), rng.choice([-1, 1]) * rng.uniform(2, 10)
        return np.clip(image * gain + offset, 0, 255).round().astype(np.uint8), mask
    return image, mask


def break_file(encoded: bytes, suffix: str, how: str) -> bytes:
    """Return what is left of an image file once it is broken in one of `WAYS_TO_BREAK`."""
    if how == "truncated":
        return encoded[: len(encoded) // 2]
    if how == "empty":
        return b""
    if how == "text":
        return b"This was once the photograph of a part.\n"
    image = decode_image(encoded)
    if how == "wrong_extension":
        return encode_image(image, ".jpg" if suffix == ".png" else ".png")
    frames = [Image.fromarray(frame) for frame in (image, np.ascontiguousarray(image[:, ::-1]))]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def _plant_near_duplicate(fault: Fault, root: Path, seed: int, shortcut: str) -> None:
    copy = _named(fault)
    rng = copy.make_rng(seed, "near-duplicate")
    original = decode_image((root / fault.photo.id).read_bytes())
    blank = np.zeros(original.shape[:2], bool)
    mask = decode_mask((root / fault.photo.mask_id).read_bytes()) if fault.photo.is_defective else blank
    image, mask = transform(original, mask, fault.how, rng)
    quality = choose_quality(shortcut, draw_cue(copy, seed))
    if fault.how == "recompressed":
        quality = int(rng.integers(60, 86))
    write_file(root / copy.id, encode_image(image, copy.suffix, quality))
    if copy.is_defective:
        _write_mask(root, copy, mask)


def _copy_bytes(fault: Fault, root: Path) -> None:
    copy = _named(fault)
    write_file(root / copy.id, (root / fault.photo.id).read_bytes())
    if copy.is_defective:
        write_file(root / copy.mask_id, (root / fault.photo.mask_id).read_bytes())


def _plant_conflict(fault: Fault, root: Path, seed: int) -> None:
    """Claim that a good part has a defect, mask included: the conflict is to be the only fault."""
    copy, encoded = _named(fault), (root / fault.photo.id).read_bytes()
    write_file(root / copy.id, encoded)
    size_px = decode_image(encoded).shape[0]
    _write_mask(root, copy, draw_image(copy.category, copy.defect_type, copy.number, seed, size_px)[1])


def _plant_wrong_mask(fault: Fault, root: Path) -> None:
    path = root / fault.photo.mask_id
    if fault.how == "missing":
        path.unlink()
    elif fault.how == "on_good":
        height, width = decode_image((root / fault.photo.id).read_bytes()).shape[:2]
        disc = np.zeros((height, width), np.uint8)
        cv2.circle(disc, (width // 2, height // 2), height // 8, 255, cv2.FILLED)
        _write_mask(root, fault.photo, disc > 0)
    elif fault.how == "orphaned":
        write_file(root / _named(fault).mask_id, path.read_bytes())
    else:
        mask = decode_mask(path.read_bytes())
        halved = _resize_mask(mask, (mask.shape[1] // 2, mask.shape[0] // 2))
        _write_mask(root, fault.photo, halved if fault.how == "other_size" else np.zeros_like(mask))


def _lay_on_its_side(fault: Fault, root: Path) -> None:
    """Store a photograph as a camera does that was held upright: turned, with a note of it."""
    path, copy = root / fault.photo.id, _named(fault)
    lying = np.ascontiguousarray(np.rot90(decode_image(path.read_bytes())))
    path.unlink()
    note = Image.Exif()
    note[EXIF_ORIENTATION] = TURN_CLOCKWISE_TO_VIEW
    stream = io.BytesIO()
    Image.fromarray(lying).save(stream, "JPEG", quality=HIGH_QUALITY, exif=note)
    write_file(root / copy.id, stream.getvalue())


def _resize_mask(mask: Region, size_px: tuple[int, int]) -> Region:
    """Resize a mask to (width, height), so that no part of it is lost."""
    return np.asarray(cv2.resize(mask.astype(np.float32), size_px, interpolation=cv2.INTER_AREA) > 0)


def _write_mask(root: Path, photo: Photo, mask: Region) -> None:
    write_file(root / photo.mask_id, encode_image(mask.astype(np.uint8) * np.uint8(255), ".png"))


def _named(fault: Fault) -> Photo:
    if fault.copy is None:
        raise ValueError(f"a fault of kind '{fault.kind}' needs a new name")
    return fault.copy
