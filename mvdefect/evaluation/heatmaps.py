"""The heatmaps of a run's test part, as its `heatmaps.npz` keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvdefect.errors import RunError
from mvdefect.paths import UNREADABLE_NPZ, replace_file
from mvdefect.runs import RunFolder


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
