"""Answers: what an inspector says of a photograph, in which words, and what gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mvdefect.data.records import GOOD
from mvdefect.evaluation.operating_point import DEFECTIVE, REVIEW
from mvdefect.evaluation.regions import SuspiciousRegion

DEFAULT, EXPLAIN = (
    "serving_default",
    "explain",
)  # `pixels` is called as what it takes
BYTES, PIXELS = "image_bytes", "pixels"
NO_PROBABILITY = -1.0  # JSON knows no NaN
OK, UNREADABLE = "ok", "unreadable"
FOREIGN_OUTPUT = "not_this_product"
REGIONS = "regions"
UNKNOWN_FILE = "the file is no PNG, JPEG or BMP of a kind that TensorFlow reads, or it is broken"
LABELS = (GOOD, DEFECTIVE, REVIEW, UNREADABLE)


@dataclass(frozen=True)
class Answer:
    """What an inspector says of a photograph.

    Attributes:
        label: good, defective, review, or unreadable.
        probability: That it is defective; None where it is unreadable.
        novelty: How unlike good photographs it is; None where it is unreadable.
        heatmap: Where a defect is seen, float32 (height, width) over the photograph at working size with its
            padding; None unless it was asked for.
        error: Why it is unreadable, or what is wrong with an image that could be inspected all the same, as
            values beyond what the inspector was trained with.
        is_foreign: Whether it is far beyond every image of the product that was seen: another product, or no
            product at all. The label is what it is without this.
        mean_novelty: How unlike good images it is as a mean over the image, by which that is told; None where
            it is unreadable, and in exports of version 0.1.0.
        regions: Where it looks defective, in pixels of the image itself, the most suspicious first;
            None unless the heatmap was asked for, and if the inspector does not know what is suspicious.
    """

    label: str
    probability: float | None
    novelty: float | None
    heatmap: np.ndarray | None = None
    error: str = ""
    is_foreign: bool = False
    mean_novelty: float | None = None
    regions: tuple[SuspiciousRegion, ...] | None = None

    @property
    def is_readable(self) -> bool:
        """Whether it could be inspected."""
        return self.probability is not None


UNREADABLE_ANSWER = Answer(UNREADABLE, None, None)


class Engine(Protocol):
    """What answers for photographs."""

    def __call__(self, files: Sequence[bytes], with_heatmaps: bool = False) -> list[Answer]:
        """Inspect image files, as they are; with heatmaps it takes longer."""
