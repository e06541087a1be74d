"""Figures against scikit-learn's own, and intervals against simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn import metrics as sk

from mvdefect.evaluation import bootstrap
from mvdefect.evaluation.bootstrap import Bootstrap, wilson_interval
from mvdefect.evaluation.figures import COUNTS, FIGURES, Sample, measure

METRICS = {name: kind.compute for name, kind in FIGURES.items() if name not in {"brier", "ece"}}

SKLEARN = {
    "roc_auc": lambda s, w: sk.roc_auc_score(s.labels, s.scores, sample_weight=w),
    "average_precision": lambda s, w: sk.average_precision_score(s.labels, s.scores, sample_weight=w),
    "accuracy": lambda s, w: sk.accuracy_score(s.labels, s.verdicts, sample_weight=w),
    "balanced_accuracy": lambda s, w: sk.balanced_accuracy_score(s.labels, s.verdicts, sample_weight=w),
    "precision": lambda s, w: sk.precision_score(s.labels, s.verdicts, sample_weight=w, zero_division=0),
    "recall": lambda s, w: sk.recall_score(s.labels, s.verdicts, sample_weight=w),
    "f1": lambda s, w: sk.f1_score(s.labels, s.verdicts, sample_weight=w, zero_division=0),
    "specificity": lambda s, w: sk.recall_score(s.labels, s.verdicts, sample_weight=w, pos_label=False),
    "false_alarm_rate": lambda s, w: (
        1 - sk.recall_score(s.labels, s.verdicts, sample_weight=w, pos_label=False)
    ),
    "mcc": lambda s, w: sk.matthews_corrcoef(s.labels, s.verdicts, sample_weight=w),
    "majority_rate": lambda s, w: max(w[s.labels].sum(), w[~s.labels].sum()) / w.sum(),
}


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    count = draw(st.integers(4, 60))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    labels = rng.random(count) < draw(st.floats(0.1, 0.9))
    labels[:2] = [True, False]
    scores = rng.normal(0, 1, count) + labels
    if draw(st.booleans()):
        scores = scores.round()  # many ties
    verdicts = scores >= draw(st.floats(-2, 3))
    return Sample(labels, scores, verdicts, rng.integers(0, max(2, count // 2), count))


def test_every_metric_has_its_counterpart() -> None:
    assert set(SKLEARN) == set(METRICS)


@pytest.mark.parametrize("name", sorted(METRICS))
@settings(deadline=None, max_examples=60)
@given(sample=samples(), seed=st.integers(0, 99))
def test_figures_equal_those_of_scikit_learn(name: str, sample: Sample, seed: int) -> None:
    weights = np.random.default_rng(seed).integers(0, 4, len(sample.labels)).astype(float)
    weights[:2] = 1  # both classes are there
    for given_weights in (np.ones(len(sample.labels)), weights):
        ours = METRICS[name](sample, given_weights[np.newaxis])[0]
        assert ours == pytest.approx(SKLEARN[name](sample, given_weights), abs=1e-9)


def test_a_replicate_is_a_row() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(30) < 0.5
    sample = Sample(labels, rng.normal(0, 1, 30), rng.random(30) < 0.5, np.arange(30))
    weights = rng.integers(0, 3, (5, 30)).astype(float)
    for name, metric in METRICS.items():
        together = metric(sample, weights)
        alone = [metric(sample, row[np.newaxis])[0] for row in weights]
        assert np.allclose(together, alone), name


@settings(deadline=None, max_examples=60)
@given(sample=samples())
def test_counts_equal_those_of_scikit_learn(sample: Sample) -> None:
    (passed, alarms), (missed, caught) = sk.confusion_matrix(sample.labels, sample.verdicts)
    ones = np.ones((1, len(sample.labels)))
    counts = {name: kind.compute(sample, ones)[0] for name, kind in COUNTS.items()}
    assert counts == {
        "true_positive": caught,
        "false_positive": alarms,
        "true_negative": passed,
        "false_negative": missed,
    }


def test_what_a_person_decides_counts_for_no_verdict() -> None:
    labels = np.array([True, True, False, False, False])
    verdicts = np.array([True, False, True, False, False])
    reviewed = np.array([False, True, False, False, True])
    sample = Sample(labels, np.zeros(5), verdicts, np.arange(5), reviewed)
    ones = np.ones((1, 5))
    found = {name: kind.compute(sample, ones)[0] for name, kind in {**FIGURES, **COUNTS}.items()}
    assert (found["recall"], found["specificity"], found["precision"]) == (1.0, 0.5, 0.5)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["true_positive"] + found["false_positive"] + found["true_negative"] == 3
    assert found["false_negative"] == 0
    assert sample.select(labels).decided.tolist() == [True, False]


def test_intervals_hold_what_they_promise_on_grouped_data() -> None:
    """Of many data sets, about 95% of the intervals hold the true accuracy; groups are no fresh evidence."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(600):
        right = np.repeat(rng.random(80) < 0.8, 3)  # three images a group, all right or all wrong
        labels = np.tile([True, False], 120)
        sample = Sample(labels, np.zeros(240), np.where(right, labels, ~labels), np.repeat(np.arange(80), 3))
        figure = measure(sample, METRICS["accuracy"], Bootstrap(sample.groups, replicates=400))
        held.append(figure.low <= 0.8 <= figure.high)
    assert 0.93 <= np.mean(held) <= 0.97


