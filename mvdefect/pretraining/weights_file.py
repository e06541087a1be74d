"""Weights files of half the size: Keras's own format, with large arrays in 16 bits."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np

from mvdefect.paths import replace_file

SMALL = 4096  # arrays up to so many numbers stay as they are: statistics of normalisation need their range


def write_weights(network: Any, path: Path, half: bool) -> None:
    """Write the weights of a network as Keras's `load_weights` reads them, whole or not at all.

    Args:
        network: A Keras model.
        path: Ends in `.weights.h5`.
        half: Store arrays of more than 4,096 numbers as float16; loading makes them float32 again.
    """
    with TemporaryDirectory(dir=path.parent, prefix=".weights-") as folder, replace_file(path) as partial:
        full = Path(folder) / path.name
        network.save_weights(full)
        if not half:
            full.replace(partial)
            return
        with h5py.File(full) as source, h5py.File(partial, "w") as target:
            _copy_halved(source, target)


def _copy_halved(source: h5py.Group, target: h5py.Group) -> None:
    target.attrs.update(source.attrs)
    for name, found in source.items():
        if isinstance(found, h5py.Group):
            _copy_halved(found, target.create_group(name))
            continue
        values = found[()]
        is_large = values.dtype == np.float32 and values.size > SMALL
        kept = values.astype(np.float16) if is_large else values
        packing = {"compression": "gzip", "shuffle": True} if is_large else {}
        target.create_dataset(name, data=kept, **packing).attrs.update(found.attrs)
