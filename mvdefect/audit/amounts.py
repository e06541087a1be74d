"""How much there is, what can be measured with it, and which photographs are unlike all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from mvdefect.audit.findings import Finding, ProtocolCheck, Severity
from mvdefect.core.errors import SplitError
from mvdefect.data.groups.grouping import Groups
from mvdefect.data.records import GOOD, Record, count_by_stratum
from mvdefect.data.scan import FirstLook, Scan
from mvdefect.data.splits.plan import SplitPlan
from mvdefect.data.splits.protocols import assign_for_fit, draw_plans
from mvdefect.evaluation.bootstrap import wilson_interval

RARE_TYPE = 5  # images
TRIED = (  # protocol, k, n
    ("closed-set", None, None),
    ("good-only", None, None),
    ("unseen-type", None, None),
    ("label-budget", 5, None),
    ("kfold", None, 5),
    ("official", None, None),
)
EXAMPLE_RECALL = 0.9
COARSE_SIZE_PX = 6
MIN_IMAGES_FOR_OUTLIERS = 20
OUTLIER_DEVIATIONS = 10.0
MAX_OUTLIER_SHARE = 0.02


def find_rare_types(records: Sequence[Record]) -> Iterator[Finding]:
    """Find defect types with so few images that nothing can be said of them."""
    rare = [
        (stratum, f"{count} image(s)")
        for stratum, count in count_by_stratum(records).items()
        if count < RARE_TYPE and not stratum.endswith(f"/{GOOD}")
    ]
    if rare:
        yield Finding(
            "rare-types",
            Severity.WARNING,
            f"{len(rare)} defect type(s) have fewer than {RARE_TYPE} images.",
            "Add photographs; until then the recall of these types means nothing.",
            tuple(rare),
        )


def check_protocols(scan: Scan, groups: Groups) -> tuple[ProtocolCheck, ...]:
    """Try to draw a plan of each protocol, and say what it could tell."""
    return tuple(_try_protocol(scan, groups, *tried) for tried in TRIED)


def report_fit_plan(scan: Scan, groups: Groups) -> Iterator[Finding]:
    """Report that `fit` has too few images for a classifier, or for anything."""
    try:
        plan = assign_for_fit(scan, groups, seed=0)
    except SplitError as error:
        yield Finding("too-few-images", Severity.ERROR, f"`fit` cannot run: {error}.", "Add images.")
        return
    if plan.protocol == "good-only":
        yield Finding(
            "too-few-images",
            Severity.WARNING,
            f"`fit` learns from good images alone: {plan.notes[-1]}.",
            "Add images of further defective pieces as they come.",
        )


def _try_protocol(scan: Scan, groups: Groups, protocol: str, k: int | None, n: int | None) -> ProtocolCheck:
    name = protocol if k is None and n is None else f"{protocol} {k or n}"
    try:
        plans = draw_plans(scan, groups, protocol, seed=0, k=k, n=n)
    except SplitError as error:
        return ProtocolCheck(name, False, str(error))
    return ProtocolCheck(name, True, _describe_power(plans))


def _describe_power(plans: Sequence[SplitPlan]) -> str:
    """Say how wide the interval of a recall would be; one group counts as one observation."""
    tested = [[row for row in plan.select("test") if row.label] for plan in plans]
    fewest = min(tested, key=len)
    if not fewest:
        return "no defective image to test on: what share of defects is caught cannot be told"
    groups = len({row.group for row in fewest})
    low, high = wilson_interval(EXAMPLE_RECALL, groups)
    several = f"{len(plans)} tests, the smallest on" if len(plans) > 1 else "tests on"
    return (
        f"{several} {len(fewest)} defective images of {groups} different parts; if {EXAMPLE_RECALL:.0%} of "
        f"them are caught, the share on the line lies between {low:.0%} and {high:.0%}"
    )


def find_outliers(look: FirstLook) -> Iterator[Finding]:
    """Find good photographs whose brightness and coarse layout are far from all others of the product.

    Each is described by 6×6 grey values; its deviation is the largest of theirs, in robust deviations
    (1.4826 × median absolute deviation) from the median of the good photographs.
    """
    files = []
    categories = np.array([record.category for record in look.records], dtype=str)
    good = np.array([record.label == 0 for record in look.records], bool)
    for name in np.unique(categories):
        members = np.flatnonzero((categories == name) & good)
        if len(members) < MIN_IMAGES_FOR_OUTLIERS:
            continue
        size = (COARSE_SIZE_PX, COARSE_SIZE_PX)
        coarse = np.array(
            [
                cv2.resize(look.thumbnails[index], size, interpolation=cv2.INTER_AREA).ravel()
                for index in members
            ],
            np.float64,
        )
        distance = np.abs(coarse - np.median(coarse, axis=0))
        spread = 1.4826 * np.median(distance, axis=0) + 2  # two grey values: what any camera varies by
        deviation = (distance / spread).max(axis=1)
        far = np.flatnonzero(deviation > OUTLIER_DEVIATIONS)
        if len(far) <= max(1, MAX_OUTLIER_SHARE * len(members)):  # more than that are no exceptions
            files += [(look.records[members[i]].id, f"{deviation[i]:.0f} deviations") for i in far]
    if files:
        yield Finding(
            "outliers",
            Severity.NOTE,
            f"{len(files)} good photograph(s) are unlike all others of their product at thumbnail size.",
            "Look at them: a wrong product, a wrong label, or a failed exposure?",
            tuple(files),
        )
