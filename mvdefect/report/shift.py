"""Shifts: where scores of training, validation and test images differ, and what that means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import mannwhitneyu

from mvdefect.core.errors import list_some
from mvdefect.data.records import GOOD
from mvdefect.evaluation.bootstrap import Figure, Floats
from mvdefect.evaluation.evaluate import is_foreign, judge_rows
from mvdefect.evaluation.figures import Sample, measure, roc_auc
from mvdefect.evaluation.operating_point import NOT_THIS_PRODUCT, Judged, OperatingPoint
from mvdefect.runs import PredictionRow

PARTS = ("train", "val", "test")
CLASSES = (GOOD, "defective")
FAR = 0.1  # between two ROC-AUC
LEARNED = 0.8  # ROC-AUC on training images from which on a classifier has learned something
APART = 0.25  # share of pairs beyond one half in which the images of one part have the higher score
SURE = 0.01  # p-value
FEWEST_GROUPS = 8  # of one class in one part


@dataclass(frozen=True)
class Shift:
    """Something that differs between parts, or between the classifier and the whole inspector.

    Attributes:
        code: Short name.
        message: What it is and where it probably comes from.
        advice: What to do about it.
    """

    code: str
    message: str
    advice: str


def find_shifts(rows: Sequence[PredictionRow], point: OperatingPoint, protocol: str) -> tuple[Shift, ...]:
    """Find what needs an explanation before the figures can be understood.

    Args:
        rows: Predictions of all parts.
        point: How scores become verdicts.
        protocol: That of the split plan.
    """
    parts = {name: judge_rows([row for row in rows if row.split == name]) for name in PARTS}
    parts = {name: part for name, part in parts.items() if len(part.labels)}
    found = list(_judge_classifier(parts, point))
    if "val" in parts and "test" in parts:
        found += _compare_with_test(parts, point, protocol)
    if "val" in parts and "train" in parts and not found:
        found += _compare_with_training(parts, point)
    return (*found, *_find_other_products([row for row in rows if row.split == "test"], point))


def _find_other_products(rows: Sequence[PredictionRow], point: OperatingPoint) -> Iterator[Shift]:
    """Name test images that are far beyond everything in training and validation."""
    names = [row.id for row in rows if is_foreign(row, point)]
    if names:
        yield Shift(
            NOT_THIS_PRODUCT,
            f"{len(names)} test image(s) are far more unlike good images than training and validation "
            f"images, defective ones included: {list_some(names, 5)}. They probably show something else: "
            "another product, a screenshot, an empty station.",
            "Look at them, and remove from the data what is not this product.",
        )


def _judge_classifier(parts: dict[str, Judged], point: OperatingPoint) -> Iterator[Shift]:
    """Say where the classifier alone falls short: of its training images, or of the whole inspector."""
    if not {"train", "val"} <= parts.keys():
        return
    train, val = (_rank(parts[name], parts[name].logits) for name in ("train", "val"))
    whole = _rank(parts["val"], point.find_scores(parts["val"].logits, parts["val"].novelty))
    if train is None or val is None or whole is None:
        return
    is_helped = point.verdict == "combined" and whole.value - val.value > FAR
    is_by_heart = train.value >= LEARNED and train.value - val.value > FAR and val.high < train.value
    if not is_helped and not is_by_heart:
        return
    if is_by_heart:
        message = (
            f"The classifier alone reaches ROC-AUC {val.value:.2f} on validation and {train.value:.2f} on "
            "training images: it has learned the training images by heart."
        )
    else:
        message = (
            f"The classifier alone reaches ROC-AUC {val.value:.2f} on validation and {train.value:.2f} on "
            "training images: it has hardly learned to tell good from defective."
        )
    if is_helped:
        message += (
            f" Together with the distance from good images the inspector reaches {whole.value:.3f} on "
            "validation, so its verdicts rest on that distance above all."
        )
    advice = (
        "More images of the rare class, or fewer blocks that learn (`--set stages.-1.depth_blocks=0`)."
        if is_by_heart
        else "More epochs, other weights to start from, or a larger `--image-size` if the defects are small."
    )
    yield Shift("classifier alone", message, advice)


@dataclass(frozen=True)
class _Difference:
    """How the scores of one class in a part differ from those in validation.

    Attributes:
        share: Of the pairs in which the image of the part has the higher score.
        median: Of the scores in the part.
        val_median: Of those in validation.
    """

    share: float
    median: float
    val_median: float

    @property
    def is_higher(self) -> bool:
        """Whether the part has the higher scores."""
        return self.share > 0.5

    def describe(self, name: str, part: str) -> str:
        """Say it in one sentence."""
        return (
            f"Scores of {name} images are {'higher' if self.is_higher else 'lower'} on {part} than on "
            f"validation images (median {self.median:.2f} and {self.val_median:.2f}; the {part} image has "
            f"the higher one in {self.share:.0%} of all pairs)."
        )


def _compare_with_test(parts: dict[str, Judged], point: OperatingPoint, protocol: str) -> Iterator[Shift]:
    """Say where images of one class have other scores in test than where the threshold was chosen."""
    for name in CLASSES:
        found = _compare(parts["test"], parts["val"], point, name)
        if found is None:
            continue
        message, code = found.describe(name, "test"), f"test scores of {name} images"
        if protocol.startswith("unseen-type") and name != GOOD:
            cause = "Defects of the tested type were in no other part, so this is what the protocol measures."
            yield Shift(code, f"{message} {cause}", "")
            continue
        errors = "false alarms" if name == GOOD else "missed defects"
        many = "more" if found.is_higher == (name == GOOD) else "fewer"
        yield Shift(
            code,
            f"{message} The threshold was chosen on validation, so there are {many} {errors} than it was "
            "chosen for. A likely cause is that the parts show different things: other days, lots, light or "
            "cameras.",
            "Let images of every day, lot and camera be in all parts, or train on images of all of them.",
        )


def _compare_with_training(parts: dict[str, Judged], point: OperatingPoint) -> Iterator[Shift]:
    """Say that the inspector is surer of the images that it has seen."""
    found = {name: _compare(parts["train"], parts["val"], point, name) for name in CLASSES}
    told = [one.describe(name, "training") for name, one in found.items() if one is not None]
    if told:
        yield Shift(
            "training scores",
            f"{' '.join(told)} The inspector has seen the training images and knows them better than any "
            "others: what it reaches on them says nothing about the line.",
            "Go by the figures of the test part. More images make the difference smaller.",
        )


def _compare(part: Judged, val: Judged, point: OperatingPoint, name: str) -> _Difference | None:
    """Compare the scores of a class; None if they do not differ much, or if that may be chance.

    A group counts as one observation, its median; Mann and Whitney's test (1947).
    """
    medians = []
    for one in (part, val):
        chosen = one.labels == (name != GOOD)
        scores = point.find_scores(one.logits, one.novelty)[chosen]
        codes = one.groups[chosen]
        medians.append(np.array([np.median(scores[codes == code]) for code in np.unique(codes)]))
    if min(map(len, medians)) < FEWEST_GROUPS:
        return None
    statistic, p = mannwhitneyu(*medians)
    share = float(statistic) / (len(medians[0]) * len(medians[1]))
    if abs(share - 0.5) <= APART or p >= SURE:
        return None
    return _Difference(share, *(float(np.median(found)) for found in medians))


def _rank(part: Judged, scores: Floats | None) -> Figure | None:
    """Return the ROC-AUC of scores; None if there are none, or too few groups of a class say anything."""
    held = [len(np.unique(part.groups[part.labels == label])) for label in (False, True)]
    if scores is None or min(held) < FEWEST_GROUPS:
        return None
    return measure(Sample(part.labels, scores, scores > 0, part.groups), roc_auc)
