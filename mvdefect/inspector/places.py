"""The names of what lies in an export, and how its inspector sees photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mvdefect.config import ResizeMethod, Size
from mvdefect.core.errors import RunError
from mvdefect.core.progress import logger
from mvdefect.data.counted_region import CountedRegion, read_region
from mvdefect.data.images import DEFAULT_DECODING, Decoding, choose_decoding
from mvdefect.evaluation.heatmaps import read_heat_scale
from mvdefect.evaluation.regions import RegionRule, parse_rule
from mvdefect.runs import RunFolder, read_json, read_run_config

MANIFEST = "inspector.json"
MODEL_CARD = "model_card.md"
MAX_MEGAPIXELS = "max_megapixels"
MM_PER_PX = "mm_per_px"
REGION_RULE = "region_rule"
REGION, REGION_FILE = "region", "region.png"


@dataclass(frozen=True)
class Preparation:
    """How image files become what an inspector sees.

    Attributes:
        size_px: Its working size.
        resize: How images are brought to it.
        decoding: How files become pixels.
        rule: From where on a place of a heatmap is suspicious; None: not known, as in exports of 0.1.0.
        mm_per_px: Millimetres of a pixel of the images themselves; None: not known.
        region: What counts of them; None: all. The inspector itself covers the rest.
    """

    size_px: Size
    resize: ResizeMethod
    decoding: Decoding
    rule: RegionRule | None = field(default=None, kw_only=True)
    mm_per_px: float | None = field(default=None, kw_only=True)
    region: CountedRegion | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class View(Preparation):
    """How an inspector sees images, and how its heatmaps are shown.

    Attributes:
        heat_range: The ends of the colour scale of its heatmaps.
    """

    heat_range: tuple[float, float]


def prepare_run(folder: RunFolder) -> Preparation:
    """Return how the inspector of a finished run sees images, and from where on it finds them suspicious.

    Raises:
        RunError: A file of it is damaged.
    """
    config, region, scale = read_run_config(folder), read_region(folder.region), read_heat_scale(folder)
    decoding = choose_decoding(config)
    seen = Preparation(config.size_px, config.resize, decoding, mm_per_px=config.mm_per_px, region=region)
    if scale is None:
        return seen
    if scale.rule is None:
        logger.warning(
            "%s weighs its scores otherwise than when its heatmaps were drawn, so no suspicious regions are "
            "told; fit it again with this verdict",
            folder.path,
        )
    return replace(seen, rule=scale.rule)


def parse_view(manifest: Mapping[str, Any], path: Path) -> View:
    """Return how an export sees photographs, from the content of its `inspector.json` at a path.

    Raises:
        RunError: It is none of an export's.
    """
    try:
        resize, (low, high) = (manifest[name] for name in ("resize", "heat_range"))
        limit = float(manifest.get(MAX_MEGAPIXELS, DEFAULT_DECODING.max_megapixels))
        rule, mm_per_px = parse_rule(manifest.get(REGION_RULE)), manifest.get(MM_PER_PX)
        decoding, place = Decoding(manifest.get("bits"), limit), path.with_name(REGION_FILE)
        region = read_region(place) if manifest.get(REGION) else None
        view = View(parse_size(manifest), resize, decoding, (low, high), rule=rule, mm_per_px=mm_per_px)
        return replace(view, region=region)
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
    seen, scale = prepare_run(folder), read_heat_scale(folder)
    if scale is None:
        raise RunError(f"the run {folder.path} has no heatmaps of good test images")
    return View(**vars(seen), heat_range=(scale.low, scale.high))
