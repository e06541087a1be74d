"""From a source to prepared parts: the steps that come before anything learns, whatever it is that learns."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mvdefect.config import FitConfig
from mvdefect.core.errors import ConfigError, LayoutError, SplitError
from mvdefect.core.progress import logger
from mvdefect.data.counted_region import NONE, read_region, write_region
from mvdefect.data.groups.grouping import group_records
from mvdefect.data.images import choose_decoding
from mvdefect.data.records import Record
from mvdefect.data.resolution import describe_size, read_defects, read_sizes, settle_resolution
from mvdefect.data.scan import Scan, scan_images
from mvdefect.data.sources.folders import check_layout
from mvdefect.data.sources.opening import is_manifest, log_notes, open_configured
from mvdefect.data.splits.plan import (
    PARTS,
    SplitPlan,
    check_part_ids,
    check_plan,
    read_split_plan,
    write_split_plan,
)
from mvdefect.data.splits.protocols import assign_closed_set, assign_for_fit, hold_out_val
from mvdefect.data.splits.published import assign_given
from mvdefect.data.splits.withheld import assign_good_only
from mvdefect.runs import RunFolder
from mvdefect.workflow.region import settle_region

if TYPE_CHECKING:  # these load TensorFlow; the images are judged before that
    from mvdefect.data.pipeline import Source
    from mvdefect.data.store import PreparedStore


@dataclass(frozen=True)
class Needs:
    """What a split plan must offer.

    Attributes:
        reason: Who needs it and what for, as it stands in the error.
        held: Part and label of images that there must be.
        takes_good_alone: Whether good images alone will do: then a plan without a defective image in train
            needs none in test either.
    """

    reason: str
    held: tuple[tuple[str, int], ...]
    takes_good_alone: bool = False


TO_BE_MEASURED = (("val", 0), ("test", 0), ("test", 1))
FIT_NEEDS = Needs(
    "fit chooses its threshold on val, and is measured on test",
    (("train", 0), *TO_BE_MEASURED),
    takes_good_alone=True,
)
TUNE_NEEDS = Needs(
    "tune learns from good and defective images, and compares on those of val",
    (*FIT_NEEDS.held, ("train", 1), ("val", 1)),
)


@dataclass(frozen=True)
class Photographs:
    """What is learned from and measured on: a scan, a split plan, and its images at working size."""

    scan: Scan
    plan: SplitPlan
    store: PreparedStore

    def note_bits(self, config: FitConfig) -> FitConfig:
        """Return settings that say how many bits are in use, where images have more than 8."""
        bits = self.scan.decoding.bits
        return config if bits is None else config.model_copy(update={"bits": bits})

    def get_sources(self) -> dict[str, Source]:
        """Return the parts, by name."""
        from mvdefect.data.pipeline import Source

        return {part: Source(self.store, self.plan, part) for part in PARTS}


def require_data(config: FitConfig) -> tuple[str, ...]:
    """Return the sources that the settings name.

    Raises:
        ConfigError: They name none.
    """
    if not config.data:
        raise ConfigError("data is needed: --data FOLDER, or `data: FOLDER` in the configuration")
    return config.data


def find_records(config: FitConfig, needs: Needs = FIT_NEEDS) -> tuple[Record, ...]:
    """Find the photographs that the settings name, before any of them is opened.

    Args:
        config: The settings.
        needs: Whether good images alone will do.

    Raises:
        ConfigError: They name none.
        LayoutError: There are none, they are not laid out in a known way, or defective ones are missing.
    """
    source = require_data(config)
    layout = open_configured(config)
    log_notes(layout)
    records = check_layout(layout)
    if not needs.takes_good_alone and not any(record.label for record in records):
        raise LayoutError(
            f"{needs.reason}, but none of the {len(records)} images in {', '.join(source)} is defective; "
            "mvdefect fit takes good images alone"
        )
    return records


def prepare_photographs(
    records: tuple[Record, ...], config: FitConfig, planned: SplitPlan | None, needs: Needs = FIT_NEEDS
) -> Photographs:
    """Scan photographs, divide them, and bring them to working size.

    Args:
        records: What `find_records` found.
        config: The settings.
        planned: The split plan; None: one is drawn.
        needs: What a plan that the data itself names must offer.

    Raises:
        ImageError: A photograph cannot be read.
        SplitError: They cannot be divided, or the plan was made for others.
    """
    from mvdefect.data.shards import KeptImages
    from mvdefect.data.store import prepare_images

    size_px, method, skip_broken = config.size_px, config.resize, config.skip_broken
    decoding, is_whole = choose_decoding(config), config.region == NONE
    with KeptImages(size_px, method) as kept:
        scan = scan_images(records, skip_broken, kept.keep if is_whole else None, decoding)
        plan = planned or _draw_plan(scan, config, needs)
        check_plan(plan, dict(zip((record.id for record in scan.records), scan.sha256, strict=True)))
        check_part_ids(plan, scan.records)
        store = prepare_images(
            records,
            size_px,
            method,
            skip_broken=skip_broken,
            kept=kept if is_whole else None,
            decoding=scan.decoding,
            region=settle_region(config, scan.records, scan.sizes_px, plan, scan.decoding),
        )
    return Photographs(scan, plan, store)


def settle_size(config: FitConfig, records: Sequence[Record]) -> FitConfig:
    """Return settings that name the working size: the one that suits the images, unless it is set."""
    sizes = read_sizes(records)
    defects = read_defects(records)
    size_px = settle_resolution(config.resolution, sizes, defects, config.megapixels)
    logger.info("%s", describe_size(size_px, sizes, defects))
    return config.model_copy(update={"resolution": size_px})


def divide_photographs(records: tuple[Record, ...], config: FitConfig, needs: Needs = FIT_NEEDS) -> SplitPlan:
    """Draw a split plan, or take the parts that the data itself names; nothing is brought to working size.

    Args:
        records: What `find_records` found.
        config: The settings.
        needs: What the plan must offer.

    Raises:
        ImageError: A photograph cannot be read.
        SplitError: They cannot be divided, or the plan lacks what is needed of it.
    """
    decoding = choose_decoding(config)
    scan = scan_images(records, config.skip_broken, decoding=decoding)
    return suit_plan(_draw_plan(scan, config, needs), needs, config.seed)


def read_plan_for_fit(path: Path, needs: Needs = FIT_NEEDS, seed: int = 0) -> SplitPlan:
    """Read a split plan that something can be trained and measured on.

    Args:
        path: Its CSV file.
        needs: What it must offer.
        seed: See `suit_plan`.

    Raises:
        SplitError: It cannot be read, or a part lacks what is needed of it.
    """
    return suit_plan(read_split_plan(path), needs, seed)


def suit_plan(plan: SplitPlan, needs: Needs, seed: int) -> SplitPlan:
    """Return the plan, with images for val taken from train if it has none.

    Args:
        plan: The plan.
        needs: What it must offer.
        seed: Draws the images for val.

    Raises:
        SplitError: A part lacks good or defective images.
    """
    is_good_alone = needs.takes_good_alone and not has_defects_to_learn(plan)
    if not plan.select("val"):
        plan = hold_out_val(plan, seed)
    for part, label in needs.held:
        if not (is_good_alone and label) and not any(row.label == label for row in plan.select(part)):
            name = "defective" if label else "good"
            hint = "; --protocol closed-set draws other parts" if plan.protocol == "given" else ""
            raise SplitError(
                f"{needs.reason}, but the {plan.protocol} plan has no {name} image in {part}{hint}"
            )
    return plan


def has_defects_to_learn(plan: SplitPlan) -> bool:
    """Whether the train part of a plan has a defective image."""
    return any(row.label for row in plan.select("train"))


def _draw_plan(scan: Scan, config: FitConfig, needs: Needs) -> SplitPlan:
    """Draw a plan that suits the images, or take the parts that the data names."""
    groups = group_records(scan, config.near_duplicates)
    names_parts = all(map(is_manifest, config.data)) and all(record.part for record in scan.records)
    if config.protocol == "given" or (config.protocol is None and names_parts):
        return suit_plan(assign_given(scan, groups), needs, config.seed)
    if config.protocol == "good-only":
        return suit_plan(assign_good_only(scan, groups, config.seed), needs, config.seed)
    is_free = needs.takes_good_alone and config.protocol is None
    return (assign_for_fit if is_free else assign_closed_set)(scan, groups, config.seed)


def write_plan(photographs: Photographs, folder: RunFolder) -> None:
    """Write into a run how its images were divided, and what counts of each.

    What an interrupted fit learned is given up if its region was another one, under the same name.
    """
    write_split_plan(photographs.plan, folder.split_plan)
    region = photographs.store.region
    if region is None:
        return
    earlier = read_region(folder.region)
    if earlier is not None and earlier.digest != region.digest and folder.checkpoint.exists():
        logger.warning("the region that counts has changed since the interrupt, so the fit begins anew")
        shutil.rmtree(folder.checkpoint)
    write_region(region, folder.region)


def log_plan(plan: SplitPlan) -> None:
    """Say what is divided how, and what a reader of any figure should know."""
    logger.info(
        "%s: %d images (%d defective) in %d groups; split plan %s",
        plan.protocol,
        len(plan.rows),
        sum(row.label for row in plan.rows),
        len({row.group for row in plan.rows}),
        plan.digest[:12],
    )
    for note in plan.notes:
        logger.warning("%s", note)


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Copy the messages of the run into its log; one that goes on adds to it."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
