"""Parts that several images show: pooled scores, the choice of pooling, and figures by part."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve

from mvdefect.data.parts import Usual
from mvdefect.data.splits.plan import PlanRow, SplitPlan
from mvdefect.evaluation.calibration import Calibration, fit_line
from mvdefect.evaluation.evaluate import evaluate_predictions, evaluation_to_json
from mvdefect.evaluation.figures import Sample, recall_at_2_percent
from mvdefect.evaluation.operating_point import (
    OperatingPoint,
    PartPoint,
    operating_point_to_json,
    parse_operating_point,
)
from mvdefect.evaluation.parts import add_part_point, judge_parts
from mvdefect.evaluation.pooling import (
    HIGHEST_SCORE,
    NOVEL_SCORE,
    PartScores,
    Pooling,
    choose_pooling,
    find_scales,
    number_parts,
)
from mvdefect.evaluation.requirement import parse_requirement
from mvdefect.runs import PredictionRow

POINT = OperatingPoint("f1", "val", 1.0, "", "classifier", Calibration(), None, {"classifier": 0.0})


def make_scores(*parts: tuple[float, ...], views: str = "abc") -> PartScores:
    """The scores of parts, one tuple each, from views in their order."""
    flat = [
        (score, views[place], code) for code, part in enumerate(parts) for place, score in enumerate(part)
    ]
    scores, shown, codes = zip(*flat, strict=True)
    return PartScores(np.array(scores), np.array(shown), np.array(codes), np.zeros(len(flat), bool))


def draw_parts(
    seed: int, count: int, spreads: tuple[float, ...] = (1, 1, 1), shown: int = 1, shift: float = 3.0
) -> tuple[PartScores, np.ndarray]:
    """Parts of which every fourth is defective, with the defect in `shown` views that vary."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(count, len(spreads))) * spreads
    defective = np.arange(count) % 4 == 0
    for number in np.flatnonzero(defective):
        scores[number, rng.permutation(len(spreads))[:shown]] += shift
    return make_scores(*map(tuple, scores)), defective


def test_the_three_ways_of_pooling_by_hand() -> None:
    images = make_scores((1.0, 3.0, -2.0), (0.5,))
    assert Pooling("maximum").pool(images) == pytest.approx([3.0, 0.5])
    assert Pooling("mean").pool(images) == pytest.approx([2 / 3, 0.5])
    expected = 2 * (logsumexp(np.array([1.0, 3.0, -2.0]) / 2) - np.log(3))
    assert Pooling("soft maximum", 2.0).pool(images) == pytest.approx([expected, 0.5])


def test_a_soft_maximum_lies_between_the_mean_and_the_maximum() -> None:
    images, _ = draw_parts(0, 40)
    low, high = Pooling("mean").pool(images), Pooling("maximum").pool(images)
    soft = [Pooling("soft maximum", degree).pool(images) for degree in (0.001, 1.0, 1000.0)]
    assert soft[0] == pytest.approx(high, abs=0.01)
    assert soft[2] == pytest.approx(low, abs=0.01)
    assert ((soft[1] > low) & (soft[1] < high)).all()


def test_the_order_of_images_does_not_matter() -> None:
    images, _ = draw_parts(0, 10)
    order = np.random.default_rng(1).permutation(30)
    turned = PartScores(images.scores[order], images.views[order], images.codes[order], images.novel)
    for pooling in (Pooling("mean"), Pooling("soft maximum", 0.5), Pooling()):
        assert pooling.pool(turned) == pytest.approx(pooling.pool(images))


def test_scores_that_a_probability_cannot_tell_apart_count_alike() -> None:
    found = Pooling("mean").pool(make_scores((40.0, 0.0), (HIGHEST_SCORE, 0.0)))
    assert found[0] == found[1] == HIGHEST_SCORE / 2


