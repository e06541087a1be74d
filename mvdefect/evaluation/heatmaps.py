"""Heatmaps: as a run keeps those of its test part, and laid over images for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import ConfigError, RunError
from mvdefect.core.files import UNREADABLE_NPZ, replace_file
from mvdefect.data.images import Pixels
from mvdefect.runs import RunFolder

COLOURS = "inferno"  # perceptually uniform, and still in order when printed in grey
MAX_OPACITY = 0.6
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


def choose_heat_range(maps: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Choose the ends of a colour scale that one gallery shares.

    Args:
        maps: Heatmaps of good photographs, floats (n, h, w), n at least 1; or what counts of them, (n, k).

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


def overlay_heatmap(
    image: Pixels,
    heatmap: NDArray[np.floating[Any]],
    low: float,
    high: float,
    counted: NDArray[np.bool_] | None = None,
) -> Pixels:
    """Lay a heatmap over a photograph: the more suspicious, the brighter and the less transparent.

    Args:
        image: uint8 RGB (height, width, 3).
        heatmap: Floats (h, w), of any size; spread bilinearly.
        low: At and below this value the photograph is left as it is.
        high: From this value on the colour is the brightest.
        counted: Where the photograph counts, bool (height, width); elsewhere it is left as it is. None: all
            of it does.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        ConfigError: `high` is not above `low`, or the arrays are of other types or shapes.
    """
    if not low < high:
        raise ConfigError(f"high must be above low. Received: low={low}, high={high}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or heatmap.ndim != 2:
        raise ConfigError(
            "image must be uint8 of shape (height, width, 3) and heatmap of shape (height, width). "
            f"Received: image {image.dtype} of shape {image.shape}, heatmap of shape {heatmap.shape}"
        )
    height, width = image.shape[:2]
    fine = cv2.resize(heatmap.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    heat = np.clip((fine - low) / (high - low), 0, 1)
    import matplotlib as mpl

    colours = 255 * mpl.colormaps[COLOURS](heat)[..., :3]
    opacity = MAX_OPACITY * (heat if counted is None else heat * counted)[..., np.newaxis]
    return np.asarray(np.rint(image * (1 - opacity) + colours * opacity), np.uint8)
