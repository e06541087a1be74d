"""Readers of public data sets whose layout is neither class folders nor MVTec AD's tree.

BTAD has MVTec AD's tree and needs no reader of its own.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mvdefect.core.errors import ImageError, LayoutError, list_some
from mvdefect.core.files import show_name
from mvdefect.core.parallel import map_in_threads
from mvdefect.core.progress import track
from mvdefect.data.images import decode_mask
from mvdefect.data.records import GOOD, Record, choose_categories, make_id, name_defect_type, sort_records
from mvdefect.data.sources.annotations.files import read_text
from mvdefect.data.sources.annotations.images import AnnotatedImage, Mark
from mvdefect.data.sources.folders import MASK_FOLDER, Layout, list_names
from mvdefect.data.sources.labels import UNNAMED_DEFECT
from mvdefect.data.sources.mask_files import draw_masks, merge_mask_files
from mvdefect.data.sources.tree import NO_IMAGES, Folder, Tree, name_root

FEW = 20  # masks that are read without a progress bar
LOCO_PARTS = {"train": "train", "validation": "val", "test": "test"}
VISA_SPLIT = "split_csv/1cls.csv"
VISA_TYPES = "image_anno.csv"
DAGM_LABELS = "Label"
DAGM_LIST = "Labels.txt"


@dataclass(frozen=True)
class Found:
    """What a product's folder holds.

    Attributes:
        records: Its images.
        orphan_masks: Masks that belong to no image.
        unlabelled: How many images lack the label image that each of them should have.
    """

    records: list[Record]
    orphan_masks: set[Path]
    unlabelled: int = 0


@dataclass(frozen=True)
class Product:
    """A product: its name, its folder, and the data root, where ids begin."""

    name: str
    folder: Folder
    root: Path

    def make_record(
        self, path: Path, defect_type: str, mask: Path | None = None, part: str = "", group: str = ""
    ) -> Record:
        """Make the record of one of its images."""
        id_, named = make_id(path, self.root), name_defect_type(defect_type)
        return Record(id_, path, self.name, named, mask, group, part)


@dataclass(frozen=True)
class PublicLayout:
    """How a public data set is laid out.

    Attributes:
        name: Of the data set.
        matches: Whether a product's folder is of it.
        read: Reads a product's folder.
    """

    name: str
    matches: Callable[[Folder], bool]
    read: Callable[[Product], Found]


def read_public_layout(tree: Tree, categories: Iterable[str] = ()) -> Layout | None:
    """Read a public data set, or some products of it.

    Args:
        tree: What lies below a product's folder, or below one that holds products at any depth; a product is
            then called after the path to it.
        categories: The products to read; empty for all.

    Returns:
        None for anything else, which may hold such a folder among many others.

    Raises:
        LayoutError: A category is unknown, or a file that says what is what is damaged.
    """
    for layout in LAYOUTS:
        products = dict(_find_products(layout, tree.top, ""))
        if products and 2 * sum(folder.count for folder in products.values()) >= tree.top.count:
            return _read_products(layout, tree, products, tuple(categories))
    return None


def _find_products(layout: PublicLayout, folder: Folder, name: str) -> Iterator[tuple[str, Folder]]:
    if layout.matches(folder):
        yield name or name_root(folder.path), folder
    else:
        for child in folder.folders:
            yield from _find_products(layout, child, f"{name}/{child.name}" if name else child.name)


def _read_products(
    layout: PublicLayout, tree: Tree, products: Mapping[str, Folder], categories: tuple[str, ...]
) -> Layout:
    root = tree.top.path
    chosen = choose_categories(products, categories, root)
    read = [layout.read(Product(name, products[name], root)) for name in sorted(chosen)]
    records = sort_records(record for found in read for record in found.records)
    defective = sum(record.label for record in records)
    notes = [f"{layout.name}: {len(records)} images of {len(read)} product(s), {defective} of them defective"]
    if others := tree.top.count - sum(folder.count for folder in products.values()):
        notes.append(f"{layout.name}: left out {others} image(s) in folders that are laid out otherwise")
    if unlabelled := sum(found.unlabelled for found in read):
        notes.append(f"{layout.name}: {unlabelled} image(s) have no label image and count as good")
    notes += [note for note in tree.notes if NO_IMAGES not in note]
    orphans = sorted(mask for found in read for mask in found.orphan_masks)
    return Layout(root, records, tuple(orphans), tuple(notes), list_names(tree))


def _find(folder: Folder | None, *names: str) -> Folder | None:
    """Return the folder at the end of a path of names, if it is there."""
    for name in names:
        folder = next((child for child in folder.folders if child.name == name), None) if folder else None
    return folder


def _list_images(folder: Folder | None) -> tuple[Path, ...]:
    return folder.images if folder else ()


# MVTec LOCO: train/good, validation/good, test/<type>, ground_truth/<type>/<name>/000.png, 001.png and so on


def _is_loco(folder: Folder) -> bool:
    masks = _find(folder, MASK_FOLDER)
    for type_folder in masks.folders if masks else ():
        named = {path.stem for path in _list_images(_find(folder, "test", type_folder.name))}
        if any(place.path.name in named for place in type_folder.folders):
            return True
    return False


def _read_loco(product: Product) -> Found:
    path, records = product.folder.path, {}
    for name, part in LOCO_PARTS.items():
        place = _find(product.folder, name)
        for type_folder in place.folders if place else ():
            for image in type_folder.list_images():
                key = image.relative_to(path).with_suffix("")
                records[key] = product.make_record(image, type_folder.name, part=part)
    masks: dict[Path, list[Path]] = {}
    orphans = set()
    ground_truth = _find(product.folder, MASK_FOLDER)
    for mask in ground_truth.list_images() if ground_truth else ():
        key = "test" / mask.parent.relative_to(path / MASK_FOLDER)
        if key in records:
            masks.setdefault(key, []).append(mask)
        else:
            orphans.add(mask)
    merged = _merge_masks({records[key].path: paths for key, paths in masks.items()})
    return Found([replace(one, mask_path=merged.get(one.path)) for one in records.values()], orphans)


def _merge_masks(masks: Mapping[Path, list[Path]]) -> dict[Path, Path]:
    """Return one mask for each image: the file itself, or what several files show together."""
    single = {image: paths[0] for image, paths in masks.items() if len(paths) == 1}
    several = [(image, paths) for image, paths in masks.items() if len(paths) > 1]
    drawn = draw_masks([merge_mask_files(image, paths) for image, paths in several])
    faults = [mask.fault for mask in drawn if mask.fault]
    if faults:
        raise LayoutError(f"{len(faults)} mask(s) cannot be used: {list_some(faults)}")
    found = zip(several, drawn, strict=True)
    return single | {image: mask.path for (image, _), mask in found if mask.path is not None}


# VisA: Data/Images/Normal, Data/Images/Anomaly, Data/Masks/Anomaly; image_anno.csv names the defects, and
# split_csv/1cls.csv beside the products' folders says which image is for training and which for testing


def _is_visa(folder: Folder) -> bool:
    return all(_find(folder, "Data", "Images", name) for name in ("Normal", "Anomaly"))


def _read_visa(product: Product) -> Found:
    folder = product.folder
    parts = _read_table(folder.path.parent / VISA_SPLIT, "split", folder)
    types = _read_table(folder.path / VISA_TYPES, "label", folder)
    masks = {path.stem: path for path in _list_images(_find(folder, "Data", "Masks", "Anomaly"))}

    def make_record(path: Path, is_defective: bool) -> Record:
        key = path.relative_to(folder.path).as_posix()
        part = parts.get(key, "")
        if not is_defective:
            return product.make_record(path, GOOD, part=part)
        names = types.get(key, "").split(",")
        named = AnnotatedImage(path, tuple(Mark(name.strip()) for name in names)).name_defect_type()
        defect_type = UNNAMED_DEFECT if named == GOOD else named
        return product.make_record(path, defect_type, masks.pop(path.stem, None), part)

    records = [make_record(path, False) for path in _list_images(_find(folder, "Data", "Images", "Normal"))]
    records += [make_record(path, True) for path in _list_images(_find(folder, "Data", "Images", "Anomaly"))]
    return Found(records, set(masks.values()))


def _read_table(path: Path, column: str, folder: Folder) -> dict[str, str]:
    """Return a column of one of VisA's tables by the image's path below the product's folder."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [(row.get("image"), row.get(column)) for row in csv.DictReader(stream)]
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LayoutError(f"VisA's table {show_name(path)} cannot be read: {error}") from error
    prefix = f"{folder.path.resolve().name}/"
    return {
        image.removeprefix(prefix): value
        for image, value in rows
        if image and value and image.startswith(prefix)
    }


