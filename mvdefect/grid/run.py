"""`mvdefect benchmark`: every cell of a grid, one row of a CSV each; what is finished is not run again."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from mvdefect.baselines.memory import remember_descriptions
from mvdefect.config import FitConfig, apply_settings, dump_config
from mvdefect.core.errors import ConfigError, ContractError, LayoutError, MvdefectError
from mvdefect.core.files import escape_name, write_text
from mvdefect.core.locks import hold
from mvdefect.core.progress import logger
from mvdefect.data.groups.grouping import Groups, group_records
from mvdefect.data.images import choose_decoding
from mvdefect.data.records import Record
from mvdefect.data.scan import Scan, scan_images
from mvdefect.data.sources.opening import are_there, log_notes, open_configured, open_source, resolve_sources
from mvdefect.data.splits.plan import SplitPlan, save_plans
from mvdefect.data.splits.protocols import WITHOUT_DEFECTS, draw_plans
from mvdefect.data.splits.withheld import limit_learning
from mvdefect.evaluation.contracts import UNMET
from mvdefect.evaluation.evaluate import Evaluation, evaluate_run
from mvdefect.grid.forecast import Forecast, forecast
from mvdefect.grid.results import COLUMNS, ResultRow, read_results, weigh_accuracy, write_results
from mvdefect.grid.settings import POOLED, Cell, Grid, SourceChoice, list_cells, make_config, read_grid
from mvdefect.models.backbones import find_backbone
from mvdefect.models.choice import name_network
from mvdefect.models.weights import find_weights
from mvdefect.runs import RunFolder

NAMED_WEIGHTS = ("imagenet", "texture", "none")
LOOK = {  # settings on which the scan and the groups of images depend
    *("data", "categories", "good", "label_pattern", "group_pattern", "part_pattern"),
    *("near_duplicates", "skip_broken", "bits", "max_megapixels"),
}


@dataclass(frozen=True)
class Work:
    """What a benchmark is going to do.

    Attributes:
        grid: What was asked for.
        records: The images of each source that is there, by its name.
        cells: All cells, in the order of the grid.
        skipped: Why a source has no cells, one line each.
    """

    grid: Grid
    records: dict[str, tuple[Record, ...]]
    cells: tuple[Cell, ...]
    skipped: tuple[str, ...]

    def forecast(self, out: Path) -> tuple[Forecast, ...]:
        """Count what there is to measure and estimate its time; `out` holds what is measured already."""
        return forecast(self.grid, self.cells, self.records, read_results(out))


def plan_work(path: Path, quick: bool = False) -> Work:
    """Read a grid and find the images of its sources; a source that is not on this machine is skipped.

    Args:
        path: The grid, as YAML.
        quick: See `read_grid`.

    Raises:
        ConfigError: The grid is damaged, a setting is not allowed, or two cells have one name.
        LayoutError: No source is there, or one cannot be read.
        WeightsError: A file of weights is not there.
    """
    grid = read_grid(path, quick)
    missing = [source for source in grid.data if not are_there([source.path])]
    skipped = tuple(f"{one.name} is skipped: {_explain_absence(one)}" for one in missing)
    if len(missing) == len(grid.data):
        raise LayoutError(f"the grid {path}: no source is there; {'; '.join(skipped)}")
    _check_weights(grid)
    records = {source.name: _find_records(source, grid) for source in grid.data if source not in missing}
    categories = {name: tuple(sorted({one.category for one in found})) for name, found in records.items()}
    cells = tuple(list_cells(grid, categories))
    names = Counter(cell.name for cell in cells)
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise ConfigError(f"the grid {path}: two cells are called {twice}; give sources names of their own")
    return Work(grid, records, cells, skipped)


def run_benchmark(work: Work | Path, out: Path) -> tuple[ResultRow, ...]:
    """Run all cells of a grid that are not finished, and write `results.csv` after each.

    A cell that fails is recorded with its reason and tried again by the next call; the others go on.

    Args:
        work: What `plan_work` returned, or the grid, as YAML.
        out: Where plans, runs and results go.

    Returns:
        All rows, in the order of the grid.

    Raises:
        InUseError: Another process is measuring into that folder.
        MvdefectError: As for `plan_work`.
    """
    if isinstance(work, Path):
        work = plan_work(work)
    rows: list[ResultRow] = []
    names, draws = [cell.name for cell in work.cells], _Draws(work.grid)
    out.mkdir(parents=True, exist_ok=True)
    with hold(out / "results.csv"), remember_descriptions():
        earlier = read_results(out)
        seconds = {row.plan: row.seconds for row in earlier}
        for number, cell in enumerate(work.cells, start=1):
            logger.info("cell %d of %d: %s", number, len(names), cell.name)
            confidences = {one.id: one.confidence for one in work.records[cell.source.name]}
            rows += _run_cell(cell, draws, out, seconds, confidences)
            left = [row for row in earlier if row.cell in names[number:]]  # an interrupt loses nothing
            write_results(out, [*rows, *left])
    return tuple(rows)


def _check_weights(grid: Grid) -> None:
    """Refuse a file of weights that is not there before hours of cells that need it."""
    for config in (name_network(make_config(grid, method)) for method in grid.methods):
        if config.weights not in NAMED_WEIGHTS:
            find_weights(find_backbone(config.backbone), config.weights)


def _explain_absence(source: SourceChoice) -> str:
    try:
        open_source(source.path)
    except MvdefectError as error:
        return str(error)
    return f"{escape_name(source.path)} is not there"


def _find_records(source: SourceChoice, grid: Grid) -> tuple[Record, ...]:
    shared = apply_settings(
        {**grid.settings, **source.settings, "data": [source.path], "categories": grid.only}
    )
    layout = open_configured(shared)
    log_notes(layout)
    records = layout.records
    mine = [one for one in grid.protocols if not one.data or source.name in one.data]
    needy = [str(protocol) for protocol in mine if protocol.name not in WITHOUT_DEFECTS]
    if needy and not any(record.label for record in records):
        raise LayoutError(
            f"the protocol {needy[0]} needs defective images, but none of the {len(records)} images in "
            f"{source.path} is defective; good images alone serve for {', '.join(WITHOUT_DEFECTS)}"
        )
    return records


class _Draws:
    """Draws the plans of cells; images that several cells share are looked at and grouped once."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._looked: dict[str, tuple[Scan, Groups]] = {}

    def configure(self, cell: Cell) -> FitConfig:
        """Return the settings of a cell, without a plan."""
        wanted = self.grid.only if cell.category == POOLED else (cell.category,)
        return make_config(self.grid, cell.method, cell.source).model_copy(
            update={"data": resolve_sources([cell.source.path]), "categories": wanted, "seed": cell.seed}
        )

    def draw(self, cell: Cell, config: FitConfig, out: Path) -> dict[str, tuple[Path, SplitPlan]]:
        """Draw the plans of a cell by name of the figure; those of other methods are the same files."""
        scan, groups = self._look(config)
        protocol, limit = cell.protocol, self.grid.learn
        plans = draw_plans(scan, groups, protocol.name, cell.seed, k=protocol.k, n=protocol.n)
        if limit is not None:
            plans = tuple(limit_learning(plan, limit) for plan in plans)
        folder = out / "plans" / (cell.draw_name + (f"+learn{limit}" if limit else ""))
        paths = save_plans(plans, folder)
        names = [cell.name if len(plans) == 1 else f"{cell.name}+{path.stem}" for path in paths]
        return {names[number]: (paths[number], plans[number]) for number in cell.list_turns(len(plans))}

    def _look(self, config: FitConfig) -> tuple[Scan, Groups]:
        key = config.model_dump_json(include=LOOK)
        if key not in self._looked:
            records = open_configured(config).records
            scan = scan_images(records, config.skip_broken, decoding=choose_decoding(config))
            self._looked[key] = scan, group_records(scan, config.near_duplicates)
        return self._looked[key]


