"""The same figures for some of the images: by category, by defect type, by size of the defect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvdefect.data.records import GOOD
from mvdefect.evaluation.bootstrap import Bootstrap, Figure
from mvdefect.evaluation.figures import Sample, false_alarm_rate, measure, recall, roc_auc
from mvdefect.evaluation.operating_point import DEFECTIVE, REVIEW
from mvdefect.runs import PredictionRow

SIZES = ("smallest quarter", "second quarter", "third quarter", "largest quarter")


@dataclass(frozen=True)
class TypeRecall:
    """How many images of one defect type are caught, of those that the inspector decides itself."""

    category: str
    defect_type: str
    count: int
    caught: int
    recall: Figure


@dataclass(frozen=True)
class CategoryFigures:
    """What one product comes to."""

    category: str
    images: int
    defective: int
    roc_auc: Figure
    recall: Figure
    false_alarm_rate: Figure


@dataclass(frozen=True)
class SizeRecall:
    """How many defects of one size are caught.

    Attributes:
        name: One of `SIZES`.
        low_share: Smallest share of the image that is defective.
        high_share: Largest one.
        count: Images.
        caught: Those that are called defective.
        recall: The same as a share.
    """

    name: str
    low_share: float
    high_share: float
    count: int
    caught: int
    recall: Figure


def make_sample(rows: Sequence[PredictionRow]) -> Sample:
    """Turn prediction rows into arrays."""
    reviewed = np.array([row.verdict == REVIEW for row in rows], bool)
    return Sample(
        labels=np.array([row.label == 1 for row in rows], bool),
        scores=np.array([row.score for row in rows], np.float64),
        verdicts=np.array([row.verdict == DEFECTIVE for row in rows], bool),
        groups=np.array([row.group for row in rows], np.int64),
        reviewed=reviewed if reviewed.any() else None,
    )


def measure_types(rows: Sequence[PredictionRow]) -> tuple[TypeRecall, ...]:
    """Measure the recall of each defect type of each category."""
    strata = sorted({(row.category, row.defect_type) for row in rows if row.defect_type != GOOD})
    measured = []
    for category, defect_type in strata:
        sample = make_sample([r for r in rows if (r.category, r.defect_type) == (category, defect_type)])
        caught = int((sample.verdicts & sample.decided).sum())
        measured.append(
            TypeRecall(category, defect_type, len(sample.labels), caught, measure(sample, recall))
        )
    return tuple(measured)


def measure_categories(rows: Sequence[PredictionRow], draws: Bootstrap) -> tuple[CategoryFigures, ...]:
    """Measure each product on its own; `draws` are those of all images, which serve where there is one."""
    measured = []
    categories = sorted({row.category for row in rows})
    for category in categories:
        sample = make_sample([row for row in rows if row.category == category])
        own = draws if len(categories) == 1 else Bootstrap(sample.groups)
        figures = [measure(sample, metric, own) for metric in (roc_auc, recall, false_alarm_rate)]
        measured.append(CategoryFigures(category, len(sample.labels), int(sample.labels.sum()), *figures))
    return tuple(measured)


def measure_sizes(rows: Sequence[PredictionRow]) -> tuple[SizeRecall, ...]:
    """Measure the recall by quarters of the defective images with a mask, from small to large defects."""
    known = sorted((row for row in rows if row.label and row.defect_share > 0), key=_size_of)
    measured = []
    for name, numbers in zip(SIZES, np.array_split(np.arange(len(known)), len(SIZES)), strict=True):
        if not len(numbers):
            continue
        part = [known[number] for number in numbers]
        sample = make_sample(part)
        caught = int((sample.verdicts & sample.decided).sum())
        low, high = part[0].defect_share, part[-1].defect_share
        measured.append(SizeRecall(name, low, high, len(part), caught, measure(sample, recall)))
    return tuple(measured)


def _size_of(row: PredictionRow) -> tuple[float, str]:
    return row.defect_share, row.id
