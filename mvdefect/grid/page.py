"""The report over a benchmark: a table a protocol, as Markdown and as one self-contained HTML file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from mvdefect.core.files import write_text
from mvdefect.grid.results import COLUMNS, ResultRow, Summary, summarise
from mvdefect.report.page import make_environment

HEADINGS = ("method", "figures", *COLUMNS.values())
EXPLANATION = (
    "Means over categories, plans and seeds; ±: standard deviation over seeds, each averaged over its "
    "categories and plans. Figures of different protocols are not comparable with each other."
)


def write_grid_report(rows: Sequence[ResultRow], grid: Path, out: Path) -> Path:
    """Write `report.html` and `report.md` beside the results; return the page.

    Args:
        rows: All results.
        grid: The grid's file, which is printed as it is.
        out: The benchmark's folder.
    """
    write_text(out / "report.md", describe_grid(rows) + "\n")
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
        )
    )
    page = out / "report.html"
    write_text(page, html)
    return page


def describe_grid(rows: Sequence[ResultRow]) -> str:
    """Return the tables as Markdown."""
    lines = []
    for title, found in _group(rows):
        lines += [f"## {title}", "", f"| {' | '.join(HEADINGS)} |", f"|{' --- |' * len(HEADINGS)}"]
        lines += [f"| {' | '.join(cells)} |" for cells in _list_cells(found)]
        lines.append("")
    failed = [f"- {row.plan}: {row.trouble}" for row in rows if row.trouble]
    if failed:
        lines += ["## Not measured", "", *failed, ""]
    return "\n".join([*lines, EXPLANATION])


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
