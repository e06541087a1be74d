"""Where photographs come from: what may follow `--data`, and the reader of each kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mvdefect.core.errors import LayoutError
from mvdefect.core.progress import logger
from mvdefect.data.groups.grouping import name_groups
from mvdefect.data.records import normalise_name
from mvdefect.data.sources.folders import Layout, read_layout
from mvdefect.data.sources.manifest import read_manifest
from mvdefect.data.sources.mvtec_ad_release import (
    CATEGORIES,
    check_tree,
    log_licence,
    looks_like_mvtec_ad,
    refuse_derived_copy,
    unpack_archive,
)

MVTEC_AD = "mvtec_ad"
ARCHIVE_SUFFIXES = (".tar", ".tar.xz", ".tar.gz", ".tgz", ".txz")


def resolve_source(source: str) -> str:
    """Return the source with its path made absolute, so that it means the same from any folder."""
    return source if _is_mvtec_ad(source) else str(Path(source).expanduser().resolve())


def name_source(source: str) -> str:
    """Return a short name of the source that can be part of a file name."""
    return source.replace(":", "-") if _is_mvtec_ad(source) else normalise_name(Path(source).resolve().stem)


def is_manifest(source: str) -> bool:
    """Whether the source is a CSV manifest."""
    path = Path(source).expanduser()
    return path.suffix.lower() == ".csv" and not path.is_dir()


def open_source(source: str, categories: Iterable[str] = (), group_pattern: str = "") -> Layout:
    """Find the photographs of a source.

    Args:
        source: A folder in one of the layouts of `mvdefect.data.sources.folders`; a CSV manifest; MVTec AD's
            archive; or "mvtec_ad", or "mvtec_ad:bottle", for the copy that TFDS's manual folder holds or
            that is downloaded.
        categories: The products to read; empty for all.
        group_pattern: A regular expression that names a group in an id; see `name_groups`.

    Raises:
        LayoutError: There is nothing of that kind, or it is damaged.
        SplitError: `group_pattern` is no regular expression, or matches no id.
    """
    layout = _read(source, tuple(categories))
    if group_pattern:
        layout = replace(layout, records=name_groups(layout.records, group_pattern))
    return layout


def _read(source: str, categories: tuple[str, ...]) -> Layout:
    if _is_mvtec_ad(source):
        return _read_mvtec_ad(source, categories)
    path = Path(source).expanduser()
    if path.name.lower().endswith(ARCHIVE_SUFFIXES) and path.is_file():
        log_licence()
        return read_layout(unpack_archive(path), categories)
    if is_manifest(source):
        return read_manifest(path, categories)
    refuse_derived_copy(path)
    layout = read_layout(path, categories)
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


def _is_mvtec_ad(source: str) -> bool:
    return source.partition(":")[0] == MVTEC_AD and not Path(source).exists()