# KolektorSDD: kos01/Part0.jpg with kos01/Part0_label.bmp, one folder for each product that was photographed
# KolektorSDD2: train/10000.png with train/10000_GT.png, and test/


def _is_kolektor_sdd(folder: Folder) -> bool:
    return any(
        re.fullmatch(r"Part\d+_label", path.stem) for item in _list_items(folder) for path in item.images
    )


def _read_kolektor_sdd(product: Product) -> Found:
    items = _list_items(product.folder)
    return _read_labelled(product, [Place(item, item, group=item.name.lower()) for item in items], "_label")


def _list_items(folder: Folder) -> list[Folder]:
    return [item for item in folder.folders if re.fullmatch(r"kos\d+", item.name, re.IGNORECASE)]


def _is_kolektor_sdd2(folder: Folder) -> bool:
    parts = (_find(folder, part) for part in ("train", "test"))
    return any(re.fullmatch(r"\d+_GT", path.stem) for part in parts for path in _list_images(part))


def _read_kolektor_sdd2(product: Product) -> Found:
    parts = {part: _find(product.folder, part) for part in ("train", "test")}
    places = [Place(folder, folder, part) for part, folder in parts.items() if folder]
    return _read_labelled(product, places, "_GT")


# DAGM: Class1/Train/0001.PNG; of defective images Class1/Train/Label/0001_label.PNG; and Class1/Test.
# Label/Labels.txt names the label image of each defective one, for copies that come without them


