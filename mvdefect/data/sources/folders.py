"""Reader of folders: class folders, in parts, products and stations or not, and MVTec AD's tree."""

from __future__ import annotations

import difflib
import os
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mvdefect.core.errors import LayoutError, UnlabelledError, list_some
from mvdefect.core.files import show_name
from mvdefect.data.records import (
    GOOD,
    Record,
    choose_categories,
    is_copy_of_good,
    make_id,
    name_defect_type,
    normalise_name,
    sort_records,
)
from mvdefect.data.sources.labels import is_yes, read_label
from mvdefect.data.sources.masks import is_mask_folder, match_masks, split_masks
from mvdefect.data.sources.tree import IGNORED_FILES, Folder, Risk, Tree, name_root, read_tree

MASK_SUFFIX = "_mask"
MASK_FOLDER = "ground_truth"
MVTEC_AD_PARTS = ("train", "test")
PART_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
LAST_SIGN = "\U0010ffff"
TABLES = frozenset({".csv", ".tsv", ".xlsx", ".xls"})
HERE = "."  # of --good: the images that lie in the data folder itself
MAX_FOLDERS_LISTED = 12

EXPECTED = (
    "expected class folders (good/, ok/, pass/, normal/ or the like, and one folder per defect type), in "
    "train/, val/ and test/ or not, or MVTec AD's tree (<category>/train/good, test/<type>, "
    "ground_truth/<type>/*_mask.png), for one product or one folder per product"
)
OTHER_WAYS = (
    "If the label stands in names or paths: --label-pattern REGEX, as in '(?P<label>ok|ng)'. For all else, "
    "`mvdefect data manifest` writes a table of the images, to fill in and use in place of the folder"
)


@dataclass(frozen=True)
class Layout:
    """What was found below a data root, whether or not it can be used.

    Attributes:
        root: Where ids begin.
        records: Every image, sorted by id.
        orphan_masks: Masks that belong to no defective image.
        notes: What its reader left out, or took for something, and the user should know; a `Risk` is more.
        names: Names of folders, labels and classes in it, which `--good` may name.
        source: What the user calls it, as the name of an archive; "" for `root`.
    """

    root: Path
    records: tuple[Record, ...]
    orphan_masks: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    source: str = ""

    @property
    def title(self) -> str:
        """What it is called in messages and on pages."""
        return show_name(self.source or self.root)


@dataclass(frozen=True)
class ProductFolder:
    """A folder that holds the images of one product in class folders, or parts with class folders in each."""

    category: str
    folder: Folder
    has_parts: bool


@dataclass(frozen=True)
class _Place:
    """Where products are read, and what names mean there."""

    root: Path
    good: tuple[str, ...]
    mask_folders: frozenset[Path]


def read_records(root: Path, categories: Iterable[str] = ()) -> tuple[Record, ...]:
    """Find every image below `root`, and refuse what could not be trained on.

    Args:
        root: A product's folder, or a folder of such folders.
        categories: The products to read; empty for all.

    Returns:
        Records sorted by id.

    Raises:
        LayoutError: As for `read_layout`, and where there is no good image or a mask has no image.
    """
    return check_layout(read_layout(root, categories))


def read_layout(
    root: Path,
    categories: Iterable[str] = (),
    good: Iterable[str] = (),
    types: Collection[str] = (),
    tree: Tree | None = None,
) -> Layout:
    """Find every image and mask below `root`.

    Folders called train, val and test (valid, validation, training, testing) are noted as `Record.part`; the
    default protocol draws parts of its own, since MVTec AD's train folder has no defective images.

    Args:
        root: A product's folder, or a folder of such folders at any depth; a product is then called after
            the path to it, as in "line1/station_a".
        categories: The products to read; empty for all.
        good: Names of folders of good images, beside the usual ones; "." for `root` itself.
        types: Defect types by whose folders, or by words for defective, class folders are recognised as well;
            empty: by a folder of good images alone.
        tree: What lies below `root`, if it is known already.

    Raises:
        LayoutError: `root` is missing, holds no known layout, a category is unknown, or two files share
            an id.
    """
    check_folder(root)
    tree, good = tree or read_tree(root), tuple(good)
    products = list(_find_products(tree.top, good, types))
    if not products:
        raise make_layout_error(tree, good)
    masks = frozenset(folder.path for folder in tree.top.walk() if is_mask_folder(folder))
    place = _Place(root, good, masks)
    wanted = choose_categories({product.category for product in products}, categories, root)
    records = tuple(record for product in products for record in _read_product(product, place))
    found = add_masks(Layout(root, records, (), tree.notes), tree, masks)
    notes = (
        *found.notes,
        *_describe_copies(products, good),
        *_describe_unused(tree, place, found.records),
    )
    chosen = [product.folder.path for product in products if product.category in wanted]
    return Layout(
        root,
        sort_records(record for record in found.records if record.category in wanted),
        tuple(sorted(path for path in found.orphan_masks if any(map(path.is_relative_to, chosen)))),
        notes,
        list_names(tree),
    )


