"""Faults: what can be wrong with a data set, and which photographs are picked to have it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvdefect.data.synthetic.photos import Photo
from mvdefect.data.synthetic.shortcuts import SHORTCUTS
from mvdefect.errors import ConfigError, describe_unknown_name

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
