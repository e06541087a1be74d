"""`mvdefect tune`: plan, search, refits, leaderboard and what follows from them, step by step."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras_tuner

from mvdefect.config import FitConfig, StageConfig, dump_config, load_config
from mvdefect.core.errors import RunExistsError, SearchError
from mvdefect.core.files import write_text
from mvdefect.core.progress import logger
from mvdefect.data.images import choose_decoding
from mvdefect.data.records import Record
from mvdefect.data.resolution import read_defects, read_sizes
from mvdefect.data.scan import settle_decoding
from mvdefect.data.sources.opening import resolve_sources
from mvdefect.data.splits.folds import choose_fold_count, draw_folds, leave_test_out
from mvdefect.data.splits.plan import SplitPlan, read_split_plan, write_split_plan
from mvdefect.evaluation.contracts import parse_contract
from mvdefect.models.backbones import find_backbone
from mvdefect.models.weights import find_weights
from mvdefect.training.stages import plan_stages
from mvdefect.workflow.photographs import (
    TUNE_NEEDS,
    divide_photographs,
    find_records,
    log_plan,
    prepare_photographs,
    read_plan_for_fit,
    require_data,
)
from mvdefect.workflow.region import check_region
from tuning.choice.confirm import confirm_choice
from tuning.choice.importance import measure_importances
from tuning.choice.leaderboard import make_leaderboard, write_leaderboard, write_trials
from tuning.choice.refits import FOLDER as REFITS
from tuning.choice.refits import choose_candidates, refit_candidates
from tuning.page.page import write_search_page
from tuning.progress import describe_running, show_life
from tuning.records import COMPLETED, DEFAULT, Leaderboard, SearchSummary
from tuning.schedule import Schedule, describe_schedule, describe_time, find_closing, plan_schedule
from tuning.search.claim import PLAN, claim_folder, list_changes, wait_for_chief
from tuning.search.cluster import CHIEF, ClusterJob, search_with_workers
from tuning.search.hypermodel import InspectorHyperModel, TrainingParts
from tuning.search.probe import measure_pace
from tuning.search.search import FOLDER, InspectorTuner, make_tuner, read_trials
from tuning.search.trials import TrialFunction, is_over
from tuning.settings import SearchConfig, dump_search, make_base
from tuning.space.space import SearchSpace, make_space

BEST = "best.yaml"
REPORT = "report.html"


@dataclass(frozen=True)
class TuneOptions:
    """How a search is run; what it finds does not depend on it.

    Attributes:
        workers: How many trials at a time.
        overwrite: Whether a search with other settings may be replaced.
        confirm: How many seeds the choice and the default are fitted with, and compared on the test part;
            0: the test part is never opened.
        function: What the process of a trial does; None: `tuning.search.trials.train_trial`.
        set_up: What a worker calls first.
        later_fits: Fits that the caller will add, for which the time limit keeps time.
        records: The images, if the caller has found them already.
    """

    workers: int = 1
    overwrite: bool = False
    confirm: int = 0
    function: TrialFunction | None = None
    set_up: Callable[[], None] | None = None
    later_fits: int = 0
    records: tuple[Record, ...] = ()


DEFAULT_OPTIONS = TuneOptions()


@dataclass(frozen=True)
class _Workplace:
    """What all steps share."""

    search: SearchConfig
    space: SearchSpace
    records: tuple[Record, ...]
    weights: Mapping[str, Path | None]
    plan: SplitPlan
    out: Path
    options: TuneOptions
    schedule: Schedule | None = None

    @property
    def epochs(self) -> int:
        """How many a training has at most."""
        return sum(stage.epochs for stage in self.space.base.stages)


def tune_inspector(
    search: SearchConfig, out: Path, options: TuneOptions = DEFAULT_OPTIONS
) -> SearchSummary | None:
    """Search for settings, train the best again, choose one, and write what came of it.

    A search that was interrupted goes on when it is called again with the same settings; the limits (trials,
    minutes, patience) and how many are refitted may be others. Photographs of the test part are not opened,
    but to draw a plan where none is given, and to confirm the choice where that is asked for.

    Args:
        search: The settings.
        out: The folder of the search.
        options: How it is run.

    Returns:
        What was found; None in a worker of a search on several machines, which leaves that to the chief.

    Raises:
        MvdefectError: Of its many kinds, for whatever is wrong with settings, data, weights or `out`.
        SearchError: No trial completed, or the search cannot go on.
    """
    began, base = time.monotonic(), make_base(search)
    parse_contract(base.contract, base.require)
    base = base.model_copy(update={"data": resolve_sources(require_data(base))})
    planned = read_plan_for_fit(base.split, TUNE_NEEDS) if base.split else None
    records = options.records or find_records(base, TUNE_NEEDS)
    base = check_region(base, records)
    space = make_space(base, search.space, search.weights)
    weights = {name: _find_weights(space, name) for name in map(str, space.list_values("backbone"))}
    if is_worker():
        wait_for_chief(out)
        if changed := list_changes(out, search, weights):
            raise SearchError(f"the chief searches with other settings ({', '.join(changed)})")
        plan = read_split_plan(out / PLAN)
        space = _suit(space, records, plan)
        _search(_Workplace(search, space, records, weights, plan, out, options))
        return None
    with claim_folder(out, search, weights, options.overwrite):
        plan = _settle_plan(out, planned, records, base)
        space = _suit(space, records, plan)
        place = _announce(_Workplace(search, space, records, weights, plan, out, options), began)
        tuner, until = _search(place)
        summary = _choose(place, _summarise(place, tuner), until)
        return _confirm(place, summary) if options.confirm else summary


def _announce(place: _Workplace, began: float) -> _Workplace:
    """Say what will be done and how long it takes, before anything slow begins."""
    search, options, plan = place.search, place.options, place.plan
    folds, fits = search.refits.folds or choose_fold_count(plan), 2 * options.confirm + options.later_fits
    schedule = plan_schedule(search, folds, fits, began, options.workers)
    for step in describe_schedule(schedule, search.strategy, place.epochs):
        logger.info(step)
    if options.function is None and not (place.out / FOLDER).is_dir():
        config = place.space.configure(place.space.describe_base())
        train, val = (len(plan.select(part)) for part in ("train", "val"))
        with show_life(lambda: "measuring how long a training takes"):
            pace = measure_pace(config, place.weights[config.backbone], train, val)
        schedule = replace(schedule, pace=pace)
        logger.info(describe_time(schedule))
    return replace(place, schedule=schedule)


def _find_weights(space: SearchSpace, backbone: str) -> Path | None:
    return find_weights(find_backbone(backbone), space.weights[backbone])


def is_worker() -> bool:
    """Whether KerasTuner's variables make this process a worker of a search on several machines."""
    return "KERASTUNER_ORACLE_IP" in os.environ and CHIEF not in os.environ.get("KERASTUNER_TUNER_ID", CHIEF)