def check_folder(root: Path) -> None:
    """Refuse what is no folder.

    Raises:
        LayoutError: `root` is missing, or is a file.
    """
    if not root.exists():
        raise LayoutError(f"the data folder does not exist.{_suggest(root)} Received: {show_name(root)}")
    if not root.is_dir():
        raise LayoutError(
            f"the data must be a folder, a table (CSV) or an archive (zip, tar); {EXPECTED}. "
            f"Received the file {show_name(root)}"
        )


def _suggest(missing: Path) -> str:
    """Name what lies beside a missing path and is called much like it."""
    beside = sorted(child.name for child in missing.parent.iterdir()) if missing.parent.is_dir() else []
    nearest = difflib.get_close_matches(missing.name, beside, n=1)
    return f" Did you mean {show_name(missing.with_name(nearest[0]))}?" if nearest else ""


def check_layout(layout: Layout) -> tuple[Record, ...]:
    """Return the records of a layout that can be trained on.

    Raises:
        LayoutError: There is no good image, or a mask has no image.
    """
    if orphans := list(map(show_name, layout.orphan_masks)):
        raise LayoutError(
            f"{len(orphans)} mask(s) have no image; each ground_truth/<type>/<name>_mask.png "
            f"needs a defective test/<type>/<name>.*: {list_some(orphans)}"
        )
    _check_classes(layout.records, layout.title)
    return layout.records


def find_part(name: str) -> str:
    """Return train, val or test for a folder that is called so; "" for any other."""
    return PART_NAMES.get(name.lower(), "")


def has_class_folders(tree: Tree, good: Iterable[str] = (), types: Collection[str] = ()) -> bool:
    """Whether images are told apart by the folders that they lie in.

    Args:
        tree: What lies below a folder.
        good: As for `read_layout`.
        types: As for `read_layout`.
    """
    return any(True for _ in _find_products(tree.top, tuple(good), types))


def _find_products(top: Folder, good: tuple[str, ...], types: Collection[str]) -> Iterator[ProductFolder]:
    """Yield the folders of products: `top` itself, or those below it, none of which lies in another."""
    own = _recognise(name_root(top.path), top, good, types)
    if own or HERE in good:
        yield own or ProductFolder(name_root(top.path), top, has_parts=False)
    else:
        yield from _find_products_below(top, "", good, types)


def _find_products_below(
    folder: Folder, prefix: str, good: tuple[str, ...], types: Collection[str]
) -> Iterator[ProductFolder]:
    for child in folder.folders:
        category = f"{prefix}{child.name}"
        if product := _recognise(category, child, good, types):
            yield product
        else:
            yield from _find_products_below(child, f"{category}/", good, types)


def _recognise(
    category: str, folder: Folder, good: tuple[str, ...], types: Collection[str]
) -> ProductFolder | None:
    parts = [child for child in folder.folders if find_part(child.name)]
    if any(_has_class_folders(part, good, types) for part in parts):
        return ProductFolder(category, folder, has_parts=True)
    if _has_class_folders(folder, good, types):
        return ProductFolder(category, folder, has_parts=False)
    return None


