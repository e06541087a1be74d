"""Reader of images whose labels stand in their names or paths: `--label-pattern`."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mvdefect.core.errors import LayoutError, UnlabelledError, describe_unknown_name, list_some
from mvdefect.core.files import show_name
from mvdefect.data.records import GOOD, Record, choose_categories, make_id, normalise_name, sort_records
from mvdefect.data.sources.folders import (
    Layout,
    add_masks,
    check_folder,
    find_part,
    make_layout_error,
    walk_plain,
)
from mvdefect.data.sources.labels import check_name, read_defect_type, read_label
from mvdefect.data.sources.masks import is_mask_folder, split_masks
from mvdefect.data.sources.tree import Tree, name_root, read_tree

GROUPS = ("label", "type", "category", "group", "part")
MAX_LISTED = 5
EXAMPLES = (
    r"'(?P<label>ok|ng)' for part_17_ok.png; '^(?P<type>[a-z]+)_' for scratch_3.jpg and good_1.jpg; "
    r"'^(?P<category>[^/]+)/(?P<label>OK|NG)/' for line1/OK/7.png"
)


def read_names(root: Path, pattern: str, categories: Iterable[str] = (), good: Iterable[str] = ()) -> Layout:
    """Read images whose labels a regular expression finds in their ids, the paths relative to `root`.

    Its named groups say what they find: `label` (words for good and defective, as OK and NG, or the name of
    a defect), `type` (a word for good, or the name of a defect), `category` (the product), `group` (what
    stays together) and `part` (train, val or test). An expression without names has one group, which is read
    as `label` if that is a word for good or defective, and as `type` otherwise. It is searched anywhere in
    the id, but groups do not reach into the suffix; capitals count unless it begins with `(?i)`. It must
    match every image.

    Args:
        root: A folder, whatever lies where in it; masks are found as in class folders.
        pattern: Python's syntax.
        categories: The products to read; empty for all.
        good: What else good images are called.

    Raises:
        LayoutError: The expression is not valid, does not match every image, or finds several labels but no
            word for good.
    """
    compiled = _compile(pattern)
    check_folder(root)
    tree, good = read_tree(root), tuple(good)
    if not tree.top.count:
        raise make_layout_error(tree)
    mask_folders = {folder.path for folder in tree.top.walk() if is_mask_folder(folder)}
    images, masks = _list_images(tree, mask_folders)
    ids = {path: make_id(path, root) for path in images}
    matches = {path: _search(compiled, id_) for path, id_ in ids.items()}
    _check_matches(pattern, {ids[path]: match for path, match in matches.items()})
    default = name_root(root)
    records = [
        _make_record(path, ids[path], _name_groups(match), default, good, masks.get(path))
        for path, match in matches.items()
        if match is not None
    ]
    notes = (*tree.notes, f"--label-pattern found {_describe_types(records)}")
    groups = [_name_groups(match) for match in matches.values() if match is not None]
    words = frozenset(one[name] for one in groups for name in ("label", "type") if name in one)
    layout = add_masks(Layout(root, tuple(records), (), notes, words), tree, mask_folders)
    wanted = choose_categories({record.category for record in records}, categories, root)
    return replace(
        layout, records=sort_records(record for record in layout.records if record.category in wanted)
    )


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise LayoutError(
            f"--label-pattern is no regular expression: {error}. Received: {pattern!r}"
        ) from error
    unknown = set(compiled.groupindex) - set(GROUPS)
    if unknown:
        raise LayoutError(
            f"{describe_unknown_name('group in --label-pattern', min(unknown), GROUPS)} Received: {pattern!r}"
        )
    if not {"label", "type"} & set(compiled.groupindex) and (compiled.groupindex or compiled.groups != 1):
        raise LayoutError(
            f"--label-pattern needs a group (?P<label>...) or (?P<type>...), as in {EXAMPLES}. "
            f"Received: {pattern!r}"
        )
    return compiled


def _list_images(tree: Tree, mask_folders: set[Path]) -> tuple[list[Path], dict[Path, Path]]:
    """Return the images that are no masks, and the mask of each that has one beside it."""
    images: list[Path] = []
    masks: dict[Path, Path] = {}
    for folder in walk_plain(tree.top, mask_folders):
        found, beside = split_masks(folder.images)
        images += found
        masks |= beside
    return images, masks


def _search(pattern: re.Pattern[str], id_: str) -> re.Match[str] | None:
    """Return where the pattern matches an id, with groups that end before the suffix: ".png" is not 'ng'."""
    stem = posixpath.splitext(id_)[0]
    for text in (stem, id_):
        match = pattern.search(text)
        if match and all(match.end(name) <= len(stem) for name in pattern.groupindex or (1,)):
            return match
    return None


def _name_groups(match: re.Match[str]) -> dict[str, str]:
    """Return what the named groups found; the one group of an expression without names is label or type."""
    if match.re.groupindex:
        return {name: found for name, found in match.groupdict().items() if found}
    found = match.group(1) or ""
    return {"type" if read_label(found) is None else "label": found} if found else {}


def _check_matches(pattern: str, matches: dict[str, re.Match[str] | None]) -> None:
    """Refuse an expression that leaves images without a label."""
    missed = sorted(
        show_name(id_)
        for id_, match in matches.items()
        if match is None or not {"label", "type"} & set(_name_groups(match))
    )
    if missed:
        kind = UnlabelledError if len(missed) == len(matches) else LayoutError
        raise kind(
            f"--label-pattern must find a label in the path of every image, but finds none in {len(missed)} "
            f"of {len(matches)}: {list_some(missed, MAX_LISTED)}. Patterns look like {EXAMPLES}; "
            f"capitals count unless it begins with (?i). Received: {pattern!r}"
        )


def _make_record(
    path: Path, id_: str, found: dict[str, str], category: str, good: tuple[str, ...], mask: Path | None
) -> Record:
    part = find_part(found["part"]) if "part" in found else ""
    if "part" in found and not part:
        raise LayoutError(
            f"the group part must find train, val or test. Received: {found['part']!r} in {show_name(id_)}"
        )
    return Record(
        id=id_,
        path=path,
        category=check_name("category", found.get("category", category), has_levels=True),
        defect_type=check_name("type", _name_defect(found, id_, good)),
        mask_path=mask,
        group=normalise_name(found.get("group", "")),
        part=part,
    )


def _name_defect(found: dict[str, str], id_: str, good: tuple[str, ...]) -> str:
    """Return the defect type; a label that is no word for good or defective is the name of a defect."""
    type_ = read_defect_type(found.get("type", ""), good)
    if "label" not in found:
        return type_ or GOOD
    label = read_label(found["label"], good) or read_defect_type(found["label"], good)
    if type_ and (label == GOOD) != (type_ == GOOD):
        raise LayoutError(
            "label and type contradict each other. "
            f"Received: {found['label']!r} and {found['type']!r} in {show_name(id_)}"
        )
    return type_ or label or GOOD


def _describe_types(records: list[Record]) -> str:
    """Say how many images have each label.

    Raises:
        LayoutError: No image is good, but there are several labels, one of which may mean that.
    """
    counts = Counter(record.defect_type for record in records)
    told = list_some([f"{count} {show_name(name)}" for name, count in sorted(counts.items())], 2 * MAX_LISTED)
    if GOOD not in counts and len(counts) > 1:
        raise LayoutError(
            f"--label-pattern found no word for good: {told}. If one of them is: --good WORD, as in "
            f"--good '{show_name(min(counts))}'"
        )
    return told