def _is_dagm(folder: Folder) -> bool:
    return any(_find(folder, part, DAGM_LABELS) for part in ("Train", "Test"))


def _read_dagm(product: Product) -> Found:
    parts = {part: _find(product.folder, part) for part in ("Train", "Test")}
    places = [
        Place(folder, _find(folder, DAGM_LABELS), part.lower()) for part, folder in parts.items() if folder
    ]
    listed = {path for place in places for path in _read_dagm_list(place)}
    found = _read_labelled(product, places, "_label")
    records = [
        replace(one, defect_type=UNNAMED_DEFECT) if one.path in listed else one for one in found.records
    ]
    return Found(records, found.orphan_masks)  # here, only defective images have a label image


def _read_dagm_list(place: Place) -> Iterator[Path]:
    """Yield the images in whose line of Labels.txt their label image is named."""
    files = [path for path in place.labels.others if path.name == DAGM_LIST] if place.labels else []
    for line in (line for path in files for line in read_text(path).splitlines()):
        words = line.split()
        stems = {Path(word).stem for word in words}
        yield from (place.images.path / word for word in words if f"{Path(word).stem}_label" in stems)


@dataclass(frozen=True)
class Place:
    """A folder of images, the folder of their label images, and what both say of all images in it."""

    images: Folder
    labels: Folder | None
    part: str = ""
    group: str = ""


def _read_labelled(product: Product, places: Iterable[Place], mark: str) -> Found:
    """Read images that have a label image each, called as they are with a mark behind: defective where it is
    there and not black."""
    found: list[tuple[Place, Path, Path | None]] = []
    orphans: set[Path] = set()
    for place in places:
        marked = [path for path in _list_images(place.labels) if path.stem.endswith(mark)]
        labels = {path.stem.removesuffix(mark): path for path in marked}
        images = [path for path in place.images.images if not path.stem.endswith(mark)]
        found += [(place, path, labels.pop(path.stem, None)) for path in images]
        orphans |= set(labels.values())
    work = map_in_threads(_is_marked, (label for _, _, label in found))
    answers = list(track(work, "Reading masks", len(found)) if len(found) > FEW else work)
    records = [
        product.make_record(
            path,
            UNNAMED_DEFECT if is_defective else GOOD,
            label if is_defective else None,
            place.part,
            place.group,
        )
        for (place, path, label), is_defective in zip(found, answers, strict=True)
    ]
    return Found(records, orphans, sum(label is None for _, _, label in found))


def _is_marked(label: Path | None) -> bool:
    """Whether a label image marks anything; one that cannot be read does, and is told when it is read."""
    try:
        return label is not None and bool(decode_mask(label.read_bytes()).any())
    except (OSError, ImageError):
        return True


LAYOUTS = (
    PublicLayout("MVTec LOCO", _is_loco, _read_loco),
    PublicLayout("VisA", _is_visa, _read_visa),
    PublicLayout("KolektorSDD", _is_kolektor_sdd, _read_kolektor_sdd),
    PublicLayout("KolektorSDD2", _is_kolektor_sdd2, _read_kolektor_sdd2),
    PublicLayout("DAGM", _is_dagm, _read_dagm),
)