def test_what_is_rejected_for_its_novelty_rejects_its_part() -> None:
    images = replace(make_scores((-5.0, -5.0), (-5.0, -4.0)), novel=np.array([False, True, False, False]))
    assert Pooling("mean").find_scores(images) == pytest.approx([NOVEL_SCORE, -4.5])


def test_a_view_is_put_on_the_scale_of_all_by_its_good_images() -> None:
    images, defective = draw_parts(0, 400, spreads=(1, 1, 5))
    scales = find_scales(images, defective, np.arange(400))
    good = ~defective[images.codes]
    for view in "abc":
        weight, offset = scales[view]
        chosen = good & (images.views == view)
        levelled = weight * images.scores[chosen] + offset
        assert np.median(levelled) == pytest.approx(np.median(np.minimum(images.scores[good], 10)), abs=1e-9)
        low, high = np.quantile(np.minimum(images.scores[good], 10), [0.16, 0.84])
        assert np.subtract(*np.quantile(levelled, [0.84, 0.16])) == pytest.approx(high - low, rel=0.01)
    assert scales["c"][0] < scales["a"][0] / 3


@pytest.mark.parametrize(("count", "views"), [(20, "abc"), (400, "aaa")])
def test_too_few_good_images_or_one_view_have_no_scale(count: int, views: str) -> None:
    images, defective = draw_parts(0, count)
    images = replace(images, views=np.array(list(views) * count))
    assert find_scales(images, defective, np.arange(count)) == {}


def test_a_view_that_was_never_seen_has_the_usual_scale() -> None:
    pooling = Pooling(scales={"a": (1.0, 0.0), "b": (3.0, 4.0), "*": (2.0, 2.0)})
    assert pooling.pool(make_scores((1.0,), views="x")) == pytest.approx([4.0])


def test_evidence_in_all_views_is_added_up() -> None:
    images, defective = draw_parts(1, 200, shown=3, shift=1.5)
    chosen = choose_pooling(images, defective, np.arange(200))
    assert chosen.kind == "mean" or chosen.temperature >= 1
    fresh, truth = draw_parts(2, 2000, shown=3, shift=1.5)
    gain = roc_auc_score(truth, chosen.pool(fresh)) - roc_auc_score(truth, Pooling().pool(fresh))
    assert gain > 0.02
    assert chosen.roc_auc == pytest.approx(roc_auc_score(defective, chosen.pool(images)))
    assert chosen.maximum_roc_auc == pytest.approx(roc_auc_score(defective, Pooling().pool(images)))


def test_a_noisy_view_is_scaled_down() -> None:
    images, defective = draw_parts(1, 200, spreads=(1, 1, 5))
    chosen = choose_pooling(images, defective, np.arange(200))
    assert chosen.scales["c"][0] < chosen.scales["a"][0] / 2


@pytest.mark.parametrize("seed", range(5))
def test_the_maximum_stays_where_nothing_is_better_for_certain(seed: int) -> None:
    images, defective = draw_parts(seed, 30, shift=6.0)
    chosen = choose_pooling(images, defective, np.arange(30))
    assert roc_auc_score(defective, chosen.pool(images)) >= roc_auc_score(defective, Pooling().pool(images))
    perfect = make_scores(*[(9.0, -5.0, -5.0) if bad else (-5.0, -4.0, -3.0) for bad in defective])
    assert choose_pooling(perfect, defective, np.arange(30)).kind == "maximum"


@pytest.mark.parametrize("label", [False, True])
def test_parts_of_one_class_teach_nothing(label: bool) -> None:
    images, defective = draw_parts(0, 40)
    assert choose_pooling(images, np.full(40, label), np.arange(40)) == Pooling()
    assert defective.any()


