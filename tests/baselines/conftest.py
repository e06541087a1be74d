"""Pictures of a part with defects that are plain to see, in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mvdefect.data.images import decode_image
from mvdefect.data.sources.folders import read_records


@pytest.fixture(scope="session")
def plain_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One drawn product with large, plain defects: 40 good and 4 × 10 defective images, 64 pixels."""
    from mvdefect.drawing.data_set import write_parts

    root = tmp_path_factory.mktemp("plain") / "parts"
    return write_parts(
        root,
        good=40,
        defective_per_type=10,
        size_px=64,
        categories=("washer",),
        defect_size=3.0,
        defect_contrast=2.0,
    )


@pytest.fixture(scope="session")
def pictures(plain_root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, uint8 (80, 64, 64, 3), and labels, (80,), in mixed order."""
    records = read_records(plain_root)
    pixels = np.stack([decode_image(record.path.read_bytes()) for record in records])
    labels = np.array([record.label for record in records])
    order = np.random.default_rng(0).permutation(len(records))
    return pixels[order], labels[order]
