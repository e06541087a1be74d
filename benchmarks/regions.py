"""How often the box of a suspicious region holds the defect, on the test images of finished runs.

    mvdefect demo --out runs/demo
    mvdefect fit --data ../shared/data/magnetic_tile --weights FILE --set backbone=mobilenetv2 \\
        --set fine_tune=false --run runs/tiles
    python benchmarks/regions.py runs/demo/run runs/tiles

Of the defective images that the run caught and whose mask is known: the share whose box with the highest peak
holds a defective pixel, at the image's own size, beside the share that would do so wherever such a box lay;
the share whose mask's box it meets; how much of the image the box and the mask's box take (medians); and the
share of defective pixels that lie in any of the boxes (mean). Of the good images: the share with a region.

Figures of good images are by the level that was chosen on these very images.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np


def read_cases(run: Path) -> list[tuple[Any, Any, Any, tuple[Any, ...]]]:
    """Return prediction, mask (None: not known), place and regions of each test image of a run."""
    from mvdefect.data.images import decode_mask, read_size
    from mvdefect.data.sources.opening import open_source
    from mvdefect.evaluation.heatmaps import read_heat_scale, read_heatmaps
    from mvdefect.evaluation.regions import find_place, find_regions
    from mvdefect.runs import RunFolder, read_predictions, read_run_config

    folder = RunFolder(run)
    config, scale, heatmaps = read_run_config(folder), read_heat_scale(folder), read_heatmaps(folder)
    if scale is None or scale.rule is None or heatmaps is None:
        raise SystemExit(f"{run} has no heatmaps that a level goes with")
    layout = open_source(
        config.data, config.categories, config.group_pattern, config.good, config.label_pattern
    )
    records = {record.id: record for record in layout.records}
    cases = []
    for row in (row for row in read_predictions(folder) if row.split == "test"):
        record = records[row.id]
        height, width = read_size(record.path)
        place = find_place(height, width, config.size_px, config.resize)
        needs_peak = row.verdict != "good"
        regions = find_regions(heatmaps.select([row.id])[0], place, scale.rule, needs_peak)
        mask = None if record.mask_path is None else decode_mask(record.mask_path.read_bytes())
        cases.append((row, mask, place, regions))
    return cases


def print_figures(run: Path) -> None:
    """Print the figures of a run."""
    from mvdefect.evaluation.bootstrap import Bootstrap
    from mvdefect.evaluation.box_figures import find_chance, holds_defect

    cases = read_cases(run)
    caught = [one for one in cases if one[0].label and one[0].verdict == "defective"]
    known = [one for one in caught if one[1] is not None and one[1].any()]
    good = [regions for row, _, _, regions in cases if not row.label]
    hits = np.array([holds_defect(regions[0], mask) for _, mask, _, regions in known], np.float64)
    draws = Bootstrap(np.array([row.group for row, *_ in known], np.int64))
    figure = draws.settle(lambda weights: np.asarray(weights @ hits / weights.sum(axis=1)), is_share=True)
    frames = [find_box(mask) for _, mask, _, _ in known]
    meets = [meet(regions[0], frame) for (_, _, _, regions), frame in zip(known, frames, strict=True)]
    chance = np.mean([find_chance(regions[0], mask) for _, mask, _, regions in known])
    sizes = [regions[0].width * regions[0].height / mask.size for _, mask, _, regions in known]
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in frames]
    true = [area / mask.size for area, (_, mask, _, _) in zip(areas, known, strict=True)]
    covered = [cover(regions, mask) for _, mask, _, regions in known]
    print(
        f"{run}: {len(known)} caught with a mask, of {len(caught)} caught: box holds "
        f"a defective pixel {figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f}; chance {chance:.3f}), "
        f"meets the mask's box {np.mean(meets):.3f}; box {np.median(sizes):.1%} of the image, "
        f"mask's box {np.median(true):.1%}; defective pixels in boxes {np.mean(covered):.3f}; "
        f"{sum(map(bool, good))} of {len(good)} good images have a region"
    )


def find_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the edges of the box of a mask: left, top, right, bottom."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def meet(region: Any, frame: tuple[int, int, int, int]) -> bool:
    """Return whether two boxes have a pixel in common."""
    left, top, right, bottom = frame
    across = region.x < right and left < region.x + region.width
    return bool(across and region.y < bottom and top < region.y + region.height)


def cover(regions: tuple[Any, ...], mask: np.ndarray) -> float:
    """Return the share of defective pixels that lie in a box."""
    inside = np.zeros(mask.shape, bool)
    for one in regions:
        inside[one.y : one.y + one.height, one.x : one.x + one.width] = True
    return float(inside[mask].mean())


def main() -> None:
    """Print the figures of each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="finished runs")
    for run in parser.parse_args().runs:
        print_figures(run)


if __name__ == "__main__":
    main()