def _has_class_folders(folder: Folder, good: tuple[str, ...], types: Collection[str]) -> bool:
    names = [child.name for child in folder.folders]
    if any(name_defect_type(name, good) == GOOD for name in names):
        return True
    return bool(types) and any(name in types or read_label(name) is not None for name in names)


def _read_product(product: ProductFolder, place: _Place) -> Iterator[Record]:
    """Yield the images of a product."""
    for part, folder in _list_parts(product):
        if HERE in place.good:
            yield from _make_records(folder, place, product.category, GOOD, part)
        for child in _list_plain(folder, place.mask_folders):
            defect_type = name_defect_type(child.name, place.good)
            for inner, inner_part in _list_inner_parts(child, part):
                for holder in walk_plain(inner, place.mask_folders):
                    yield from _make_records(holder, place, product.category, defect_type, inner_part)


def _list_parts(product: ProductFolder) -> Iterator[tuple[str, Folder]]:
    """Yield the folders that hold class folders, and the part that each is."""
    if not product.has_parts:
        yield "", product.folder
    else:
        for child in product.folder.folders:
            if part := find_part(child.name):
                yield part, child


def _list_inner_parts(folder: Folder, part: str) -> Iterator[tuple[Folder, str]]:
    """Yield the parts in a class folder, as in good/train and good/test, or the folder itself."""
    inner = [find_part(child.name) for child in folder.folders]
    if part or folder.images or not inner or not all(inner):
        yield folder, part
    else:
        yield from zip(folder.folders, inner, strict=True)


def _list_plain(folder: Folder, mask_folders: Collection[Path]) -> list[Folder]:
    return [child for child in folder.folders if child.path not in mask_folders]


def walk_plain(folder: Folder, mask_folders: Collection[Path]) -> Iterator[Folder]:
    """Yield a folder and those below it, but for folders of masks."""
    yield folder
    for child in _list_plain(folder, mask_folders):
        yield from walk_plain(child, mask_folders)


def _make_records(
    folder: Folder, place: _Place, category: str, defect_type: str, part: str
) -> Iterator[Record]:
    """Make the records of the images that lie directly in a folder."""
    images, masks = split_masks(folder.images)
    for path in images:
        yield Record(make_id(path, place.root), path, category, defect_type, masks.get(path), part=part)


def add_masks(layout: Layout, tree: Tree, mask_folders: Collection[Path]) -> Layout:
    """Give records the masks in folders of masks; those of no image are orphans, or told in a note.

    Args:
        layout: The images.
        tree: What lies below its root.
        mask_folders: The folders of masks in it.
    """
    ordered = sorted(layout.records, key=lambda record: str(record.path))
    names = [str(record.path) for record in ordered]
    masks: dict[Record, Path] = {}
    orphans, notes = list(layout.orphan_masks), list(layout.notes)
    parents = walk_plain(tree.top, mask_folders)
    for parent, folder in ((one, child) for one in parents for child in one.folders):
        if folder.path not in mask_folders:
            continue
        within = os.path.join(parent.path, "")  # noqa: PTH118 (as text: there may be many of both)
        below = ordered[bisect_left(names, within) : bisect_left(names, within + LAST_SIGN)]
        found, left = match_masks(folder, parent.path, below)
        masks |= found
        if folder.name == MASK_FOLDER:
            orphans += left
        elif left:
            told = (
                f"{len(left)} of the {folder.count} masks in {show_name(folder.path)} have the name of no "
                "image, or of several, and are not used"
            )
            notes.append(Risk(told))
    records = (replace(one, mask_path=masks[one]) if one in masks else one for one in layout.records)
    return replace(layout, records=tuple(records), orphan_masks=tuple(orphans), notes=tuple(notes))


def _describe_copies(products: list[ProductFolder], good: tuple[str, ...]) -> Iterator[str]:
    """Say which folders are called as a second one of good images may be."""
    places = (place for product in products for _, place in _list_parts(product))
    for folder in (folder for place in places for folder in place.folders):
        if is_copy_of_good(folder.name) and name_defect_type(folder.name, good) != GOOD:
            yield Risk(
                f"the images in {show_name(folder.path)} count as defective, as in all but those of "
                f"good images; if they are good, move them, or add --good '{show_name(folder.name)}'"
            )