def _settle_plan(
    out: Path, planned: SplitPlan | None, records: tuple[Record, ...], config: FitConfig
) -> SplitPlan:
    """Take the plan that is given, or that of an earlier session, or draw one."""
    path = out / PLAN
    earlier = read_split_plan(path) if path.is_file() else None
    if earlier is not None and planned is not None and earlier.digest != planned.digest:
        raise RunExistsError(
            f"the search {out} was begun with another split plan ({earlier.digest[:12]}) than {config.split} "
            f"({planned.digest[:12]}), which has another test part; name another folder with --out"
        )
    planned = planned or earlier or divide_photographs(records, config, TUNE_NEEDS)
    if earlier is None:
        write_split_plan(planned, path)
    log_plan(planned)
    return planned


def _prepare_parts(place: _Workplace, plan: SplitPlan) -> TrainingParts:
    """Bring train and val, and nothing else, to every size that is searched."""
    kept, base = leave_test_out(plan), place.space.base
    chosen = _leave_test_out(place.records, plan)
    decoding = settle_decoding(place.records, choose_decoding(base))
    base = base.model_copy(update={"bits": decoding.bits or base.bits})  # those of all images, test included
    sources = {}
    for size_px in dict.fromkeys(place.space.frames.values()):
        for resize in place.space.list_values("resize"):
            config = base.model_copy(update={"resolution": size_px, "resize": resize})
            sources[config.size_px, resize] = prepare_photographs(chosen, config, kept).get_sources()
    train = {key: found["train"] for key, found in sources.items()}
    return TrainingParts(train, {key: found["val"] for key, found in sources.items()}, place.weights)


def _suit(space: SearchSpace, records: tuple[Record, ...], plan: SplitPlan) -> SearchSpace:
    seen = _leave_test_out(records, plan)
    return space.suit(read_sizes(seen), read_defects(seen))


def _leave_test_out(records: tuple[Record, ...], plan: SplitPlan) -> tuple[Record, ...]:
    ids = {row.id for row in leave_test_out(plan).rows}
    return tuple(record for record in records if record.id in ids)


