"""The report over a benchmark: a table a protocol, as Markdown and as one self-contained HTML file."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, groupby
from pathlib import Path

import numpy as np

from mvdefect.core.files import write_text
from mvdefect.grid.results import COLUMNS, ResultRow, Summary, name_protocol, summarise
from mvdefect.grid.standing import HEADINGS as STANDING_HEADINGS
from mvdefect.grid.standing import Standing, describe_verdict, list_standing_cells
from mvdefect.report.page import make_environment

HEADINGS = ("method", "figures", *COLUMNS.values())
STANDING_TITLE = "The default and the best of its baselines"
WEIGHTED_TITLE = "Accuracy, images weighted by the confidence of their label"
WEIGHTED_HEADINGS = ("data, protocol", "method", "figures", "accuracy")
EXPLANATION = (
    "Means over categories, plans and seeds; ±: standard deviation over seeds, each averaged over its "
    "categories and plans. Figures of different protocols are not comparable with each other."
)


def write_grid_report(
    rows: Sequence[ResultRow],
    grid: Path,
    out: Path,
    standings: Sequence[Standing] = (),
    skipped: Sequence[str] = (),
) -> Path:
    """Write `report.html` and `report.md` beside the results; return the page.

    Args:
        rows: All results.
        grid: The grid's file, which is printed as it is.
        out: The benchmark's folder.
        standings: The default beside its baselines, where the grid names one.
        skipped: Why a source was left out, one line each.
    """
    write_text(out / "report.md", describe_grid(rows, standings, skipped) + "\n")
    html = (
        make_environment()
        .get_template("grid.html")
        .render(
            tables=[(title, _list_cells(found)) for title, found in _group(rows)],
            headings=HEADINGS,
            rows=rows,
            figures=COLUMNS,
            explanation=EXPLANATION,
            grid=grid.read_text(encoding="utf-8"),
            is_known=math.isfinite,
            standings=list_standing_cells(standings),
            standing_headings=STANDING_HEADINGS,
            standing_title=STANDING_TITLE,
            weighted=_list_weighted(rows),
            weighted_headings=WEIGHTED_HEADINGS,
            weighted_title=WEIGHTED_TITLE,
            verdict=describe_verdict(standings),
            skipped=skipped,
        )
    )
    page = out / "report.html"
    write_text(page, html)
    return page


def describe_grid(
    rows: Sequence[ResultRow], standings: Sequence[Standing] = (), skipped: Sequence[str] = ()
) -> str:
    """Return the tables as Markdown; that of the default comes last."""
    lines = []
    for title, found in _group(rows):
        lines += [f"## {title}", "", *_make_table(HEADINGS, _list_cells(found)), ""]
    if weighted := _list_weighted(rows):
        lines += [f"## {WEIGHTED_TITLE}", "", *_make_table(WEIGHTED_HEADINGS, weighted), ""]
    missing = [*skipped, *(f"{row.plan}: {row.trouble}" for row in rows if row.trouble)]
    if missing:
        lines += ["## Not measured", "", *(f"- {one}" for one in missing), ""]
    lines += [EXPLANATION]
    if standings:
        table = _make_table(STANDING_HEADINGS, list_standing_cells(standings))
        lines += ["", f"## {STANDING_TITLE}", "", *table, ""]
        lines.append(describe_verdict(standings))
    return "\n".join(lines)


def _make_table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    rule = f"|{' --- |' * len(headings)}"
    return [f"| {' | '.join(headings)} |", rule, *(f"| {' | '.join(row)} |" for row in cells)]


def _list_weighted(rows: Sequence[ResultRow]) -> list[list[str]]:
    """Return the accuracy by confidence of each method of the sources whose labels are not all sure."""
    known: defaultdict[str, defaultdict[str, list[ResultRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if math.isfinite(row.weighted_accuracy):
            known[f"{row.data}, {name_protocol(row)}"][row.method].append(row)
    return [
        [title, method, str(len(found)), f"{np.mean([row.weighted_accuracy for row in found]):.3f}"]
        for title, by_method in known.items()
        if any(map(_is_weighted, chain.from_iterable(by_method.values())))
        for method, found in by_method.items()
    ]


def _is_weighted(row: ResultRow) -> bool:
    return row.weighted_accuracy != row.figures["accuracy"]


def _group(rows: Sequence[ResultRow]) -> list[tuple[str, list[Summary]]]:
    def name(summary: Summary) -> str:
        return f"{summary.data}, {summary.protocol}"

    return [(title, list(found)) for title, found in groupby(summarise(rows), name)]


def _list_cells(summaries: Sequence[Summary]) -> list[list[str]]:
    table = []
    for summary in summaries:
        count = str(summary.measured) + (f" ({summary.failed} failed)" if summary.failed else "")
        figures = [_format(summary.means[name], summary.spread[name]) for name in COLUMNS]
        table.append([summary.method, count, *figures])
    return table


def _format(mean: float, spread: float) -> str:
    if math.isnan(mean):
        return "not defined"
    return f"{mean:.3f}" if math.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"