def test_the_pooled_score_is_a_logit_of_the_part() -> None:
    images, defective = draw_parts(3, 400)
    pooling = choose_pooling(images, defective, np.arange(400))
    scores = pooling.find_scores(images)
    model = LogisticRegression(C=1e6).fit(scores[:, np.newaxis], defective)
    assert model.coef_[0, 0] == pytest.approx(1.0, abs=0.2)  # held back a little, for few parts
    assert model.intercept_[0] == pytest.approx(0.0, abs=0.2)


def test_a_line_never_turns_the_order_round() -> None:
    labels = np.array([True, True, False, False])
    assert fit_line(labels, np.array([-2.0, -1.0, 1.0, 2.0])) == Calibration()
    assert fit_line(labels, np.zeros(4)) == Calibration()
    assert fit_line(labels, np.array([2.0, 1.0, -1.0, -2.0])).logit_weight > 0


def test_recall_at_two_percent_is_that_of_the_roc_curve() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(500) < 0.3
    scores = np.round(rng.normal(size=500) + 1.5 * labels, 1)  # with ties
    rates, recalls, _ = roc_curve(labels, scores, drop_intermediate=False)
    found = recall_at_2_percent(Sample(labels, scores, labels, np.arange(500)), np.ones((1, 500)))
    assert found[0] == pytest.approx(recalls[rates <= 0.02].max())


def make_rows(
    parts: dict[str, list[float]], defective: dict[str, set[int]], split: str = "test"
) -> list[PredictionRow]:
    """Images of parts by their scores; `defective` holds the numbers of those that show a defect."""
    rows = []
    for group, (part_id, scores) in enumerate(parts.items()):
        for number, score in enumerate(scores):
            is_bad = number in defective.get(part_id, set())
            rows.append(
                PredictionRow(
                    id=f"{part_id or 'loose'}_{number}.png",
                    split=split,
                    label=int(is_bad),
                    category="nut",
                    defect_type="crack" if is_bad else "good",
                    group=group,
                    logit=score,
                    novelty=1.0,
                    score=score,
                    probability=0.5,
                    verdict="defective" if score >= 0 else "good",
                    defect_share=0.1 * number if is_bad else 0.0,
                    part_id=part_id,
                    view=f"cam{number}",
                )
            )
    return sorted(rows, key=lambda row: row.id)


def make_plan(rows: list[PredictionRow]) -> SplitPlan:
    return SplitPlan(
        "closed-set",
        0,
        tuple(
            PlanRow(r.id, r.split, r.category, r.defect_type, r.group, "", r.part_id, r.view) for r in rows
        ),
    )


def judge_by(pooling: Pooling, threshold: float) -> OperatingPoint:
    point = OperatingPoint("f1", "val", 1.0, "", "classifier", Calibration(), None, {"classifier": threshold})
    return replace(POINT, by_part=PartPoint(pooling, point, Usual(("cam0", "cam1"), 2)))


PARTS = {"A": [1.0, -1.0], "B": [0.5, -3.0], "C": [-0.5, 1.5], "D": [-2.0, -2.0], "": [-4.0]}
DEFECTIVE = {"A": {0}, "C": {0, 1}}


def test_a_part_is_defective_if_one_of_its_images_is() -> None:
    rows = make_rows(PARTS, DEFECTIVE)
    point = judge_by(Pooling("mean"), 0.0)
    assert point.by_part is not None
    found = {row.id: row for row in judge_parts(rows, point, point.by_part).pooled}
    assert {name: row.label for name, row in found.items()} == {
        "A": 1, "B": 0, "C": 1, "D": 0, "loose_0.png": 0,
    }  # fmt: skip
    assert {name: row.score for name, row in found.items()} == pytest.approx(
        {"A": 0.0, "B": -1.25, "C": 0.5, "D": -2.0, "loose_0.png": -4.0}
    )
    assert (found["A"].verdict, found["B"].verdict, found["C"].defect_share) == ("defective", "good", 0.1)


