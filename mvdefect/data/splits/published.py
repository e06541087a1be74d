"""Protocols of published figures, which keep no groups: for comparison with those figures alone.

Plans of these protocols name no val, except `given` and `random`; a fit takes some of train for it, or folds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from mvdefect.core.errors import SplitError, list_some
from mvdefect.data.groups.grouping import Groups
from mvdefect.data.scan import Scan
from mvdefect.data.splits.dealing import CLASSES, MIN_IMAGES_PER_PART, Names, check_counts
from mvdefect.data.splits.plan import LEFT_OUT, PARTS, PlanRow, SplitPlan, make_rows

OFFICIAL_PARTS = ("train", "test")
MAX_NAMED_FILES = 5
TRAIN_SHARE = 0.75
MIN_STRATUM = 2


def assign_official(scan: Scan, groups: Groups) -> SplitPlan:
    """Make the `official` plan: MVTec AD's own folders, good images alone in train, nothing in val.

    For comparison with literature on one-class methods. Groups may straddle; a note counts them.

    Args:
        scan: The photographs, sorted by id.
        groups: What must stay whole; see `mvdefect.data.groups.grouping.group_records`.

    Raises:
        SplitError: The data names no such parts, or train is not good images alone.
    """
    others = [record.id for record in scan.records if record.part not in OFFICIAL_PARTS]
    if others:
        raise SplitError(
            "official needs every image in one of MVTec AD's folders train and test (or so named by a "
            f"manifest's column split), but {len(others)} are not: {list_some(others, MAX_NAMED_FILES)}"
        )
    defective = [record.id for record in scan.records if record.part == "train" and record.label]
    if defective:
        raise SplitError(
            f"official trains on good images alone, but {len(defective)} in train are defective: "
            f"{list_some(defective, MAX_NAMED_FILES)}"
        )
    return keep_parts("official", scan, groups)


def assign_given(scan: Scan, groups: Groups) -> SplitPlan:
    """Make the `given` plan: every image in the part that the data names, as in a manifest's column split.

    Groups may straddle, and val may be empty; notes tell.

    Args:
        scan: The photographs, sorted by id.
        groups: What must stay whole; see `mvdefect.data.groups.grouping.group_records`.

    Raises:
        SplitError: An image has no part, or train or test could not serve.
    """
    others = [record.id for record in scan.records if record.part not in PARTS]
    if others:
        raise SplitError(
            f"given needs a part ({', '.join(PARTS)}) for every image, as in a manifest's column split, but "
            f"{len(others)} have none: {list_some(others, MAX_NAMED_FILES)}"
        )
    return keep_parts("given", scan, groups)


def assign_random(scan: Scan, groups: Groups, seed: int) -> SplitPlan:
    """Make a `random` plan: 80/10/10, stratified by label alone, as much published code splits.

    For comparison with such figures only: near-duplicates straddle, a note counts them, and the figures are
    too good.

    Args:
        scan: The photographs, sorted by id.
        groups: What should stay whole, and does not.
        seed: Of scikit-learn's `train_test_split`, used twice.

    Raises:
        SplitError: A class has too few images.
    """
    from sklearn.model_selection import train_test_split

    labels = np.array([record.label for record in scan.records])
    check_counts(labels.tolist())
    parts = np.full(len(labels), "train", dtype=object)
    everything = np.arange(len(labels))
    _, rest = train_test_split(everything, test_size=0.2, stratify=labels, random_state=seed)
    val, test = train_test_split(rest, test_size=0.5, stratify=labels[rest], random_state=seed)
    parts[val], parts[test] = "val", "test"
    return keep_parts("random", scan, groups, parts, seed)


def assign_random_75(scan: Scan, groups: Groups, seed: int) -> SplitPlan:
    """Make a `random-75` plan: three quarters train, a quarter tests, stratified by category and type.

    As Deitsch et al. (2019) divide ELPV, https://doi.org/10.1016/j.solener.2019.02.067; groups may straddle.

    Args:
        scan: The images, sorted by id.
        groups: What should stay whole, and does not.
        seed: Of scikit-learn's `train_test_split`.

    Raises:
        SplitError: A class or a type has too few images.
    """
    from sklearn.model_selection import train_test_split

    strata = [record.stratum for record in scan.records]
    check_counts(record.label for record in scan.records)
    if single := sorted(name for name, count in Counter(strata).items() if count < MIN_STRATUM):
        raise SplitError(
            f"random-75 needs {MIN_STRATUM} images or more of each type. Fewer are of: {list_some(single)}"
        )
    parts = np.full(len(strata), "train", dtype=object)
    _, test = train_test_split(
        np.arange(len(strata)), train_size=TRAIN_SHARE, stratify=strata, random_state=seed
    )
    parts[test] = "test"
    return keep_parts("random-75", scan, groups, parts, seed)


def assign_few_labels(scan: Scan, groups: Groups, seed: int, k: int) -> SplitPlan:
    """Make a `few-labels` plan: three quarters of the good images and k defective ones train, the rest tests.

    As in the general setting of Ding et al. (2022), https://arxiv.org/abs/2203.14506, and Zhu et al. (2024),
    https://arxiv.org/abs/2310.12790. A larger k only adds to train; groups may straddle.

    Args:
        scan: The images, sorted by id.
        groups: What should stay whole, and does not.
        seed: Another seed, another draw.
        k: Defective images in train, of all types together.

    Raises:
        SplitError: There are too few images.
    """
    return _draw_few(scan, groups, seed, k, f"few-labels {k}", "")


def assign_few_labels_unseen(scan: Scan, groups: Groups, seed: int, k: int) -> tuple[SplitPlan, ...]:
    """Make a `few-labels-unseen` plan for each type: the k defective images of train are of it, those of test
    of all other types.

    As in the hard setting of the same papers; good images are divided as for `few-labels`, and what is left
    of the type is in no part.

    Raises:
        SplitError: There are too few images, or fewer than two types.
    """
    types = sorted({record.defect_type for record in scan.records if record.label})
    if len(types) < 2:
        raise SplitError(
            f"few-labels-unseen needs two defect types or more. Received: {', '.join(types) or 'none'}"
        )
    return tuple(_draw_few(scan, groups, seed, k, f"few-labels-unseen {k} {name}", name) for name in types)


def _draw_few(scan: Scan, groups: Groups, seed: int, k: int, protocol: str, seen: str) -> SplitPlan:
    """Divide the images; with a type that is seen, no defective image of it tests, and no other trains."""
    if k < 1:
        raise SplitError(f"few-labels needs a number k of at least 1. Received: k={k}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(scan.records)).tolist()
    good = [number for number in order if not scan.records[number].label]
    bad = [number for number in order if scan.records[number].label]
    known = [number for number in bad if scan.records[number].defect_type == seen or not seen]
    tested = [number for number in bad if number not in set(known)] if seen else bad[k:]
    if len(known) < k or not tested:
        raise SplitError(
            f"{protocol} needs {k} defective images to train on and one or more to test on. "
            f"Received: {len(known)} and {len(tested)}"
        )
    parts = np.full(len(order), LEFT_OUT, dtype=object)
    cut = round(TRAIN_SHARE * len(good))
    parts[[*good[:cut], *known[:k]]] = "train"
    parts[[*good[cut:], *tested]] = "test"
    return keep_parts(protocol, scan, groups, parts, seed)


def keep_parts(
    protocol: str, scan: Scan, groups: Groups, parts: Sequence[str] | Names | None = None, seed: int = 0
) -> SplitPlan:
    """Make a plan of parts as they are; notes tell which images are missing in a part, and torn groups.

    Raises:
        SplitError: There are too few good images to train or to test on.
    """
    named = [record.part for record in scan.records] if parts is None else parts
    rows = make_rows(scan, groups.codes, named)
    held = Counter((row.part, row.label) for row in rows)
    for part in ("train", "test"):
        if held[part, 0] < MIN_IMAGES_PER_PART:
            raise SplitError(
                f"{protocol} needs at least {MIN_IMAGES_PER_PART} good images in {part}. "
                f"Received: {held[part, 0]}"
            )
    absent = []
    for part in PARTS:
        lacking = [name for label, name in enumerate(CLASSES) if not held[part, label]]
        if lacking:
            kind = "" if len(lacking) == len(CLASSES) else f"{lacking[0]} "
            absent.append(f"there is no {kind}image in {part}")
    return SplitPlan(protocol, seed, rows, (*groups.notes, *absent, *_find_straddlers(rows)))


def _find_straddlers(rows: Sequence[PlanRow]) -> tuple[str, ...]:
    sizes = Counter(row.group for row in rows)
    parts_of: defaultdict[int, set[str]] = defaultdict(set)
    for row in rows:
        parts_of[row.group].add(row.part)
    torn = [group for group, parts in parts_of.items() if len(parts) > 1]
    if not torn:
        return ()
    return (
        f"{len(torn)} groups that should stay whole (near-duplicates, or what the user keeps together), with "
        f"{sum(sizes[group] for group in torn)} images, lie in more than one part: "
        "the figures may be too good",
    )