def _search(place: _Workplace) -> tuple[InspectorTuner, float | None]:
    """Run what is left of the search.

    Returns:
        The tuner, and when the refits must be over, by `time.monotonic`; None: at any time.
    """
    options, inspector = place.options, InspectorHyperModel(place.space, _prepare_parts(place, place.plan))
    job = (place.search, inspector, place.out)
    tuner = make_tuner(*job, options.function, place.schedule)
    if done := len(tuner.oracle.end_order):
        logger.info("taking up the search in %s: %d trials are done", place.out, done)
    minutes = place.search.minutes
    until = None if minutes is None else time.monotonic() + 60 * minutes - tuner.oracle.count_seconds()
    is_shared = options.workers > 1 and "KERASTUNER_ORACLE_IP" not in os.environ
    with show_life(lambda: _describe_trials(place), is_shared):
        if not is_shared:
            try:
                tuner.search()
            except keras_tuner.errors.FatalError as error:
                raise SearchError(str(error)) from error
        elif not tuner.oracle.is_over:
            search_with_workers(
                ClusterJob(*job, options.workers, options.function, options.set_up, place.schedule)
            )
    if is_shared:
        tuner = make_tuner(*job, None, place.schedule)
        tuner.oracle.ended = tuner.oracle.find_end() or "there is nothing more to try"
    if until is not None and minutes is not None:
        until -= find_closing(60 * minutes)
        if place.schedule and (pace := tuner.oracle.find_refit_pace()):
            until -= place.schedule.find_fits(pace)
    return tuner, until


def _describe_trials(place: _Workplace) -> str:
    return describe_running(place.out / FOLDER, is_over, place.epochs)


def _summarise(place: _Workplace, tuner: InspectorTuner) -> SearchSummary:
    """Write what the search found, before anything is trained again."""
    trials, search = read_trials(tuner), place.search
    write_trials(trials, place.space.names, place.out)
    if not any(trial.status == COMPLETED for trial in trials):
        trouble = next((trial.trouble for trial in trials if trial.trouble), "none was begun")
        raise SearchError(f"no trial completed: {trouble}")
    with show_life(lambda: "measuring which settings matter"):
        importances = measure_importances(trials, search.seed)
    summary = SearchSummary(
        title=place.out.name,
        objective=search.objective,
        direction=search.direction,
        trials=trials,
        ended=tuner.oracle.ended,
        importances=importances,
        leaderboard=None,
        confirmations=(),
        settings=dump_search(search),
        best="",
        notes=place.plan.notes,
    )
    write_search_page(summary, place.out / REPORT)
    return summary


def _choose(place: _Workplace, summary: SearchSummary, until: float | None) -> SearchSummary:
    """Train the best again, and write what is recommended."""
    search, options, out = place.search, place.options, place.out
    count = search.refits.folds or choose_fold_count(place.plan)
    folds = draw_folds(place.plan, count, search.seed)
    with show_life(lambda: "preparing the folds", is_shared=True):
        parts = [_prepare_parts(place, fold) for fold in folds]
    candidates = choose_candidates(summary.trials, search, place.space.describe_base())
    logger.info(
        "the search ended: %s; now %d configurations are trained again", summary.ended, len(candidates)
    )
    with show_life(lambda: describe_running(out / REFITS, is_over, place.epochs)):
        runs = refit_candidates(
            candidates, place.space, parts, search, out, options.workers, options.function, until
        )
    with show_life(lambda: "comparing the refits"):
        board = make_leaderboard(runs, candidates, folds, place.space, search)
    write_leaderboard(board, place.space.names, out)
    config = complete_config(place.space.configure(board.find(board.recommended).values), out)
    summary = replace(summary, leaderboard=board, best=_write_best(config, board, out))
    write_search_page(summary, out / REPORT)
    return summary


def _confirm(place: _Workplace, summary: SearchSummary) -> SearchSummary:
    """Open the test part, now that everything is settled; the default needs no comparison with itself."""
    if summary.leaderboard is not None and summary.leaderboard.recommended == DEFAULT:
        logger.info("the default configuration is recommended, so there is nothing to confirm")
        return summary
    default = complete_config(place.space.base, place.out)
    found = confirm_choice(
        read_best(place.out), default, place.options.confirm, place.out, place.options.workers
    )
    summary = replace(summary, confirmations=(found,))
    write_search_page(summary, place.out / REPORT)
    return summary


def complete_config(config: FitConfig, out: Path) -> FitConfig:
    """Return settings that mean the same wherever they are read: with the search's plan, and every rate."""
    stages = plan_stages(config, find_backbone(config.backbone))
    explicit = tuple(StageConfig(**asdict(stage)) for stage in stages)
    is_file = Path(config.weights).is_file()
    weights = str(Path(config.weights).resolve()) if is_file else config.weights
    changes = {"split": (out / PLAN).resolve(), "stages": explicit, "weights": weights}
    return config.model_copy(update=changes)


def read_best(out: Path) -> FitConfig:
    """Return the settings that a search recommends."""
    return load_config(out / BEST, {})


def _write_best(best: FitConfig, board: Leaderboard, out: Path) -> str:
    text = dump_config(best)
    command = f"mvdefect fit --config {out / BEST}"
    write_text(out / BEST, f"# What `mvdefect tune` recommends. {board.reason}\n# Command: {command}\n{text}")
    return text
