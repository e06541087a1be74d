"""Readers of the folder layouts in which photographs come: MVTec AD's tree and class folders."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mvdefect.core.errors import LayoutError, describe_unknown_name, list_some
from mvdefect.core.files import escape_name
from mvdefect.core.progress import logger
from mvdefect.data.records import (
    GOOD,
    Record,
    is_copy_of_good,
    make_id,
    name_defect_type,
    normalise_name,
    sort_records,
)

MASK_SUFFIX = "_mask"
MASK_FOLDER = "ground_truth"
MVTEC_AD_PARTS = ("train", "test")
IGNORED_FILES = frozenset({"thumbs.db", "desktop.ini"})

EXPECTED = (
    "expected MVTec AD's tree (<category>/train/good, test/<type>, ground_truth/<type>/*_mask.png) "
    "or class folders (good/, ok/, pass/, normal/ or the like, and one folder a defect type), "
    "for one product or one folder a product"
)


@dataclass(frozen=True)
class Layout:
    """What was found below a data root, whether or not it can be used.

    Attributes:
        root: Where ids begin.
        records: Every photograph, sorted by id.
        orphan_masks: Masks that belong to no defective photograph.
    """

    root: Path
    records: tuple[Record, ...]
    orphan_masks: tuple[Path, ...] = ()


@dataclass(frozen=True)
class ProductFolder:
    """A folder that holds the photographs of one product, and how it is laid out."""

    category: str
    path: Path
    is_mvtec_ad: bool


def read_records(root: Path, categories: Iterable[str] = ()) -> tuple[Record, ...]:
    """Find every photograph below `root`, and refuse what could not be trained on.

    Args:
        root: A product's folder, or a folder of such folders.
        categories: The products to read; empty for all.

    Returns:
        Records sorted by id.

    Raises:
        LayoutError: As for `read_layout`, and where a class is missing altogether or a mask has no image.
    """
    return check_layout(read_layout(root, categories))


def read_layout(root: Path, categories: Iterable[str] = ()) -> Layout:
    """Find every photograph and mask below `root`.

    MVTec AD's own train and test folders are noted as `Record.part`; the default protocol draws parts of
    its own, since that train folder has no defective images.

    Raises:
        LayoutError: `root` is missing, holds no known layout, a category is unknown, or two files share
            an id.
    """
    if not root.exists():
        raise LayoutError(f"the data folder does not exist. Received: {root}")
    if not root.is_dir():
        raise LayoutError(f"the data must be a folder; {EXPECTED}. Received the file {root}")
    folders = _select_categories(_find_product_folders(root), tuple(categories), root)
    found = [_read_folder(folder, root) for folder in folders]
    records = sort_records(record for records, _ in found for record in records)
    return Layout(root, records, tuple(sorted(orphan for _, orphans in found for orphan in orphans)))


def check_layout(layout: Layout) -> tuple[Record, ...]:
    """Return the records of a layout that can be trained on.

    Raises:
        LayoutError: A class is missing altogether, or a mask has no image.
    """
    if orphans := list(map(escape_name, layout.orphan_masks)):
        raise LayoutError(
            f"{len(orphans)} mask(s) have no image; each ground_truth/<type>/<name>_mask.png "
            f"needs a defective test/<type>/<name>.*: {list_some(orphans)}"
        )
    _check_classes(layout.records, layout.root)
    return layout.records


def _find_product_folders(root: Path) -> list[ProductFolder]:
    own = _recognise(normalise_name(root.resolve().name), root)
    if own:
        return [own]
    children = [_recognise(normalise_name(child.name), child) for child in _subfolders(root)]
    folders = [folder for folder in children if folder]
    if folders:
        return folders
    found = [normalise_name(child.name) for child in sorted(root.iterdir()) if not child.name.startswith(".")]
    if not found:
        raise LayoutError(f"the data folder is empty; {EXPECTED}. Received: {root}")
    raise LayoutError(f"no known layout in {root}; {EXPECTED}. Found there: {list_some(found)}")


def _recognise(category: str, path: Path) -> ProductFolder | None:
    if (path / "test").is_dir() or _has_good_folder(path / "train"):
        return ProductFolder(category, path, is_mvtec_ad=True)
    if _has_good_folder(path):
        return ProductFolder(category, path, is_mvtec_ad=False)
    return None


def _has_good_folder(path: Path) -> bool:
    return any(name_defect_type(folder.name) == GOOD for folder in _subfolders(path))


def _select_categories(
    folders: list[ProductFolder], wanted: tuple[str, ...], root: Path
) -> list[ProductFolder]:
    names = {folder.category for folder in folders}
    for name in wanted:
        if name not in names:
            raise LayoutError(f"{describe_unknown_name('category', name, names)} Data: {root}")
    return [folder for folder in folders if not wanted or folder.category in wanted]


def _read_folder(folder: ProductFolder, root: Path) -> tuple[list[Record], set[Path]]:
    """Return the photographs of a product, and the masks that belong to none."""
    if folder.is_mvtec_ad:
        return _read_mvtec_ad(folder, root)
    return [
        Record(make_id(path, root), path, folder.category, defect_type)
        for type_folder, defect_type in _list_types(folder.path)
        for path in list_files(type_folder)
    ], set()


def _read_mvtec_ad(folder: ProductFolder, root: Path) -> tuple[list[Record], set[Path]]:
    masks = _find_masks(folder.path / MASK_FOLDER)
    records = []
    for part in MVTEC_AD_PARTS:
        for type_folder, defect_type in _list_types(folder.path / part):
            for path in list_files(type_folder):
                relative = path.relative_to(folder.path / part).with_suffix("").as_posix()
                mask = masks.get(relative) if part == "test" or defect_type != GOOD else None
                id_ = make_id(path, root)
                records.append(Record(id_, path, folder.category, defect_type, mask, part=part))
    return records, set(masks.values()) - {record.mask_path for record in records if record.mask_path}


def _find_masks(ground_truth: Path) -> dict[str, Path]:
    """Map '<type>/<name>' to the mask of that image."""
    masks = {}
    for path in list_files(ground_truth) if ground_truth.is_dir() else ():
        name = path.with_name(path.stem.removesuffix(MASK_SUFFIX))
        masks[name.relative_to(ground_truth).as_posix()] = path
    return masks


def _list_types(path: Path) -> list[tuple[Path, str]]:
    """List the folders of a product, or of a part of it, and the defect type that each is named after."""
    folders = _subfolders(path)
    for folder in folders:
        if is_copy_of_good(folder.name):
            logger.warning(
                "the images in %s count as defective, as in every folder but that of good images; move them "
                "if they are good",
                escape_name(folder),
            )
    return [(folder, name_defect_type(folder.name)) for folder in folders]


def _subfolders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def list_files(folder: Path) -> list[Path]:
    """Every file below `folder` but hidden ones and what desktops leave behind, sorted.

    Raises:
        OSError: A folder cannot be read, so that some would be missing unnoticed. One that has gone in the
            meantime is passed over.
    """
    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        kept = (name for name in names if not name.startswith(".") and name.lower() not in IGNORED_FILES)
        found += [path for path in map(Path(place).joinpath, kept) if path.is_file()]
    return sorted(found)


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _check_classes(records: tuple[Record, ...], root: Path) -> None:
    if not records:
        raise LayoutError(f"no image below {root}; {EXPECTED}")
    defective = sum(record.label for record in records)
    for name, count in (("good", len(records) - defective), ("defective", defective)):
        if count == 0:
            raise LayoutError(
                f"both good and defective images are needed, but there is no {name} image among the "
                f"{len(records)} below {root}; {EXPECTED}"
            )
