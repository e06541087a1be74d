"""Long images, seen at two scales: from the command's point of view, and the same in an export."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mvdefect import load
from mvdefect.config import FitConfig
from mvdefect.exporting.export import ExportSettings, export_run
from mvdefect.models.classifier import load_classifier
from mvdefect.models.members import list_members
from mvdefect.runs import RunFolder, read_predictions, read_run_config
from mvdefect.workflow.fit import fit_inspector

SIZE_PX = (160, 2400)
DEFECT_PX = 12  # which is half a pixel of a strip in a square of 224


def draw_strip(number: int, is_defective: bool) -> np.ndarray:
    """Draw a strip of cloth, with a dark spot if it is defective."""
    rng = np.random.default_rng(number)
    strip = cv2.GaussianBlur(rng.normal(128, 40, SIZE_PX).astype(np.float32), (0, 0), 1.5)
    if is_defective:
        row, column = (int(rng.integers(DEFECT_PX, side - DEFECT_PX)) for side in SIZE_PX)
        cv2.circle(strip, (column, row), DEFECT_PX // 2, 40.0, -1)
    return np.asarray(strip.clip(0, 255), np.uint8)


@pytest.fixture(scope="module")
def strips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("strips")
    for folder, count in (("good", 30), ("spot", 15)):
        (root / folder).mkdir()
        for number in range(count):
            image = draw_strip(number + 1000 * (folder == "spot"), folder == "spot")
            cv2.imwrite(str(root / folder / f"{number:02}.png"), image)
    return root


@pytest.fixture(scope="module")
def run(strips: Path, mobilenet_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    config = FitConfig(
        data=(str(strips),),
        near_duplicates="none",
        backbone="mobilenetv2",
        weights=str(mobilenet_weights),
        fine_tune=False,
        tensorboard=False,
    )
    return fit_inspector(config, tmp_path_factory.mktemp("strips-run") / "run").folder


def test_a_strip_keeps_its_shape_and_is_seen_at_two_scales(run: RunFolder) -> None:
    config = read_run_config(run)
    assert config.size_px == (128, 1728)
    members = [member for member, _ in list_members(load_classifier(run.model))]
    seen = [member.get_layer("backbone").input.shape[1:3] for member in members]
    assert seen == [(64, 864), (128, 1728), (128, 1728)]  # whole images at both, positions at the finer one


def test_a_small_spot_on_a_long_strip_is_found(run: RunFolder) -> None:
    rows = [row for row in read_predictions(run) if row.split == "test"]
    scores = {label: [row.score for row in rows if row.label == label] for label in (0, 1)}
    assert np.mean([bad > good for bad in scores[1] for good in scores[0]]) > 0.9


def test_the_export_sees_what_the_run_saw(run: RunFolder, strips: Path, tmp_path: Path) -> None:
    made = export_run(run.path, tmp_path / "export", ExportSettings(formats=("openvino",)))
    images = [strips / "good" / "03.png", strips / "spot" / "05.png"]
    own = load(run.path).predict(images, heatmaps=True)
    exported = load(made.path).predict(images, heatmaps=True)
    for mine, other in zip(own, exported, strict=True):
        assert mine.label == other.label
        assert mine.probability == pytest.approx(other.probability, abs=1e-4)
        assert mine.heatmap is not None
        assert other.heatmap is not None
        assert mine.heatmap.shape == other.heatmap.shape
        assert np.allclose(mine.heatmap, other.heatmap, atol=0.05 * np.ptp(mine.heatmap))