def _describe_unused(tree: Tree, place: _Place, records: Iterable[Record]) -> tuple[str, ...]:
    """Say which images lie outside of all class folders."""
    used = {path for record in records for path in (record.path, record.mask_path)}
    counts = {
        show_name(folder.path): count
        for folder in walk_plain(tree.top, place.mask_folders)
        if (count := sum(path not in used for path in folder.images))
    }
    if not counts:
        return ()
    told = list_some([f"{count} in {name}" for name, count in sorted(counts.items())], MAX_FOLDERS_LISTED)
    return (f"{sum(counts.values())} image(s) lie in no class folder and are not used: {told}",)


def list_names(tree: Tree) -> frozenset[str]:
    """List the names of all folders below a data folder, and the one by which `--good` names itself."""
    return frozenset(folder.name for folder in tree.top.walk() if folder is not tree.top) | {HERE}


def check_good(good: Iterable[str], names: Collection[str]) -> None:
    """Refuse names of good images that nothing has.

    Args:
        good: What else good images are called; any word for yes names them all.
        names: Those of folders, labels and classes.

    Raises:
        LayoutError: It says which names there are.
    """
    if unknown := _describe_unknown(good, names):
        there = [f"'{show_name(name)}'" for name in sorted(names) if name != HERE]
        found = f"Found: {list_some(there, MAX_FOLDERS_LISTED)}" if there else "There is none"
        raise LayoutError(f"{unknown} {found}")


def _describe_unknown(good: Iterable[str], names: Collection[str]) -> str:
    """Say which name of good images nothing has, and what was probably meant; "" if there is none."""
    spelt = {normalise_name(name).casefold(): name for name in sorted(names)}
    asks = any(map(is_yes, names))
    for name in good:
        wanted = normalise_name(name).casefold()
        if wanted not in spelt and not (asks and is_yes(name)):
            nearest = difflib.get_close_matches(wanted, spelt, n=1, cutoff=0.5)
            hint = f" Did you mean --good '{show_name(spelt[nearest[0]])}'?" if nearest else ""
            return f"--good '{show_name(name)}' names no folder, label or class that is there.{hint}"
    return ""


def make_layout_error(tree: Tree, good: tuple[str, ...] = ()) -> LayoutError:
    """Say what lies in a folder in which no good images are recognised, what is wanted, and how to get on."""
    root, total = show_name(tree.top.path), tree.top.count
    if not total:
        left_out = f" {'; '.join(tree.notes)}." if tree.notes else ""
        empty = "no image below" if tree.top.folders or tree.notes else "the data folder is empty:"
        return LayoutError(f"{empty} {root}.{left_out} {EXPECTED[0].upper()}{EXPECTED[1:]}")
    unknown = _describe_unknown(good, list_names(tree))
    counts = {folder.path: len(folder.files) for folder in tree.top.walk() if folder.files}
    loose = counts.pop(tree.top.path, 0)
    found = [
        f"{show_name(path.relative_to(tree.top.path).as_posix())} ({count} images)"
        for path, count in sorted(counts.items())
    ]
    here = [f"{loose} images in the folder itself (if all of them are good: --good .)"] if loose else []
    return UnlabelledError(
        f"no known layout in {root}: no folder of good images is recognised among {total} images. "
        f"{unknown and f'{unknown} '}Found there: {list_some([*here, *found], MAX_FOLDERS_LISTED)}. If one "
        f"of these folders holds the good images, name it: --good NAME. {OTHER_WAYS}.{_name_tables(tree)}"
    )


def _name_tables(tree: Tree) -> str:
    others = (path for folder in tree.top.walk() for path in folder.others)
    tables = [show_name(path) for path in others if path.suffix.lower() in TABLES]
    return f" There is a table to give in place of the folder: {list_some(tables, 3)}" if tables else ""


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


def _check_classes(records: tuple[Record, ...], root: str) -> None:
    if not records:
        raise LayoutError(f"no image below {root}; {EXPECTED}")
    if all(record.label for record in records):
        raise LayoutError(
            f"good images are needed, but there is none among the {len(records)} below {root}; {EXPECTED}"
        )
