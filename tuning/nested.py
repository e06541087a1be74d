"""Nested search: what tuning is worth on photographs that no part of it has seen (Varma & Simon, 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mvdefect.core.errors import SearchError
from mvdefect.core.files import write_table
from mvdefect.core.progress import logger
from mvdefect.data.groups.grouping import group_records
from mvdefect.data.images import choose_decoding
from mvdefect.data.scan import scan_images
from mvdefect.data.splits.plan import save_plans
from mvdefect.data.splits.protocols import assign_kfold
from mvdefect.workflow.photographs import TUNE_NEEDS, find_records
from tuning.choice.confirm import compare_choice, fit_pairs
from tuning.records import Confirmation
from tuning.settings import SearchConfig, make_base
from tuning.space.space import make_space
from tuning.tune import TuneOptions, complete_config, is_worker, read_best, tune_inspector

PLANS = "plans"
TABLE = "nested.csv"
ALL = "all folds"


def tune_nested(
    search: SearchConfig, out: Path, options: TuneOptions, folds: int
) -> tuple[Confirmation, ...]:
    """Search in train and val of each of several folds, and measure its choice on the fold's test part.

    Args:
        search: The settings; every fold is searched with them.
        out: Where plans, a search a fold, and `nested.csv` go. What is done is not done again.
        options: How each search is run; `confirm` seeds are tested, at least one.
        folds: How many; every photograph is tested once.

    Returns:
        One a fold, and one over all of them.

    Raises:
        MvdefectError: As `tune_inspector`.
    """
    base = make_base(search)
    if base.split is not None or is_worker():
        raise SearchError("a nested search draws its own plans, on one machine: leave --split out")
    decoding = choose_decoding(base)
    records = options.records or find_records(base, TUNE_NEEDS)
    scan = scan_images(records, base.skip_broken, decoding=decoding)
    groups = group_records(scan, base.near_duplicates)
    plans = assign_kfold(scan, groups, base.seed, folds)
    paths = save_plans(plans, out / PLANS, overwrite=options.overwrite)
    seeds = [base.seed + number for number in range(max(1, options.confirm))]
    found, pairs = [], []
    share = "" if search.minutes is None else f", each with {search.minutes / folds:.3g} of the minutes"
    logger.info(
        "nested search: %d folds, and in each a search and up to %d fits%s", folds, 2 * len(seeds), share
    )
    for number, path in enumerate(paths, start=1):
        logger.info("outer fold %d of %d", number, folds)
        place = out / f"fold-{number}"
        inner = search.model_copy(update={"settings": {**search.settings, "split": str(path)}})
        if search.minutes is not None:
            inner = inner.model_copy(update={"minutes": search.minutes / folds})
        tune_inspector(inner, place, replace(options, confirm=0, later_fits=2 * len(seeds), records=records))
        space = make_space(make_base(inner), inner.space, inner.weights)
        default = complete_config(space.base, place).model_copy(update={"data": read_best(place).data})
        pairs.append(fit_pairs(read_best(place), default, seeds, place, options.workers))
        found.append(compare_choice(f"fold {number}", seeds, pairs[-1:]))
    found.append(compare_choice(ALL, seeds, pairs))
    _write(found, out / TABLE)
    return tuple(found)


def _write(found: Sequence[Confirmation], path: Path) -> None:
    names = ("name", "training", "tuned_roc_auc", "default_roc_auc", "difference", "low", "high")
    rows = [
        (one.name, number, *scores, one.difference.value, one.difference.low, one.difference.high)
        for one in found
        for number, scores in enumerate(zip(one.tuned, one.default, strict=True), start=1)
    ]
    write_table(path, names, rows)
