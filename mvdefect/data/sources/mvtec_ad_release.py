"""MVTec AD as published: what it holds, how it is told from faulty copies, and its archive."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import NoReturn

from PIL import Image

from mvdefect.core.errors import LayoutError, describe_unknown_name, list_some
from mvdefect.core.files import cache_dir, describe_state, replace_file
from mvdefect.core.parallel import map_in_threads
from mvdefect.core.progress import logger, track
from mvdefect.data.records import GOOD, Record
from mvdefect.data.sources.archives import extract_archive
from mvdefect.data.sources.folders import MVTEC_AD_PARTS, read_layout

HOMEPAGE = "https://www.mvtec.com/company/research/datasets/mvtec-ad"
LICENCE = "CC BY-NC-SA 4.0"
LICENCE_NOTE = f"MVTec AD: {LICENCE}, non-commercial use only; cite Bergmann et al. (2021)"

ARCHIVE_FOLDER = "mvtec_anomaly_detection"
ARCHIVE_NAME = f"{ARCHIVE_FOLDER}.tar.xz"
ARCHIVE_BYTES = 5_264_982_680
ARCHIVE_SHA256 = "cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d"
ARCHIVE_URL = (
    "https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/"
    f"download/420938113-1629960298/{ARCHIVE_NAME}"
)


CACHE = "mvtec_ad"
CHUNK_BYTES = 1 << 20
DOWNLOAD_TIMEOUT_S = 30.0  # bounds each read, so a dead line ends


@dataclass(frozen=True)
class CategoryFacts:
    """What one category of MVTec AD holds.

    Attributes:
        size_px: Height and width of each image and each mask.
        train: How many images there are in train/good.
        test: How many there are in each folder of test; each of a defect has a mask.
    """

    size_px: int
    train: int
    test: Mapping[str, int]


CATEGORIES: Mapping[str, CategoryFacts] = {
    "bottle": CategoryFacts(
        900, 209, {"good": 20, "broken_large": 20, "broken_small": 22, "contamination": 21}
    ),
    "cable": CategoryFacts(
        1024,
        224,
        {"good": 58, "bent_wire": 13, "cable_swap": 12, "combined": 11}
        | {"cut_inner_insulation": 14, "cut_outer_insulation": 10}
        | {"missing_cable": 12, "missing_wire": 10, "poke_insulation": 10},
    ),
    "capsule": CategoryFacts(
        1000, 219, {"good": 23, "crack": 23, "faulty_imprint": 22, "poke": 21, "scratch": 23, "squeeze": 20}
    ),
    "carpet": CategoryFacts(
        1024, 280, {"good": 28, "color": 19, "cut": 17, "hole": 17, "metal_contamination": 17, "thread": 19}
    ),
    "grid": CategoryFacts(
        1024, 264, {"good": 21, "bent": 12, "broken": 12, "glue": 11, "metal_contamination": 11, "thread": 11}
    ),
    "hazelnut": CategoryFacts(1024, 391, {"good": 40, "crack": 18, "cut": 17, "hole": 18, "print": 17}),
    "leather": CategoryFacts(
        1024, 245, {"good": 32, "color": 19, "cut": 19, "fold": 17, "glue": 19, "poke": 18}
    ),
    "metal_nut": CategoryFacts(700, 220, {"good": 22, "bent": 25, "color": 22, "flip": 23, "scratch": 23}),
    "pill": CategoryFacts(
        800,
        267,
        {"good": 26, "color": 25, "combined": 17, "contamination": 21}
        | {"crack": 26, "faulty_imprint": 19, "pill_type": 9, "scratch": 24},
    ),
    "screw": CategoryFacts(
        1024,
        320,
        {"good": 41, "manipulated_front": 24, "scratch_head": 24}
        | {"scratch_neck": 25, "thread_side": 23, "thread_top": 23},
    ),
    "tile": CategoryFacts(
        840, 230, {"good": 33, "crack": 17, "glue_strip": 18, "gray_stroke": 16, "oil": 18, "rough": 15}
    ),
    "toothbrush": CategoryFacts(1024, 60, {"good": 12, "defective": 30}),
    "transistor": CategoryFacts(
        1024, 213, {"good": 60, "bent_lead": 10, "cut_lead": 10, "damaged_case": 10, "misplaced": 10}
    ),
    "wood": CategoryFacts(
        1024, 247, {"good": 19, "color": 8, "combined": 11, "hole": 10, "liquid": 10, "scratch": 21}
    ),
    "zipper": CategoryFacts(
        1024,
        240,
        {"good": 32, "broken_teeth": 19, "combined": 16, "fabric_border": 17}
        | {"fabric_interior": 16, "rough": 17, "split_teeth": 18, "squeezed_teeth": 16},
    ),
}


def log_licence() -> None:
    """Say under which terms MVTec AD may be used."""
    logger.info(LICENCE_NOTE)


def looks_like_mvtec_ad(root: Path) -> bool:
    """Tell whether a folder is MVTec AD or one category of it, whole or not, under any name.

    A category is recognised by its name together with the names of all its defect types, so that somebody's
    own photographs of screws are not taken for it.
    """
    return any(
        all((folder / "test" / type_).is_dir() for type_ in CATEGORIES[category].test)
        for category, folder in _list_category_folders(root)
    )


def find_categories(tree: Path) -> tuple[str, ...]:
    """Return the categories of MVTec AD that have a folder with train/good below `tree`, sorted."""
    return tuple(sorted(name for name in CATEGORIES if (tree / name / "train" / GOOD).is_dir()))


def select_categories(
    categories: Sequence[str], expected: Mapping[str, CategoryFacts] = CATEGORIES
) -> tuple[str, ...]:
    """Return the categories that are named, or all where none is.

    Raises:
        LayoutError: A category is unknown.
    """
    for name in categories:
        if name not in expected:
            raise LayoutError(describe_unknown_name("category of MVTec AD", name, expected))
    return tuple(categories) or tuple(expected)


def refuse_derived_copy(root: Path) -> None:
    """Refuse a copy that was laid out anew (<category>/image/<type>), as in Defect Spectrum and MMAD.

    Raises:
        LayoutError: `root` is such a copy, or one category of it.
    """
    for category, folder in _list_category_folders(root):
        if (folder / "image" / GOOD).is_dir():
            _refuse(
                root,
                f"{category}/train and {category}/test",
                f"{category}/image, as in a derived copy that has metal nuts in pill/image/good",
            )


def check_tree(
    tree: Path, categories: Sequence[str], expected: Mapping[str, CategoryFacts] = CATEGORIES
) -> None:
    """Refuse a tree that differs from MVTec AD as published.

    Sizes and formats are read from the headers of the files; no pixel is decoded.

    Args:
        tree: The folder that holds the category folders.
        categories: Which of them to look at; empty for all.
        expected: What each category must hold.

    Raises:
        LayoutError: A category is unknown; an image is missing, superfluous, of another size, no PNG, or
            defective without a mask.
    """
    names = select_categories(categories, expected)
    refuse_derived_copy(tree)
    records = read_layout(tree, names).records
    _check_counts(tree, records, {name: expected[name] for name in names})
    _check_masks(tree, records)
    _check_headers(tree, records, expected)


def _list_category_folders(root: Path) -> list[tuple[str, Path]]:
    """Return where each category would lie, if `root` held it or were it."""
    own = root.resolve().name
    return [(own, root)] * (own in CATEGORIES) + [(category, root / category) for category in CATEGORIES]


def _check_counts(tree: Path, records: Iterable[Record], expected: Mapping[str, CategoryFacts]) -> None:
    train, test = MVTEC_AD_PARTS
    wanted = Counter({f"{name}/{train}/{GOOD}": facts.train for name, facts in expected.items()})
    for name, facts in expected.items():
        wanted.update({f"{name}/{test}/{type_}": count for type_, count in facts.test.items()})
    found = Counter(str(PurePosixPath(item.category, item.part, item.defect_type)) for item in records)
    differing = sorted(name for name in wanted | found if wanted[name] != found[name])
    if differing:
        _refuse(
            tree,
            list_some([f"{wanted[name]} images in {name}" for name in differing]),
            list_some([f"{found[name]} in {name}" for name in differing]),
        )


def _check_masks(tree: Path, records: Iterable[Record]) -> None:
    bare = [record.id for record in records if record.label and record.mask_path is None]
    if bare:
        _refuse(tree, "a mask of each defective image", f"none of {list_some(bare)}")


def _check_headers(tree: Path, records: Sequence[Record], expected: Mapping[str, CategoryFacts]) -> None:
    sizes_px = {record.path: expected[record.category].size_px for record in records}
    sizes_px |= {record.mask_path: sizes_px[record.path] for record in records if record.mask_path}
    headers = track(map_in_threads(_describe_header, sizes_px), "Checking MVTec AD", len(sizes_px))
    wanted, found = [], []
    for (path, size_px), header in zip(sizes_px.items(), headers, strict=True):
        if header != f"PNG of {size_px}×{size_px} pixels":
            name = path.relative_to(tree)
            wanted.append(f"PNG of {size_px}×{size_px} pixels in {name.parts[0]}")
            found.append(f"{name.as_posix()} ({header})")
    if found:
        _refuse(tree, list_some(sorted(set(wanted))), list_some(found, limit=5))


def _describe_header(path: Path) -> str:
    try:
        with Image.open(path) as image:
            return f"{image.format} of {image.width}×{image.height} pixels"
    except (OSError, Image.DecompressionBombError):
        return "no image that can be recognised"


def _refuse(tree: Path, wanted: str, found: str) -> NoReturn:
    raise LayoutError(
        f"{tree} is not MVTec AD as published. Expected: {wanted}. Received: {found}. Faulty, shrunk and "
        f"re-encoded copies circulate; download the original from {HOMEPAGE}"
    )


def find_tree(folder: Path, categories: Collection[str]) -> Path | None:
    """Find the folder that holds the category folders: `folder`, or `mvtec_anomaly_detection` in it.

    Args:
        folder: Where the archive was, or may have been, unpacked.
        categories: What must be there; empty for any category.
    """
    for tree in (folder, folder / ARCHIVE_FOLDER):
        found = find_categories(tree)
        if found and set(categories) <= set(found):
            return tree
    return None


def find_unpacked(categories: Collection[str]) -> Path | None:
    """Find what was unpacked of the whole archive before, whether or not the archive is still there."""
    return find_tree(cache_dir(CACHE) / ARCHIVE_SHA256, categories)


def unpack_archive(path: Path, expected: Mapping[str, CategoryFacts] = CATEGORIES) -> Path:
    """Unpack the whole archive, or that of one category, into the cache, once, and check what it holds.

    The tree is made aside and renamed, so a half-unpacked one is never taken for a whole one.

    Args:
        path: A tar archive, compressed or not. What has the size of the whole archive must have its hash.
        expected: What each category must hold.

    Returns:
        The folder that holds the category folders.

    Raises:
        LayoutError: The file is missing, damaged, no archive, or holds anything but MVTec AD as published.
    """
    if not path.is_file():
        raise LayoutError(f"the archive does not exist. Received: {path}")
    folder = cache_dir(CACHE) / _make_key(path)
    tree = find_tree(folder, ())
    if tree is not None:
        return tree
    logger.info("unpacking %s into %s; the whole archive takes some minutes, once", path, folder)
    if has_official_size(path):
        _check_hash(path)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as aside:
        unpacked = Path(aside) / "tree"
        hint = f"; a whole {ARCHIVE_NAME} has {ARCHIVE_BYTES:,} bytes"
        extract_archive(path, unpacked, has_official_size(path), hint)
        tree = find_tree(unpacked, ())
        if tree is None:
            raise LayoutError(f"the archive holds no category folder of MVTec AD. Received: {path}")
        check_tree(tree, find_categories(tree), expected)
        if find_tree(folder, ()) is None:  # another process may have been faster
            shutil.rmtree(folder, ignore_errors=True)
            unpacked.rename(folder)
    return folder / tree.relative_to(unpacked)


def download_archive() -> Path:
    """Download the whole archive into the cache, unless it is there, and check its hash.

    The only function that reaches for the network; the TFDS builder leaves that to TFDS.

    Raises:
        LayoutError: There is no network, or what came is not the archive.
    """
    path = cache_dir(CACHE) / ARCHIVE_NAME
    if path.is_file():
        return path
    logger.info("downloading MVTec AD (%.1f GB) from %s", ARCHIVE_BYTES / 1e9, ARCHIVE_URL)
    try:
        with replace_file(path) as partial:
            _fetch(ARCHIVE_URL, partial)
            _check_hash(partial)
    except (OSError, HTTPException) as error:
        raise LayoutError(f"{ARCHIVE_URL} cannot be read: {_first_line(error)}") from error
    return path


def _fetch(url: str, path: Path) -> None:
    with (
        urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as response,  # noqa: S310 (a constant of ours)
        path.open("wb") as stream,
    ):
        chunks = iter(lambda: response.read(CHUNK_BYTES), b"")
        for chunk in track(chunks, "Downloading MVTec AD", -(-ARCHIVE_BYTES // CHUNK_BYTES)):
            stream.write(chunk)


def _make_key(path: Path) -> str:
    """Name what is unpacked from an archive, without reading gigabytes at every start."""
    if has_official_size(path):
        return ARCHIVE_SHA256
    return hashlib.sha256(describe_state(path.resolve())).hexdigest()


def has_official_size(path: Path) -> bool:
    """Whether a file is as long as the whole archive; its hash is another matter."""
    return path.stat().st_size == ARCHIVE_BYTES


def _check_hash(path: Path) -> None:
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if sha256 != ARCHIVE_SHA256:
        raise LayoutError(
            f"the archive is damaged; its SHA-256 must be {ARCHIVE_SHA256}. Received: {sha256} for {path}"
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(":") if lines else type(error).__name__
