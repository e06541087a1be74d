"""The names of what lies in an export, and how its inspector sees photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvdefect.core.errors import RunError
from mvdefect.data.images import ResizeMethod
from mvdefect.evaluation.heatmaps import choose_heat_range, read_heatmaps
from mvdefect.runs import RunFolder, read_json, read_predictions, read_run_config

MANIFEST = "inspector.json"
MODEL_CARD = "model_card.md"


@dataclass(frozen=True)
class View:
    """How an inspector sees photographs.

    Attributes:
        size_px: Its working size.
        resize: How photographs are brought to it.
        heat_range: The ends of the colour scale of its heatmaps.
    """

    size_px: int
    resize: ResizeMethod
    heat_range: tuple[float, float]


def parse_view(manifest: Mapping[str, Any], path: Path) -> View:
    """Return how an export sees photographs, from the content of its `inspector.json` at a path.

    Raises:
        RunError: It is none of an export's.
    """
    try:
        return View(manifest["image_size_px"], manifest["resize"], tuple(manifest["heat_range"]))
    except (KeyError, TypeError) as error:
        raise RunError(f"{path} is not the {MANIFEST} of an export: {error} is missing") from error


def find_export(place: Path) -> Path | None:
    """Return the folder of an export: the place itself, or the last version in it; None: there is none."""
    if (place / MANIFEST).is_file():
        return place
    if RunFolder(place).is_finished or not place.is_dir():
        return None
    versions = [path for path in place.iterdir() if path.name.isdigit() and (path / MANIFEST).is_file()]
    return max(versions, key=lambda path: int(path.name), default=None)


def read_view(place: Path) -> View:
    """Return how a run or an export sees photographs.

    Args:
        place: Its folder, or the file `inspector.json` of an export.

    Raises:
        RunError: Its files are missing or damaged.
    """
    export = find_export(place)
    if export is None and not place.is_file():
        return view_run(RunFolder(place))
    manifest = place if export is None else export / MANIFEST
    return parse_view(read_json(manifest), manifest)


def view_run(folder: RunFolder) -> View:
    """Return how a run sees photographs; colours go by the good ones of its test part.

    Raises:
        RunError: It has no heatmaps.
    """
    config, maps = read_run_config(folder), read_heatmaps(folder)
    if maps is None:
        raise RunError(f"the run {folder.path} has no heatmaps")
    good = [row.id for row in read_predictions(folder) if row.split == "test" and not row.label]
    return View(config.image_size_px, config.resize, choose_heat_range(maps.select(good)))
