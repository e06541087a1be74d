"""Parts that several images show: one verdict of what an inspector said of their images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import expit, logit

from mvdefect.core.errors import ConfigError
from mvdefect.data.parts import compile_part_pattern, find_part
from mvdefect.evaluation.evaluate import read_operating_point
from mvdefect.evaluation.operating_point import DEFECTIVE, REVIEW, OperatingPoint, parse_operating_point
from mvdefect.evaluation.pooling import PartScores
from mvdefect.inspector.answers import UNREADABLE, Answer
from mvdefect.inspector.places import MANIFEST, find_export
from mvdefect.runs import RunFolder, read_json, read_run_config


@dataclass(frozen=True)
class ImageOfPart:
    """One image of a part, and what was said of it."""

    name: str
    view: str
    answer: Answer


@dataclass(frozen=True)
class PartAnswer:
    """What an inspector says of a part.

    Attributes:
        part_id: The part; of an image that belongs to none, its name.
        label: good, defective, review, or unreadable if none of its images could be read.
        probability: That it is defective; None where it is unreadable.
        images: How many images came.
        unreadable: How many of them could not be read.
        missing: Views that it lacks, of those that most parts showed in training.
        suspect: Name of the image with the highest probability; "" where none could be read.
        is_foreign: Whether one of its images shows another product.
    """

    part_id: str
    label: str
    probability: float | None
    images: int
    unreadable: int
    missing: tuple[str, ...]
    suspect: str
    is_foreign: bool

    @property
    def needs_review(self) -> bool:
        """Whether a person has to look: it is uncertain, or passes although something of it was not seen."""
        if self.label == DEFECTIVE:
            return False
        return self.label in (REVIEW, UNREADABLE) or bool(self.missing or self.unreadable)


class PartJudge:
    """Reaches the verdicts of parts, as a fit measured them."""

    def __init__(self, point: OperatingPoint, pattern: str = "", place: str = "the inspector") -> None:
        """Take what a fit has chosen.

        Args:
            point: The operating point of an inspector.
            pattern: Names part and view of an image by its name; "": each image is a part of its own.
            place: Where the inspector is, as an error names it.

        Raises:
            ConfigError: It was fitted without parts.
            SplitError: The pattern is no regular expression.
        """
        if point.by_part is None:
            raise ConfigError(
                f"{place} was fitted on images that are parts of their own, so it has no verdict of parts; "
                "`mvdefect fit --part-pattern` makes one"
            )
        self._point, self._by_part = point, point.by_part
        self.pattern = pattern
        self._compiled = compile_part_pattern(pattern) if pattern else None

    def find_part(self, name: str) -> tuple[str, str]:
        """Return part id and view of an image by its name; both "" where it belongs to no part."""
        return find_part(self._compiled, name) if self._compiled is not None else ("", "")

    def judge(
        self,
        part_id: str,
        images: Sequence[ImageOfPart],
        is_alone: bool = False,
        knows_views: bool = True,
    ) -> PartAnswer:
        """Reach the verdict of one part.

        Args:
            part_id: What it is called.
            images: All of its images that came, one at least.
            is_alone: Whether this is an image that belongs to no part, which lacks nothing.
            knows_views: Whether the images have the names of their views; otherwise they are counted.
        """
        usual = self._by_part.usual
        usual = usual if knows_views else replace(usual, views=())
        missing = () if is_alone else usual.list_missing([image.view for image in images])
        read = [image for image in images if image.answer.probability is not None]
        counts = len(images), len(images) - len(read)
        if not read:
            return PartAnswer(part_id, UNREADABLE, None, *counts, missing, "", False)
        logits = self._by_part.pooling.find_scores(self._take_scores(read))
        scores, labels = (
            self._by_part.point.find_scores(logits, None),
            self._by_part.point.decide(logits, None),
        )
        return PartAnswer(
            part_id,
            str(labels[0]),
            float(expit(scores[0])),
            *counts,
            missing,
            max(read, key=lambda image: image.answer.probability or 0.0).name,
            any(image.answer.is_foreign for image in images),
        )

    def judge_all(
        self, answers: Iterable[tuple[str, Answer]], known: Mapping[str, tuple[str, str]] | None = None
    ) -> list[PartAnswer]:
        """Reach the verdicts of parts whose images are told apart by their names.

        Args:
            answers: Name of each image, and what was said of it; of equal names the last one counts.
            known: Part id and view by the names of images, as from a table.

        Returns:
            One answer per part, by first appearance.
        """
        parts: dict[tuple[str, bool], list[ImageOfPart]] = {}
        for name, answer in dict(answers).items():
            part_id, view = (known or {}).get(name) or self.find_part(name)
            parts.setdefault((part_id or name, not part_id), []).append(ImageOfPart(name, view, answer))
        return [self.judge(part_id, images, alone) for (part_id, alone), images in parts.items()]

    def _take_scores(self, images: Sequence[ImageOfPart]) -> PartScores:
        """Turn probabilities into the scores that they were made of; float32 rounds, see `PartScores`."""
        probabilities = np.array([image.answer.probability for image in images], np.float64)
        novelty = np.array([image.answer.novelty for image in images], np.float64)
        novel = self._point.find_novel(novelty)
        return PartScores(
            scores=logit(probabilities),
            views=np.array([image.view for image in images], dtype=str),
            codes=np.zeros(len(images), np.int64),
            novel=np.zeros(len(images), bool) if novel is None else novel,
        )


def read_part_judge(place: Path, pattern: str | None = None) -> PartJudge:
    """Return what judges the parts of a run or an export, with the same result for either.

    Args:
        place: Its folder, or the file `inspector.json` of an export.
        pattern: Names part and view of an image by its name; None: as in the fit.

    Raises:
        ConfigError: It was fitted without parts.
        RunError: Its files are missing or damaged.
        SplitError: The pattern is no regular expression.
    """
    point, fitted = _read_point(place)
    return PartJudge(point, fitted if pattern is None else pattern, str(place))


def judges_parts(place: Path) -> bool:
    """Whether a run or an export was fitted with parts.

    Raises:
        RunError: Its files are missing or damaged.
    """
    return _read_point(place)[0].by_part is not None


def _read_point(place: Path) -> tuple[OperatingPoint, str]:
    """Return the operating point of a run or an export, and the part pattern of its fit."""
    export = find_export(place)
    if export is None and not place.is_file():
        folder = RunFolder(place)
        return read_operating_point(folder), read_run_config(folder).part_pattern
    manifest = read_json(place if export is None else export / MANIFEST)
    point = parse_operating_point(manifest.get("operating_point") or {})
    return point, str((manifest.get("settings") or {}).get("part_pattern") or "")