def _run_cell(
    cell: Cell, draws: _Draws, out: Path, seconds: dict[str, float], confidences: dict[str, float]
) -> list[ResultRow]:
    config = draws.configure(cell)
    try:
        plans = draws.draw(cell, config, out)
    except MvdefectError as error:
        logger.warning("%s: %s", cell.name, error)
        return [_begin_row(cell, cell.name, str(error))]
    rows = []
    for name, (path, plan) in plans.items():
        try:
            evaluation, spent = _measure(config.model_copy(update={"split": path}), out / "runs" / name)
        except Exception as error:  # whatever it is, the other cells go on
            logger.warning("%s: %s", name, error, exc_info=not isinstance(error, MvdefectError))
            rows.append(_begin_row(cell, name, str(error)))
            continue
        row = _describe(cell, name, plan, evaluation, spent or seconds.get(name, float("nan")))
        if any(value < 1 for value in confidences.values()):
            row = replace(row, weighted_accuracy=weigh_accuracy(out / "runs" / name, confidences))
        rows.append(row)
    return rows


def _measure(config: FitConfig, run: Path) -> tuple[Evaluation, float]:
    """Return the figures of a run, and how long it took to make.

    It is made where it is not there, and made again where the grid has other settings now.
    """
    started = time.perf_counter()
    spent = 0.0
    wanted, settings = dump_config(config), run.with_name(run.name + ".yaml")
    is_known = settings.is_file() and settings.read_text(encoding="utf-8") == wanted
    if not (is_known and RunFolder(run).is_finished):
        run.parent.mkdir(parents=True, exist_ok=True)
        write_text(settings, wanted)
        if config.baseline is None:
            from mvdefect.workflow.fit import fit_inspector

            evaluation = fit_inspector(config, run, overwrite=True).evaluation
        else:
            from mvdefect.baselines.run import run_baseline

            evaluation = run_baseline(config.baseline, config, run, overwrite=True).evaluation
        spent = time.perf_counter() - started
    else:
        evaluation = evaluate_run(run)
    guarantee = evaluation.decisive.operating_point.guarantee
    if UNMET in guarantee and evaluation.requirement is None:
        raise ContractError(guarantee)
    return evaluation, spent


def _describe(cell: Cell, name: str, plan: SplitPlan, found: Evaluation, seconds: float) -> ResultRow:
    return replace(
        _begin_row(cell, name),
        protocol=plan.protocol,
        digest=plan.digest,
        images=found.images,
        defective=found.defective,
        roc_auc_low=found.figures["roc_auc"].low,
        roc_auc_high=found.figures["roc_auc"].high,
        seconds=round(seconds, 1),
        figures={name: found.figures[name].value for name in COLUMNS},
        weighted_accuracy=found.figures["accuracy"].value,
    )


def _begin_row(cell: Cell, name: str, trouble: str = "") -> ResultRow:
    """Return a row of which nothing is measured."""
    unknown = dict.fromkeys(("roc_auc_low", "roc_auc_high", "seconds"), float("nan"))
    return ResultRow(
        cell=cell.name,
        data=cell.source.name,
        category=cell.category,
        protocol=str(cell.protocol),
        plan=name,
        method=cell.method,
        seed=cell.seed,
        digest="",
        images=0,
        defective=0,
        trouble=trouble,
        figures=dict.fromkeys(COLUMNS, float("nan")),
        **unknown,
    )
