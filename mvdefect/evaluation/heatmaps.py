"""Heatmaps: as a run keeps those of its test part, and the scale by which they are read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import ConfigError, RunError
from mvdefect.core.files import UNREADABLE_NPZ, replace_file
from mvdefect.evaluation.bootstrap import Bools
from mvdefect.evaluation.calibration import Calibration
from mvdefect.evaluation.evaluate import read_operating_point
from mvdefect.evaluation.regions import (
    Heat,
    ImagePlace,
    RegionRule,
    choose_region_rule,
    parse_rule,
    take_cells,
)
from mvdefect.runs import RunFolder, read_json, read_predictions, write_json

USUAL = 0.5  # quantile of good photographs' pixels: what is nothing special
UNUSUAL = 0.999


@dataclass(frozen=True)
class Heatmaps:
    """Where a classifier sees defects.

    Attributes:
        ids: Of the photographs, sorted.
        maps: float16 (n, height, width); rises with suspicion, at the resolution of the features.
    """

    ids: tuple[str, ...]
    maps: NDArray[np.float16]

    def select(self, ids: Sequence[str]) -> NDArray[np.float16]:
        """Return the maps (m, height, width) of some photographs, in the order that is asked for.

        Raises:
            RunError: There is no map of one of them.
        """
        rows = {key: row for row, key in enumerate(self.ids)}
        missing = [key for key in ids if key not in rows]
        if missing:
            raise RunError(f"ids must be among those with a heatmap. Received: {missing[0]}")
        return self.maps[[rows[key] for key in ids]]


def write_heatmaps(folder: RunFolder, heatmaps: Heatmaps) -> None:
    """Write the heatmaps of a run, whole or not at all.

    Raises:
        RunError: They are not as `Heatmaps` says.
    """
    try:
        _check(np.array(heatmaps.ids, str), heatmaps.maps)
    except ValueError as error:
        raise RunError(f"heatmaps cannot be written: {error}") from error
    with replace_file(folder.heatmaps) as partial:
        np.savez_compressed(partial, ids=np.array(heatmaps.ids, str), maps=heatmaps.maps)


def read_heatmaps(folder: RunFolder) -> Heatmaps | None:
    """Read the heatmaps of a run, or return None where it has none.

    Raises:
        RunError: The file is damaged.
    """
    if not folder.heatmaps.exists():
        return None
    try:
        with folder.heatmaps.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            ids, maps = stored["ids"], stored["maps"]
        _check(ids, maps)
    except UNREADABLE_NPZ as error:
        raise RunError(f"{folder.heatmaps} cannot be read: {error!r}") from error
    return Heatmaps(tuple(map(str, ids)), maps)


def _check(ids: NDArray[Any], maps: NDArray[Any]) -> None:
    if ids.ndim != 1 or (len(ids) and ids.dtype.kind != "U") or list(ids) != sorted(set(ids)):
        raise ValueError("ids must be sorted, each there once")
    if maps.dtype != np.float16 or maps.ndim != 3 or 0 in maps.shape[1:] or len(maps) != len(ids):
        raise ValueError(
            f"maps must be float16 of shape ({len(ids)}, height, width). "
            f"Received: {maps.dtype} of shape {maps.shape}"
        )
    if not np.isfinite(maps).all():
        raise ValueError("maps must be finite. Received: infinite values or NaN")


@dataclass(frozen=True)
class HeatScale:
    """How heatmaps are coloured, and from where on a place is suspicious.

    Attributes:
        low: Lower end of the colour scale.
        high: Upper end of the colour scale.
        rule: From where on; None: the score was changed since, and nobody knows.
    """

    low: float
    high: float
    rule: RegionRule | None


def choose_heat_scale(
    maps: Collection[Heat], places: Sequence[ImagePlace], counted: Bools | None = None
) -> HeatScale:
    """Choose a scale by good images; what a letterbox adds to them does not count.

    Args:
        maps: Heatmaps of good images, floats (h, w), one at least.
        places: Where each image lies in its map.
        counted: Cells of the region that counts, bool (h, w); None: all count.

    Raises:
        ConfigError: There is no map, or values are no numbers.
    """
    rule = choose_region_rule(maps, places, counted)
    return HeatScale(*choose_heat_range(take_cells(maps, places, counted)), rule)


def write_heat_scale(folder: RunFolder, scale: HeatScale, made: Calibration) -> None:
    """Write a scale into a run, with what weighs classifier and novelty in its heatmaps."""
    weights = {"logit_weight": made.logit_weight, "novelty_weight": made.novelty_weight}
    write_json(folder.heat_scale, {**asdict(scale), **weights})


def read_heat_scale(folder: RunFolder) -> HeatScale | None:
    """Read the scale of a run, or return None where it has no heatmaps of good test images.

    In runs that have no such file it is chosen from the heatmaps, padding included.

    Raises:
        RunError: A file is damaged.
    """
    if not folder.heat_scale.is_file():
        return _choose_from_run(folder)
    tree, made = read_json(folder.heat_scale), read_operating_point(folder).calibration
    try:
        weights = float(tree["logit_weight"]), float(tree["novelty_weight"])
        scale = HeatScale(float(tree["low"]), float(tree["high"]), parse_rule(tree["rule"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder.heat_scale} is damaged: {error!r}") from error
    is_same = np.allclose(weights, (made.logit_weight, made.novelty_weight), rtol=1e-6)
    return scale if is_same else HeatScale(scale.low, scale.high, None)


def _choose_from_run(folder: RunFolder) -> HeatScale | None:
    maps = read_heatmaps(folder)
    if maps is None:
        return None
    known = set(maps.ids)
    rows = read_predictions(folder)
    good = [row.id for row in rows if row.split == "test" and not row.label and row.id in known]
    return choose_heat_scale(maps.select(good), [ImagePlace(1, 1)] * len(good)) if good else None


def choose_heat_range(maps: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Choose the ends of a colour scale that one gallery shares.

    Args:
        maps: Values of good photographs that count, floats of any shape, one at least.

    Returns:
        Low, the median of good pixels, and high, twice as far above it as one in a thousand good pixels: what
        good photographs show stays in the lower half of the scale.

    Raises:
        ConfigError: There is no map, or values are no numbers.
    """
    if not maps.size or not np.isfinite(maps).all():
        raise ConfigError(f"maps must be finite, one at least. Received: maps of shape {maps.shape}")
    usual, unusual = np.quantile(maps.astype(np.float64), [USUAL, UNUSUAL])
    reach = max(2 * (unusual - usual), 1e-6)
    return float(usual), float(usual + reach)
