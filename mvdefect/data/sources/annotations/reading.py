"""From annotations to records: which format a data set has, and what is taken from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mvdefect.core.errors import LayoutError, UnlabelledError
from mvdefect.core.files import show_name
from mvdefect.data.records import Record, choose_categories, make_id, sort_records
from mvdefect.data.sources.annotations import cloud, coco, labelme, voc, yolo
from mvdefect.data.sources.annotations.files import show_some
from mvdefect.data.sources.annotations.images import AnnotatedImage, Reading, clean_name
from mvdefect.data.sources.annotations.listing import Listing, list_files
from mvdefect.data.sources.folders import Layout
from mvdefect.data.sources.mask_files import Drawing, draw_masks
from mvdefect.data.sources.tree import NO_IMAGES, Risk, Tree, name_root, read_tree

ANNOTATION_FOLDERS = frozenset({"annotations", "annotation", "ann", "labels", "json", "manifests"})
FILE_SUFFIXES = (".json", ".yaml", ".yml", *cloud.SUFFIXES)
TABLE = "name images and labels in a table (CSV), which `mvdefect data manifest` writes to be filled in"


@dataclass(frozen=True)
class Format:
    """One way of writing annotations.

    Attributes:
        name: As it is said to the user.
        find: Lists what is to be read; nothing where the format is not there.
        read: Reads it.
    """

    name: str
    find: Callable[[Listing], tuple[Path, ...]]
    read: Callable[[Listing, Sequence[Path]], Reading]


@dataclass(frozen=True)
class _Source:
    """Annotations that were found, and how they are to be read."""

    form: Format
    listing: Listing
    files: tuple[Path, ...]
    categories: tuple[str, ...]
    good: tuple[str, ...]

    @property
    def name(self) -> str:
        """What was found and, of one file, where."""
        if len(self.files) > 1 or self.files[0] in self.listing.image_set:
            return self.form.name
        return f"{self.form.name} in {self.listing.describe_path(self.files[0])}"


# The first that is found is read: one file for all images before one for each, names before numbers.
FORMATS = tuple(
    Format(module.NAME, module.find_files, module.read_files) for module in (cloud, coco, labelme, voc, yolo)
)


def read_annotations(tree: Tree, categories: Iterable[str] = (), good: Iterable[str] = ()) -> Layout | None:
    """Read a folder without class folders, if annotations describe its images.

    An image with a box, a polygon or another region is defective, one without is good. Classes become
    defect types, joined by "+" where an image has several; a class that is called as good images are does
    not count. Regions become masks.

    Args:
        tree: What lies below the folder.
        categories: The products to read; there is one, called as the folder.
        good: What else good images are called.

    Returns:
        None for a folder without annotations.

    Raises:
        UnlabelledError: Annotations are damaged, name no image that is there, or have coordinates that no
            image has.
        LayoutError: A category is unknown.
    """
    found = _recognise(list_files(tree))
    return _make_layout(_Source(*found, tuple(categories), tuple(good)), tree) if found else None


def is_annotation_file(path: Path) -> bool:
    """Whether a file may be a source by itself: COCO's JSON, a cloud service's lines, YOLO's data.yaml."""
    return path.suffix.lower() in FILE_SUFFIXES and path.is_file()


def read_annotation_file(source: Path, categories: Iterable[str] = (), good: Iterable[str] = ()) -> Layout:
    """Read the images that one file describes, even where there are class folders.

    They are looked for in the file's folder or, if that is one for annotations and holds none, beside it.

    Raises:
        LayoutError: As for `read_annotations`, and if the file holds something else.
        UnlabelledError: As for `read_annotations`.
    """
    form = _recognise_file(source)
    root, tree = source.parent, read_tree(source.parent)
    if not tree.top.count and root.resolve().name.lower() in ANNOTATION_FOLDERS:
        folder = root.resolve()
        root, source = folder.parent, folder / source.name
        tree = read_tree(root)
    listing = list_files(tree)
    files = yolo.find_files(listing) if form.name == yolo.NAME else (source,)
    if not files:
        raise LayoutError(
            f"there is no image with a text file of YOLO's labels beside {show_name(source)}; the settings "
            "of a fit are named by --config"
        )
    return _make_layout(_Source(form, listing, files, tuple(categories), tuple(good)), tree)


def add_annotated_masks(layout: Layout, tree: Tree) -> Layout:
    """Give defective images of class folders the masks that annotations of them draw.

    The folder stays what names the defect; faults in annotations are told, but do not stop the work.

    Args:
        layout: The images.
        tree: What lies below its root.
    """
    wanted = [record for record in layout.records if record.label and record.mask_path is None]
    found = _recognise(list_files(tree)) if wanted else None
    if found is None:
        return layout
    form, listing, files = found
    reading = form.read(listing, files)
    images = [reading.images.get(record.path, AnnotatedImage(record.path)) for record in wanted]
    masks, faults = _draw(images, listing, ())
    faults = [*reading.faults, *faults]
    notes = [f"{form.name} beside class folders: masks of {len(masks)} images"] if masks else []
    if faults:
        notes.append(Risk(f"{form.name}: {len(faults)} cannot be used for masks: {show_some(faults)}"))
    records = (
        replace(record, mask_path=masks[record.path]) if record.path in masks else record
        for record in layout.records
    )
    return replace(layout, records=tuple(records), notes=(*layout.notes, *notes))


