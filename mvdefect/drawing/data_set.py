"""Writing a drawn data set in MVTec AD's layout, with or without faults."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvdefect.core.errors import ConfigError, LayoutError, describe_unknown_name
from mvdefect.core.parallel import map_in_threads
from mvdefect.core.progress import track
from mvdefect.data.records import GOOD
from mvdefect.drawing.catalogue import PARTS, draw_image
from mvdefect.drawing.defects import Severity
from mvdefect.drawing.flaws import FAULTLESS, KINDS, Fault, Faults, plan_faults, plant_fault
from mvdefect.drawing.photos import (
    Photo,
    alter_picture,
    choose_quality,
    choose_size_px,
    choose_suffix,
    count_images,
    draw_cue,
    encode_image,
    write_file,
)

TEST_SHARE_OF_GOOD = 0.25
MIN_SIZE_PX = 32
STAMP = "synthetic.txt"
PLANTED = "planted.json"


@dataclass(frozen=True)
class Recipe:
    """All that a drawn data set depends on."""

    seed: int
    good: int
    defective_per_type: int
    size_px: int
    categories: tuple[str, ...]
    defect_types: tuple[str, ...]
    severity: Severity
    faults: Faults

    def describe(self) -> str:
        """Return the text of the stamp file: every value, so that equal text means equal data."""
        return "drawn by mvdefect\n" + json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def write_parts(
    root: Path,
    seed: int = 0,
    good: int = 120,
    defective_per_type: int = 30,
    size_px: int = 128,
    categories: tuple[str, ...] = ("fabric", "washer"),
    defect_types: tuple[str, ...] = (),
    defect_size: float = 1.0,
    defect_contrast: float = 1.0,
    faults: Faults = FAULTLESS,
) -> Path:
    """Write a data set.

    Where faults are planted, `planted.json` lists them, by kind. A row is [copy, original, transformation]
    for near-duplicates, [copy, original] for exact duplicates and conflicts, [image, how] for broken files,
    [mask, its image or "", how] for wrong masks, and [image] for photographs that lie on their side; all
    are POSIX paths below `root`. "shortcut" names the shortcut.

    Args:
        root: A folder that does not exist or is empty, or holds this very data set.
        seed: Another seed, another data set.
        good: Good images a category, a quarter of them in MVTec AD's test folder.
        defective_per_type: Images a defect type.
        size_px: Height and width, at least 32.
        categories: Of `PARTS`.
        defect_types: The defects to draw where a category has them; empty for all.
        defect_size: Factor of the defects' lengths, 0.25 to 3.
        defect_contrast: Factor of the defects' change of intensity, 0.05 to 2.
        faults: What to plant.

    Returns:
        `root`.

    Raises:
        ConfigError: A value is not allowed, or there are too few images for the faults.
        LayoutError: `root` holds something else.
    """
    severity = Severity(defect_size, defect_contrast)
    names = tuple(sorted(set(categories)))
    types = tuple(sorted(set(defect_types)))
    recipe = Recipe(seed, good, defective_per_type, size_px, names, types, severity, faults)
    _check_recipe(recipe)
    photos = list_photos(recipe)
    planned = plan_faults(faults, photos, seed)
    if _holds(root, recipe):
        return root
    for _ in track(
        map_in_threads(lambda photo: _write_photo(root, photo, recipe), photos), "Drawing parts", len(photos)
    ):
        pass
    for _ in map_in_threads(lambda fault: plant_fault(fault, root, seed, faults.shortcut), planned):
        pass
    if faults != FAULTLESS:
        write_file(root / PLANTED, _describe_faults(planned, faults.shortcut).encode())
    write_file(root / STAMP, recipe.describe().encode())
    return root


def list_photos(recipe: Recipe) -> list[Photo]:
    """List the photographs of a data set, before faults add or rename any."""
    shortcut = recipe.faults.shortcut
    suffix = choose_suffix(shortcut)
    photos = []
    for category in recipe.categories:
        good, per_type = count_images(
            shortcut, recipe.categories, category, recipe.good, recipe.defective_per_type
        )
        in_test = round(good * TEST_SHARE_OF_GOOD)
        for number in range(good):
            photos.append(Photo(category, "test" if number < in_test else "train", GOOD, number, suffix))
        for defect_type in PARTS[category][1]:
            if not recipe.defect_types or defect_type in recipe.defect_types:
                photos += [Photo(category, "test", defect_type, number, suffix) for number in range(per_type)]
    return photos


def _check_recipe(recipe: Recipe) -> None:
    for category in recipe.categories:
        if category not in PARTS:
            raise ConfigError(describe_unknown_name("category", category, PARTS))
    known = {defect_type for category in recipe.categories for defect_type in PARTS[category][1]}
    for defect_type in recipe.defect_types:
        if defect_type not in known:
            raise ConfigError(describe_unknown_name("defect type", defect_type, known))
    for name, value, least in (
        ("number of categories", len(recipe.categories), 2 if recipe.faults.shortcut == "category" else 1),
        ("number of good images", recipe.good, 1),
        ("number of images a defect type", recipe.defective_per_type, 0),
        ("size in pixels", recipe.size_px, MIN_SIZE_PX),
        ("seed", recipe.seed, 0),
    ):
        if value < least:
            raise ConfigError(f"the {name} must be at least {least}. Received: {value}")


def _holds(root: Path, recipe: Recipe) -> bool:
    """Tell whether the data set is there already.

    Raises:
        LayoutError: Something else is there.
    """
    stamp = root / STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == recipe.describe():
        return True
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        other = " with images of another recipe" if stamp.is_file() else ""
        raise LayoutError(f"drawn images go into a new or empty folder. Received: {root}{other}")
    return False


def _write_photo(root: Path, photo: Photo, recipe: Recipe) -> None:
    shortcut, cue = recipe.faults.shortcut, draw_cue(photo, recipe.seed)
    size_px = choose_size_px(shortcut, recipe.size_px, cue)
    drawn = draw_image(photo.category, photo.defect_type, photo.number, recipe.seed, size_px, recipe.severity)
    image, mask = alter_picture(shortcut, *drawn, cue, recipe.size_px)
    write_file(root / photo.id, encode_image(image, photo.suffix, choose_quality(shortcut, cue)))
    if mask.any():
        write_file(root / photo.mask_id, encode_image(mask.astype(np.uint8) * np.uint8(255), ".png"))


def _describe_faults(planned: tuple[Fault, ...], shortcut: str) -> str:
    rows: dict[str, object] = {
        kind: sorted(fault.describe() for fault in planned if fault.kind == kind) for kind in KINDS
    }
    return json.dumps({**rows, "shortcut": shortcut}, indent=2) + "\n"
