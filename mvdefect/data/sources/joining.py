"""Several sources as one data set: ids that stay apart, and images that stand in more than one."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from mvdefect.core.errors import list_some
from mvdefect.core.files import show_name
from mvdefect.data.records import Record, choose_categories, normalise_name, sort_records
from mvdefect.data.sources.folders import Layout
from mvdefect.data.sources.tree import Risk, name_root

HEAD_BYTES = 1 << 14
MAX_LISTED = 5


def join_layouts(layouts: Mapping[str, Layout], categories: Iterable[str] = ()) -> Layout:
    """Join what several sources hold, as old images and corrections.

    An id is prefixed with the name of its source; sources of one name are told apart by the folders above
    them. It does not depend on the order of the sources. If each source is one product, called after
    its folder, all are the product of the first source. An image in several sources is kept once: with the
    label that the last of them gives it and, where they agree, with what the first of them knows of it.

    Args:
        layouts: What each source holds; in the order in which they were named.
        categories: The products to keep; empty for all.

    Raises:
        LayoutError: A category is unknown.
    """
    prefixes = _name_prefixes(list(layouts))
    notes = [note for layout in layouts.values() for note in layout.notes]
    product, named = _find_common_product(list(layouts.values()))
    notes += [named] if named else []
    kept, told = _settle_doubles(
        [
            [
                replace(record, id=f"{prefixes[source]}/{record.id}", category=product or record.category)
                for record in layout.records
            ]
            for source, layout in layouts.items()
        ]
    )
    root = Path(os.path.commonpath([layout.root.resolve() for layout in layouts.values()]))
    orphans = sorted({path for layout in layouts.values() for path in layout.orphan_masks})
    wanted = choose_categories({record.category for record in kept}, categories, root)
    return Layout(
        root,
        sort_records(record for record in kept if record.category in wanted),
        tuple(orphans),
        (*notes, *told),
        frozenset(name for layout in layouts.values() for name in layout.names),
        ", ".join(layout.title for layout in layouts.values()),
    )


def _name_prefixes(sources: Sequence[str]) -> dict[str, str]:
    """Name each source by its last folder, with as many of those above as tell all apart."""
    paths = {source: PurePath(normalise_name(source)).parts for source in sources}
    for depth in range(1, max(map(len, paths.values())) + 1):
        names = {source: "/".join(parts[-depth:]).replace("//", "/") for source, parts in paths.items()}
        if len(set(names.values())) == len(names):
            break
    return {source: name.strip("/").replace(":", "-") for source, name in names.items()}


def _find_common_product(layouts: Sequence[Layout]) -> tuple[str, str]:
    """Return the product of all sources if each is one that is called after its folder, and a note on it."""
    own = [name_root(layout.root) for layout in layouts]
    named = [{record.category for record in layout.records} for layout in layouts]
    if any(names != {name} for names, name in zip(named, own, strict=True)) or len(set(own)) == 1:
        return "", ""
    others = ", ".join(f"'{name}'" for name in own[1:])
    return own[0], (
        f"the images of all sources count as the product '{own[0]}'; if {others} hold(s) another one, put a "
        "folder per product into one folder, or name products in a table"
    )


def _settle_doubles(sources: Sequence[Sequence[Record]]) -> tuple[list[Record], list[str]]:
    """Keep one record of an image in several sources; say how many there are, and whose label changes."""
    keys = _identify([record for records in sources for record in records])
    kept: dict[str, list[Record]] = {}
    changed, twice = [], 0
    for records in sources:
        earlier = dict(kept)
        for record in records:
            first = earlier.get(keys[record.id], [])
            twice += bool(first)
            if not first:
                kept.setdefault(keys[record.id], []).append(record)
            elif record.defect_type not in {one.defect_type for one in first}:
                changed.append(
                    f"{show_name(first[0].id)} ({first[0].defect_type}, then {record.defect_type})"
                )
                kept[keys[record.id]] = [record]
    notes = [f"{twice} image(s) stand in more than one source, and are used once"] if twice else []
    if changed:
        told = list_some(changed, MAX_LISTED)
        notes.append(Risk(f"{len(changed)} of them have several labels, of which the last counts: {told}"))
    return [record for records in kept.values() for record in records], notes


def _identify(records: Sequence[Record]) -> dict[str, str]:
    """Return by id what images with the same content have in common; few files are read as a whole."""
    alike: defaultdict[tuple[int, bytes], list[Record]] = defaultdict(list)
    sizes: defaultdict[int, list[Record]] = defaultdict(list)
    for record in records:
        sizes[record.path.stat().st_size].append(record)
    for size, some in sizes.items():
        for record in some:
            alike[size, _read_head(record.path) if len(some) > 1 else b""].append(record)
    return {
        record.id: _hash(record.path) if len(some) > 1 else record.id
        for some in alike.values()
        for record in some
    }


def _read_head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.sha256(stream.read(HEAD_BYTES)).digest()


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
