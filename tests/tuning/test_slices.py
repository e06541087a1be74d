"""The plot of the score against each hyperparameter: every trial at its values, marks, scales, odd names."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from matplotlib.figure import Figure

from tests.tuning.conftest import fail
from tuning.page.plots import draw_panels, draw_slices
from tuning.page.wording import name_roles
from tuning.records import DEFAULT, Importances, SearchSummary, TrialRecord, Value, list_completed

NOTHING = Importances((), math.nan)


def draw(summary: SearchSummary) -> dict[str, Any]:
    """Return the axes by their label."""
    figure = Figure(layout="constrained")
    draw_panels(figure, summary, name_roles(summary))
    figure.draw_without_rendering()
    return {panel.get_xlabel(): panel for panel in figure.axes}


def find_points(panel: Any, is_used: bool = True) -> list[tuple[float, float]]:
    """Return the points that lie at a value, or those beyond the edge."""
    lines = [line for line in panel.get_lines() if line.get_linestyle() == "None"]
    chosen = [line for line in lines if (line.get_transform() == panel.transData) == is_used]
    return sorted((float(x), float(y)) for line in chosen for x, y in line.get_xydata())


def find_ticks(panel: Any) -> list[str]:
    """Return the labels that can be seen."""
    low, high = panel.get_xlim()
    return [label.get_text() for label in panel.get_xticklabels() if low <= label.get_position()[0] <= high]


def make_search(search: SearchSummary, rows: list[dict[str, Value]]) -> SearchSummary:
    """Make a search of trials with these values and with scores 0.5, 0.51 and so on."""
    trials = [
        TrialRecord(f"{n:02d}", "completed", values, 0.5 + n / 100, 0.5, 0.5, (), 1.0, 1.0, 1, 1)
        for n, values in enumerate(rows)
    ]
    return replace(search, trials=tuple(trials), importances=NOTHING, leaderboard=None)


def test_every_completed_trial_is_a_point_at_its_value(search: SearchSummary) -> None:
    panels, done = draw(search), list_completed(search.trials)
    assert len(done) == len(search.trials) - 2
    assert list(panels) == [row.name for row in search.importances.rows]  # batch_size never varied
    for name in ("learning_rate", "dropout", "depth_blocks", "sharpness"):
        assert find_points(panels[name]) == sorted(
            (float(one.values[name]), one.score) for one in done if name in one.values
        )
        absent = sorted(one.score for one in done if name not in one.values)
        assert [score for _, score in find_points(panels[name], is_used=False)] == absent
    words = [find_ticks(panels["head"]).index(str(one.values["head"])) for one in done]
    assert find_points(panels["head"]) == sorted(zip(words, [one.score for one in done], strict=True))
    assert find_ticks(panels["head"]) == ["patch", "pooled"]
    assert find_ticks(panels["flip"]) == ["no", "yes"]
    assert [text.get_text() for text in panels["learning_rate"].texts] == ["not used"]
    assert list(panels["dropout"].texts) == []


def test_rates_stand_on_a_log_scale_and_few_values_are_ticks(search: SearchSummary) -> None:
    panels = draw(search)
    logs = {name for name, panel in panels.items() if panel.get_xscale() == "log"}
    assert logs == {"learning_rate", "head_learning_rate", "sharpness"}
    assert set(find_ticks(panels["learning_rate"])) >= {"0.0001", "0.001", "0.01"}
    assert find_ticks(panels["depth_blocks"]) == ["0", "1", "2", "4"]
    near = draw(make_search(search, [{"share": 0.1}, {"share": 0.101}, {"share": 0.9}]))
    assert "0.101" not in find_ticks(near["share"])


def test_the_choice_and_the_default_are_marked(search: SearchSummary) -> None:
    board = search.leaderboard
    assert board is not None
    chosen, best, default = (board.find(name) for name in (board.recommended, board.winner, DEFAULT))
    scores = {trial.name: trial.score for trial in search.trials}
    panel = draw(search)["dropout"]
    named = {line.get_label(): line for line in panel.get_lines() if line.get_label()[0] != "_"}
    recommended, winner = named[f"{chosen.name}: recommended"], named[f"{best.name}: winner, best trial"]
    assert recommended.get_xydata().tolist() == [[chosen.values["dropout"], scores[chosen.name]]]
    assert winner.get_xydata().tolist() == [[best.values["dropout"], scores[best.name]]]
    assert recommended.get_marker() != winner.get_marker()
    assert set(named[DEFAULT].get_xdata()) == {default.values["dropout"]}
    keeps = replace(search, leaderboard=replace(board, recommended=DEFAULT))
    labels = [line.get_label() for line in draw(keeps)["dropout"].get_lines()]
    assert f"{DEFAULT}: recommended" in labels
    assert [text.get_text() for text in draw(search)["flip"].figure.legends[0].texts] == list(named)


def test_a_default_that_no_trial_had_has_a_place_or_no_line(search: SearchSummary) -> None:
    board = search.leaderboard
    assert board is not None
    odd = replace(
        board.find(DEFAULT), values={"backbone": "resnet50", "learning_rate": 0.0, "dropout": "none"}
    )
    panels = draw(replace(search, leaderboard=replace(board, candidates=(odd,), winner="", recommended="")))
    lines = {
        name: [one for one in panel.get_lines() if one.get_label() == DEFAULT]
        for name, panel in panels.items()
    }
    assert {name for name, found in lines.items() if found} == {"backbone"}
    place = int(lines["backbone"][0].get_xdata()[0])
    assert panels["backbone"].get_xticklabels()[place].get_text() == "resnet50"
    assert panels["learning_rate"].get_xscale() == "log"


@pytest.mark.parametrize("direction", ["max", "min"])
def test_the_better_is_above(search: SearchSummary, direction: str) -> None:
    for panel in draw(replace(search, direction=direction)).values():
        assert panel.yaxis_inverted() == (direction == "min")


def test_the_alt_text_says_what_is_marked(search: SearchSummary) -> None:
    board = search.leaderboard
    assert board is not None
    plot = draw_slices(search, name_roles(search))
    assert plot is not None
    names = ", ".join(row.name for row in search.importances.rows)
    assert plot.alt.startswith(f"val_roc_auc of 22 trials against {names}, one panel each; ")
    chosen = next(trial for trial in search.trials if trial.name == board.recommended)
    assert f"trial {chosen.name}, recommended: {chosen.score:.4f}, backbone densenet121, " in plot.alt
    assert "sharpness not used" in plot.alt
    assert "the default: backbone densenet121, learning_rate 0.0001, depth_blocks 2, dropout 0.2" in plot.alt


def test_without_differences_there_is_no_plot(search: SearchSummary) -> None:
    assert draw_slices(replace(search, trials=search.trials[:1], importances=NOTHING), {}) is None
    assert draw_slices(make_search(search, [{"batch_size": 32}] * 3), {}) is None
    assert draw_slices(replace(search, trials=(), importances=NOTHING), {}) is None
    failed = tuple(fail(trial, "no memory") for trial in search.trials)
    assert draw_slices(replace(search, trials=failed, importances=NOTHING), {}) is None


def test_to_be_absent_is_a_difference(search: SearchSummary) -> None:
    panels = draw(make_search(search, [{"kind": "a"}, {}, {"kind": "a"}]))
    assert find_points(panels["kind"]) == [(0, 0.5), (0, 0.52)]
    assert [score for _, score in find_points(panels["kind"], is_used=False)] == [0.51]


def test_odd_names_are_shortened_and_escaped(search: SearchSummary) -> None:
    name, word = "_$x$<script>&" + "x" * 80, "$<b>" + "y" * 80
    odd = make_search(search, [{name: word}, {name: "b"}, {name: "$"}])
    plot = draw_slices(odd, {"00": "best trial"})
    assert plot is not None
    assert name in plot.alt
    drawn = plot.svg.split(">", 1)[1]  # behind the alt text, which is whole
    for text in ("<script", "<b>", "x" * 40, "y" * 40):
        assert text not in drawn
    assert "&lt;script&gt;" in drawn
    (label,) = draw(odd)
    assert len(label) < 40
    assert max(map(len, find_ticks(draw(odd)[label]))) < 20
