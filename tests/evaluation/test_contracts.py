"""Thresholds by contract: exact on what they are chosen on, and true to their promise on fresh data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit
from sklearn.metrics import f1_score

from mvdefect.core.errors import ConfigError, ContractError
from mvdefect.evaluation.contracts import (
    Choice,
    choose_threshold,
    count_needed,
    find_upper_threshold,
    parse_contract,
)

Drawn = tuple[np.ndarray, np.ndarray]


def choose(contract: str, labels: np.ndarray, scores: np.ndarray, **more: object) -> Choice:
    groups = more.pop("groups", np.arange(len(labels)))
    return choose_threshold(parse_contract(contract), labels, scores, groups, **more)  # type: ignore[arg-type]


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    rows = draw(st.lists(st.tuples(st.booleans(), st.integers(-8, 8)), min_size=4, max_size=40))
    labels = np.array([label for label, _ in rows])
    labels[:2] = [True, False]
    return labels, np.array([score / 2 for _, score in rows])


@given(drawn())
def test_no_threshold_has_a_higher_f1(found: Drawn) -> None:
    labels, scores = found
    choice = choose("f1", labels, scores)
    best = max(f1_score(labels, scores >= cut, zero_division=0) for cut in np.unique(scores))
    assert f1_score(labels, scores >= choice.threshold) == pytest.approx(best)
    assert choice.achieved == pytest.approx(best)
    assert choice.threshold not in scores  # halfway between two, so that rounding tips nothing over


def test_among_equals_the_lowest_wins() -> None:
    labels = np.array([True, False, True, False, False])
    assert choose("f1", labels, np.array([4.0, 3.0, 2.0, 1.0, 0.0])).threshold == pytest.approx(1.5)
    apart = choose("f1", np.array([False, False, True, True]), np.array([-3.0, -1.0, 2.0, 5.0]))
    assert (apart.threshold, apart.achieved) == (pytest.approx(0.5), 1.0)


@given(drawn(), st.sampled_from([0.01, 0.2, None]), st.sampled_from([1.0, 5.0, 50.0]))
def test_no_threshold_costs_less(found: Drawn, prevalence: float | None, miss: float) -> None:
    labels, scores = found
    share = labels.mean() if prevalence is None else prevalence

    def cost(threshold: float) -> float:
        called = scores >= threshold
        return float((1 - share) * called[~labels].mean() + miss * share * (~called[labels]).mean())

    choice = choose(f"cost 1:{miss:g}", labels, scores, prevalence=prevalence)
    assert cost(choice.threshold) == pytest.approx(min(map(cost, [*np.unique(scores), np.inf])))
    assert choice.achieved == pytest.approx(cost(choice.threshold))


@given(drawn(), st.sampled_from([0.5, 0.8, 0.9, 0.99]))
@settings(max_examples=200)
def test_contracts_hold_where_they_were_made(found: Drawn, share: float) -> None:
    labels, scores = found
    defective, good = scores[labels], scores[~labels]
    if good.min() < np.sort(defective)[int((1 - share) * len(defective) + 1e-9)]:
        recall = choose(f"min-recall {share}", labels, scores)
        assert (defective >= recall.threshold).mean() >= share
        assert recall.achieved == pytest.approx((defective >= recall.threshold).mean())
        assert (good < recall.threshold).any()
    else:
        with pytest.raises(ContractError, match="The highest recall at which one passes is"):
            choose(f"min-recall {share}", labels, scores)
    allowed = f"{1 - share:g}"
    if defective.max() > np.sort(good)[::-1][int(float(allowed) * len(good) + 1e-9)]:
        alarms = choose(f"max-fpr {allowed}", labels, scores)
        assert (good >= alarms.threshold).mean() <= 1 - share + 1e-9
        assert (defective >= alarms.threshold).any()
    else:
        with pytest.raises(ContractError, match="lowest false-alarm rate at which one is caught"):
            choose(f"max-fpr {allowed}", labels, scores)


def _draw_scores(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return defective scores, good scores and groups: three near-duplicates a group, nearly alike."""
    codes = np.repeat(np.arange(2 * groups), 3)
    labels = codes < groups
    scores = np.repeat(rng.normal(0, 1, 2 * groups), 3) + rng.normal(0, 0.05, 6 * groups) + 4 * labels
    return labels, scores, codes


