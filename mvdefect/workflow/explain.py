"""Where an inspector sees defects on the test part, and how well that agrees with the masks."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvdefect.config import ResizeMethod, Size
from mvdefect.data.pipeline import Source, read_masks
from mvdefect.data.resizing import mark_photograph, place_image
from mvdefect.data.scan import Scan
from mvdefect.evaluation.bootstrap import Bools
from mvdefect.evaluation.box_figures import measure_boxes
from mvdefect.evaluation.evaluate import replace_nan
from mvdefect.evaluation.heatmaps import Heatmaps, choose_heat_scale, write_heat_scale, write_heatmaps
from mvdefect.evaluation.localisation import measure_localisation
from mvdefect.evaluation.operating_point import OperatingPoint
from mvdefect.evaluation.regions import ImagePlace, find_place
from mvdefect.models.feature_maps import level_outside, log_novelty, stretch_maps
from mvdefect.models.one_class import Normality
from mvdefect.runs import RunFolder, write_json
from mvdefect.training.predictions import compile_features, iterate_features, keep_maps, predict_heatmaps

BATCH_SIZE = 32


def draw_heatmaps(
    point: OperatingPoint, classifier: Any | None, features: Any, normality: Normality, source: Source
) -> NDArray[np.float16]:
    """Return where an inspector sees defects: of each position, the score that it has by itself.

    What is shown is what decided: the classifier's map and the logarithm of the novelty's are weighed as
    logit and novelty are in the score.

    Args:
        point: How the score is made.
        classifier: From pixels to the logit; None: the novelty alone decides.
        features: From pixels to what the novelty compares.
        normality: How good images look.
        source: The part.

    Returns:
        float16 (n, height, width), at the finer resolution of the two.
    """
    made, maps = point.calibration, []
    if classifier is not None and made.logit_weight:
        maps.append(predict_heatmaps(classifier, source, BATCH_SIZE).astype(np.float32) * made.logit_weight)
    if classifier is None or made.novelty_weight:
        batches = iterate_features(compile_features(features), source, BATCH_SIZE)
        found = np.concatenate([normality.score_positions(batch) for _, batch in batches])
        maps.append(found if classifier is None else made.novelty_weight * log_novelty(found))
    height, width = np.max([found.shape[1:] for found in maps], axis=0)
    fine = [stretch_maps(stretch_maps(found, 1, int(height)), 2, int(width)) for found in maps]
    return keep_maps(fine[0] if len(fine) == 1 else fine[0] + fine[1])


def explain_part(
    maps: NDArray[np.float16],
    source: Source,
    scan: Scan,
    resize: ResizeMethod,
    folder: RunFolder,
    point: OperatingPoint,
) -> None:
    """Write the heatmaps of a part into a run, their scale and, where masks are known, what they find.

    The scale goes by the good images of the part. It decides no verdict, and no figure but that of regions on
    those images.

    Args:
        maps: One an image, float16 (n, height, width); they rise with suspicion.
        source: The part.
        scan: For the sizes of the photographs: what a letterbox adds is none of them, and what lies outside
            of the region that counts is neither drawn nor judged.
        resize: How they were brought to the working size.
        folder: The run.
        point: How the score is made, of which the maps are.
    """
    size_px, region = source.store.size_px, source.store.region
    counted = None if region is None else region.mark_cells(maps.shape[1:3])
    if counted is not None:
        maps = keep_maps(level_outside(maps, counted))
    write_heatmaps(folder, Heatmaps(tuple(row.id for row in source.rows), maps))
    own = zip(scan.records, scan.sizes_px.tolist(), strict=True)
    sizes: dict[str, Size] = {record.id: (height, width) for record, (height, width) in own}
    places = [find_place(*sizes[row.id], size_px, resize) for row in source.rows]
    good = np.flatnonzero(source.labels == 0)
    own_places = [places[row] for row in good]
    scale = choose_heat_scale(maps[good], own_places, counted) if len(good) else None
    if scale is not None:
        write_heat_scale(folder, scale, point.calibration)
    masks = read_masks(source, size_px) > 0
    if not masks.any():
        return
    inside = np.stack([mark_photograph(one.height, one.width, size_px, resize) for one in places])
    inside = inside if region is None else inside & region.mask
    known = masks.any(axis=(1, 2)) | (source.labels == 0)
    found = measure_localisation(maps, masks, source.groups, known, inside=inside)
    if scale is not None and scale.rule is not None:
        rows = np.flatnonzero(known)
        shown = [_cut_mask(masks[row], places[row], size_px, resize) for row in rows]
        seen = [
            replace(places[row], height=len(mask), width=mask.shape[1])
            for row, mask in zip(rows, shown, strict=True)
        ]
        found = replace(
            found, boxes=measure_boxes(maps[known], seen, shown, scale.rule, source.groups[known])
        )
    write_json(folder.localisation, replace_nan(asdict(found)))


def _cut_mask(mask: Bools, place: ImagePlace, size_px: Size, resize: ResizeMethod) -> Bools:
    """Return a mask at working size without the padding."""
    return mask[place_image(place.height, place.width, size_px, resize)]
