"""One-class score: how far an image lies from the good ones, whatever the classifier makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.core.errors import ConfigError, RunError, describe_unknown_name
from mvdefect.core.files import UNREADABLE_NPZ, parse_json, replace_file
from mvdefect.models.feature_maps import FeatureSource
from mvdefect.models.gaussians import PatchGaussians, PooledGaussian
from mvdefect.models.memory_bank import MemoryBank
from mvdefect.models.one_class import Normality

__all__ = ["KINDS", "Normality", "fit_normality", "load_normality", "save_normality"]

FORMAT = "mvdefect normality 1"
COUNTED = "counted"  # positions, where there is a region
KINDS: dict[str, type[Normality]] = {one.kind: one for one in (PatchGaussians, MemoryBank, PooledGaussian)}


def fit_normality(kind: str, features: FeatureSource, seed: int = 0) -> Normality:
    """Learn from good images how good images look.

    Args:
        kind: "padim" where parts always lie the same way, "memory_bank" where they lie in any way,
            "gaussian" where the whole image counts and not a place in it.
        features: Floats of shape (n, h, w, c), or batches of them that may come once only.
        seed: Of every random choice.

    Raises:
        ConfigError: There is no such kind, or the features are not as `iterate_several` asks.
    """
    if kind not in KINDS:
        raise ConfigError(describe_unknown_name("kind of one-class score", kind, KINDS))
    return KINDS[kind].fit(features, seed)


def save_normality(normality: Normality, path: Path) -> None:
    """Write all that scoring needs as one .npz of plain arrays.

    Raises:
        ConfigError: `path` does not end in .npz.
    """
    if path.suffix != ".npz":
        raise ConfigError(f"a one-class score is kept as .npz. Received: {path}")
    header = json.dumps({"format": FORMAT, "kind": normality.kind})
    arrays: dict[str, Any] = {name: np.asarray(getattr(normality, name)) for name in normality.layout}
    if normality.counted is not None:
        arrays[COUNTED] = normality.counted
    arrays["header"] = np.array(header)
    with replace_file(path) as partial:
        np.savez(partial, **arrays)


def load_normality(path: Path) -> Normality:
    """Read what `save_normality` wrote; scores are the same to the last bit.

    Raises:
        RunError: The file is missing, damaged, or something else.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
        header = parse_json(str(arrays.pop("header")))
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']!r}")
        counted = arrays.pop(COUNTED, None)
        return KINDS[header["kind"]].rebuild(arrays).within(_check_counted(counted))
    except UNREADABLE_NPZ as error:
        raise RunError(f"the one-class score {path} cannot be loaded: {error!r}") from error


def _check_counted(counted: Any) -> Any:
    if counted is not None and (counted.dtype != np.bool_ or counted.ndim != 2 or not counted.any()):
        raise ValueError(f"{COUNTED} is not as it was written")
    return counted
