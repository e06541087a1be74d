"""Plots of a search: learning curves of all trials, refits of the best, importance of hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from mvdefect.report.plots import BAD, GOOD, GRID, HEIGHT_INCHES, INK, SOFT, Plot, draw_plot, name_in_plot
from tuning.page.scales import name_value
from tuning.records import Candidate, Importances, Leaderboard, TrialRecord

CROWD = 60  # more lines than this are drawn in a light colour
ROW_INCHES = 0.34
STYLES = (
    {"color": BAD, "linestyle": "-"},
    {"color": GOOD, "linestyle": "--"},
    {"color": INK, "linestyle": ":"},
)


def draw_learning_curves(trials: Sequence[TrialRecord], roles: Mapping[str, str]) -> Plot | None:
    """Draw validation ROC-AUC against epoch, one line a trial; None where no trial has an epoch.

    Args:
        trials: All trials, failed ones as far as they came.
        roles: Which trials stand out, by name.
    """
    begun = [trial for trial in trials if trial.history]
    if not begun:
        return None
    chosen = [trial for name in roles for trial in begun if trial.name == name][: len(STYLES)]
    rest = {"color": GRID if len(begun) > CROWD else SOFT, "linewidth": 0.8, "zorder": 1}

    def draw(axes: Any) -> None:
        for trial in begun:
            if trial not in chosen:
                _draw_curve(axes, trial, rest)
        for trial, style in zip(chosen, STYLES, strict=False):
            label = f"{name_in_plot(trial.name)}: {roles[trial.name]}"
            _draw_curve(axes, trial, {**style, "linewidth": 2.2, "zorder": 3, "label": label})
        axes.set(xlabel="epoch", ylabel="validation ROC-AUC")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if chosen:
            axes.figure.legend(loc="outside lower center", ncols=len(chosen))

    peaks = {trial.name: max(row.val_roc_auc for row in trial.history) for trial in chosen}
    ends = "; ".join(f"trial {name}, {roles[name]}, reaches {peak:.3f}" for name, peak in peaks.items())
    alt = f"Validation ROC-AUC against epoch, one line for each of {len(begun)} trials. {ends}".strip()
    return draw_plot("Learning curves of the trials", f"{alt.rstrip('.')}.", draw)


def _draw_curve(axes: Any, trial: TrialRecord, style: Mapping[str, Any]) -> None:
    epochs, values = zip(*((row.epoch, row.val_roc_auc) for row in trial.history), strict=True)
    axes.plot(epochs, values, marker="o" if len(epochs) == 1 else None, markersize=3, **style)


def draw_importances(importances: Importances) -> Plot | None:
    """Draw a bar a hyperparameter, with its spread over shuffles; None where there are none."""
    rows = importances.rows
    if not rows:
        return None

    def draw(axes: Any) -> None:
        places, values = range(len(rows)), [row.value for row in rows]
        axes.barh(places, values, 0.62, color=GOOD, linewidth=0)
        for place, row in enumerate(rows):
            axes.plot([row.value - row.spread, row.value + row.spread], [place] * 2, color=INK, linewidth=1.4)
        axes.axvline(0, color=SOFT, linewidth=1)
        _name_rows(axes, [row.name for row in rows])
        ends = [row.value + row.spread for row in rows]
        axes.set(xlabel="drop of R² when its values are shuffled", xlim=(None, 1.08 * max(*ends, 0.05)))
        axes.xaxis.set_major_locator(MaxNLocator(5))

    alt = "Importance of hyperparameters, drop of R² with standard deviation: " + "; ".join(
        f"{row.name} {row.value:.2f} (± {row.spread:.2f})" for row in rows
    )
    return draw_plot("Importance of hyperparameters", f"{alt}.", draw, _find_height(len(rows)))


def draw_refits(board: Leaderboard, objective: str, titles: Mapping[str, str]) -> Plot | None:
    """Draw a dot a refit and a line at the mean, one row a candidate; None where nothing was refitted.

    Args:
        board: The candidates.
        objective: Name of the score.
        titles: What each candidate is called.
    """
    shown = [one for one in board.candidates if one.refits]
    if not shown:
        return None

    def draw(axes: Any) -> None:
        for place, one in enumerate(shown):
            colour = BAD if one.name == board.recommended else GOOD
            for number, refit in enumerate(one.refits):
                off = 0.34 * ((number + 0.5) / len(one.refits) - 0.5)  # equal scores stay apart
                axes.plot(refit.score, place + off, "o", color=colour, markersize=4.5, alpha=0.75)
            axes.plot([one.mean] * 2, [place - 0.32, place + 0.32], color=INK, linewidth=2)
        _name_rows(axes, [titles[one.name] for one in shown])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set(xlabel=f"{objective}; a dot: one refit, a line: their mean")

    alt = f"Refits of the candidates, {objective}: " + "; ".join(_describe_refits(one) for one in shown)
    return draw_plot("Refits of the candidates", f"{alt}.", draw, _find_height(len(shown)))


def _describe_refits(one: Candidate) -> str:
    scores = ", ".join(name_value(refit.score) for refit in one.refits)
    return f"{one.name} {scores}, mean {one.mean:.4f}"


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [name_in_plot(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _find_height(rows: int) -> float:
    return min(max(1.4, 0.8 + ROW_INCHES * rows), 2 * HEIGHT_INCHES)
