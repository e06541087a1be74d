"""How well heatmaps find the defect: pixel ROC-AUC, per-region overlap and the pointing game.

A photograph is reduced to counts over a common set of thresholds: how many of its good pixels, of its
defective pixels, and of the pixels of each region lie at or above each. A bootstrap replicate is then a
weighted sum of counts, and no pixel is looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mvdefect.core.errors import ConfigError, RunError
from mvdefect.evaluation.bootstrap import REPLICATES, Bools, Bootstrap, Figure, Floats
from mvdefect.evaluation.box_figures import BoxFigures
from mvdefect.models.feature_maps import stretch_maps

PRO_LIMIT = 0.3  # of the false-positive rate, as in Bergmann et al. (2020)
THRESHOLDS_A_KIND = 1024
SAMPLED_VALUES = 4_000_000  # from which thresholds are chosen
POINTING_TOLERANCE_PX = 7
NEIGHBOURS = np.ones((3, 3), bool)  # pixels that touch at a corner are of one region

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Localisation:
    """How well the maps of a part find its defects.

    Attributes:
        images: Photographs that were measured.
        defective: Those of them with a mask.
        regions: Connected defective regions in those masks.
        left_out: Photographs that are defective but whose mask is not known.
        tolerance_px: How far beside the mask the pointing game still counts as a hit.
        pixel_roc_auc: How often a defective pixel lies higher than a good one, over all photographs.
        pro: Per-region overlap: the mean share of a region that lies above a threshold, averaged over
            false-positive rates of up to 30% of the good pixels; from 0 to 1, by chance 0.15.
        pointing: Share of defective photographs whose highest pixel lies in the mask or beside it.
        pointing_chance: The same for a pixel that is picked blindly.
        boxes: How well the boxes of suspicious regions find them; None in runs that did not measure it.
    """

    images: int
    defective: int
    regions: int
    left_out: int
    tolerance_px: int
    pixel_roc_auc: Figure
    pro: Figure
    pointing: Figure
    pointing_chance: float
    boxes: BoxFigures | None = None


def parse_localisation(tree: Mapping[str, Any]) -> Localisation:
    """Read what `dataclasses.asdict` made of a `Localisation`; a figure that is not defined is null.

    Raises:
        RunError: Something is missing or of another kind.
    """
    fields = dict(tree)
    try:
        for name in ("pixel_roc_auc", "pro", "pointing"):
            fields[name] = _parse_figure(fields[name])
        if fields["pointing_chance"] is None:
            fields["pointing_chance"] = np.nan
        if fields.get("boxes") is not None:
            fields["boxes"] = _parse_boxes(fields["boxes"])
        return Localisation(**fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"the figures of localisation are damaged: {error!r}") from error


def _parse_boxes(tree: Mapping[str, Any]) -> BoxFigures:
    fields: dict[str, Any] = {name: np.nan if value is None else value for name, value in tree.items()}
    fields |= {name: _parse_figure(tree[name]) for name in ("hits", "alarms")}
    return BoxFigures(**fields)


def _parse_figure(tree: Mapping[str, Any]) -> Figure:
    value, low, high = (np.nan if tree[key] is None else float(tree[key]) for key in ("value", "low", "high"))
    return Figure(value, low, high, str(tree["method"]))


@dataclass(frozen=True)
class PixelCounts:
    """What lies at or above each of t falling thresholds, float64 (n, t); the last takes in everything.

    Attributes:
        good: Number of good pixels of each photograph.
        defective: Number of its defective pixels.
        overlap: Sum over its regions of the share of the region.
        regions: Number of its regions, float64 (n,).
    """

    good: Floats
    defective: Floats
    overlap: Floats
    regions: Floats


def measure_localisation(
    maps: NDArray[np.floating[Any]],
    masks: Bools,
    groups: NDArray[np.int64],
    known: Bools | None = None,
    *,
    inside: Bools | None = None,
    tolerance_px: int = POINTING_TOLERANCE_PX,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Localisation:
    """Measure heatmaps against masks, with 95% intervals by group bootstrap.

    Maps are spread to the size of the masks bilinearly. Pixel ROC-AUC and PRO (Bergmann et al., 2020 and
    2021) count the good pixels of good and of defective photographs. In PRO every region weighs the same, in
    the ROC-AUC every pixel, so the latter is about large defects. The pointing game (Zhang et al., 2018) is
    played on defective photographs; where several pixels are highest, the share of them that hit counts.
    Where more than 2048 different values occur, thresholds are quantiles of good and of defective pixels, and
    the ROC-AUC is right to 0.0005.

    Args:
        maps: Floats (n, h, w) that rise with suspicion.
        masks: bool (n, H, W), true where defective; a photograph without any such pixel is good.
        groups: Code of the group of each photograph, (n,).
        known: False for a defective photograph whose mask is empty or not there: it is left out. bool (n,).
        inside: False for pixels that are not of the photograph, such as a letterbox's: they do not count.
            bool (n, H, W).
        tolerance_px: Distance from the mask that is still a hit, in pixels of the mask.
        seed: Seed of the bootstrap's draws.
        replicates: How many draws.

    Returns:
        The figures; NaN where there is no defective photograph, or no good pixel.

    Raises:
        ConfigError: Shapes do not fit, maps are not finite, or the tolerance is below 0.
    """
    known = np.ones(len(maps), bool) if known is None else known
    inside = np.broadcast_to(True, masks.shape) if inside is None else inside
    _check(maps, masks, groups, known, inside, tolerance_px)
    maps, masks, inside, groups = maps[known], masks[known] & inside[known], inside[known], groups[known]
    has_defect = masks.any(axis=(1, 2))
    counts = count_pixels(maps, masks, inside)
    points = [
        _point(_spread(maps[number], masks.shape[1:]), masks[number], inside[number], tolerance_px)
        for number in np.flatnonzero(has_defect)
    ]
    hits, chances = np.array(points, np.float64).reshape(-1, 2).T
    draws = Bootstrap(groups, seed, replicates)
    defective_draws = Bootstrap(groups[has_defect], seed, replicates)
    return Localisation(
        images=len(maps),
        defective=len(hits),
        regions=int(counts.regions.sum()),
        left_out=int((~known).sum()),
        tolerance_px=tolerance_px,
        pixel_roc_auc=draws.settle(lambda weights: pixel_roc_auc(counts, weights)),
        pro=draws.settle(lambda weights: per_region_overlap(counts, weights)),
        pointing=defective_draws.settle(lambda weights: _average(hits, weights), is_share=True),
        pointing_chance=float(_average(chances, np.ones((1, len(chances))))[0]),
    )


def count_pixels(maps: NDArray[np.floating[Any]], masks: Bools, inside: Bools) -> PixelCounts:
    """Count what lies at or above each of a common set of thresholds; see `PixelCounts`."""
    thresholds = _choose_thresholds(maps, masks, inside)
    shape = (len(maps), len(thresholds))
    good, defective, overlap, regions = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(len(maps))
    for number, (low, mask, within) in enumerate(zip(maps, masks, inside, strict=True)):
        values = _spread(low, mask.shape)
        good[number] = _count_above(values[within & ~mask], thresholds)
        if mask.any():
            codes, regions[number] = ndimage.label(mask, NEIGHBOURS)
            marked = values[mask]
            for code in range(1, int(regions[number]) + 1):
                above = _count_above(marked[codes[mask] == code], thresholds)
                defective[number] += above
                overlap[number] += above / above[-1]
    return PixelCounts(good, defective, overlap, regions)


def pixel_roc_auc(counts: PixelCounts, weights: Floats) -> Floats:
    """Area under the ROC curve of pixels, for weights of the photographs (r, n): (r,)."""
    false_alarms, recalls = weights @ counts.good, weights @ counts.defective
    return _integrate(_divide(false_alarms, false_alarms[:, -1]), _divide(recalls, recalls[:, -1]), 1.0)


def per_region_overlap(counts: PixelCounts, weights: Floats) -> Floats:
    """Mean overlap with regions up to 30% false positives, for weights of the photographs (r, n): (r,)."""
    false_alarms = weights @ counts.good
    overlaps = _divide(weights @ counts.overlap, weights @ counts.regions)
    return _integrate(_divide(false_alarms, false_alarms[:, -1]), overlaps, PRO_LIMIT) / PRO_LIMIT


def _integrate(across: Floats, up: Floats, limit: float) -> Floats:
    """Integrate curves (r, t) that begin in the origin and rise in `across`, up to a limit, by trapezoids."""
    across, up = (np.pad(curve, ((0, 0), (1, 0))) for curve in (across, up))
    left, right = across[:, :-1], across[:, 1:]
    widths = np.minimum(right, limit) - np.minimum(left, limit)
    steps = right - left
    shares = np.divide(widths, steps, out=np.zeros_like(steps), where=steps > 0)  # that lie below the limit
    areas = widths * (up[:, :-1] + np.diff(up) * shares / 2)
    return np.asarray(areas.sum(axis=1))


def _choose_thresholds(maps: NDArray[np.floating[Any]], masks: Bools, inside: Bools) -> Values:
    """Choose falling thresholds: every value that occurs or, if those are many, quantiles; then -inf."""
    step = max(1, masks.size // SAMPLED_VALUES)
    kinds: tuple[list[Values], list[Values]] = ([np.empty(0, np.float32)], [np.empty(0, np.float32)])
    for low, mask, within in zip(maps, masks, inside, strict=True):
        values = _spread(low, mask.shape)
        kinds[0].append(values[within & ~mask][::step])
        kinds[1].append(values[mask][::step])
    pooled = [np.concatenate(kind) for kind in kinds]
    distinct = np.unique(np.concatenate(pooled))
    if len(distinct) > 2 * THRESHOLDS_A_KIND:
        shares = np.linspace(0, 1, THRESHOLDS_A_KIND)
        chosen = [np.quantile(kind, shares, method="nearest") for kind in pooled if len(kind)]
        distinct = np.unique(np.concatenate(chosen))
    return np.append(distinct[::-1], np.float32(-np.inf))


def _count_above(values: Values, thresholds: Values) -> NDArray[np.int64]:
    return np.asarray(len(values) - np.searchsorted(np.sort(values), thresholds, side="left"))


def _point(values: Values, mask: Bools, within: Bools, tolerance_px: int) -> tuple[float, float]:
    """Return the share of the highest pixels, and of all pixels, that lie in the mask or near it."""
    near = ndimage.distance_transform_edt(~mask) <= tolerance_px
    highest = within & (values == values[within].max())
    return float(near[highest].mean()), float(near[within].mean())


def _spread(low: NDArray[np.floating[Any]], shape: tuple[int, ...]) -> Values:
    """Bring a map (h, w) to the size (H, W) of a mask, bilinearly."""
    return stretch_maps(stretch_maps(low.astype(np.float32), 0, shape[0]), 1, shape[1])


def _average(values: Floats, weights: Floats) -> Floats:
    return _divide((weights @ values)[:, np.newaxis], weights.sum(axis=1))[:, 0]


def _divide(curves: Floats, totals: Floats) -> Floats:
    """Divide rows (r, t) by their totals (r,); NaN where a total is 0."""
    whole = np.broadcast_to(totals[:, np.newaxis], curves.shape)
    return np.asarray(np.divide(curves, whole, out=np.full(curves.shape, np.nan), where=whole > 0))


def _check(
    maps: NDArray[Any], masks: Bools, groups: NDArray[Any], known: Bools, inside: Bools, tolerance_px: int
) -> None:
    if maps.ndim != 3 or masks.ndim != 3 or 0 in (*maps.shape[1:], *masks.shape[1:]):
        raise ConfigError(
            "maps and masks must be of shape (images, height, width). "
            f"Received: maps of shape {maps.shape}, masks of shape {masks.shape}"
        )
    shapes = (masks.shape[:1], groups.shape, known.shape, inside.shape)
    if shapes != (*[maps.shape[:1]] * 3, masks.shape):
        raise ConfigError(
            "masks, groups, known and inside must be of as many images as maps. "
            f"Received: {len(maps)} maps, masks {masks.shape}, groups {groups.shape}, known {known.shape}, "
            f"inside {inside.shape}"
        )
    if masks.dtype != bool or known.dtype != bool or inside.dtype != bool:
        raise ConfigError(
            f"masks, known and inside must be bool. Received: {masks.dtype}, {known.dtype}, {inside.dtype}"
        )
    if maps.dtype.kind != "f" or not np.isfinite(maps).all():
        raise ConfigError(f"maps must be finite floats. Received: {maps.dtype} with values that are not")
    if tolerance_px < 0:
        raise ConfigError(f"tolerance_px must be at least 0. Received: tolerance_px={tolerance_px}")
