"""`mvdefect benchmark`: every cell of a grid, one row of a CSV each; what is finished is not run again."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from mvdefect.config import FitConfig, apply_settings, dump_config
from mvdefect.core.errors import ConfigError, ContractError, LayoutError, MvdefectError
from mvdefect.core.files import write_text
from mvdefect.core.locks import hold
from mvdefect.core.progress import logger
from mvdefect.data.groups.grouping import group_records
from mvdefect.data.images import choose_decoding
from mvdefect.data.scan import scan_images
from mvdefect.data.sources.opening import open_configured, resolve_sources
from mvdefect.data.splits.plan import SplitPlan, save_plans
from mvdefect.data.splits.protocols import WITHOUT_DEFECTS, draw_plans
from mvdefect.evaluation.contracts import UNMET
from mvdefect.evaluation.evaluate import Evaluation, evaluate_run
from mvdefect.grid.results import COLUMNS, ResultRow, read_results, write_results
from mvdefect.grid.settings import POOLED, Cell, Grid, list_cells, make_config, read_grid
from mvdefect.runs import RunFolder


def run_benchmark(path: Path, out: Path) -> tuple[ResultRow, ...]:
    """Run all cells of a grid that are not finished, and write `results.csv` after each.

    A cell that fails is recorded with its reason and tried again by the next call; the others go on.

    Args:
        path: The grid, as YAML.
        out: Where plans, runs and results go.

    Returns:
        All rows, in the order of the grid.

    Raises:
        ConfigError: The grid is damaged, or a setting is not allowed.
        InUseError: Another process is measuring into that folder.
        MvdefectError: A source cannot be read.
    """
    grid = read_grid(path)
    categories = {data: _list_categories(data, grid) for data in grid.data}
    rows: list[ResultRow] = []
    cells = list(list_cells(grid, categories))
    names = [cell.name for cell in cells]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"the grid {path}: two cells are called {twice}; give sources names of their own")
    out.mkdir(parents=True, exist_ok=True)
    with hold(out / "results.csv"):
        earlier = read_results(out)
        seconds = {row.plan: row.seconds for row in earlier}
        for number, cell in enumerate(cells, start=1):
            logger.info("cell %d of %d: %s", number, len(cells), cell.name)
            rows += _run_cell(cell, grid, out, seconds)
            left = [row for row in earlier if row.cell in names[number:]]  # an interrupt loses nothing
            write_results(out, [*rows, *left])
    return tuple(rows)


def _list_categories(data: str, grid: Grid) -> tuple[str, ...]:
    shared = apply_settings({**grid.settings, "data": [data], "categories": grid.only})
    records = open_configured(shared).records
    needy = [str(protocol) for protocol in grid.protocols if protocol.name not in WITHOUT_DEFECTS]
    if needy and not any(record.label for record in records):
        raise LayoutError(
            f"the protocol {needy[0]} needs defective images, but none of the {len(records)} images in "
            f"{data} is defective; good images alone serve for {', '.join(WITHOUT_DEFECTS)}"
        )
    return tuple(sorted({record.category for record in records}))


def _run_cell(cell: Cell, grid: Grid, out: Path, seconds: dict[str, float]) -> list[ResultRow]:
    wanted = grid.only if cell.category == POOLED else (cell.category,)
    config = make_config(grid, cell.method).model_copy(
        update={"data": resolve_sources([cell.data]), "categories": wanted, "seed": cell.seed}
    )
    try:
        plans = _draw(cell, config, out)
    except MvdefectError as error:
        logger.warning("%s: %s", cell.name, error)
        return [_begin_row(cell, cell.name, str(error))]
    rows = []
    for path, plan in plans:
        name = cell.name if len(plans) == 1 else f"{cell.name}+{path.stem}"
        try:
            evaluation, spent = _measure(config, path, out / "runs" / name)
        except Exception as error:  # whatever it is, the other cells go on
            logger.warning("%s: %s", name, error, exc_info=not isinstance(error, MvdefectError))
            rows.append(_begin_row(cell, name, str(error)))
            continue
        rows.append(_describe(cell, name, plan, evaluation, spent or seconds.get(name, float("nan"))))
    return rows


def _draw(cell: Cell, config: FitConfig, out: Path) -> list[tuple[Path, SplitPlan]]:
    """Draw the plans of a cell; those of another method on the same data are the same files."""
    layout = open_configured(config)
    scan = scan_images(layout.records, config.skip_broken, decoding=choose_decoding(config))
    groups = group_records(scan, config.near_duplicates)
    plans = draw_plans(scan, groups, cell.protocol.name, cell.seed, k=cell.protocol.k, n=cell.protocol.n)
    folder = out / "plans" / cell.name.replace(f"+{cell.method}+", "+")
    return list(zip(save_plans(plans, folder), plans, strict=True))


def _measure(config: FitConfig, plan: Path, run: Path) -> tuple[Evaluation, float]:
    """Return the figures of a run, and how long it took to make.

    It is made where it is not there, and made again where the grid has other settings now.
    """
    started = time.perf_counter()
    spent = 0.0
    planned = config.model_copy(update={"split": plan})
    wanted, settings = dump_config(planned), run.with_name(run.name + ".yaml")
    is_known = settings.is_file() and settings.read_text(encoding="utf-8") == wanted
    if not (is_known and RunFolder(run).is_finished):
        run.parent.mkdir(parents=True, exist_ok=True)
        write_text(settings, wanted)
        if config.baseline is None:
            from mvdefect.workflow.fit import fit_inspector

            evaluation = fit_inspector(planned, run, overwrite=True).evaluation
        else:
            from mvdefect.baselines.run import run_baseline

            evaluation = run_baseline(config.baseline, planned, run, overwrite=True).evaluation
        spent = time.perf_counter() - started
    else:
        evaluation = evaluate_run(run)
    if UNMET in evaluation.operating_point.guarantee and evaluation.requirement is None:
        raise ContractError(evaluation.operating_point.guarantee)
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
    )


def _begin_row(cell: Cell, name: str, trouble: str = "") -> ResultRow:
    """Return a row of which nothing is measured."""
    unknown = dict.fromkeys(("roc_auc_low", "roc_auc_high", "seconds"), float("nan"))
    return ResultRow(
        cell=cell.name,
        data=cell.data,
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