@pytest.mark.parametrize("contract", ["min-recall 0.95", "max-fpr 0.05"])
def test_what_is_promised_holds_on_fresh_data_nine_times_of_ten(contract: str) -> None:
    """The true rate at the threshold, over many data sets of grouped images."""
    rng = np.random.default_rng(0)
    fresh_labels, fresh_scores, _ = _draw_scores(rng, 20_000)
    kept, rates = [], []
    for _ in range(400):
        labels, scores, groups = _draw_scores(rng, 120)
        choice = choose(contract, labels, scores, groups=groups)
        assert "with 90% confidence" in choice.guarantee
        called = fresh_scores >= choice.threshold
        rate = called[fresh_labels].mean() if "recall" in contract else 1 - called[~fresh_labels].mean()
        kept.append(rate >= 0.95)
        rates.append(rate)
    assert np.mean(kept) >= 0.88  # 90%, less three standard errors of 400 draws at most
    assert np.mean(rates) < 0.995  # and not by calling everything defective


def test_too_few_images_promise_nothing_and_it_says_how_many_are_missing() -> None:
    labels = np.arange(60) < 30
    scores = np.linspace(1, -1, 60)
    choice = choose("min-recall 0.99", labels, scores)
    assert "200 more are needed" in choice.guarantee  # 230 in all: 0.99 to the 230th is below 0.1
    assert "can promise min-recall 0.926 at most" in choice.guarantee  # 0.1 to the power of 1/30
    assert choice.achieved == 1.0
    assert "200 more are needed" in choose("max-fpr 0.01", labels, scores).guarantee
    assert count_needed(0.01) == 230
    assert 0.99**230 < 0.1 < 0.99**229
    assert "90% confidence" in choose("min-recall 0.9", labels, scores).guarantee  # 22 would do


def test_a_contract_that_cannot_be_met_names_the_best() -> None:
    labels = np.array([True, True, True, True, False, False])
    scores = np.array([3.0, 2.0, 1.0, -5.0, 0.0, 0.5])
    with pytest.raises(ContractError, match=r"highest recall at which one passes is 0\.750"):
        choose("min-recall 0.9", labels, scores)
    with pytest.raises(ContractError, match=r"lowest false-alarm rate at which one is caught is 0\.250"):
        choose("max-fpr 0.1", np.array([True, False, False, False, False]), np.array([1.0, 2, 0, 0, 0]))
    with pytest.raises(ContractError, match="needs defective images"):
        choose("min-recall 0.9", np.zeros(3, bool), np.arange(3.0))


def test_at_most_the_allowed_share_lies_above() -> None:
    scores = np.arange(100.0)
    assert (scores >= find_upper_threshold(scores, 0.05)).sum() == 5
    assert find_upper_threshold(scores, 0.05) not in scores
    assert (np.full(10, 3.0) >= find_upper_threshold(np.full(10, 3.0), 0.02)).sum() == 0
    assert (scores >= find_upper_threshold(scores, 1.0)).all()


BOTH = "requirement (recall 0.9, false-alarms 0.1)"


@settings(deadline=None)
@given(drawn())
def test_a_threshold_by_requirement_meets_both_figures_or_puts_recall_first(found: Drawn) -> None:
    """Against every threshold there is, counted one by one."""
    labels, scores = found
    choice = choose(BOTH, labels, scores)
    cuts = [(scores[labels] >= cut).mean() for cut in np.unique(scores)]
    alarms = [(scores[~labels] >= cut).mean() for cut in np.unique(scores)]
    pairs = list(zip(cuts, alarms, strict=True))
    reached = (scores[labels] >= choice.threshold).mean(), (scores[~labels] >= choice.threshold).mean()
    if any(caught >= 0.9 and rejected <= 0.1 for caught, rejected in pairs):
        assert reached[0] >= 0.9
        assert reached[1] <= 0.1
    elif any(caught >= 0.9 and rejected < 1 for caught, rejected in pairs):
        assert reached[1] == min(rejected for caught, rejected in pairs if caught >= 0.9)
        assert "cannot be met together" in choice.guarantee
    else:
        assert reached == (choose_reached("f1", labels, scores))
        assert "by f1 instead" in choice.guarantee


