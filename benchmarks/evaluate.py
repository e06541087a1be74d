"""What an evaluation costs: all figures on the draws of one bootstrap, against a bootstrap for each figure.

    python benchmarks/evaluate.py --count 2000

Prints the seconds of both, their ratio, and whether all figures are equal to the last bit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from unittest import mock

import numpy as np

from mvdefect.data.splits.plan import PlanRow, SplitPlan
from mvdefect.evaluation import evaluate, production, strata
from mvdefect.evaluation.bootstrap import Bootstrap, Figure
from mvdefect.evaluation.evaluate import Evaluation, evaluate_predictions
from mvdefect.evaluation.figures import Metric, Sample, measure
from mvdefect.evaluation.operating_point import choose_operating_point
from mvdefect.runs import PredictionRow

TYPES = ("scratch", "dent", "stain")


def draw_rows(count: int) -> tuple[list[PredictionRow], SplitPlan]:
    """Draw predictions of a test part: a third defective, groups of one or two images."""
    rng = np.random.default_rng(0)
    labels = rng.random(count) < 1 / 3
    scores = rng.normal(0, 1.5, count) + 3 * labels - 1.5
    groups = np.sort(rng.integers(0, round(0.7 * count), count))
    rows = [
        PredictionRow(
            id=f"{number:06}.png",
            split="test",
            label=int(labels[number]),
            category="part",
            defect_type=TYPES[number % len(TYPES)] if labels[number] else "good",
            group=int(groups[number]),
            logit=float(scores[number]),
            novelty=float("nan"),
            score=float(scores[number]),
            probability=float(1 / (1 + np.exp(-scores[number]))),
            verdict="defective" if scores[number] > 0 else "good",
            defect_share=float(rng.random() / 10) if labels[number] else 0.0,
        )
        for number in range(count)
    ]
    planned = [PlanRow(row.id, "test", row.category, row.defect_type, row.group, "0" * 64) for row in rows]
    return rows, SplitPlan("closed-set", 0, tuple(planned))


def take_time(work: Callable[[], Evaluation]) -> tuple[float, Evaluation]:
    """Return the seconds that something takes, and its result."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def measure_alone(sample: Sample, metric: Metric, _: Bootstrap | None = None) -> Figure:
    """Measure a figure on draws of its own."""
    return measure(sample, metric)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=2000, help="images of the test part")
    rows, plan = draw_rows(parser.parse_args().count)
    point = choose_operating_point(evaluate.judge_rows(rows), "val", "f1", "classifier", None, 0.0)

    def work() -> Evaluation:
        return evaluate_predictions(rows, plan, point)

    shared_s, shared = take_time(work)
    with (
        mock.patch.multiple(evaluate, measure=measure_alone),
        mock.patch.multiple(strata, measure=measure_alone),
        mock.patch.multiple(production, measure=measure_alone),
    ):
        alone_s, alone = take_time(work)
    print(
        f"{len(rows)} images: {shared_s:.2f} s on shared draws, {alone_s:.2f} s on draws of each figure's "
        f"own, {alone_s / shared_s:.1f} times faster; figures equal: {repr(shared) == repr(alone)}"
    )


if __name__ == "__main__":
    main()
