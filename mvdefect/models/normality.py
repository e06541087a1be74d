"""One-class score: how far an image lies from the good ones, whatever the classifier makes of it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import ConfigError, RunError, describe_unknown_name
from mvdefect.core.files import UNREADABLE_NPZ, replace_file
from mvdefect.models.feature_maps import FeatureSource
from mvdefect.models.gaussians import (
    PatchGaussians,
    PooledGaussian,
    fit_gaussian,
    fit_patch_gaussians,
    fit_pooled_gaussian,
)
from mvdefect.models.memory_bank import MemoryBank, fit_memory_bank

__all__ = [
    "KINDS",
    "MemoryBank",
    "Normality",
    "NormalityKind",
    "PatchGaussians",
    "PooledGaussian",
    "fit_gaussian",
    "fit_normality",
    "load_normality",
    "name_kind",
    "save_normality",
]

NormalityKind = Literal["padim", "memory_bank", "gaussian"]
Normality = PatchGaussians | MemoryBank | PooledGaussian

KINDS: tuple[str, ...] = get_args(NormalityKind)
FORMAT = "mvdefect normality 1"
# Of each array its type and its axes; axes of one letter are of one length.
_LAYOUTS: dict[str, dict[str, tuple[str, str]]] = {
    "padim": {
        "channels": ("int64", "d"),
        "input_channels": ("int64", ""),
        "mean": ("float32", "hwd"),
        "whitening": ("float32", "hwdd"),
    },
    "memory_bank": {
        "scale": ("float32", "c"),
        "vectors": ("float32", "kc"),
        "usual": ("float32", "hw"),
        "spread": ("float32", "hw"),
    },
    "gaussian": {"mean": ("float64", "d"), "precision": ("float64", "dd")},
}


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
    if kind == "padim":
        return fit_patch_gaussians(features, seed)
    if kind == "memory_bank":
        return fit_memory_bank(features, seed)
    if kind == "gaussian":
        return fit_pooled_gaussian(features)
    raise ConfigError(describe_unknown_name("kind of one-class score", kind, KINDS))


def name_kind(normality: Normality) -> str:
    """Return the name under which `fit_normality` knows it."""
    if isinstance(normality, PatchGaussians):
        return "padim"
    return "memory_bank" if isinstance(normality, MemoryBank) else "gaussian"


def save_normality(normality: Normality, path: Path) -> None:
    """Write all that scoring needs as one .npz of plain arrays.

    Raises:
        ConfigError: `path` does not end in .npz.
    """
    if path.suffix != ".npz":
        raise ConfigError(f"a one-class score is kept as .npz. Received: {path}")
    header = json.dumps({"format": FORMAT, "kind": name_kind(normality)})
    arrays: dict[str, Any] = {
        field.name: np.asarray(getattr(normality, field.name)) for field in fields(normality)
    }
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
            arrays = {name: stored[name] for name in stored.files}
        header = json.loads(str(arrays.pop("header")))
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']!r}")
        return _rebuild(header["kind"], arrays)
    except UNREADABLE_NPZ as error:
        raise RunError(f"the one-class score {path} cannot be loaded: {error!r}") from error


def _rebuild(kind: str, arrays: dict[str, NDArray[Any]]) -> Normality:
    """Put stored arrays together.

    Raises:
        KeyError: There is no such kind.
        ValueError: Arrays are missing, are of another type or shape, or hold what is no number.
    """
    layout = _LAYOUTS[kind]
    if set(arrays) != set(layout):
        raise ValueError(f"it holds {sorted(arrays)}, not {sorted(layout)}")
    lengths: dict[str, int] = {}
    for name, (dtype, axes) in layout.items():
        array = arrays[name]
        agree = [
            lengths.setdefault(axis, size) == size for axis, size in zip(axes, array.shape, strict=False)
        ]
        if array.dtype != dtype or array.ndim != len(axes) or not all(agree) or not np.isfinite(array).all():
            raise ValueError(f"{name} is not as it was written")
    if kind == "gaussian":
        return PooledGaussian(**arrays)
    if kind == "memory_bank":
        return MemoryBank(**arrays)
    present = int(arrays.pop("input_channels"))
    if not ((arrays["channels"] >= 0) & (arrays["channels"] < present)).all():
        raise ValueError(f"it names channels that maps of {present} channels lack")
    return PatchGaussians(input_channels=present, **arrays)
