"""Parts that several images show: their rows, their operating point, and what 'any view' would come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from mvdefect.data.parts import find_usual, name_part
from mvdefect.data.records import GOOD
from mvdefect.evaluation.bootstrap import Bootstrap, Figure
from mvdefect.evaluation.comparison import compare_samples
from mvdefect.evaluation.figures import PART_FIGURES, measure
from mvdefect.evaluation.operating_point import (
    DEFECTIVE,
    REVIEW,
    Judged,
    OperatingPoint,
    PartPoint,
    choose_operating_point,
)
from mvdefect.evaluation.pooling import PartScores, choose_pooling, number_parts
from mvdefect.evaluation.strata import make_sample
from mvdefect.runs import PredictionRow

JOIN = "+"


@dataclass(frozen=True)
class AnyView:
    """What it would come to if a part were defective as soon as one of its images is called so.

    Attributes:
        figures: Its figures, by the names of `PART_FIGURES`.
        pooled: Those of the pooled verdict.
        differences: By how much these are above the former, paired by part.
    """

    figures: dict[str, Figure]
    pooled: dict[str, Figure]
    differences: dict[str, Figure]


@dataclass(frozen=True)
class PartRows:
    """Predictions of parts: each a row as an image has one, whose id is that of the part.

    Attributes:
        pooled: As they are judged.
        any_view: As they would be if one image decided: with the highest score, and the worst verdict.
    """

    pooled: tuple[PredictionRow, ...]
    any_view: tuple[PredictionRow, ...]


def has_parts(rows: Sequence[PredictionRow]) -> bool:
    """Whether any image belongs to a part."""
    return any(row.part_id for row in rows)


def judge_parts(rows: Sequence[PredictionRow], point: OperatingPoint, by_part: PartPoint) -> PartRows:
    """Judge parts by the scores and verdicts of their images.

    A part is defective if one of its images is. An image that belongs to none is a part of its own.

    Args:
        rows: Images with their scores and verdicts.
        point: The operating point of images.
        by_part: That of parts.
    """
    images, parts = _take_scores(rows, point), _gather(rows)
    logits = by_part.pooling.find_scores(images)
    scores, verdicts = by_part.point.find_scores(logits, None), by_part.point.decide(logits, None)
    several = len({row.category for row in rows}) > 1
    pooled, alone = [], []
    for number, members in enumerate(parts):
        part, score = _join(members, several), float(scores[number])
        found = str(verdicts[number])
        pooled.append(
            replace(
                part,
                logit=float(logits[number]),
                score=score,
                probability=float(expit(score)),
                verdict=found,
            )
        )
        worst = max(members, key=lambda row: row.score)
        alone.append(
            replace(
                part, score=worst.score, probability=worst.probability, verdict=find_worst_verdict(members)
            )
        )
    return PartRows(*(tuple(sorted(found, key=lambda row: row.id)) for found in (pooled, alone)))


def find_worst_verdict(images: Sequence[PredictionRow]) -> str:
    """Return the verdict of a part if one image decides: defective before review before good."""
    found = {row.verdict for row in images}
    return next((verdict for verdict in (DEFECTIVE, REVIEW) if verdict in found), GOOD)


def add_part_point(
    point: OperatingPoint,
    held_out: Sequence[PredictionRow],
    seen: Sequence[PredictionRow],
    contract: str,
    prevalence: float | None,
    review_budget: float,
    require: str | None,
) -> OperatingPoint:
    """Choose how scores are pooled, and where a part begins to be defective.

    Args:
        point: The operating point of images.
        held_out: Images that it was chosen on, with their scores.
        seen: All images of train and val, which tell what parts usually show.
        contract: As for `choose_operating_point`, which all others are for as well.
        prevalence: Share of defective parts on the line.
        review_budget: Share of the parts that a person may be asked about.
        require: What the line needs of parts.

    Raises:
        ContractError: The contract cannot be met.
    """
    images, parts = _take_scores(held_out, point), _gather(held_out)
    labels = np.array([any(row.label for row in members) for members in parts], bool)
    groups = np.array([members[0].group for members in parts], np.int64)
    pooling = choose_pooling(images, labels, groups)
    judged = Judged(labels, groups, pooling.find_scores(images), None)
    chosen = choose_operating_point(
        judged, point.part, contract, "classifier", prevalence, review_budget, require
    )
    return replace(point, by_part=PartPoint(pooling, chosen, find_usual(seen)))


def compare_with_any_view(rows: PartRows, draws: Bootstrap) -> AnyView:
    """Measure both ways of judging parts on the same draws of groups, and their paired differences."""
    pooled, alone = make_sample(rows.pooled), make_sample(rows.any_view)
    kinds = PART_FIGURES.items()
    return AnyView(
        {name: measure(alone, kind.compute, draws) for name, kind in kinds},
        {name: measure(pooled, kind.compute, draws) for name, kind in kinds},
        {name: compare_samples(pooled, alone, kind.compute, draws) for name, kind in kinds},
    )


def _name(row: PredictionRow) -> str:
    return name_part(row) or f"\n{row.id}"


def _gather(rows: Sequence[PredictionRow]) -> list[list[PredictionRow]]:
    """Return the images of each part, parts by first appearance."""
    parts: dict[str, list[PredictionRow]] = {}
    for row in rows:
        parts.setdefault(_name(row), []).append(row)
    return list(parts.values())


def _take_scores(rows: Sequence[PredictionRow], point: OperatingPoint) -> PartScores:
    novel = point.find_novel(np.array([row.novelty for row in rows], np.float64))
    return PartScores(
        scores=np.array([row.score for row in rows], np.float64),
        views=np.array([row.view for row in rows], dtype=str),
        codes=number_parts([_name(row) for row in rows]),
        novel=np.zeros(len(rows), bool) if novel is None else novel,
    )


def _join(members: Sequence[PredictionRow], has_several_categories: bool) -> PredictionRow:
    """Return the row of a part without a verdict: what is known of all its images."""
    first = members[0]
    defective = [row for row in members if row.label]
    types = sorted({row.defect_type for row in defective})
    id_ = f"{first.category}/{first.part_id}" if has_several_categories else first.part_id
    return replace(
        first,
        id=id_ if first.part_id else first.id,
        label=int(bool(defective)),
        defect_type=JOIN.join(types) or GOOD,
        novelty=float("nan"),
        mean_novelty=float("nan"),
        defect_share=max((row.defect_share for row in defective), default=0.0),
        view="",
    )
