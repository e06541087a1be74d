"""Escapes, overkill and review at any threshold: what the slider of the report shows.

`templates/tradeoff.js` computes the same figures from the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from mvdefect.evaluation.bootstrap import Bools, Floats
from mvdefect.evaluation.production import PER_THOUSAND
from mvdefect.evaluation.strata import make_sample
from mvdefect.report.contents import RunContents
from mvdefect.report.sheets import Column, Sheet
from mvdefect.report.wording import format_percent, format_probability

BINS = 48
RECALLS = (1.0, 0.99, 0.95, 0.9)
RATES = (0.1, 0.05, 0.01, 0.0)


@dataclass(frozen=True)
class ScoredImages:
    """What the slider starts from.

    Attributes:
        labels: True for defective, (n,).
        scores: What the verdict is reached on, float64 (n,).
        always: True where the image is rejected whatever its score, since it is novel, (n,).
        threshold: Score of the run's operating point.
        review_width: How far from the threshold its grey zone reaches, in scores; 0: there is none.
        prevalence: Share of defective products on the line.
        unit: What has a score: an image, or a part that several images show.
    """

    labels: Bools
    scores: Floats
    always: Bools
    threshold: float
    review_width: float
    prevalence: float
    unit: str = "image"

    def to_json(self) -> dict[str, Any]:
        """Return a tree for JSON."""
        return {
            "labels": self.labels.astype(int).tolist(),
            "scores": self.scores.tolist(),
            "always": np.flatnonzero(self.always).tolist(),
            "threshold": self.threshold,
            "reviewWidth": self.review_width,
            "prevalence": self.prevalence,
        }


@dataclass(frozen=True)
class TradeOff:
    """What one threshold comes to; counts of images, then shares, then products per thousand.

    `recall` and `false_alarm_rate` are of those that no person is asked about; NaN where there is none.
    """

    caught: int
    missed: int
    reviewed_defective: int
    rejected_good: int
    passed_good: int
    reviewed_good: int
    recall: float
    false_alarm_rate: float
    precision: float
    escape_ppt: float
    overkill_ppt: float
    review_ppt: float


def collect_scores(run: RunContents) -> ScoredImages:
    """Take from a run what the slider needs."""
    evaluation, sample = run.evaluation.decisive, make_sample(run.judged)
    point, line = evaluation.operating_point, evaluation.line
    novelty = np.array([row.novelty for row in run.judged], np.float64)
    is_either = point.verdict == "either" and "novelty" in point.thresholds
    always = novelty >= point.thresholds["novelty"] if is_either else np.zeros(len(novelty), bool)
    return ScoredImages(
        labels=sample.labels,
        scores=sample.scores,
        always=np.asarray(always, bool),
        threshold=point.score,
        review_width=0.0 if point.review is None else point.review[1] - point.score,
        prevalence=float(sample.labels.mean()) if line is None else line.prevalence,
        unit=evaluation.unit,
    )


def compute_trade_off(
    images: ScoredImages, threshold: float, review_width: float, prevalence: float
) -> TradeOff:
    """Judge every image at a threshold.

    Args:
        images: Their scores and what they are.
        threshold: Images that score at least this are rejected.
        review_width: Images that score less than this away from the threshold go to a person.
        prevalence: Share of defective products on the line, 0 to 1.
    """
    scores, bad = images.scores, images.labels
    review = (scores >= threshold - review_width) & (scores < threshold + review_width) & ~images.always
    rejected = ((scores >= threshold) | images.always) & ~review
    caught, alarms = int((rejected & bad).sum()), int((rejected & ~bad).sum())
    asked_bad, asked_good = int((review & bad).sum()), int((review & ~bad).sum())
    missed, passed = int(bad.sum()) - caught - asked_bad, int((~bad).sum()) - alarms - asked_good

    def weigh(of_defective: int, of_good: int) -> float:
        shares = _divide(of_defective, int(bad.sum())), _divide(of_good, int((~bad).sum()))
        return prevalence * shares[0] + (1 - prevalence) * shares[1]

    return TradeOff(
        caught=caught,
        missed=missed,
        reviewed_defective=asked_bad,
        rejected_good=alarms,
        passed_good=passed,
        reviewed_good=asked_good,
        recall=_divide(caught, caught + missed),
        false_alarm_rate=_divide(alarms, alarms + passed),
        precision=_divide(weigh(caught, 0), weigh(caught, alarms)),
        escape_ppt=PER_THOUSAND * weigh(missed, 0),
        overkill_ppt=PER_THOUSAND * weigh(0, alarms),
        review_ppt=PER_THOUSAND * weigh(asked_bad, asked_good),
    )


def make_threshold_sheet(images: ScoredImages) -> Sheet:
    """What other thresholds come to, for who cannot move the slider."""
    rows = [
        (
            words,
            format_probability(float(expit(threshold))),
            f"{found.caught} of {int(images.labels.sum())}",
            f"{found.rejected_good} of {int((~images.labels).sum())}",
            format_percent(found.precision),
            f"{found.escape_ppt:.2f}",
            f"{found.overkill_ppt:.2f}",
        )
        for words, threshold, width in _list_thresholds(images)
        for found in [compute_trade_off(images, threshold, width, images.prevalence)]
    ]
    names = ("threshold", "defects caught", "good rejected", "precision", "escapes", "overkill")
    columns = (Column("to"), *(Column(name, "number") for name in names))
    note = (
        f"Precision, escapes and overkill at {format_percent(images.prevalence)} defective products; escapes "
        f"and overkill per 1000 products. All but the first row were looked up on the test {images.unit}s: "
        "choose a threshold on validation, with mvdefect evaluate RUN --threshold 'min-recall 0.95' --save."
    )
    return Sheet("Other thresholds", columns, tuple(rows), note)


def _list_thresholds(images: ScoredImages) -> Iterator[tuple[str, float, float]]:
    yield "the run's operating point", images.threshold, images.review_width
    free = ~images.always  # what is novel is rejected at any threshold
    bad, good = (
        np.sort(images.scores[images.labels & free]),
        np.sort(images.scores[~images.labels & free])[::-1],
    )
    rejected = int((images.always & ~images.labels).sum())
    for share in RECALLS if len(bad) else ():
        lost = min(int((1 - share) * int(images.labels.sum()) + 1e-9), len(bad) - 1)
        yield f"catch {share:.0%} of the defects", float(bad[lost]), 0.0
    for rate in RATES if len(good) else ():
        allowed = int(rate * int((~images.labels).sum()) + 1e-9) - rejected
        if not 0 <= allowed < len(good):
            continue
        yield f"reject {rate:.0%} of the good at most", float(np.nextafter(good[allowed], np.inf)), 0.0


@dataclass(frozen=True)
class Bar:
    """Images with about one score, as shares of the tallest bar.

    Attributes:
        left: Where it begins, 0 to 1 of the width.
        width: How wide it is.
        good: Height of the good ones.
        defective: Height of the defective ones.
    """

    left: float
    width: float
    good: float
    defective: float


def draw_bars(images: ScoredImages) -> tuple[Bar, ...]:
    """Return the histogram above the slider, from its lowest score to its highest."""
    low, high = find_range(images)
    edges = np.linspace(low, high, BINS + 1)
    good, bad = (np.histogram(images.scores[images.labels == label], edges)[0] for label in (False, True))
    tallest = float(np.sqrt(max(good.max(), bad.max(), 1)))  # a root, so that single images are seen
    return tuple(
        Bar(number / BINS, 1 / BINS, float(np.sqrt(one)) / tallest, float(np.sqrt(two)) / tallest)
        for number, (one, two) in enumerate(zip(good, bad, strict=True))
    )


def find_range(images: ScoredImages) -> tuple[float, float]:
    """Return the ends of the slider: all thresholds that make a difference lie between."""
    found: Sequence[float] = (*images.scores.tolist(), images.threshold)
    margin = max(0.02 * (max(found) - min(found)), 0.01)
    return min(found) - margin, max(found) + margin


def _divide(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else float("nan")
