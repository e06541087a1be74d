"""Readers of the folder layouts in which photographs come: MVTec AD's tree and class folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mvdefect.data.records import GOOD, Record, make_id, sort_records
from mvdefect.errors import LayoutError, describe_unknown_name, list_some

MASK_SUFFIX = "_mask"
IGNORED_FILES = frozenset({"thumbs.db", "desktop.ini"})

EXPECTED = (
    "expected MVTec AD's tree (<category>/train/good, test/<type>, ground_truth/<type>/*_mask.png) "
    "or class folders (good/ and one folder a defect type), for one product or one folder a product"
)


@dataclass(frozen=True)
class ProductFolder:
    """A folder that holds the photographs of one product, and how it is laid out."""

    category: str
    path: Path
    is_mvtec_ad: bool


def read_records(root: Path, categories: Iterable[str] = ()) -> tuple[Record, ...]:
    """Find every photograph below `root`.

    MVTec AD's own train and test folders say nothing here about the parts of a split: its train
    folder has no defective images, so the default protocol draws parts of its own.

    Args:
        root: A product's folder, or a folder of such folders.
        categories: The products to read; empty for all.

    Returns:
        Records sorted by id.

    Raises:
        LayoutError: `root` is missing, holds no known layout or no image, a category is unknown, a
            class is missing altogether, two files share an id, or a mask has no image.
    """
    if not root.exists():
        raise LayoutError(f"the data folder does not exist. Received: {root}")
    if not root.is_dir():
        raise LayoutError(f"the data must be a folder; {EXPECTED}. Received the file {root}")
    folders = _select_categories(_find_product_folders(root), tuple(categories), root)
    records = sort_records(record for folder in folders for record in _read_folder(folder, root))
    _check_classes(records, root)
    return records


def _find_product_folders(root: Path) -> list[ProductFolder]:
    own = _recognise(root.resolve().name, root)
    if own:
        return [own]
    children = [_recognise(child.name, child) for child in _subfolders(root)]
    folders = [folder for folder in children if folder]
    if folders:
        return folders
    found = [child.name for child in sorted(root.iterdir()) if not child.name.startswith(".")]
    if not found:
        raise LayoutError(f"the data folder is empty; {EXPECTED}. Received: {root}")
    raise LayoutError(f"no known layout in {root}; {EXPECTED}. Found there: {list_some(found)}")


def _recognise(category: str, path: Path) -> ProductFolder | None:
    if (path / "test").is_dir() or (path / "train" / GOOD).is_dir():
        return ProductFolder(category, path, is_mvtec_ad=True)
    if (path / GOOD).is_dir():
        return ProductFolder(category, path, is_mvtec_ad=False)
    return None


def _select_categories(
    folders: list[ProductFolder], wanted: tuple[str, ...], root: Path
) -> list[ProductFolder]:
    names = {folder.category for folder in folders}
    for name in wanted:
        if name not in names:
            raise LayoutError(f"{describe_unknown_name('category', name, names)} Data: {root}")
    return [folder for folder in folders if not wanted or folder.category in wanted]


def _read_folder(folder: ProductFolder, root: Path) -> Iterator[Record]:
    if not folder.is_mvtec_ad:
        for type_folder in _subfolders(folder.path):
            for path in _files_below(type_folder):
                yield Record(make_id(path, root), path, folder.category, type_folder.name)
        return
    masks = _find_masks(folder.path / "ground_truth")
    used: set[Path] = set()
    for part in ("train", "test"):
        for type_folder in _subfolders(folder.path / part):
            for path in _files_below(type_folder):
                relative = path.relative_to(folder.path / part).with_suffix("").as_posix()
                mask = masks.get(relative) if type_folder.name != GOOD else None
                used |= {mask} if mask else set()
                yield Record(make_id(path, root), path, folder.category, type_folder.name, mask)
    orphans = sorted(str(mask) for mask in set(masks.values()) - used)
    if orphans:
        raise LayoutError(
            f"{len(orphans)} mask(s) have no image; each ground_truth/<type>/<name>_mask.png needs a "
            f"defective test/<type>/<name>.*: {list_some(orphans)}"
        )


def _find_masks(ground_truth: Path) -> dict[str, Path]:
    """Map '<type>/<name>' to the mask of that image."""
    masks = {}
    for path in _files_below(ground_truth) if ground_truth.is_dir() else ():
        name = path.with_name(path.stem.removesuffix(MASK_SUFFIX))
        masks[name.relative_to(ground_truth).as_posix()] = path
    return masks


def _subfolders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def _files_below(folder: Path) -> list[Path]:
    """Every file below `folder` but hidden ones and what desktops leave behind."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.name.lower() not in IGNORED_FILES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


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
