"""Where an inspector sees defects on the test part, and how well that agrees with the masks."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from mvdefect.data.images import ResizeMethod, mark_photograph
from mvdefect.data.pipeline import Source, read_masks
from mvdefect.data.scan import Scan
from mvdefect.evaluation.evaluate import replace_nan
from mvdefect.evaluation.heatmaps import Heatmaps, write_heatmaps
from mvdefect.evaluation.localisation import measure_localisation
from mvdefect.runs import RunFolder, write_json


def explain_part(
    maps: NDArray[np.float16], source: Source, scan: Scan, resize: ResizeMethod, folder: RunFolder
) -> None:
    """Write the heatmaps of a part into a run and, where masks are known, how well they find the defects.

    Args:
        maps: One an image, float16 (n, height, width); they rise with suspicion.
        source: The part.
        scan: For the sizes of the photographs: what a letterbox adds is none of them.
        resize: How they were brought to the working size.
        folder: The run.
    """
    write_heatmaps(folder, Heatmaps(tuple(row.id for row in source.rows), maps))
    size_px = source.store.size_px
    masks = read_masks(source, size_px) > 0
    if not masks.any():
        return
    sizes = {record.id: size for record, size in zip(scan.records, scan.sizes_px.tolist(), strict=True)}
    inside = [
        mark_photograph(height, width, size_px, resize)
        for height, width in (sizes[row.id] for row in source.rows)
    ]
    found = measure_localisation(
        maps,
        masks,
        np.array([row.group for row in source.rows]),
        masks.any(axis=(1, 2)) | (source.labels == 0),
        inside=np.stack(inside),
    )
    write_json(folder.localisation, replace_nan(asdict(found)))
