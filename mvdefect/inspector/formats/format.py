"""What a format of networks is, and what all of them agree on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Look = Callable[[Pixels], tuple[np.ndarray, ...]]

OUTPUTS = (LOGIT, NOVELTY, HEATMAP) = ("logit", "novelty", "heatmap")  # what comes out, in this order
FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"
TENSORS = tuple(f"{name}:0" for name in OUTPUTS)
OWN_PRECISION = r".*/(head|novelty)(_\d+)?/.*"  # operations that stay as they are where others become 8-bit


@dataclass(frozen=True)
class Format:
    """A way to keep and to run networks.

    Attributes:
        file: Name of its main file.
        precisions: In which it can compute.
        to_write: The modules that this takes; the extra of its name brings them.
        to_run: The modules that running takes.
        write: Converts a frozen network of `mvdefect.exporting.network` and writes it to a path; with
            calibration images, uint8 (n, size, size, 3), it becomes one of 8-bit integers.
        open: Loads one, to be run in a precision; returns a function from uint8 pixels (n, size, size, 3) to
            float32 logit (n,), novelty (n,) and heatmap (n, height, width), which threads may share.
    """

    file: str
    precisions: tuple[str, ...]
    to_write: tuple[str, ...]
    to_run: tuple[str, ...]
    write: Callable[[Any, Path, Pixels | None], None]
    open: Callable[[Path, str], Look]
