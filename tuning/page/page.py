"""The page of a search: one HTML file that opens without a network, with all that was tried."""

from __future__ import annotations

from pathlib import Path

from mvdefect.core.files import write_text
from mvdefect.core.version import __version__
from mvdefect.report.page import make_environment
from tuning.page.plots import draw_importances, draw_learning_curves, draw_refits, draw_slices
from tuning.page.rows import (
    list_columns,
    list_confirmations,
    list_heads,
    list_measured,
    list_rows,
    list_values,
)
from tuning.page.scales import find_fixed, list_hyperparameters
from tuning.page.wording import (
    OBJECTIVES,
    describe_fit,
    describe_fixed,
    name_candidate,
    name_roles,
    reach_answer,
)
from tuning.records import SearchSummary, list_completed

ICONS = {"fine": "✓", "care": "!", "stop": "✕"}


def write_search_page(summary: SearchSummary, path: Path) -> Path:
    """Write the page.

    Args:
        summary: The search, finished or not.
        path: The HTML file; its folder is made.

    Returns:
        The file.
    """
    roles = name_roles(summary)
    done = list_completed(summary.trials)
    fixed = find_fixed([trial.values for trial in done])
    names = list_hyperparameters(trial.values for trial in summary.trials)
    shown = tuple(name for name in names if name not in fixed)
    board = summary.leaderboard
    titles = {} if board is None else {one.name: name_candidate(one.name) for one in board.candidates}
    answer = reach_answer(summary)
    html = (
        make_environment(Path(__file__).parent / "templates")
        .get_template("search.html")
        .render(
            summary=summary,
            answer=answer,
            icon=ICONS[answer.advice],
            objective=OBJECTIVES.get(summary.objective, summary.objective),
            confirmations=list_confirmations(summary),
            heads=list_heads(summary, roles),
            measured=list_measured(summary),
            values=list_values(summary, names),
            troubles=[] if board is None else [one for one in board.candidates if one.trouble],
            refits=None if board is None else draw_refits(board, summary.objective, titles),
            completed=len(done),
            slices=draw_slices(summary, roles),
            fixed=describe_fixed(fixed),
            curves=draw_learning_curves(summary.trials, roles),
            importances=draw_importances(summary.importances),
            fit=describe_fit(summary.importances),
            columns=list_columns(summary, shown),
            rows=list_rows(summary, shown, roles),
            version=__version__,
        )
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, html)
    return path