@pytest.mark.parametrize("groups", [8, 15, 30])
def test_intervals_of_few_groups_hold_what_they_promise(groups: int) -> None:
    rng = np.random.default_rng(groups)
    held = []
    for _ in range(400):
        caught = np.repeat(rng.random(groups) < 0.7, 2)
        sample = Sample(np.ones_like(caught), np.zeros(len(caught)), caught, np.repeat(np.arange(groups), 2))
        figure = measure(sample, METRICS["recall"], Bootstrap(sample.groups, replicates=200))
        held.append(figure.low <= 0.7 <= figure.high)
    assert 0.91 <= np.mean(held) <= 0.99  # with so few groups only some shares can occur at all


def test_blocks_of_replicates_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(50) < 0.4
    sample = Sample(labels, rng.normal(0, 1, 50) + labels, rng.random(50) < 0.5, rng.integers(0, 20, 50))
    whole = measure(sample, METRICS["roc_auc"])
    monkeypatch.setattr(bootstrap, "BLOCK_ELEMENTS", 500)
    assert measure(sample, METRICS["roc_auc"]) == whole
    assert measure(sample, METRICS["roc_auc"], Bootstrap(sample.groups, seed=1)) != whole
    assert whole.low < whole.value < whole.high


@pytest.mark.parametrize("block_elements", [500, 4_000_000])
def test_draws_that_figures_share_change_none_of_them(
    block_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "BLOCK_ELEMENTS", block_elements)
    rng = np.random.default_rng(1)
    labels = rng.random(60) < 0.4
    sample = Sample(labels, rng.normal(0, 1, 60) + labels, rng.random(60) < 0.5, rng.integers(0, 30, 60))
    draws = Bootstrap(sample.groups)
    for kind in FIGURES.values():
        assert measure(sample, kind.compute, draws) == measure(sample, kind.compute)


def test_all_caught_is_not_certainty() -> None:
    labels = np.ones(10, bool)
    sample = Sample(labels, np.zeros(10), labels, np.arange(10))
    figure = measure(sample, METRICS["recall"])
    assert figure.value == 1
    assert (figure.low, figure.high) == pytest.approx((0.7225, 1.0), abs=1e-3)
    assert figure.method == "Wilson on groups"


def test_what_is_not_defined_is_nan() -> None:
    labels = np.zeros(5, bool)
    sample = Sample(labels, np.arange(5.0), labels, np.arange(5))
    figure = measure(sample, METRICS["roc_auc"])
    assert np.isnan([figure.value, figure.low, figure.high]).all()


@given(count=st.integers(1, 200), data=st.data())
def test_wilson_is_that_of_scipy(count: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, count))
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson_interval(hits / count, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(("defective", "good"), [(5, 5), (5, 60), (12, 40)])
@pytest.mark.parametrize("is_spread", [False, True], ids=["shifted", "invisible-defects"])
@pytest.mark.parametrize("truth", [0.55, 0.7, 0.8, 0.9])
def test_separated_classes_seldom_have_an_interval_above_the_true_roc_auc(
    truth: float, is_spread: bool, defective: int, good: int
) -> None:
    """Both for defects that are all a little visible and for those of which some are not visible at all."""
    rng = np.random.default_rng(0)
    count = 4000
    usual = rng.normal(0, 1, (count, good))
    if is_spread:  # the worst case: each defect is above all good ones, or below
        above = rng.random((count, defective)) < truth
        odd = np.where(above, 50.0, -50.0)
    else:
        odd = rng.normal(norm.ppf(truth) * np.sqrt(2), 1, (count, defective))
    separated = odd.min(axis=1) > usual.max(axis=1)
    figure = measure(separate(defective, good), METRICS["roc_auc"])
    assert figure.value == figure.high == 1
    assert np.mean(separated & (truth < figure.low)) <= 0.06


def separate(defective: int, good: int) -> Sample:
    labels = np.arange(defective + good) < defective
    return Sample(labels, labels.astype(float), labels, np.arange(len(labels)))


def test_classes_that_are_separated_are_not_certainty() -> None:
    """The interval is that of the class with fewer groups; images of one group are one observation."""
    few = separate(5, 12)
    figure = measure(few, METRICS["roc_auc"])
    expected = binomtest(5, 5).proportion_ci(method="wilson").low
    assert (figure.low, figure.high) == pytest.approx((expected, 1))
    inverted = measure(replace(few, scores=-few.scores), METRICS["roc_auc"])
    assert (inverted.low, inverted.high) == pytest.approx((0, 1 - expected))
    pairs = replace(few, groups=np.where(few.labels, np.arange(17) // 3, np.arange(17)))
    assert measure(pairs, METRICS["roc_auc"]).low < figure.low
    for name in ("average_precision", "balanced_accuracy", "f1", "mcc"):
        other = measure(few, METRICS[name])
        assert other.value == 1
        assert np.isnan([other.low, other.high]).all()
