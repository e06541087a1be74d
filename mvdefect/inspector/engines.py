"""Engines: what answers for a batch of image files, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvdefect.core.errors import ConfigError, ExportError, MvdefectError, join_lines
from mvdefect.core.runtime import load_tensorflow
from mvdefect.inspector.answers import Engine
from mvdefect.inspector.formats.registry import FORMATS, can_run
from mvdefect.inspector.integrity import FILES, check_files, read_manifest
from mvdefect.inspector.places import MANIFEST, MAX_MEGAPIXELS, MM_PER_PX, find_export
from mvdefect.runs import open_inspector_run

ENGINE_KEYS = ("name", "format")


def open_engine(
    place: Path,
    name: str | None = None,
    verbose: bool = False,
    sha256: str | None = None,
    max_megapixels: float | None = None,
    mm_per_px: float | None = None,
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
        max_megapixels: Of the largest image that is read; None: as when it was trained.
        mm_per_px: Millimetres of a pixel of the images, for the sizes of regions; None: as exported.

    Raises:
        ConfigError: There is no such engine, or `sha256` is given for a run.
        ExportError: The export is not what it was, cannot be loaded, or nothing that runs it is installed.
        RunError: The folder is none of these.
    """
    export = find_export(place)
    if export is None:
        refuse_digest(sha256, place)
        folder = open_inspector_run(place)
        load_tensorflow(verbose)
        from mvdefect.inspector.tensorflow_engines import open_run_engine

        return open_run_engine(folder, max_megapixels, mm_per_px)
    changes = {MAX_MEGAPIXELS: max_megapixels, MM_PER_PX: mm_per_px}
    manifest = read_manifest(export, sha256)
    manifest |= {name: value for name, value in changes.items() if value is not None}
    chosen = choose_engine(manifest, name)
    check_files(export, manifest)
    kind = FORMATS[chosen["format"]]
    if kind.needs_tensorflow:
        load_tensorflow(verbose)
    try:
        return kind.open(export, manifest, chosen)
    except MvdefectError:
        raise
    except Exception as error:  # each runtime raises errors of its own
        raise ExportError(f"the export {export} cannot be loaded: {join_lines(error)}") from error


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
    engines = _list_engines(manifest)
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


def _list_engines(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the engines of an export, once it is sure that they are some."""
    engines = manifest.get("engines")
    if not isinstance(engines, list) or not engines:
        raise ExportError(f"{MANIFEST} is not that of an export: it lists no engines")
    for engine in engines:
        if not isinstance(engine, dict) or not all(isinstance(engine.get(key), str) for key in ENGINE_KEYS):
            raise ExportError(f"{MANIFEST} is damaged: an engine needs {', '.join(ENGINE_KEYS)}")
        if engine["format"] not in FORMATS:
            known = ", ".join(FORMATS)
            raise ExportError(f"an engine's format must be one of {known}. Received: {engine['format']}")
        listed = manifest.get(FILES)  # `check_files` refuses what is no object
        if isinstance(listed, dict) and engine.get("file") not in listed:
            raise ExportError(
                f"{MANIFEST} is damaged: its list of files lacks the engine {engine.get('file')}"
            )
    return engines


def _require(engine: Mapping[str, Any]) -> None:
    if not can_run(engine["format"]):
        brings = FORMATS[engine["format"]].brings
        raise ExportError(f"what runs {engine['name']} is not installed; pip install '{brings}' brings it")
