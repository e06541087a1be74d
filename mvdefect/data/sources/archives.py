"""Archives of images: zip and tar, unpacked once, into the cache, and only if they are harmless."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from mvdefect.core.errors import LayoutError, join_lines
from mvdefect.core.files import UNREADABLE_ZIP, cache_dir, show_name
from mvdefect.core.progress import logger
from mvdefect.data.records import normalise_name
from mvdefect.data.sources.tree import SKIPPED_FOLDERS

CACHE = "archives"
TAR_SUFFIXES = (".tar", ".tar.xz", ".tar.gz", ".tar.bz2", ".tgz", ".txz", ".tbz2")
ARCHIVE_SUFFIXES = (*TAR_SUFFIXES, ".zip")
OTHER_ARCHIVES = (".7z", ".rar")
MAX_MEMBERS = 100_000
MAX_UNPACKED_BYTES = 2**34
CHUNK_BYTES = 1 << 20
ENCRYPTED = 1  # a bit of a zip member's flags
DAMAGED = (tarfile.TarError, lzma.LZMAError, zlib.error, *UNREADABLE_ZIP)


def is_archive(path: Path) -> bool:
    """Whether a file is an archive by its name.

    Raises:
        LayoutError: It is one of a kind that is not read.
    """
    name = path.name.lower()
    if name.endswith(OTHER_ARCHIVES) and path.is_file():
        raise LayoutError(
            f"archives must be zip or tar; unpack this one and name the folder. Received: {show_name(path)}"
        )
    return name.endswith(ARCHIVE_SUFFIXES) and path.is_file()


def name_archive(path: Path) -> str:
    """Return the name of an archive without its suffix."""
    suffix = next(suffix for suffix in ARCHIVE_SUFFIXES[::-1] if path.name.lower().endswith(suffix))
    return normalise_name(path.name[: -len(suffix)]) or "archive"


def open_archive(path: Path) -> Path:
    """Unpack an archive into the cache, unless its content lies there already.

    Returns:
        The folder with its files; where they all lie in one folder of the archive, that folder.

    Raises:
        LayoutError: It is damaged, or holds links, devices, names that lead out of it, or too much.
    """
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    folder = cache_dir(CACHE) / sha256[:32]
    if not folder.is_dir():
        logger.info("unpacking %s, once, into %s", show_name(path), folder)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as aside:
            unpacked = Path(aside) / "files"
            extract_archive(path, unpacked / name_archive(path))
            try:
                unpacked.rename(folder)
            except OSError:  # another process was faster
                if not folder.is_dir():
                    raise
    return _find_only_folder(next(folder.iterdir()))


def _find_only_folder(folder: Path) -> Path:
    inner = [
        path
        for path in folder.iterdir()
        if path.name.lower() not in SKIPPED_FOLDERS and not path.name.startswith(".")
    ]
    return _find_only_folder(inner[0]) if len(inner) == 1 and inner[0].is_dir() else folder


def extract_archive(path: Path, folder: Path, is_known: bool = False, hint: str = "") -> None:
    """Unpack an archive into a folder.

    Args:
        path: The archive.
        folder: Where its files go; it is made.
        is_known: Whether its content is known to be harmless.
        hint: What an error adds.

    Raises:
        LayoutError: As for `open_archive`; files may be left in `folder`.
    """
    try:
        folder.mkdir(parents=True)
        if path.name.lower().endswith(".zip"):
            _extract_zip(path, folder)
        else:
            _extract_tar(path, folder, is_known)
    except LayoutError:
        raise
    except DAMAGED as error:
        size = path.stat().st_size
        raise LayoutError(
            f"the archive cannot be unpacked ({_first_line(error)}){hint}. "
            f"Received: {show_name(path)} with {size:,} bytes"
        ) from error


def _extract_tar(path: Path, folder: Path, is_known: bool) -> None:
    with tarfile.open(path) as archive:
        members = None if is_known else _list_plain_members(archive, path)
        archive.extractall(folder, members, filter="data")
        while archive.fileobj and archive.fileobj.read(CHUNK_BYTES):
            pass  # the checksum of what was compressed comes after the last file


def _list_plain_members(archive: tarfile.TarFile, path: Path) -> list[tarfile.TarInfo]:
    """Return the members of an archive, if they are files and folders of a bounded size.

    A chain of links can lead out of the folder (CVE-2025-4517).
    """
    members, size = [], 0
    for member in archive:
        if not (member.isfile() or member.isdir()):
            _refuse_member(member.name, path)
        members.append(member)
        size += member.size
        _check_amount(len(members), size, path)
    _check_space(size, path)
    return members


def _extract_zip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_amount(len(members), sum(member.file_size for member in members), path)
        _check_space(sum(member.file_size for member in members), path)
        targets = {member.filename: folder / _check_member(member, path) for member in members}
        for member in members:
            target = targets[member.filename]
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("xb") as stream:
                shutil.copyfileobj(source, stream, CHUNK_BYTES)  # no more than the size that it names


def _check_member(member: zipfile.ZipInfo, path: Path) -> PurePosixPath:
    """Return where a member of a zip goes, if it is a plain file or folder within."""
    place = PurePosixPath(member.filename.replace("\\", "/"))  # as some programs on Windows write them
    if member.flag_bits & ENCRYPTED:
        raise LayoutError(
            f"the archive is encrypted; unpack it and name the folder. Received: {show_name(path)}"
        )
    kind = stat.S_IFMT(member.external_attr >> 16)
    is_plain = kind in {0, stat.S_IFREG, stat.S_IFDIR}
    if not is_plain or place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
        _refuse_member(member.filename, path)
    return place


def _refuse_member(name: str, path: Path) -> None:
    raise LayoutError(f"an archive must hold only files and folders. Received: {name!r} in {show_name(path)}")


def _check_amount(members: int, size: int, path: Path) -> None:
    if members > MAX_MEMBERS or size > MAX_UNPACKED_BYTES:
        raise LayoutError(
            f"at most {MAX_MEMBERS:,} files of {MAX_UNPACKED_BYTES:,} bytes together are unpacked. "
            f"Received: more in {show_name(path)}"
        )


def _check_space(size: int, path: Path) -> None:
    free = shutil.disk_usage(cache_dir(CACHE)).free
    if size > free:
        raise LayoutError(
            f"unpacking {show_name(path)} takes {size:,} bytes, and the disk of the cache has {free:,}; "
            "unpack it elsewhere and name the folder, or set MVDEFECT_CACHE"
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [join_lines(error)])[0].rstrip(":")
