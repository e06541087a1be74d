"""The default beside its baselines: from predictions to the table, by hand and by scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mvdefect.core.files import write_rows
from mvdefect.evaluation.bootstrap import Figure
from mvdefect.grid.page import describe_grid, write_grid_report
from mvdefect.grid.results import ResultRow, weigh_accuracy
from mvdefect.grid.standing import Standing, describe_verdict, find_standings, list_standing_cells
from mvdefect.runs import PredictionRow, RunFolder
from tests.grid.test_grid import make_row

IMAGES = 60
LABELS = np.arange(IMAGES) % 3 == 0


def write_run(out: Path, row: ResultRow, scores: np.ndarray) -> ResultRow:
    """Write what a run says of its test part, and return its row with the figure by scikit-learn."""
    rows = [
        PredictionRow(
            id=f"{number:03}",
            split="test" if number % 10 else "val",
            label=int(LABELS[number]),
            category="nut",
            defect_type="crack" if LABELS[number] else "good",
            group=number // 2,
            logit=score,
            novelty=0.0,
            score=score,
            probability=0.5,
            verdict="defective" if score > 0 else "good",
            defect_share=0.0,
        )
        for number, score in enumerate(scores.tolist())
    ]
    folder = RunFolder(out / "runs" / row.plan)
    folder.path.mkdir(parents=True)
    write_rows(folder.predictions, PredictionRow, rows)
    tested = np.arange(IMAGES) % 10 > 0
    value = float(roc_auc_score(LABELS[tested], scores[tested]))
    return replace(row, figures={**row.figures, "roc_auc": value})


def make_rows(out: Path, **noise: float) -> list[ResultRow]:
    rng = np.random.default_rng(0)
    return [
        write_run(out, make_row(method, seed, 0.0), LABELS - 0.5 + rng.normal(0, spread, IMAGES))
        for method, spread in noise.items()
        for seed in (0, 1, 2)
    ]


def test_the_default_is_held_against_the_best_baseline(tmp_path: Path) -> None:
    rows = make_rows(tmp_path, default=0.3, good=1.0, bad=3.0)
    (found,) = find_standings(rows, "default", ["bad", "good"], tmp_path)
    means = {
        name: np.mean([r.figures["roc_auc"] for r in rows if r.method == name])
        for name in ("default", "good")
    }
    assert (found.title, found.figures, found.baseline) == ("data, closed-set", 3, "good")
    assert found.roc_auc == pytest.approx(means["default"])
    assert found.baseline_roc_auc == pytest.approx(means["good"])
    assert found.difference.value == pytest.approx(means["default"] - means["good"])
    assert 0 < found.difference.low < found.difference.value < found.difference.high
    assert found.wins
    (turned,) = find_standings(rows, "good", ["default", "bad"], tmp_path)
    assert turned.difference.value == pytest.approx(-found.difference.value)
    assert turned.is_surely_worse
    page = describe_grid(rows, [found, turned])
    assert page.index("The default and the best") > page.index("Means over categories")
    assert "| data, closed-set | 3 |" in page
    assert "no: interval below 0" in page
    grid = tmp_path / "grid.yaml"
    grid.write_text("data: [x]\n")
    html = write_grid_report(
        rows, grid, tmp_path, [found], ["elpv is skipped: it is <not> there"]
    ).read_text()
    assert f"{found.difference.value:+.3f}" in html
    assert "it is &lt;not&gt; there" in html


def test_plans_that_a_baseline_was_not_measured_on_do_not_count(tmp_path: Path) -> None:
    rows = make_rows(tmp_path, default=0.3, good=1.0)
    failed = [replace(r, trouble="no") if (r.method, r.seed) == ("good", 2) else r for r in rows]
    (found,) = find_standings(failed, "default", ["good"], tmp_path)
    assert found.figures == 2
    (alone,) = find_standings(rows[:3], "default", ["good"], tmp_path)
    assert (alone.baseline, alone.wins) == ("", False)
    assert list_standing_cells([alone])[0][3] == "none is measured"
    assert find_standings(rows[3:], "default", ["good"], tmp_path) == ()


def test_a_default_that_failed_does_not_win(tmp_path: Path) -> None:
    rows = make_rows(tmp_path, default=0.3, good=1.0)
    lost = [replace(row, data="other", trouble="no") for row in rows if row.method == "default"]
    standings = find_standings([*rows, *lost], "default", ["good"], tmp_path)
    assert [(one.title, one.figures, one.wins) for one in standings] == [
        ("data, closed-set", 3, True),
        ("other, closed-set", 0, False),
    ]
    assert list_standing_cells(standings)[1][2] == "not measured"
    verdict = describe_verdict(standings)
    assert verdict.startswith("The default does not win:")
    assert verdict.endswith("1 rows are not measured.")


def make_standing(value: float, low: float, high: float, title: str = "x") -> Standing:
    return Standing(title, 3, 0.9, "svm", 0.9 - value, Figure(value, low, high))


@pytest.mark.parametrize(
    ("standings", "wins"),
    [
        ([make_standing(0.02, 0.01, 0.03), make_standing(-0.005, -0.02, 0.01)], True),
        ([make_standing(0.02, 0.01, 0.03), make_standing(-0.005, -0.008, -0.001)], False),  # surely worse
        ([make_standing(0.04, 0.01, 0.06), make_standing(-0.011, -0.05, 0.03)], False),  # one too low
        ([make_standing(-0.005, -0.01, 0.01)], False),  # the mean too low
    ],
)
def test_what_it_takes_to_win(standings: list[Standing], wins: bool) -> None:
    assert describe_verdict(standings).startswith(f"The default {'wins' if wins else 'does not win'}:")


def test_nothing_measured_is_no_victory() -> None:
    assert describe_verdict([]) == "No baseline is measured beside the default."


def test_accuracy_by_confidence_by_hand(tmp_path: Path) -> None:
    row = write_run(
        tmp_path, make_row("m", 0, 0.5), np.where(LABELS, 1.0, -1.0) * np.where(np.arange(IMAGES) == 1, -1, 1)
    )
    confidences = {f"{number:03}": 0.5 for number in range(IMAGES)} | {"001": 1.0}
    tested = 54  # image 1 is called wrongly, and counts twice
    assert weigh_accuracy(tmp_path / "runs" / row.plan, confidences) == pytest.approx(
        1 - 1 / (0.5 * (tested - 1) + 1)
    )
    shown = describe_grid([replace(row, weighted_accuracy=0.25)])
    assert "| data, closed-set | m | 1 | 0.250 |" in shown
    assert "weighted" not in describe_grid([row])
    both = describe_grid([replace(row, weighted_accuracy=0.25), make_row("equal", 0, 0.5)])
    assert "| data, closed-set | equal | 1 | 0.500 |" in both  # of one source: the labels are not all sure
    grid = tmp_path / "grid.yaml"
    grid.write_text("data: [x]\n")
    html = write_grid_report([replace(row, weighted_accuracy=0.25)], grid, tmp_path).read_text()
    assert "weighted by the confidence" in html
    assert "0.250" in html
