"""YOLO: a text file for each image, with boxes or polygons in fractions of the image.

Format: https://docs.ultralytics.com/datasets/detect/ and https://docs.ultralytics.com/datasets/segment/
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from mvdefect.core.progress import track
from mvdefect.data.sources.annotations.files import read_head, read_text, show_some
from mvdefect.data.sources.annotations.images import AnnotatedImage, Mark, Reading
from mvdefect.data.sources.annotations.listing import IMAGE_FOLDERS, Listing
from mvdefect.data.sources.annotations.shapes import Shape, check_numbers, make_box, make_polygon
from mvdefect.data.sources.mask_files import RELATIVE

NAME = "YOLO annotations"
LABEL_FOLDER = "labels"
NAME_LISTS = ("classes.txt", "obj.names", "names.txt", "predefined_classes.txt")
MAX_YAML_BYTES = 1 << 20
MAX_CLASSES = 1_000_000
MAX_LOOKED_AT = 20
LARGEST_FRACTION = 2.0  # beyond the edge by a whole image: these are no fractions
LINE = re.compile(rb"\s*\d+(\.0+)?(\s+[-+.\deE]+){4,}\s*$")


def find_files(listing: Listing) -> tuple[Path, ...]:
    """List the images that may have a text file, if the first text files are YOLO's.

    They are those below a folder `images` with a folder `labels` beside it, or those with a text file of the
    same name beside them.
    """
    texts = listing.list_others(".txt")
    label_roots = {place for path in texts for place in _list_label_roots(path, listing.root)}
    swapped = {
        folder: _swap_folder(folder, listing.root) for folder in {path.parent for path in listing.images}
    }
    paired = {one for one, other in swapped.items() if other and label_roots & {other, *other.parents}}
    named = {(path.parent, path.stem) for path in texts}
    beside = {path.parent for path in listing.images if named and (path.parent, path.stem) in named}
    labels = [path for path in texts if path.parent in beside or any(_list_label_roots(path, listing.root))]
    looked_at = [path for path in labels if path.name.lower() not in NAME_LISTS][:MAX_LOOKED_AT]
    if any(map(_looks_like_yolo, looked_at)):
        return tuple(path for path in listing.images if path.parent in paired | beside)
    if looked_at and all(map(_is_empty, looked_at)):  # no image has a defect
        return tuple(path for path in listing.images if path.parent in paired)
    return ()


def read_files(listing: Listing, files: Sequence[Path]) -> Reading:
    """Read the text files of some images; those with none, or with an empty one, are good."""
    reading = Reading()
    names = _read_names(listing, reading)
    texts = frozenset(listing.list_others(".txt"))
    unknown: Counter[str] = Counter()
    used = set()
    for image in track(files, "Reading annotations", len(files)):
        label = next((path for path in _list_labels(image, listing.root) if path in texts), None)
        marks: tuple[Mark, ...] = ()
        if label is None:
            reading.unmarked += 1
        else:
            used.add(label)
            try:
                marks = tuple(_read_marks(label, names, unknown))
            except ValueError as error:
                reading.faults.append(f"{listing.describe_path(label)}: {error}")
        reading.add(AnnotatedImage(image, marks, RELATIVE, listing.find_part(image.parent)))
    if unknown:
        reading.notes.append(
            f"no data.yaml, classes.txt or obj.names gives the name of {show_some(sorted(unknown))}"
        )
    lost = [
        path
        for path in sorted(texts - used)
        if _list_label_roots(path, listing.root) and _looks_like_yolo(path)
    ]
    if lost:
        examples = show_some(map(listing.describe_path, lost))
        reading.notes.append(f"{len(lost)} text file(s) belong to no image: {examples}")
    reading.note_unused(listing, "lie in other folders")
    return reading


def _list_labels(image: Path, root: Path) -> Iterator[Path]:
    """Yield where the text file of an image may be: in `labels` instead of `images`, and beside it."""
    if (folder := _swap_folder(image.parent, root)) is not None:
        yield folder / f"{image.stem}.txt"
    yield image.with_suffix(".txt")


def _swap_folder(folder: Path, root: Path) -> Path | None:
    """Return the folder of the text files for a folder below `images`."""
    parts = folder.relative_to(root).parts
    for place in reversed(range(len(parts))):
        if parts[place] in IMAGE_FOLDERS:
            return root.joinpath(*parts[:place], LABEL_FOLDER, *parts[place + 1 :])
    return None


def _list_label_roots(path: Path, root: Path) -> list[Path]:
    """List the folders `labels` that a file lies in."""
    parts = path.relative_to(root).parent.parts
    return [root.joinpath(*parts[: place + 1]) for place, name in enumerate(parts) if name == LABEL_FOLDER]


def _looks_like_yolo(path: Path) -> bool:
    lines = read_head(path).splitlines()
    return bool(lines and LINE.match(lines[0]))


def _is_empty(path: Path) -> bool:
    return not read_head(path).strip()


def _read_marks(path: Path, names: dict[int, str], unknown: Counter[str]) -> Iterator[Mark]:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            first, *numbers = map(float, line.split())
            check_numbers([first], MAX_CLASSES)
            check_numbers(numbers, LARGEST_FRACTION)
            shape = _make_shape(numbers)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        class_number = int(first)
        name = names.get(class_number)
        if name is None:
            name = f"class {class_number}"
            unknown[name] += 1
        yield Mark(name, shape)


def _make_shape(numbers: Sequence[float]) -> Shape:
    if len(numbers) in (4, 5):  # the fifth is a confidence
        x, y, width, height = numbers[:4]
        return make_box(x - width / 2, y - height / 2, width, height)
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(
            f"a class and 4 numbers (box) or pairs (polygon) are needed. Received: {len(numbers)}"
        )
    return make_polygon(list(zip(numbers[::2], numbers[1::2], strict=True)))


def _read_names(listing: Listing, reading: Reading) -> dict[int, str]:
    """Return the names of the classes by number, from the first file that gives any."""
    files = listing.list_others(".yaml", ".yml") + tuple(
        path for path in listing.list_others(".txt", ".names") if path.name.lower() in NAME_LISTS
    )
    for path in files:
        try:
            names = _parse_names(path)
        except (ValueError, yaml.YAMLError, RecursionError) as error:
            reading.faults.append(f"{listing.describe_path(path)}: {' '.join(str(error).split())}")
            continue
        if names:
            return names
    return {}


def _parse_names(path: Path) -> dict[int, str]:
    """Return the names in a list, or under `names` in a YAML file, which may hold something else.

    Raises:
        ValueError: The names are no names.
    """
    is_yaml = path.suffix.lower() in (".yaml", ".yml")
    if is_yaml and b"names" not in read_head(path):
        return {}
    text = read_text(path, MAX_YAML_BYTES)
    if not is_yaml:
        return dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))
    content = yaml.safe_load(text)
    names = content.get("names", {}) if isinstance(content, dict) else {}
    numbered = names if isinstance(names, dict) else dict(enumerate(names if isinstance(names, list) else ()))
    if not all(isinstance(name, str | int | float) for name in numbered.values()):
        raise ValueError("`names` must list the names of the classes")
    return {int(number): str(name) for number, name in numbered.items()}
