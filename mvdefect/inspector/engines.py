"""Engines: what answers for a batch of image files, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvdefect.core.errors import ConfigError, ExportError
from mvdefect.core.runtime import load_tensorflow
from mvdefect.inspector.answers import Engine
from mvdefect.inspector.formats.registry import FORMATS, can_run
from mvdefect.inspector.integrity import check_files, read_manifest
from mvdefect.inspector.places import find_export
from mvdefect.runs import open_run


def open_engine(
    place: Path, name: str | None = None, verbose: bool = False, sha256: str | None = None
) -> Engine:
    """Return what inspects photographs, from a run or an export.

    Either can hold code, so open only what you would run. The files of an export are first compared with
    what its `inspector.json` says of them.

    Args:
        place: The folder of a finished run, of an export's version, or of all versions of an export (the
            last one is taken).
        name: Which of an export's engines; None: the fastest that can run here.
        verbose: Let the messages of TensorFlow's native code through, where it is needed.
        sha256: What `inspector.json` must have, in hexadecimal; None: anything.

    Raises:
        ConfigError: There is no such engine, or `sha256` is given for a run.
        ExportError: The export is not what it was, cannot be loaded, or nothing that runs it is installed.
        RunError: The folder is none of these.
    """
    export = find_export(place)
    if export is None:
        refuse_digest(sha256, place)
        folder = open_run(place)
        load_tensorflow(verbose)
        from mvdefect.inspector.tensorflow_engines import open_run_engine

        return open_run_engine(folder)
    manifest = read_manifest(export, sha256)
    chosen = choose_engine(manifest, name)
    check_files(export, manifest)
    kind = FORMATS[chosen["format"]]
    if kind.needs_tensorflow:
        load_tensorflow(verbose)
    return kind.open(export, manifest, chosen)


def refuse_digest(sha256: str | None, place: Path | str) -> None:
    """Say that only an export has a digest, where one is expected of something else.

    Raises:
        ConfigError: It is.
    """
    if sha256 is not None:
        raise ConfigError(f"only an export has a SHA-256 to expect; `mvdefect export` makes one of {place}")


def choose_engine(manifest: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
    """Choose one of an export's engines.

    Args:
        manifest: The content of its `inspector.json`.
        name: The name of one; None: the fastest, as it was measured at export, of those that can run here.

    Raises:
        ConfigError: None has this name.
        ExportError: It cannot run here, or none can.
    """
    engines: list[dict[str, Any]] = manifest["engines"]
    if name is not None:
        for engine in engines:
            if engine["name"] == name:
                _require(engine)
                return engine
        known = ", ".join(engine["name"] for engine in engines)
        raise ConfigError(f"the export has the engines {known}. Received: {name}")
    able = [engine for engine in engines if can_run(engine["format"])]
    if not able:
        formats = ", ".join(engine["format"] for engine in engines)
        raise ExportError(f"nothing that runs this export is installed; it holds: {formats}")
    return max(able, key=lambda engine: engine.get("images_per_s") or 0.0)


def _require(engine: Mapping[str, Any]) -> None:
    if not can_run(engine["format"]):
        brings = FORMATS[engine["format"]].brings
        raise ExportError(f"what runs {engine['name']} is not installed; pip install '{brings}' brings it")
