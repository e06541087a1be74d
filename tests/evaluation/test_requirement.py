"""A requirement: read as people write it, and answered no more surely than the images allow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from mvdefect.core.errors import ConfigError
from mvdefect.evaluation.bootstrap import Bootstrap, Figure
from mvdefect.evaluation.figures import Sample, false_alarm_rate, measure, recall
from mvdefect.evaluation.requirement import (
    ALARMS,
    RECALL,
    Answer,
    Clause,
    ClauseAnswer,
    Requirement,
    answer_clause,
    answer_requirement,
    count_independent,
    find_interval,
    parse_requirement,
    settle_requirement,
)

NOTHING = float("nan")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("recall 0.95, false-alarms 0.05", (0.95, 0.05)),
        ("False Alarms <= 5 %; RECALL >= 95%", (0.95, 0.05)),
        ("95% recall and at most 5% false alarms", (0.95, 0.05)),
        ("recall 95, false_alarm_rate=5", (0.95, 0.05)),
        ("min-recall 0.9, max-fpr 0.1", (0.9, 0.1)),
        ("recall 0,95; fpr ≤ .05", (0.95, 0.05)),
        ("sensitivity of at least 99.5 percent", (0.995, None)),
        ("escapes 5%", (0.95, None)),
        ("no more than 2% missed", (0.98, None)),
        ("misses below 1e-2", (0.99, None)),
        ("overkill: 2", (None, 0.02)),
        ("specificity above 97%", (None, 0.03)),
    ],
)
def test_a_requirement_is_read_as_people_write_it(
    text: str, meant: tuple[float | None, float | None]
) -> None:
    found = parse_requirement(text)
    assert (found.get_limit(RECALL), found.get_limit(ALARMS)) == meant
    assert parse_requirement(str(found)) == found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is empty"),
        (" , ", "it is empty"),
        ("recall" * 40, "it is too long"),
        ("recall", "a number is missing"),
        ("recall nan", "a number is missing"),
        ("0.95", "a number must have its figure"),
        ("recal 0.95", "unknown figure 'recal'; did you mean 'recall'?"),
        ("fals alarm 0.05", "did you mean 'false alarm'?"),
        ("precision 0.9", "unknown figure 'precision'"),
        ("recall 1.2", "did you mean 1.2%, which is 0.012?"),
        ("recall 120%", "a share must be above 0 and below 1"),
        ("recall -0.5", "a share must be above 0 and below 1"),
        ("recall 100%", "no number of images can show"),
        ("false-alarms 0", "no number of images can show"),
        ("recall 0.95 false-alarms 0.05", "a comma must separate its parts"),
        ("recall 0.95, recall 0.9", "one figure is bounded twice"),
        ("recall 0.95, escapes 0.05", "one figure is bounded twice"),
        ("recall <= 0.95", "asked to be at least some share"),
        ("escapes above 5%", "asked to be at most some share"),
        ("recall 0.05, false-alarms 0.95", "did you mean 'recall 0.95, false-alarms 0.05'?"),
        ("recall 0.5, false-alarms 0.5", "an inspector that guesses would meet it"),
    ],
)
def test_nonsense_is_refused_in_one_line_that_says_what_is_allowed(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_requirement(text)
    assert problem in str(error.value)
    assert "Allowed: 'recall 0.95, false-alarms 0.05'" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_comes_later_is_marked_and_what_was_there_is_not_replaced() -> None:
    assert settle_requirement(None, None) is None
    of_fit = settle_requirement("recall 0.9", None)
    assert of_fit is not None
    assert of_fit.stated == "before the figures"
    again = settle_requirement("recall 0.9", "Recall >= 90%")
    assert again is not None
    assert (again.stated, again.instead_of) == ("before the figures", "")
    other = settle_requirement("recall 0.9", "recall 0.8")
    assert other is not None
    assert (str(other), other.stated, other.instead_of) == ("recall 0.8", "after the figures", "recall 0.9")
    late = settle_requirement(None, "recall 0.8")
    assert late is not None
    assert (late.stated, late.instead_of) == ("after the figures", "")


def answer(clause: Clause, right: int, count: int, groups: np.ndarray | None = None) -> ClauseAnswer:
    """Answer a clause on images of which so many have what it counts."""
    hits = np.arange(count) < right
    codes = np.arange(count) if groups is None else groups
    labels = np.full(count, clause.figure == RECALL)
    sample = Sample(labels, hits.astype(float), hits, codes)
    metric = recall if clause.figure == RECALL else false_alarm_rate
    return answer_clause(clause, measure(sample, metric), codes)


@pytest.mark.parametrize(("hits", "count"), [(0, 5), (5, 5), (3, 17), (59, 60), (40, 40)])
def test_the_interval_holds_the_exact_one(hits: int, count: int) -> None:
    exact = binomtest(hits, count).proportion_ci(0.95, "exact")
    low, high = find_interval(hits / count, count)
    assert low <= exact.low + 1e-12
    assert high >= exact.high - 1e-12
    assert high - low < 1.15 * (exact.high - exact.low)


def test_five_images_without_an_error_show_nothing() -> None:
    found = answer(Clause(RECALL, 0.95), 5, 5)
    assert (found.answer, found.heading_for, found.independent) == (Answer.TOO_FEW, Answer.MET, 5)
    assert answer(Clause(ALARMS, 0.05), 0, 5).answer == Answer.TOO_FEW


@pytest.mark.parametrize(
    ("clause", "hits", "count"),
    [
        (Clause(RECALL, 0.95), 5, 5),
        (Clause(RECALL, 0.9), 38, 40),
        (Clause(RECALL, 0.9), 34, 40),
        (Clause(ALARMS, 0.05), 0, 30),
        (Clause(ALARMS, 0.1), 3, 40),
    ],
)
def test_as_many_more_images_as_are_named_tell(clause: Clause, hits: int, count: int) -> None:
    found = answer(clause, hits, count)
    assert found.answer == Answer.TOO_FEW
    assert found.more_needed is not None
    for short, told in ((0, True), (1, False)):
        more = count + found.more_needed - short
        figure = Figure(hits / count, NOTHING, NOTHING)  # at the same rate, which may be no whole image
        later = answer_clause(clause, figure, np.arange(more))
        assert (later.answer == found.heading_for) == told or found.more_needed == 1
        assert later.answer in (found.heading_for, Answer.TOO_FEW)


def test_a_rate_on_the_limit_is_never_told() -> None:
    assert answer(Clause(RECALL, 0.95), 38, 40).more_needed is None


def test_images_of_one_group_are_one_piece_of_evidence() -> None:
    clause = Clause(RECALL, 0.95)
    assert answer(clause, 100, 100).answer == Answer.MET
    assert answer(clause, 100, 100, np.arange(100) // 10).answer == Answer.TOO_FEW
    assert count_independent(np.arange(100) // 10) == pytest.approx(10)
    lopsided = np.concatenate([np.zeros(91, int), np.arange(1, 10)])
    assert count_independent(lopsided) == pytest.approx(100**2 / (91**2 + 9))
    assert answer(clause, 100, 100, lopsided).independent == 1
    assert count_independent(np.zeros(0, int)) == 0


@pytest.mark.parametrize(("clause", "needed"), [(Clause(RECALL, 0.95), 73), (Clause(ALARMS, 0.1), 36)])
def test_without_an_image_of_the_class_nothing_is_known(clause: Clause, needed: int) -> None:
    """Clopper and Pearson ask for log 0.025 / log 0.95 = 72 and 36 images, Wilson for 73 and 35."""
    figure = Figure(NOTHING, NOTHING, NOTHING)
    found = answer_clause(clause, figure, np.zeros(0, np.int64))
    assert (found.answer, found.independent, found.more_needed) == (Answer.TOO_FEW, 0, needed)
    assert math.isnan(found.value)


def test_the_whole_answer_is_the_worst_of_its_parts() -> None:
    labels = np.arange(200) < 100
    sample = Sample(labels, np.zeros(200), labels, np.arange(200))
    figures = {RECALL: measure(sample, recall), ALARMS: measure(sample, false_alarm_rate)}

    def ask(text: str) -> tuple[Answer, list[Answer]]:
        found = answer_requirement(parse_requirement(text), figures, sample)
        return found.answer, [clause.answer for clause in found.clauses]

    assert ask("recall 0.95, false-alarms 0.05") == (Answer.MET, [Answer.MET, Answer.MET])
    assert ask("recall 0.99, false-alarms 0.05") == (Answer.TOO_FEW, [Answer.TOO_FEW, Answer.MET])
    bad = {
        **figures,
        ALARMS: measure(Sample(labels, np.zeros(200), ~labels, np.arange(200)), false_alarm_rate),
    }
    found = answer_requirement(parse_requirement("recall 0.99, false-alarms 0.05"), bad, sample)
    assert found.answer == Answer.NOT_MET


def draw_answers(clause: Clause, rate: float, groups: int, times: int, seed: int) -> list[Answer]:
    """Answer a clause on data sets of a known rate, in groups of one to four images that go together."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(times):
        sizes = rng.integers(1, 5, groups)
        codes = np.repeat(np.arange(groups), sizes)
        hits = np.repeat(rng.random(groups) < rate, sizes)
        sample = Sample(np.full(len(hits), clause.figure == RECALL), hits * 1.0, hits, codes)
        metric = recall if clause.figure == RECALL else false_alarm_rate
        figure = measure(sample, metric, Bootstrap(codes, replicates=200))
        found.append(answer_clause(clause, figure, codes).answer)
    return found


@pytest.mark.parametrize("clause", [Clause(RECALL, 0.9), Clause(ALARMS, 0.1)])
@pytest.mark.parametrize("groups", [30, 90])
def test_neither_answer_is_wrong_more_often_than_it_says(clause: Clause, groups: int) -> None:
    """On the limit itself both answers would be wrong; the ends of a 95% interval allow 2.5% each."""
    times = 200
    found = draw_answers(clause, clause.limit, groups, times, seed=groups)
    for wrong in (Answer.MET, Answer.NOT_MET):
        assert binomtest(found.count(wrong), times, 0.025, "greater").pvalue > 0.01


def test_enough_images_tell() -> None:
    met = draw_answers(Clause(RECALL, 0.9), 0.98, 150, 40, seed=1)
    assert met.count(Answer.MET) >= 30
    missed = draw_answers(Clause(RECALL, 0.9), 0.7, 90, 40, seed=2)
    assert missed.count(Answer.NOT_MET) >= 30


def test_a_requirement_prints_as_its_words() -> None:
    assert str(Requirement((Clause(RECALL, 0.955), Clause(ALARMS, 0.001)))) == (
        "recall 0.955, false-alarms 0.001"
    )