def test_figures_by_part_stand_beside_those_of_any_view() -> None:
    rows = make_rows(PARTS, DEFECTIVE)
    found = evaluate_predictions(rows, make_plan(rows), judge_by(Pooling("mean"), 0.0))
    parts = found.by_part
    assert parts is not None
    assert parts.any_view is not None
    assert (parts.images, parts.defective, parts.unit, found.images) == (5, 2, "part", 9)
    assert parts.figures["recall"].value == 1.0
    assert parts.figures["false_alarm_rate"].value == 0.0
    # B passes as a whole, while one of its views is rejected: 1 of 3 good parts.
    assert parts.any_view.figures["false_alarm_rate"].value == pytest.approx(1 / 3)
    assert parts.any_view.differences["false_alarm_rate"].value == pytest.approx(-1 / 3)
    assert parts.any_view.pooled["false_alarm_rate"].value == 0.0
    assert parts.figures["roc_auc"].value == roc_auc_score([1, 0, 1, 0, 0], [0.0, -1.25, 0.5, -2.0, -4.0])
    assert found.decisive is parts
    assert found.figures["recall"].value == pytest.approx(2 / 3)  # of images


def test_line_and_requirement_are_by_part() -> None:
    rows = make_rows(PARTS, DEFECTIVE)
    asked = parse_requirement("recall 0.9, false-alarms 0.2")
    found = evaluate_predictions(rows, make_plan(rows), judge_by(Pooling("mean"), 0.0), 0.1, None, asked)
    assert found.line is not None
    assert found.requirement is not None
    assert found.line.overkill_ppt.value == 0.0
    assert [clause.value for clause in found.requirement.clauses] == [1.0, 0.0]
    assert [clause.independent for clause in found.requirement.clauses] == [2, 3]


def test_in_json_a_part_is_called_a_part() -> None:
    rows = make_rows(PARTS, DEFECTIVE)
    tree = evaluation_to_json(evaluate_predictions(rows, make_plan(rows), judge_by(Pooling("mean"), 0.0)))
    json.dumps(tree, allow_nan=False)
    assert tree["by_part"]["parts"] == 5
    assert tree["by_part"]["any_view"]["differences"]["recall"]["value"] == 0.0
    without = evaluation_to_json(evaluate_predictions(rows, make_plan(rows), POINT))
    assert "by_part" not in without


def test_the_contract_is_of_parts() -> None:
    images, defective = draw_parts(5, 200, shown=2)
    scores = images.scores.reshape(200, 3)
    parts = {f"P{number:03}": list(row) for number, row in enumerate(scores)}
    bad = {f"P{number:03}": {0} for number in np.flatnonzero(defective)}
    rows = make_rows(parts, bad, "val")
    point = add_part_point(POINT, rows, rows, "max-fpr 0.1", None, 0.1, None)
    assert point.by_part is not None
    assert point.by_part.usual == Usual(("cam0", "cam1", "cam2"), 3)
    judged = judge_parts(rows, replace(point, review=None), point.by_part).pooled
    good = [row for row in judged if not row.label]
    rejected = [row for row in good if row.score >= point.by_part.point.score]
    assert 0.04 < len(rejected) / len(good) <= 0.1  # a promise leaves some room
    assert sum(row.verdict == "review" for row in judged) in (19, 20)


def test_the_operating_point_of_parts_is_stored_whole() -> None:
    images, defective = draw_parts(1, 200, spreads=(1, 1, 5))
    pooling = choose_pooling(images, defective, np.arange(200))
    point = judge_by(pooling, 0.7)
    tree = json.loads(json.dumps(operating_point_to_json(point)))
    assert parse_operating_point(tree) == point
    assert tree["by_part"]["point"]["probability"] == pytest.approx(1 / (1 + np.exp(-0.7)))
    assert parse_operating_point(operating_point_to_json(POINT)) == POINT
    assert "by_part" not in operating_point_to_json(POINT)


def test_numbers_of_parts_go_by_first_appearance() -> None:
    assert number_parts(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]
