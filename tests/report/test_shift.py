"""Shifts between parts: each kind is told from the others, and none where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvdefect.config import FitConfig
from mvdefect.data.scan import Scan
from mvdefect.data.splits.plan import SplitPlan
from mvdefect.evaluation.evaluate import judge_rows
from mvdefect.evaluation.operating_point import add_foreign_threshold, choose_operating_point
from mvdefect.report.shift import Shift, find_shifts
from mvdefect.runs import PredictionRow
from tests.report.conftest import make_run

COUNT = 60  # of each class in each part
TOLD = {"train": 3.0, "val": 3.0, "test": 3.0}  # by how much the logits tell good from defective


def draw(
    logits: dict[str, float] = TOLD,
    novelty: float = 1.0,
    shift: tuple[str, int, float] = ("test", 0, 0.0),
    protocol: str = "closed-set",
    count: int = COUNT,
    odd: str = "",
) -> tuple[Shift, ...]:
    """Draw predictions; `shift` is added to the logits of one class in one part."""
    rng, rows = np.random.default_rng(0), []
    for part, strength in logits.items():
        for label in (0, 1):
            for number in range(count):
                logit = rng.normal() + strength * label
                logit += shift[2] if (part, label) == shift[:2] else 0
                distance = float(np.exp(0.3 * rng.normal() + novelty * label))
                rows.append(
                    PredictionRow(
                        f"{part}/{label}/{number}", part, label, "nut", "dent" if label else "good",
                        len(rows), float(logit), distance, 0.0, 0.0, "", 0.0, distance / 2,
                    )
                )  # fmt: skip
    point = choose_operating_point(judge_rows([row for row in rows if row.split == "val"]), "val")
    seen = judge_rows([row for row in rows if row.split != "test"])
    point = add_foreign_threshold(point, seen)
    if odd:
        rows.append(replace(rows[-1], id=odd, group=len(rows), mean_novelty=float(seen.novelty.max())))
    return find_shifts(rows, point, protocol)


def test_parts_that_are_alike_need_no_explanation() -> None:
    assert draw() == ()


def test_a_classifier_that_knows_the_training_images_by_heart() -> None:
    (found,) = draw({"train": 6.0, "val": 0.5, "test": 0.5}, novelty=1.5)
    assert found.code == "classifier alone"
    assert "ROC-AUC 0.6" in found.message
    assert "1.00 on training images: it has learned the training images by heart" in found.message
    assert "Together with the distance from good images the inspector reaches 0.99" in found.message
    assert "depth_blocks=0" in found.advice


def test_a_classifier_that_has_learned_little() -> None:
    (found,) = draw({"train": 0.5, "val": 0.5, "test": 0.5}, novelty=1.5)
    assert "it has hardly learned to tell good from defective" in found.message
    assert "by heart" not in found.message
    assert "Together with the distance" in found.message


def test_a_classifier_that_no_distance_helps() -> None:
    (found,) = draw({"train": 6.0, "val": 0.5, "test": 0.5}, novelty=0.0)
    assert "by heart" in found.message
    assert "Together" not in found.message


@pytest.mark.parametrize(
    ("label", "by", "said"),
    [
        (0, 2.5, "Scores of good images are higher on test than on validation images"),
        (0, 2.5, "there are more false alarms than it was chosen for"),
        (0, -2.5, "there are fewer false alarms"),
        (1, -2.5, "Scores of defective images are lower on test than on validation images"),
        (1, -2.5, "there are more missed defects than it was chosen for"),
    ],
)
def test_a_test_part_of_other_images_than_validation(label: int, by: float, said: str) -> None:
    (found,) = draw(shift=("test", label, by))
    assert said in found.message
    assert "other days, lots, light or cameras" in found.message


def test_a_type_that_was_never_shown_is_expected_to_differ() -> None:
    (found,) = draw(shift=("test", 1, -2.5), protocol="unseen-type dent")
    assert "this is what the protocol measures" in found.message
    assert not found.advice


def test_training_images_that_are_known_better() -> None:
    (found,) = draw(shift=("train", 0, -2.5))
    assert "Scores of good images are lower on training than on validation images" in found.message
    assert "says nothing about the line" in found.message


def test_a_test_image_of_something_else_is_named() -> None:
    (found,) = draw(odd="a screenshot.png")
    assert found.code == "not this product"
    assert "1 test image(s) are far more unlike good images than training and validation" in found.message
    assert "a screenshot.png" in found.message


def test_a_few_images_prove_nothing() -> None:
    assert draw({"train": 6.0, "val": 0.5, "test": 0.5}, count=6) == ()


def test_the_report_explains_it_before_any_figure(
    photographs: tuple[Scan, SplitPlan], tmp_path: Path, write_page: Callable[..., str]
) -> None:
    scan, plan = photographs
    rows = [replace(row, group=number) for number, row in enumerate(plan.rows)]
    moved = replace(plan, rows=tuple(rows))
    run = make_run(tmp_path / "run", scan, moved, FitConfig(data=str(tmp_path / "gone")))
    assert "learned the training images by heart" not in write_page(run.path)
    table = run.predictions.read_text().splitlines()
    names = table[0].split(",")
    logit, label, split = (names.index(name) for name in ("logit", "label", "split"))
    lines = [line.split(",") for line in table[1:]]
    for line in lines:
        if line[split] == "train":
            line[logit] = "9" if line[label] == "1" else "-9"
        elif line[split] == "val":
            line[logit] = "0.1" if line[0] < "m" else "0.2"
    run.predictions.write_text("\n".join([table[0], *(",".join(line) for line in lines)]) + "\n")
    text = write_page(run.path)
    assert "learned the training images by heart" in text
    assert text.index("by heart") < text.index("Every figure")
