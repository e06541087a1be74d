"""MVTec AD's archive: downloaded with its hash, and unpacked once, whole or not at all."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Collection, Mapping
from http.client import HTTPException
from pathlib import Path

from mvdefect.data.mvtec_ad_facts import (
    ARCHIVE_BYTES,
    ARCHIVE_FOLDER,
    ARCHIVE_NAME,
    ARCHIVE_SHA256,
    ARCHIVE_URL,
    CATEGORIES,
    CategoryFacts,
    check_tree,
    find_categories,
)
from mvdefect.errors import LayoutError
from mvdefect.paths import cache_dir, replace_file
from mvdefect.progress import logger, track

CACHE = "mvtec_ad"
CHUNK_BYTES = 1 << 20
DOWNLOAD_TIMEOUT_S = 30.0  # bounds each read, so a dead line ends


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
    if _has_official_size(path):
        _check_hash(path)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as aside:
        unpacked = Path(aside) / "tree"
        _extract(path, unpacked)
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
    if _has_official_size(path):
        return ARCHIVE_SHA256
    stat = path.stat()
    return hashlib.sha256(f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()


def _has_official_size(path: Path) -> bool:
    return path.stat().st_size == ARCHIVE_BYTES


def _check_hash(path: Path) -> None:
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if sha256 != ARCHIVE_SHA256:
        raise LayoutError(
            f"the archive is damaged; its SHA-256 must be {ARCHIVE_SHA256}. Received: {sha256} for {path}"
        )


def _extract(path: Path, folder: Path) -> None:
    try:
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
            while archive.fileobj and archive.fileobj.read(CHUNK_BYTES):
                pass  # the checksum of what was compressed comes after the last file
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise LayoutError(
            f"the archive cannot be unpacked ({_first_line(error)}); a whole {ARCHIVE_NAME} has "
            f"{ARCHIVE_BYTES:,} bytes. Received: {path} with {path.stat().st_size:,} bytes"
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(":") if lines else type(error).__name__
