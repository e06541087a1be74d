"""The figures of the slider: by hand, and the same as those of the run where it starts."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from mvdefect.config import FitConfig
from mvdefect.data.scan import Scan
from mvdefect.data.splits.plan import SplitPlan
from mvdefect.report.contents import read_contents
from mvdefect.report.tradeoff import (
    ScoredImages,
    collect_scores,
    compute_trade_off,
    draw_bars,
    find_range,
    make_threshold_sheet,
)
from mvdefect.runs import RunFolder
from tests.report.conftest import make_run

IMAGES = ScoredImages(
    labels=np.array([False, False, False, False, True, True, True, True]),
    scores=np.array([-3.0, -1.0, 0.5, 2.0, -2.0, 0.0, 1.0, 3.0]),
    always=np.zeros(8, bool),
    threshold=0.25,
    review_width=0.0,
    prevalence=0.1,
)


def test_by_hand() -> None:
    found = compute_trade_off(IMAGES, 0.25, 0.0, 0.1)
    assert (found.caught, found.missed, found.rejected_good, found.passed_good) == (2, 2, 2, 2)
    assert (found.recall, found.false_alarm_rate) == (0.5, 0.5)
    assert found.escape_ppt == pytest.approx(1000 * 0.1 * 2 / 4)
    assert found.overkill_ppt == pytest.approx(1000 * 0.9 * 2 / 4)
    assert found.precision == pytest.approx(0.1 * 0.5 / (0.1 * 0.5 + 0.9 * 0.5))
    assert found.review_ppt == 0


def test_a_person_decides_about_what_is_near_by_hand() -> None:
    found = compute_trade_off(IMAGES, 0.25, 0.75, 0.1)  # scores from -0.5 to below 1: 0.5 and 0.0
    assert (found.caught, found.missed, found.reviewed_defective) == (2, 1, 1)
    assert (found.rejected_good, found.passed_good, found.reviewed_good) == (1, 2, 1)
    assert (found.recall, found.false_alarm_rate) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert found.review_ppt == pytest.approx(1000 * (0.1 / 4 + 0.9 / 4))


def test_ends_of_the_zone_and_what_is_always_rejected() -> None:
    novel = dataclasses.replace(IMAGES, always=np.array([True] + [False] * 7))
    found = compute_trade_off(novel, 0.0, 1.0, 0.5)  # -1 is in the zone, 1 is beyond it
    assert (found.rejected_good, found.reviewed_good, found.passed_good) == (2, 2, 0)
    assert (found.caught, found.reviewed_defective, found.missed) == (2, 1, 1)


def test_where_nothing_is_rejected_precision_is_not_defined() -> None:
    found = compute_trade_off(IMAGES, 9.0, 0.0, 0.1)
    assert math.isnan(found.precision)
    assert found.escape_ppt == pytest.approx(100)


@pytest.mark.parametrize("verdict", ["combined", "either"])
def test_it_starts_where_the_run_is(
    verdict: str, photographs: tuple[Scan, SplitPlan], parts_root: Path, tmp_path: Path
) -> None:
    config = FitConfig(data=str(parts_root), verdict=verdict, prevalence=0.03, review_budget=0.4)
    run = read_contents(make_run(tmp_path / "run", *photographs, config))
    images, evaluation = collect_scores(run), run.evaluation
    found = compute_trade_off(images, images.threshold, images.review_width, images.prevalence)
    assert evaluation.reviewed == found.reviewed_defective + found.reviewed_good > 0
    assert images.always.any() == (verdict == "either")
    names = {
        "true_positive": found.caught,
        "false_negative": found.missed,
        "false_positive": found.rejected_good,
        "true_negative": found.passed_good,
    }
    for name, count in names.items():
        assert count == evaluation.confusion[name].value
    assert evaluation.line is not None
    for name in ("precision", "escape_ppt", "overkill_ppt", "review_ppt"):
        assert getattr(found, name) == pytest.approx(getattr(evaluation.line, name).value)
    assert found.recall == pytest.approx(evaluation.figures["recall"].value)


def test_it_survives_json(inspector: Path) -> None:
    images = collect_scores(read_contents(RunFolder(inspector)))
    tree = json.loads(json.dumps(images.to_json(), allow_nan=False))
    assert tree["scores"] == images.scores.tolist()
    assert tree["threshold"] == images.threshold
    assert sum(tree["labels"]) == images.labels.sum()


def test_the_table_of_thresholds_does_what_it_says() -> None:
    rows = {row[0]: row for row in make_threshold_sheet(IMAGES).rows}
    assert rows["catch 100% of the defects"][2:4] == ("4 of 4", "3 of 4")
    assert rows["reject 0% of the good at most"][2:4] == ("1 of 4", "0 of 4")
    assert rows["the run's operating point"][2:4] == ("2 of 4", "2 of 4")
    assert rows["the run's operating point"][5:] == ("50.00", "450.00")


def test_bars_hold_every_image() -> None:
    low, high = find_range(IMAGES)
    assert low < -3
    assert high > 3
    bars = draw_bars(IMAGES)
    tallest = 1  # no two images share a bar
    assert sum(round((bar.good**2 + bar.defective**2) * tallest) for bar in bars) == 8
    assert bars[0].left == 0
    assert bars[-1].left + bars[-1].width == pytest.approx(1)