def choose_reached(contract: str, labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    called = scores >= choose(contract, labels, scores).threshold
    return called[labels].mean(), called[~labels].mean()


def test_a_threshold_by_requirement_keeps_away_from_both_limits() -> None:
    """All thresholds from 80 to 110 meet both; in the middle either is as certain as the other."""
    labels = np.arange(200) >= 100
    scores = np.concatenate([np.arange(100.0), np.arange(90.0, 190.0)])
    choice = choose("requirement (recall 0.8, false-alarms 0.2)", labels, scores)
    assert choice.threshold == pytest.approx(94.5, abs=1)
    assert "each with 90% confidence" in choice.guarantee
    few = choose("requirement (recall 0.8, false-alarms 0.2)", labels[::20], scores[::20])
    assert few.guarantee.startswith("no promise for fresh images")


def test_a_promise_of_both_is_wrong_for_either_once_in_ten_at_most() -> None:
    """At the best threshold both rates are 0.977, so there is little room between the two limits."""
    rng = np.random.default_rng(1)
    fresh_labels, fresh_scores, _ = _draw_scores(rng, 20_000)
    times, broken = 300, []
    for _ in range(times):
        labels, scores, groups = _draw_scores(rng, 200)
        choice = choose("requirement (recall 0.96, false-alarms 0.04)", labels, scores, groups=groups)
        if "each with 90% confidence" in choice.guarantee:
            called = fresh_scores >= choice.threshold
            broken.append((called[fresh_labels].mean() < 0.96, called[~fresh_labels].mean() > 0.04))
    assert len(broken) > 30
    assert np.sum(broken, axis=0).max() / times <= 0.12


def test_half_a_requirement_is_the_contract_of_that_figure() -> None:
    labels = np.arange(60) < 30
    scores = np.linspace(1, -1, 60)
    for requirement, contract in (("recall 0.9", "min-recall 0.9"), ("false-alarms 0.1", "max-fpr 0.1")):
        assert choose(f"requirement ({requirement})", labels, scores) == choose(contract, labels, scores)
    good = np.zeros(30, bool)
    assert choose(BOTH, good, scores[30:]) == choose("max-fpr 0.1", good, scores[30:])
    with pytest.raises(ContractError, match="needs defective images"):
        choose("requirement (recall 0.9)", good, scores[30:])


def test_a_requirement_comes_from_the_settings_or_from_an_operating_point() -> None:
    asked = parse_contract("requirement", "false alarms at most 10%; recall 90%")
    assert str(asked) == BOTH
    assert parse_contract(BOTH, "recall 0.5") == asked
    with pytest.raises(ConfigError, match="needs one: --require"):
        parse_contract("requirement")
    with pytest.raises(ConfigError, match="unknown figure 'recal'"):
        parse_contract("f1", "recal 0.9")  # whatever the threshold is chosen by


@pytest.mark.parametrize("text", ["f1", "min-recall 0.99", "max-fpr 0.01", "cost 1:20", "0.37", BOTH])
def test_contracts_read_as_they_are_written(text: str) -> None:
    assert str(parse_contract(text)) == text


def test_a_probability_is_taken_as_it_is() -> None:
    assert choose("0.37", np.zeros(2, bool), np.zeros(2)).threshold == pytest.approx(logit(0.37))


@pytest.mark.parametrize(
    "text", ["", "f2", "min-recall", "min-recall 1", "max-fpr x", "cost 1", "cost 0:1", "1.5"]
)
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match="threshold must be one of: f1, min-recall 0.99"):
        parse_contract(text)
