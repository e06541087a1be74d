"""Masks of defects: which of the images in a folder are masks, and of which image each is one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mvdefect.core.errors import ImageError
from mvdefect.data.images import decode_image
from mvdefect.data.records import Record, normalise_name
from mvdefect.data.resolution import spread_over
from mvdefect.data.sources.labels import read_label
from mvdefect.data.sources.tree import Folder

MASK_ENDING = re.compile(r"[ ._-](mask|gt|ground_?truth|labels?|seg|segmentation)$", re.IGNORECASE)
MASK_FOLDERS = re.compile(
    r"ground[ _-]?truths?|gt|masks?|labels?|annotations?|seg(mentations?)?", re.IGNORECASE
)
SURELY_MASKS = re.compile(r"ground[ _-]?truths?", re.IGNORECASE)
PARTS = re.compile(r"train(ing)?|val(id(ation)?)?|test(ing)?", re.IGNORECASE)
SAMPLE = 4  # images of a folder that are looked at
FEW_VALUES = 4  # a mask may number its kinds of defects
NEAR = 16  # grey values by which JPEG blurs two values
CONTRAST = 100
SHARE_NEAR = 0.95


def is_mask_folder(folder: Folder) -> bool:
    """Whether a folder holds masks: by its name and, unless that leaves no doubt, by what its images are.

    A folder "label" may also hold images of products whose label is wrong.
    """
    if not MASK_FOLDERS.fullmatch(folder.name):
        return False
    return bool(SURELY_MASKS.fullmatch(folder.name)) or are_masks(folder.list_images())


def are_masks(paths: Sequence[Path]) -> bool:
    """Whether images have two values each, or a few, as masks do; some of them are looked at."""
    return len(paths) > 0 and all(map(_has_few_values, spread_over(paths, SAMPLE)))


def _has_few_values(path: Path) -> bool:
    try:
        grey = decode_image(path.read_bytes()).max(axis=2)
    except (ImageError, OSError):
        return False
    values = np.flatnonzero(np.bincount(grey.ravel(), minlength=256))
    if len(values) <= FEW_VALUES:
        return True
    low, high = int(values[0]), int(values[-1])
    near = (grey <= low + NEAR) | (grey >= high - NEAR)
    return high - low > CONTRAST and float(near.mean()) >= SHARE_NEAR


def split_masks(images: Iterable[Path]) -> tuple[list[Path], dict[Path, Path]]:
    """Tell masks that lie beside their images from the images.

    Such are `<name>_mask.png` (or `_gt`, `_label`, `_seg`) beside `<name>.jpg`, and `<name>.png` beside
    `<name>.jpg`, if they have two values.

    Args:
        images: The images of one folder.

    Returns:
        The images without the masks, and the mask of each image that has one.
    """
    images = list(images)
    pairs = _pair_by_ending(images) or _pair_by_suffix(images)
    if not pairs or not are_masks(list(pairs.values())):
        return images, {}
    masks = set(pairs.values())
    return [path for path in images if path not in masks], pairs


def _pair_by_ending(images: Sequence[Path]) -> dict[Path, Path]:
    by_stem = {path.stem: path for path in images}
    pairs = {}
    for path in images:
        stem = MASK_ENDING.sub("", path.stem)
        if stem != path.stem and stem in by_stem:
            pairs[by_stem[stem]] = path
    return pairs


def _pair_by_suffix(images: Sequence[Path]) -> dict[Path, Path]:
    """Pair each JPEG with the file of its name in a format that loses nothing."""
    photographs = {path.stem: path for path in images if path.suffix.lower() in {".jpg", ".jpeg"}}
    others = [path for path in images if path.suffix.lower() not in {".jpg", ".jpeg"}]
    return {photographs[path.stem]: path for path in others if path.stem in photographs}


def match_masks(
    masks: Folder, parent: Path, records: Iterable[Record]
) -> tuple[dict[Record, Path], tuple[Path, ...]]:
    """Find the image of each mask in a folder of masks.

    A mask belongs to the image whose path ends as its own does: `masks/scratch/3.png` to `scratch/3.jpg`, or
    to `images/test/scratch/3.jpg`. If there are several, it belongs to the one of them that is defective, or
    defective and in the test part. If there is none, folders that name no defect, as
    `masks/test/` or `masks/defective/`, do not count.

    Args:
        masks: The folder of masks.
        parent: The folder that it lies in.
        records: The images below `parent`.

    Returns:
        The mask of each record that has one, and the masks that belong to no image.
    """
    by_end = _index_by_end(records, parent)
    found: dict[Record, Path] = {}
    orphans = []
    for path in masks.list_images():
        owners = (_choose(by_end[name]) for name in _name_owners(path, masks.path) if name in by_end)
        if owner := next(filter(None, owners), None):
            found[owner] = path
        else:
            orphans.append(path)
    return found, tuple(orphans)


def _index_by_end(records: Iterable[Record], parent: Path) -> Mapping[str, list[Record]]:
    """Map each end of a path below `parent`, without suffix, to the images whose paths end so."""
    by_end: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.part == "train" and not record.label:
            continue  # in MVTec AD's tree such an image has the name of one in test
        *folders, name = normalise_name(record.path.relative_to(parent).with_suffix("").as_posix()).split("/")
        for depth in range(len(folders) + 1):
            by_end["/".join([*folders[depth:], name])].append(record)
    return by_end


def _says_nothing_of_types(name: str) -> bool:
    """Whether a folder in a folder of masks can be another one than that of the images."""
    return bool(PARTS.fullmatch(name) or MASK_FOLDERS.fullmatch(name) or read_label(name))


def _name_owners(path: Path, root: Path) -> Iterator[str]:
    """Yield what the path of its image may end with, the likeliest first; without suffix."""
    folders = path.relative_to(root).parts[:-1]
    telling = [name for name in folders if not _says_nothing_of_types(name)]
    for place in (folders, telling):
        for name in (path.stem, MASK_ENDING.sub("", path.stem)):
            yield normalise_name("/".join([*place, name]))


def _choose(records: list[Record]) -> Record | None:
    defective = [record for record in records if record.label]
    tested = [record for record in defective if record.part == "test"]
    return next((some[0] for some in (records, defective, tested) if len(some) == 1), None)