def _recognise(listing: Listing) -> tuple[Format, Listing, tuple[Path, ...]] | None:
    found = ((form, listing, form.find(listing)) for form in FORMATS)
    return next((one for one in found if one[2]), None)


def _recognise_file(source: Path) -> Format:
    by_name = {form.name: form for form in FORMATS}
    if source.suffix.lower() in (".yaml", ".yml"):
        return by_name[yolo.NAME]
    if source.suffix.lower() == ".json" and coco.is_coco(source):
        return by_name[coco.NAME]
    if cloud.is_manifest(source):
        return by_name[cloud.NAME]
    raise LayoutError(
        "a JSON file must be COCO's, with images, annotations and categories, or JSON lines with source-ref; "
        f"with a file for each image (LabelMe), name the folder. Received: {show_name(source)}"
    )


def _make_layout(source: _Source, tree: Tree) -> Layout:
    listing, category = source.listing, name_root(source.listing.root)
    choose_categories([category], source.categories, listing.root)
    reading = _read_source(source)
    others = _find_others(source, reading)
    images = sorted(reading.images.values(), key=lambda image: image.path)
    masks, faults = _draw(images, listing, source.good)
    if faults:
        raise UnlabelledError(
            f"the annotations of {len(faults)} image(s) do not fit: {show_some(faults)}. Mend or remove "
            f"them, or {TABLE}"
        )
    records = sort_records(
        Record(
            make_id(image.path, listing.root),
            image.path,
            category,
            image.name_defect_type(source.good),
            masks.get(image.path),
            part=image.part,
        )
        for image in images
    )
    told = [_summarise(source.name, records, reading)]
    told += [f"{source.form.name}: {note}" for note in (*reading.notes, *others)]
    told += [note for note in tree.notes if NO_IMAGES not in note]  # which would be the annotations
    classes = frozenset(clean_name(mark.name) for image in images for mark in image.marks)
    return Layout(listing.root, records, (), tuple(told), classes)


def _read_source(source: _Source) -> Reading:
    """Read what was found.

    Raises:
        UnlabelledError: It is damaged, or names no image that is there.
    """
    reading = source.form.read(source.listing, source.files)
    if faults := reading.faults:
        raise UnlabelledError(
            f"{len(faults)} error(s) in {source.name}: {show_some(faults)}. Mend or remove them, or {TABLE}"
        )
    if not reading.images:
        root, reasons = show_name(source.listing.root), "".join(f"; {note}" for note in reading.notes)
        raise UnlabelledError(
            f"{source.name} name no image that is below {root}{reasons}. Put the images there under the "
            f"names in the annotations, or {TABLE}"
        )
    return reading


def _find_others(source: _Source, reading: Reading) -> list[str]:
    """Note other annotations that are there.

    Raises:
        UnlabelledError: It is open which of them describe the images without a file.
    """
    others = [form.name for form in FORMATS if form != source.form and form.find(source.listing)]
    if others and reading.unmarked:
        raise UnlabelledError(
            f"{source.form.name} are there, and {' and '.join(others)}, but {reading.unmarked} image(s) have "
            f"no file of the former. Keep one of them, or {TABLE}"
        )
    return [f"not read, for it is there as well: {', '.join(others)}"] if others else []


def _draw(
    images: Sequence[AnnotatedImage], listing: Listing, good: tuple[str, ...]
) -> tuple[dict[Path, Path], list[str]]:
    """Return the masks of images, by image, and what does not fit its image."""
    drawings = [
        Drawing(image.path, shapes, image.size_px) for image in images if (shapes := image.list_shapes(good))
    ]
    drawn = list(zip(drawings, draw_masks(drawings), strict=True))
    faults = [f"{listing.describe_path(one.image)}: {mask.fault}" for one, mask in drawn if mask.fault]
    return {one.image: mask.path for one, mask in drawn if mask.path}, faults


def _summarise(name: str, records: Sequence[Record], reading: Reading) -> str:
    defective = sum(record.label for record in records)
    if defective == len(records):
        return Risk(
            f"{name}: all {defective} images have a box, a region or a defect's class and count as "
            "defective; add images of good products, or name the classes that mean good by --good"
        )
    without_file = f" ({reading.unmarked} of them have no file)" if reading.unmarked else ""
    return (
        f"{name}: {defective} images with a box, a region or a defect's class count as defective, "
        f"{len(records) - defective} without as good{without_file}"
    )
