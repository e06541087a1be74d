"""What the inspector does to a production line, where defects are rarer than among the photographs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mvdefect.evaluation.bootstrap import Bools, Bootstrap, Figure, Floats
from mvdefect.evaluation.figures import Metric, Sample, false_alarm_rate, measure, recall

PER_THOUSAND = 1000.0


@dataclass(frozen=True)
class LineFigures:
    """Figures at the share of defective products that the line has.

    Attributes:
        prevalence: That share, 0 to 1.
        is_given: Whether the user named it; otherwise it is that of the photographs.
        precision: Share of rejected products that are defective.
        escape_ppt: Defective products that pass as good, per thousand products.
        overkill_ppt: Good products that are rejected, per thousand products.
        review_ppt: Products that a person is asked about, per thousand products.
    """

    prevalence: float
    is_given: bool
    precision: Figure
    escape_ppt: Figure
    overkill_ppt: Figure
    review_ppt: Figure


def measure_line(sample: Sample, prevalence: float | None, draws: Bootstrap) -> LineFigures | None:
    """Weigh good and defective images as they come on the line.

    Args:
        sample: Images whose verdicts are known.
        prevalence: Share of defective products; None: that of the images.
        draws: Of the groups of these images.

    Returns:
        The figures, or None where the images lack one of the classes.
    """
    if sample.labels.all() or not sample.labels.any():
        return None
    share = float(sample.labels.mean()) if prevalence is None else prevalence

    def weigh(hit: Bools, of_defective: float, of_good: float) -> Metric:
        def rate(found: Sample, weights: Floats) -> Floats:
            bad = (weights @ (hit & found.labels)) / np.maximum(weights @ found.labels, 1e-300)
            good = (weights @ (hit & ~found.labels)) / np.maximum(weights @ ~found.labels, 1e-300)
            return np.asarray(share * of_defective * bad + (1 - share) * of_good * good)

        return rate

    rejected, passed = sample.verdicts & sample.decided, ~sample.verdicts & sample.decided
    caught, called = weigh(rejected, 1, 0), weigh(rejected, 1, 1)

    def find_precision(found: Sample, weights: Floats) -> Floats:
        return np.asarray(caught(found, weights) / np.maximum(called(found, weights), 1e-300))

    precision = measure(sample, find_precision, draws)
    if precision.low == precision.high:  # no false alarm in any replicate, which is not certainty
        caught_share, alarm_share = measure(sample, recall, draws), measure(sample, false_alarm_rate, draws)
        precision = _join_ends(precision, caught_share, alarm_share, share)

    return LineFigures(
        prevalence=share,
        is_given=prevalence is not None,
        precision=precision,
        escape_ppt=_scale(sample, passed, recall, PER_THOUSAND * share, draws),
        overkill_ppt=_scale(sample, rejected, false_alarm_rate, PER_THOUSAND * (1 - share), draws),
        review_ppt=measure(sample, weigh(~sample.decided, PER_THOUSAND, PER_THOUSAND), draws),
    )


def _join_ends(precision: Figure, caught: Figure, alarms: Figure, share: float) -> Figure:
    """Bound a precision by the ends of the recall's and the false-alarm rate's intervals."""

    def weigh(recall_end: float, alarm_end: float) -> float:
        rejected = share * recall_end + (1 - share) * alarm_end
        return share * recall_end / rejected if rejected else 0.0

    ends = weigh(caught.low, alarms.high), weigh(caught.high, alarms.low)
    return Figure(precision.value, *ends, "ends of both intervals")


def _scale(sample: Sample, hits: Bools, metric: Metric, factor: float, draws: Bootstrap) -> Figure:
    """Measure the share of hits, whose interval knows of few groups and of none missed, and scale it."""
    found = measure(replace(sample, verdicts=hits, reviewed=None), metric, draws)
    return Figure(factor * found.value, factor * found.low, factor * found.high, found.method)
