"""The names of what lies in an export, and how its inspector sees photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvdefect.config import ResizeMethod, Size
from mvdefect.core.errors import RunError
from mvdefect.data.counted_region import CountedRegion, read_region
from mvdefect.data.images import DEFAULT_DECODING, Decoding, choose_decoding
from mvdefect.evaluation.heatmaps import choose_heat_range, read_heatmaps
from mvdefect.runs import RunFolder, read_json, read_predictions, read_run_config

MANIFEST = "inspector.json"
MODEL_CARD = "model_card.md"
MAX_MEGAPIXELS = "max_megapixels"
REGION, REGION_FILE = "region", "region.png"


@dataclass(frozen=True)
class Preparation:
    """How image files become what an inspector sees.

    Attributes:
        size_px: Its working size.
        resize: How images are brought to it.
        decoding: How files become pixels.
        region: What counts of them; None: all. The inspector itself covers the rest.
    """

    size_px: Size
    resize: ResizeMethod
    decoding: Decoding
    region: CountedRegion | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class View(Preparation):
    """How an inspector sees images, and how its heatmaps are shown.

    Attributes:
        heat_range: The ends of the colour scale of its heatmaps.
    """

    heat_range: tuple[float, float]


def choose_preparation(folder: RunFolder) -> Preparation:
    """Return how the inspector of a run sees images.

    Raises:
        RunError: A file of it is damaged.
    """
    config, region = read_run_config(folder), read_region(folder.region)
    return Preparation(config.size_px, config.resize, choose_decoding(config), region=region)


def parse_view(manifest: Mapping[str, Any], path: Path) -> View:
    """Return how an export sees photographs, from the content of its `inspector.json` at a path.

    Raises:
        RunError: It is none of an export's.
    """
    try:
        resize, (low, high) = (manifest[name] for name in ("resize", "heat_range"))
        limit = float(manifest.get(MAX_MEGAPIXELS, DEFAULT_DECODING.max_megapixels))
        decoding, place = Decoding(manifest.get("bits"), limit), path.with_name(REGION_FILE)
        region = read_region(place) if manifest.get(REGION) else None
        return View(parse_size(manifest), resize, decoding, (low, high), region=region)
    except (KeyError, TypeError) as error:
        raise RunError(f"{path} is not the {MANIFEST} of an export: {error} is missing") from error


def parse_size(manifest: Mapping[str, Any]) -> Size:
    """Return the working size of an export, from the content of its `inspector.json`.

    Raises:
        KeyError: It says none.
    """
    size = manifest["image_size_px"]
    height, width = (size, size) if isinstance(size, int) else size  # a square in exports of 0.1
    return height, width


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
    seen, maps = choose_preparation(folder), read_heatmaps(folder)
    if maps is None:
        raise RunError(f"the run {folder.path} has no heatmaps")
    good = [row.id for row in read_predictions(folder) if row.split == "test" and not row.label]
    counted = maps.select(good) if seen.region is None else seen.region.take_cells(maps.select(good))
    return View(seen.size_px, seen.resize, seen.decoding, choose_heat_range(counted), region=seen.region)
