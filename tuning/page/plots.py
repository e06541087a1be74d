"""Plots of a search: score against each hyperparameter, learning curves, refits of the best, importances."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from mvdefect.report.plots import (
    BAD,
    GOOD,
    GRID,
    HEIGHT_INCHES,
    INK,
    PAPER,
    SOFT,
    Plot,
    draw_plot,
    name_in_plot,
)
from tuning.page.scales import find_fixed, is_number, list_hyperparameters, name_value, spans_decades
from tuning.page.wording import BEST, RECOMMENDED, WINNER
from tuning.records import (
    DEFAULT,
    Candidate,
    Importances,
    Leaderboard,
    SearchSummary,
    TrialRecord,
    Value,
    list_completed,
)

CROWD = 60  # more lines than this are drawn in a light colour
ROW_INCHES = 0.34
STYLES = (
    {"color": BAD, "linestyle": "-"},
    {"color": GOOD, "linestyle": "--"},
    {"color": INK, "linestyle": ":"},
)
COLUMNS, PANEL_INCHES, WIDE_INCHES = 4, 2.3, 11.0
MAX_TICKS, NEAREST = 5, 0.12  # so few values, so far apart in shares of the axis, are ticks themselves
MAX_WORD, LEVEL_LETTERS = 14, 24  # of a category's label; of all labels that fit side by side
NOT_USED_AT = 1.05  # of a panel's width
TRIALS = {"color": SOFT, "marker": "o", "markersize": 4, "alpha": 0.6, "markeredgewidth": 0}
MARKS: dict[str, dict[str, Any]] = {
    RECOMMENDED: {"color": BAD, "marker": "D", "markersize": 6, "markeredgecolor": PAPER, "zorder": 5},
    WINNER: {"color": GOOD, "marker": "o", "markersize": 10, "markeredgecolor": PAPER, "zorder": 4},
    BEST: {"color": INK, "marker": "^", "markersize": 9, "markeredgecolor": PAPER, "zorder": 3},
}


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


def draw_slices(summary: SearchSummary, roles: Mapping[str, str]) -> Plot | None:
    """Draw the score against each hyperparameter that varied; None where none did.

    Args:
        summary: The search; of its trials, those that completed are shown.
        roles: Which trials stand out, by name.
    """
    names = _list_varied(summary)
    if not names:
        return None

    def draw(axes: Any) -> None:
        figure = axes.figure
        axes.remove()
        figure.get_layout_engine().set(wspace=0.07)  # room for what was not used
        draw_panels(figure, summary, roles)

    alt = _describe_slices(summary, names, roles)
    height = 0.4 + PANEL_INCHES * math.ceil(len(names) / COLUMNS)
    return draw_plot("Score against each hyperparameter", alt, draw, height, WIDE_INCHES)


def draw_panels(figure: Any, summary: SearchSummary, roles: Mapping[str, str]) -> None:
    """Fill a figure of matplotlib's with one panel a hyperparameter that varied, the most important first."""
    names = _list_varied(summary)
    rows = math.ceil(len(names) / COLUMNS)
    panels = list(figure.subplots(rows, COLUMNS, sharey=True, squeeze=False).flat)
    for panel, name in zip(panels, names, strict=False):
        _draw_panel(panel, name, summary, roles)
    for panel in panels[len(names) :]:
        panel.remove()
    if summary.direction == "min":
        panels[0].invert_yaxis()  # the better is above in any case
    figure.supylabel(summary.objective, fontsize="medium")
    lines = {line.get_label(): line for panel in figure.axes for line in panel.get_lines()}
    named = {label: line for label, line in lines.items() if not label.startswith("_")}
    if named:
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=len(named))


def _draw_panel(panel: Any, name: str, summary: SearchSummary, roles: Mapping[str, str]) -> None:
    done, default = list_completed(summary.trials), _find_default(summary).get(name)
    place = _set_axis(panel, [one.values[name] for one in done if name in one.values], default)
    _draw_points(panel, name, [one for one in done if one.name not in roles], place, TRIALS)
    for one in done:
        if one.name in roles:
            mark = MARKS[roles[one.name].split(", ")[0]]
            label = f"{name_in_plot(one.name)}: {roles[one.name]}"
            _draw_points(panel, name, [one], place, {**mark, "label": label})
    if any(name not in one.values for one in done):
        above = {"transform": panel.transAxes, "fontsize": 8, "color": SOFT}
        panel.text(NOT_USED_AT + 0.03, 1.05, "not used", ha="right", **above)
    at = None if default is None else place(default)
    if at is not None:
        label = f"{DEFAULT}: {roles[DEFAULT]}" if DEFAULT in roles else DEFAULT
        panel.axvline(at, color=BAD, linestyle="--", linewidth=1.2, zorder=2, label=label)
    panel.set_xlabel(name_in_plot(name))


