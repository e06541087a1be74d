"""Whether an export is what was exported: the SHA-256 of every file, and of the file that lists them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvdefect.core.errors import ConfigError, ExportError, list_some
from mvdefect.inspector.places import MANIFEST, MODEL_CARD
from mvdefect.runs import read_json

FILES = "files"
DIGEST = re.compile(r"[0-9a-fA-F]{64}")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_export(export: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of an export by its POSIX path, but of `inspector.json`."""
    files = sorted(path for path in export.rglob("*") if path.is_file() and path != export / MANIFEST)
    return {path.relative_to(export).as_posix(): hash_file(path) for path in files}


def read_manifest(export: Path, sha256: str | None = None) -> dict[str, Any]:
    """Return what an export says of itself.

    Args:
        export: The folder of its version.
        sha256: What `inspector.json` must have, in hexadecimal; None: anything.

    Raises:
        ConfigError: `sha256` is none.
        ExportError: The file has another, or lists no files, so that it vouches for none.
        RunError: It is missing or damaged.
    """
    manifest = read_json(export / MANIFEST)
    if sha256 is None:
        return manifest
    if not DIGEST.fullmatch(sha256):
        raise ConfigError(f"a SHA-256 has 64 hexadecimal digits. Received: {sha256!r}")
    found = hash_file(export / MANIFEST)
    if found != sha256.lower():
        raise ExportError(f"{export / MANIFEST} must have the SHA-256 {sha256.lower()}. Received: {found}")
    if FILES not in manifest:
        raise ExportError(f"{export / MANIFEST} lists no files, as those of 0.1.0; export the run again")
    return manifest


def check_files(export: Path, manifest: Mapping[str, Any]) -> None:
    """Make sure that files are what `inspector.json` says; the model card is for people, who may edit it.

    Raises:
        ExportError: A file is missing or another one; nothing of it was loaded.
    """
    listed = manifest.get(FILES, {})
    if not isinstance(listed, dict):
        raise ExportError(f"{export / MANIFEST} is damaged: {FILES} must be an object")
    changed = [name for name in sorted(listed) if not _is_same(export, name, listed[name])]
    if changed:
        raise ExportError(
            f"{len(changed)} file(s) in {export} are missing or not what {MANIFEST} says, so nothing is "
            f"opened; export the run again: {list_some(changed)}"
        )


def _is_same(export: Path, name: str, digest: object) -> bool:
    path = export / name
    if name == MODEL_CARD:
        return True
    return path.resolve().is_relative_to(export.resolve()) and path.is_file() and hash_file(path) == digest
