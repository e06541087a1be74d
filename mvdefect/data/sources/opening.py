"""Where images come from: what may follow `--data`, the reader of each kind, and several of them together."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from mvdefect.config import FitConfig
from mvdefect.core.errors import LayoutError, UnlabelledError
from mvdefect.core.files import show_name
from mvdefect.core.progress import logger
from mvdefect.data.parts import name_parts
from mvdefect.data.records import Record, make_id, normalise_name
from mvdefect.data.sources.annotations.reading import (
    add_annotated_masks,
    is_annotation_file,
    read_annotation_file,
    read_annotations,
)
from mvdefect.data.sources.archives import is_archive, name_archive, open_archive
from mvdefect.data.sources.elpv import ELPV, find_elpv, read_elpv
from mvdefect.data.sources.folders import (
    Layout,
    check_folder,
    check_good,
    has_class_folders,
    make_layout_error,
    read_layout,
)
from mvdefect.data.sources.joining import join_layouts
from mvdefect.data.sources.manifest import read_manifest
from mvdefect.data.sources.mvtec_ad_release import (
    CATEGORIES,
    check_tree,
    has_official_size,
    log_licence,
    looks_like_mvtec_ad,
    refuse_derived_copy,
    unpack_archive,
)
from mvdefect.data.sources.names import read_names
from mvdefect.data.sources.public import read_public_layout
from mvdefect.data.sources.tree import Risk, name_root, read_tree

MVTEC_AD = "mvtec_ad"
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".tab", ".txt"})
SPREADSHEETS = frozenset({".xls", ".xlsx", ".xlsm", ".ods", ".numbers"})


@dataclass(frozen=True)
class Reading:
    """How sources are read.

    Attributes:
        categories: The products to read; empty for all.
        group_pattern: A regular expression that names a group in an id; see `name_groups`.
        good: What else good images are called; "." for those that lie in a data folder itself.
        label_pattern: A regular expression that finds the label in an id; see `read_names`.
        part_pattern: A regular expression that names the part that an image shows; see
            `mvdefect.data.parts.find_part`.
        types: Defect types that other sources hold, by which a folder without good images is recognised.
    """

    categories: tuple[str, ...] = ()
    group_pattern: str = ""
    good: tuple[str, ...] = ()
    label_pattern: str = ""
    part_pattern: str = ""
    types: frozenset[str] = frozenset()


def resolve_sources(sources: Iterable[str]) -> tuple[str, ...]:
    """Return sources with their paths made absolute, so that they mean the same from any folder."""
    return tuple(
        source if _is_published(source) else str(Path(source).expanduser().resolve()) for source in sources
    )


def name_sources(sources: Iterable[str]) -> str:
    """Return a short name of the sources that can be part of a file name: that of the first."""
    return next(map(_name_source, sources), "run")


def _name_source(source: str) -> str:
    if _is_published(source):
        return source.replace(":", "-")
    path = Path(source).resolve()
    return name_archive(path) if is_archive(path) else normalise_name(path.stem)


def is_manifest(source: str) -> bool:
    """Whether the source is a table (CSV)."""
    path = Path(source).expanduser()
    return path.suffix.lower() in TABLE_SUFFIXES and not path.is_dir()


def open_source(
    source: str | Iterable[str],
    categories: Iterable[str] = (),
    group_pattern: str = "",
    good: Iterable[str] = (),
    label_pattern: str = "",
    part_pattern: str = "",
) -> Layout:
    """Find the images of one source or of several.

    Args:
        source: A folder in one of the layouts of `mvdefect.data.sources.folders`, of a public data set, or
            with annotations; a table (CSV); a file of annotations; a zip or tar archive; or "mvtec_ad", or
            "mvtec_ad:bottle", for the copy that TFDS's manual folder holds or that is downloaded; or "elpv",
            for what the package `elpv-dataset` holds. Or several of these, which are joined as in
            `join_layouts`.
        categories: As for `Reading`.
        group_pattern: As for `Reading`.
        good: As for `Reading`.
        label_pattern: As for `Reading`.
        part_pattern: As for `Reading`.

    Raises:
        LayoutError: There is nothing of that kind, it is damaged, or `good` names nothing in it.
        SplitError: `group_pattern` or `part_pattern` is no regular expression, or matches no id.
    """
    sources = [source] if isinstance(source, str) else list(source)
    reading = Reading(tuple(categories), group_pattern, tuple(good), label_pattern, part_pattern)
    layout = _read(sources[0], reading) if len(sources) == 1 else _read_all(sources, reading)
    check_good(reading.good, layout.names)
    if group_pattern:
        from mvdefect.data.groups.grouping import name_groups

        layout = replace(layout, records=name_groups(layout.records, group_pattern))
    if part_pattern:
        layout = replace(layout, records=name_parts(layout.records, part_pattern))
    return layout


def open_configured(config: FitConfig) -> Layout:
    """Find the images that the settings of a fit name.

    Raises:
        LayoutError: As for `open_source`.
        SplitError: As for `open_source`.
    """
    return open_source(
        config.data,
        config.categories,
        config.group_pattern,
        config.good,
        config.label_pattern,
        config.part_pattern,
    )


def open_unlabelled(source: str) -> Layout:
    """Find the images of a folder or an archive whatever their layout; their defect type is "".

    Raises:
        LayoutError: There are none.
    """
    path = Path(source).expanduser()
    root = open_archive(path) if is_archive(path) else path
    check_folder(root)
    tree = read_tree(root)
    if not tree.top.count:
        raise make_layout_error(tree)
    category = name_root(root)
    images = (Record(make_id(path, root), path, category, "") for path in tree.top.list_images())
    return Layout(root, tuple(sorted(images, key=attrgetter("id"))), (), tree.notes)


def are_there(sources: Iterable[str]) -> bool:
    """Whether all sources can be looked for where they were."""
    return all(_is_there(source) for source in sources)


def _is_there(source: str) -> bool:
    if _is_published(source):
        return _get_name(source) != ELPV or find_elpv() is not None
    return Path(source).expanduser().exists()


def log_notes(layout: Layout) -> None:
    """Say what a reader left out or assumed, and warn of what may spoil the result."""
    for note in layout.notes:
        logger.log(logging.WARNING if isinstance(note, Risk) else logging.INFO, "%s", note)


def _read_all(sources: list[str], reading: Reading) -> Layout:
    if not sources:
        raise LayoutError("no images are named")
    every = replace(reading, categories=())
    places = dict.fromkeys(resolve_sources(sources))
    if len(places) == 1:
        return _read(sources[0], reading)
    layouts: dict[str, Layout | None] = {source: _try_to_read(source, every) for source in places}
    types = {record.defect_type for layout in layouts.values() if layout for record in layout.records}
    others = replace(every, types=frozenset(types), label_pattern="")
    read = {source: layout or _read(source, others) for source, layout in layouts.items()}
    return join_layouts(read, reading.categories)


def _try_to_read(source: str, reading: Reading) -> Layout | None:
    """Read one of several sources; None: it may be readable once the others are known.

    What was added to older images, as corrections, may lie in class folders where those have labels in their
    names, and may hold no good images.
    """
    try:
        return _read(source, reading)
    except UnlabelledError:
        plain = replace(reading, label_pattern="")
        return _try_to_read(source, plain) if reading.label_pattern else None


def _read(source: str, reading: Reading) -> Layout:
    if _is_published(source):
        if _get_name(source) == ELPV:
            return read_elpv(source.partition(":")[2], reading.categories)
        return _read_mvtec_ad(source, reading.categories)
    path = Path(source).expanduser()
    if path.suffix.lower() in SPREADSHEETS and path.is_file():
        raise LayoutError(
            f"a spreadsheet must be saved as CSV (in Excel: 'CSV UTF-8'). Received: {show_name(path)}"
        )
    if is_archive(path):
        return _read_archive(path, reading)
    if is_manifest(source):
        return read_manifest(path, reading.categories, reading.good)
    if is_annotation_file(path):
        return read_annotation_file(path, reading.categories, reading.good)
    return _read_folder(path, reading)


def _read_archive(path: Path, reading: Reading) -> Layout:
    if has_official_size(path):
        log_licence()
        return read_layout(unpack_archive(path), reading.categories)
    root = open_archive(path)

    def rename(text: str) -> str:
        return text.replace(show_name(root), show_name(path))

    try:
        layout = _read_folder(root, reading)
    except LayoutError as error:
        raise type(error)(rename(str(error))) from error
    notes = (Risk(rename(note)) if isinstance(note, Risk) else rename(note) for note in layout.notes)
    return replace(layout, notes=tuple(notes), source=str(path))


def _read_folder(path: Path, reading: Reading) -> Layout:
    if reading.label_pattern:
        return read_names(path, reading.label_pattern, reading.categories, reading.good)
    refuse_derived_copy(path)
    check_folder(path)
    tree = read_tree(path)
    described = read_public_layout(tree, reading.categories)
    if described is None and not has_class_folders(tree, reading.good, reading.types):
        described = read_annotations(tree, reading.categories, reading.good)
    if described is not None:
        return described
    layout = read_layout(path, reading.categories, reading.good, reading.types, tree)
    layout = add_annotated_masks(layout, tree)
    if looks_like_mvtec_ad(path):
        log_licence()
        _compare_with_original(path, layout)
    return layout


def _compare_with_original(path: Path, layout: Layout) -> None:
    """Warn where a folder that looks like MVTec AD is not what was published; it may be a part of it."""
    is_one_category = path.resolve().name in CATEGORIES
    names = sorted({record.category for record in layout.records} & CATEGORIES.keys())
    try:
        check_tree(path.resolve().parent if is_one_category else path, names)
    except LayoutError as error:
        logger.warning("figures cannot be compared with those of others: %s", error)


def _read_mvtec_ad(source: str, categories: tuple[str, ...]) -> Layout:
    from mvdefect.data.sources.mvtec_ad import locate_tree

    _, _, named = source.partition(":")
    wanted = tuple(name for name in named.split(",") if name not in {"", "all"})
    if wanted and categories:
        raise LayoutError(f"products are named twice: by {source} and by --category {', '.join(categories)}")
    chosen = wanted or categories
    return read_layout(locate_tree(chosen), chosen)


def _is_published(source: str) -> bool:
    """Whether this is the name of a public data set, not a path."""
    return _get_name(source) in (MVTEC_AD, ELPV) and not Path(source).exists()


def _get_name(source: str) -> str:
    return source.partition(":")[0]
