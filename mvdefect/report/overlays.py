"""Heatmaps laid over photographs, for people to look at."""

from __future__ import annotations

from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from mvdefect.data.images import Pixels
from mvdefect.errors import ConfigError

COLOURS = "inferno"  # perceptually uniform, and still in order when printed in grey
MAX_OPACITY = 0.6
USUAL = 0.5  # quantile of good photographs' pixels: what is nothing special
UNUSUAL = 0.999


def choose_heat_range(maps: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Choose the ends of a colour scale that one gallery shares.

    Args:
        maps: Heatmaps of good photographs, floats (n, h, w), n at least 1.

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


def overlay_heatmap(image: Pixels, heatmap: NDArray[np.floating[Any]], low: float, high: float) -> Pixels:
    """Lay a heatmap over a photograph: the more suspicious, the brighter and the less transparent.

    Args:
        image: uint8 RGB (height, width, 3).
        heatmap: Floats (h, w), of any size; spread bilinearly.
        low: At and below this value the photograph is left as it is.
        high: From this value on the colour is the brightest.

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
    colours = 255 * mpl.colormaps[COLOURS](heat)[..., :3]
    opacity = MAX_OPACITY * heat[..., np.newaxis]
    return np.asarray(np.rint(image * (1 - opacity) + colours * opacity), np.uint8)