def _describe_slices(summary: SearchSummary, names: Sequence[str], roles: Mapping[str, str]) -> str:
    """Say what the panels show, and where that stands which is marked."""
    done = list_completed(summary.trials)
    parts = [f"{summary.objective} of {len(done)} trials against {', '.join(names)}, one panel each"]
    parts += [
        f"trial {one.name}, {roles[one.name]}: {one.score:.4f}, {_list_values(one.values, names)}"
        for one in done
        if one.name in roles
    ]
    default = _find_default(summary)
    if default:
        parts.append(f"the default: {_list_values(default, names)}")
    return f"{'; '.join(parts)}."


def _list_varied(summary: SearchSummary) -> list[str]:
    """List the hyperparameters that differ among the completed trials, the most important first."""
    values = [trial.values for trial in list_completed(summary.trials)]
    order = {row.name: place for place, row in enumerate(summary.importances.rows)}
    names = set(find_fixed(values)) ^ set(list_hyperparameters(values))
    return sorted(names, key=lambda name: (order.get(name, len(order)), name))


def _find_default(summary: SearchSummary) -> Mapping[str, Value]:
    candidates = () if summary.leaderboard is None else summary.leaderboard.candidates
    return next((one.values for one in candidates if one.name == DEFAULT), {})


def _list_values(values: Mapping[str, Value], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {name_value(values.get(name, 'not used'))}" for name in names)


def _set_axis(panel: Any, values: Sequence[Value], default: Value | None) -> Callable[[Value], float | None]:
    """Set the axis for the values of a hyperparameter; what is returned places a value, or cannot: None."""
    numbers = sorted({float(value) for value in values if is_number(value)})
    if not all(map(is_number, values)):
        return _name_categories(panel, [*values, *(() if default is None else (default,))])
    is_log = spans_decades([float(value) for value in values])
    if is_log:
        steps = (1.0,) if numbers[-1] > 100 * numbers[0] else (1.0, 3.0)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=steps, numticks=MAX_TICKS + 1))
        panel.xaxis.set_minor_locator(NullLocator())
    else:
        near = any(b - a < NEAREST * (numbers[-1] - numbers[0]) for a, b in pairwise(numbers))
        is_short = len(numbers) <= MAX_TICKS and not near
        panel.xaxis.set_major_locator(FixedLocator(numbers) if is_short else MaxNLocator(MAX_TICKS))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda number, _: name_value(float(number))))
    return lambda value: float(value) if is_number(value) and (value > 0 or not is_log) else None


def _name_categories(panel: Any, values: Sequence[Value]) -> Callable[[Value], float | None]:
    names = sorted({name_value(value) for value in values})
    labels = [name_in_plot(name, MAX_WORD) for name in names]
    panel.set_xticks(range(len(names)), labels)
    panel.set_xlim(-0.5, len(names) - 0.5)
    if sum(map(len, labels)) > LEVEL_LETTERS:
        panel.tick_params(axis="x", labelrotation=30)
        for label in panel.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    return lambda value: float(names.index(name_value(value)))


def _draw_points(
    panel: Any,
    name: str,
    trials: Sequence[TrialRecord],
    place: Callable[[Value], float | None],
    style: Mapping[str, Any],
) -> None:
    """Draw trials at their values; those in which the hyperparameter played no part at the right edge."""
    used = [trial for trial in trials if name in trial.values]
    across = [place(trial.values[name]) for trial in used]
    panel.plot(across, [trial.score for trial in used], linestyle="none", **style)
    rest = [trial.score for trial in trials if name not in trial.values]
    if rest:
        at_edge = {"transform": panel.get_yaxis_transform(), "clip_on": False}
        panel.plot([NOT_USED_AT] * len(rest), rest, linestyle="none", **{**style, **at_edge})


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
