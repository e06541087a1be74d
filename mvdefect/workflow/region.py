"""The region that counts: checked before a fit begins, and settled by the images that it learns from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvdefect.config import FitConfig, Size
from mvdefect.core.errors import ConfigError, ImageError
from mvdefect.core.parallel import map_in_threads
from mvdefect.core.progress import logger
from mvdefect.data.background import find_product
from mvdefect.data.counted_region import (
    AUTO,
    NONE,
    Colour,
    CountedRegion,
    choose_region,
    find_common_size,
    fit_to_working_size,
    read_drawing,
)
from mvdefect.data.images import Decoding, Mask, Pixels, decode_at_size, decode_mask, read_size
from mvdefect.data.records import Record
from mvdefect.data.resizing import mark_photograph, resize_mask
from mvdefect.data.resolution import read_sizes, spread_over
from mvdefect.data.splits.plan import SplitPlan, read_split_plan

FILL: Colour = (0, 0, 0)  # what stands outside, as the padding of a letterbox; other colours were no better
SAMPLED = 64  # good images that the background is learned from
LEARNED_PX = 256  # longer side at which the background is learned
TOO_MANY = 0.5  # share of marked defects outside, from which on the region may be inverted


def check_region(config: FitConfig, records: Sequence[Record]) -> FitConfig:
    """Check a region before anything slow begins, and return settings that name it for these products.

    Raises:
        ConfigError: A file is missing, empty, or of images of another size; or products differ in theirs.
    """
    region = choose_region(config.region, (record.category for record in records))
    if region in (NONE, AUTO):
        return config.model_copy(update={"region": region})
    drawing, sizes = read_drawing(Path(region)), read_sizes(records)
    for size_px in {(height, width) for height, width in sizes.tolist()}:
        drawing.draw(size_px)
    return config.model_copy(update={"region": str(Path(region).absolute())})


def settle_region(
    config: FitConfig,
    records: Sequence[Record],
    sizes_px: NDArray[np.int64],
    plan: SplitPlan | None,
    decoding: Decoding,
) -> CountedRegion | None:
    """Bring a region to working size, or learn it.

    Args:
        config: With a region, working size and method of resizing.
        records: The images.
        sizes_px: Their heights and widths, int64 (n, 2).
        plan: The background is learned from good images of train alone; None: the region is not learned.
        decoding: How images are decoded.

    Returns:
        None: everything counts.

    Raises:
        ConfigError: As for `check_region`, or too little of it is left at working size.
    """
    region = choose_region(config.region, (record.category for record in records))
    if region == NONE:
        return None
    train = {row.id for row in plan.select("train")} if plan is not None else set()
    known = [record for record in records if record.id in train]
    names = [record.id for record in records]
    if region == AUTO:
        try:
            image_px = find_common_size(sizes_px, names, AUTO)
        except ConfigError as error:
            logger.warning("everything counts: %s", error)
            return None
        mask = _learn_mask(known, image_px, config, decoding)
        if mask is None:
            return None
    else:
        image_px = find_common_size(sizes_px, names, region)
        drawn = read_drawing(Path(region)).draw(image_px)
        mask = fit_to_working_size(drawn, config.size_px, config.resize, region)
        _tell_lost_defects(known, mask, config, decoding)
    found = CountedRegion(mask, FILL, image_px)
    _tell(found, region, config)
    return found


def settle_planned_region(
    config: FitConfig, records: Sequence[Record], decoding: Decoding
) -> CountedRegion | None:
    """Settle a region before any fit, from the headers of images and the split plan that the settings name.

    Raises:
        ConfigError: As for `settle_region`; or it is to be learned, and there is no plan.
        SplitError: The plan cannot be read.
    """
    if config.region == NONE:
        return None
    if config.split is None and config.region == AUTO:
        raise ConfigError(
            "region auto is learned from good images of train: name the plan of the fit to come with --split"
        )
    found = map_in_threads(_read_size, records)
    known = [(record, size) for record, size in zip(records, found, strict=True) if size is not None]
    if not known:  # which the preparation tells
        return None
    sizes = np.array([size for _, size in known], np.int64)
    plan = None if config.split is None else read_split_plan(config.split)
    return settle_region(config, [record for record, _ in known], sizes, plan, decoding)


def _read_size(record: Record) -> Size | None:
    try:
        return read_size(record.path)
    except (ImageError, OSError):
        return None


def _learn_mask(
    known: Sequence[Record], image_px: Size, config: FitConfig, decoding: Decoding
) -> Mask | None:
    scale = min(1.0, LEARNED_PX / max(config.size_px))
    small = (max(1, round(config.size_px[0] * scale)), max(1, round(config.size_px[1] * scale)))
    inside = mark_photograph(*image_px, small, config.resize)
    good = spread_over([record for record in known if not record.label], SAMPLED)
    images = _read_images(good, small, config, decoding)
    defects = np.zeros(small, bool)
    for _, mask in _read_defects(known, small, config, decoding):
        defects |= mask
    product = find_product(images, inside, defects)
    if product.mask is None:
        logger.warning("region auto: everything counts, as %s", product.reason)
        return None
    logger.info("region auto: %s", product.reason)
    whole = CountedRegion(product.mask, (0, 0, 0), image_px).mark_picture(config.size_px)
    return whole & mark_photograph(*image_px, config.size_px, config.resize)


def _read_images(records: Sequence[Record], size_px: Size, config: FitConfig, decoding: Decoding) -> Pixels:
    def read(record: Record) -> Pixels:
        return decode_at_size(record.path.read_bytes(), size_px, config.resize, decoding)

    return np.stack([np.zeros((*size_px, 3), np.uint8), *map_in_threads(read, records)])[1:]


def _read_defects(
    records: Sequence[Record], size_px: Size, config: FitConfig, decoding: Decoding
) -> list[tuple[Record, Mask]]:
    """Return where defects are marked, at a size."""

    def read(record: Record) -> tuple[Record, Mask]:
        mask = decode_mask(Path(str(record.mask_path)).read_bytes(), decoding)
        return record, resize_mask(mask, size_px, config.resize) > 0

    return list(map_in_threads(read, [one for one in records if one.label and one.mask_path is not None]))


def _tell_lost_defects(known: Sequence[Record], mask: Mask, config: FitConfig, decoding: Decoding) -> None:
    """Warn of training images whose marked defects all lie outside, since nobody will see them."""
    marked = _read_defects(known, config.size_px, config, decoding)
    lost = [record.id for record, defect in marked if defect.any() and not (defect & mask).any()]
    if lost:
        hint = "; is the mask inverted? White counts" if len(lost) > TOO_MANY * len(marked) else ""
        logger.warning(
            "%d of %d marked defects of train lie outside of the region and will not be seen, as in %s%s",
            *(len(lost), len(marked), lost[0], hint),
        )


def _tell(found: CountedRegion, region: str, config: FitConfig) -> None:
    inside = mark_photograph(*found.image_px, config.size_px, config.resize)
    logger.info(
        "region %s: %.0f%% of each image counts; the rest becomes black, neither scored nor drawn",
        *(region, 100 * found.mask.sum() / inside.sum()),
    )
