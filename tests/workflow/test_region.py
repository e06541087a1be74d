"""The region that counts, from the settings to verdicts: what lies outside is never seen, scored or drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import mvdefect
from mvdefect.config import FitConfig
from mvdefect.core.errors import ConfigError
from mvdefect.data.counted_region import read_region, write_region
from mvdefect.data.groups.grouping import group_records
from mvdefect.data.images import DEFAULT_DECODING, Pixels
from mvdefect.data.scan import scan_images
from mvdefect.data.sources.opening import open_source
from mvdefect.data.splits.protocols import assign_closed_set
from mvdefect.evaluation.heatmaps import read_heatmaps
from mvdefect.exporting.network import freeze_network, run_network
from mvdefect.inspector.graph import build_graph
from mvdefect.inspector.places import read_view
from mvdefect.inspector.reading import read_image
from mvdefect.prediction.overlays import draw_overlay
from mvdefect.runs import RunFolder
from mvdefect.workflow.job import check_job
from mvdefect.workflow.photographs import prepare_photographs, write_plan
from mvdefect.workflow.region import settle_planned_region, settle_region
from tests.conftest import write_image
from tests.data.test_background import SIDE, draw_plates

PLATE = np.zeros((SIDE, SIDE), bool)
PLATE[26:70, 20:76] = True


@dataclass(frozen=True)
class Made:
    """A run with a region, its images, and the mask file."""

    run: RunFolder
    images: Path
    mask: Path


def scratch(image: Pixels, number: int) -> Pixels:
    place = 34 + number % 24
    return np.asarray(cv2.line(image.copy(), (30, place), (60, place + 4), (20, 20, 20), 2))


def write_plates(root: Path) -> Path:
    for number, image in enumerate(draw_plates(40)[0]):
        if number < 28:
            write_image(root / "good" / f"{number:02}.png", image)
        else:
            write_image(root / "scratch" / f"{number:02}.png", scratch(image, number))
    return root


def clutter(image: Pixels) -> Pixels:
    """Put other things everywhere outside of the region."""
    noise = np.random.default_rng(5).integers(0, 256, image.shape, dtype=np.uint8)
    return np.where(PLATE[..., np.newaxis], image, noise)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("region")
    images = write_plates(root / "images")
    cv2.imwrite(str(root / "mask.png"), PLATE.astype(np.uint8) * 255)
    settings = {
        "backbone": "efficientnetb0",
        "weights": "texture",
        "resolution": [64, 64],
        "region": str(root / "mask.png"),
        "fine_tune": False,
        "near_duplicates": "none",
        "folds": 1,
        "tensorboard": False,
    }
    run = mvdefect.fit(images, settings, run=root / "run")
    return Made(RunFolder(Path(run.path)), images, root / "mask.png")


def test_what_lies_outside_changes_nothing_that_is_said(made: Made) -> None:
    inspector = mvdefect.load(made.run.path)
    images = list(draw_plates(48)[0][40:])
    images += [scratch(image, number) for number, image in enumerate(images)]
    plain = inspector.predict(images, heatmaps=True)
    other = inspector.predict([clutter(image) for image in images], heatmaps=True)
    for first, second in zip(plain, other, strict=True):
        assert first.label == second.label
        assert first.probability == pytest.approx(second.probability, abs=1e-6)
        assert first.novelty == pytest.approx(second.novelty, rel=1e-5)
        assert first.mean_novelty == pytest.approx(second.mean_novelty, rel=1e-5)
        assert np.allclose(first.heatmap, second.heatmap, atol=1e-4)
    scores = [answer.probability for answer in plain]
    assert np.mean(scores[8:]) > np.mean(scores[:8])


def test_the_network_of_exports_covers_the_same_pixels(made: Made) -> None:
    graph, region = build_graph(made.run), read_region(made.run.region)
    assert region is not None
    network = freeze_network(graph)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    covered = np.stack([region.cover(image) for image in pixels])
    for name, found in run_network(network, pixels).items():
        assert np.allclose(found, run_network(network, covered)[name], atol=1e-5)
    # A pixel that counts does change what is said.
    rows, columns = np.nonzero(region.mask)
    pixels[:, rows, columns] = 255 - pixels[:, rows, columns]
    assert not np.allclose(run_network(network, pixels)["novelty"], run_network(network, covered)["novelty"])


def test_no_heatmap_shows_anything_outside(made: Made) -> None:
    maps, region = read_heatmaps(made.run), read_region(made.run.region)
    assert maps is not None
    assert region is not None
    counted = region.mark_cells(maps.maps.shape[1:3])
    assert 0.1 < counted.mean() < 0.6
    for found in maps.maps:
        assert found[counted].min() == found[~counted].max() == found[~counted].min()
    view = read_view(made.run.path)
    low, high = view.heat_range
    assert view.rule is not None
    assert view.rule.usual <= low
    good = maps.select([name for name in maps.ids if name.startswith("good")])[:, counted]
    assert low == pytest.approx(float(np.median(good.astype(np.float64))))
    assert high > low


def test_the_run_keeps_the_region_at_working_size(made: Made) -> None:
    region = read_region(made.run.region)
    assert region is not None
    assert region.size_px == (64, 64)
    assert region.image_px == (SIDE, SIDE)
    wanted = cv2.resize(PLATE.astype(np.uint8) * 255, (64, 64), interpolation=cv2.INTER_AREA) == 255
    assert (region.mask == wanted).all()


def test_an_image_of_another_shape_is_told(made: Made) -> None:
    view = read_view(made.run.path)
    image = draw_plates(1)[0][0]
    for picture, is_told in ((image, False), (cv2.resize(image, (192, 192)), False), (image[:60], True)):
        encoded = cv2.imencode(".png", np.ascontiguousarray(picture))[1].tobytes()
        assert ("another shape" in read_image(encoded, view).remark) == is_told


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ("nothing.png", "No such file"),
        ({"cable": "none"}, "says nothing of"),
        ("small.png", "60x40 pixels and images have 96x96"),
    ],
)
def test_a_region_that_does_not_fit_is_refused_before_anything_slow(
    made: Made, tmp_path: Path, region: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.full((40, 60), 255, np.uint8))
    monkeypatch.chdir(tmp_path)
    config = FitConfig(data=str(made.images), region=region, backbone="small_cnn", weights="none")
    with pytest.raises(ConfigError, match=words):
        check_job(config, tmp_path / "run")


def test_auto_learns_from_good_images_of_train_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = FitConfig(region="auto", resolution=(64, 64), near_duplicates="none")
    root = write_plates(tmp_path / "images")
    scan = scan_images(open_source(str(root)).records)
    plan = assign_closed_set(scan, group_records(scan, "none"), 0)
    first = settle_region(config, scan.records, scan.sizes_px, plan, DEFAULT_DECODING)
    assert first is not None
    middle = cv2.resize(PLATE.astype(np.uint8), (64, 64), interpolation=cv2.INTER_NEAREST) > 0
    assert first.mask[24:40, 20:44].all()
    assert first.mask.sum() < 2.2 * middle.sum()
    for row in plan.rows:
        if row.part != "train" or row.label:
            write_image(root / row.id, np.full((SIDE, SIDE, 3), 200, np.uint8))
    again = settle_region(config, scan.records, scan.sizes_px, plan, DEFAULT_DECODING)
    assert again is not None
    assert again.digest == first.digest


def test_auto_lets_everything_count_where_shapes_differ(tmp_path: Path, messages: list[str]) -> None:
    root = write_plates(tmp_path / "images")
    write_image(root / "good" / "99.png", draw_plates(1)[0][0][:50])
    scan = scan_images(open_source(str(root)).records)
    plan = assign_closed_set(scan, group_records(scan, "none"), 0)
    config = FitConfig(region="auto", resolution=(64, 64))
    assert settle_region(config, scan.records, scan.sizes_px, plan, DEFAULT_DECODING) is None
    assert any("everything counts" in message for message in messages)


def test_a_mask_that_leaves_all_defects_out_is_told(tmp_path: Path, messages: list[str]) -> None:
    root = tmp_path / "images"
    for number, image in enumerate(draw_plates(20)[0]):
        write_image(root / ("good" if number < 10 else "dent") / f"{number:02}.png", image)
        if number >= 10:
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[40:50, 40:50] = 255
            write_image(root / "ground_truth" / "dent" / f"{number:02}_mask.png", mask)
    cv2.imwrite(str(tmp_path / "mask.png"), 255 - PLATE.astype(np.uint8) * 255)
    scan = scan_images(open_source(str(root)).records)
    plan = assign_closed_set(scan, group_records(scan, "none"), 0)
    config = FitConfig(region=str(tmp_path / "mask.png"), resolution=(64, 64))
    assert settle_region(config, scan.records, scan.sizes_px, plan, DEFAULT_DECODING) is not None
    assert any("is the mask inverted" in message for message in messages)


def test_images_prepared_beforehand_are_those_of_the_fit(made: Made) -> None:
    config = FitConfig(
        data=str(made.images),
        region=str(made.mask),
        resolution=(64, 64),
        split=made.run.split_plan,
        near_duplicates="none",
    )
    records = open_source(str(made.images)).records
    region = settle_planned_region(config, records, DEFAULT_DECODING)
    kept = read_region(made.run.region)
    assert region is not None
    assert kept is not None
    assert region.digest == kept.digest
    alone = settle_planned_region(config.model_copy(update={"split": None}), records, DEFAULT_DECODING)
    assert alone is not None
    assert alone.digest == kept.digest
    with pytest.raises(ConfigError, match="--split"):
        settle_planned_region(
            config.model_copy(update={"split": None, "region": "auto"}), records, DEFAULT_DECODING
        )


def test_what_was_learned_in_another_region_is_given_up(made: Made, tmp_path: Path) -> None:
    config = FitConfig(
        data=str(made.images), region=str(made.mask), resolution=(64, 64), near_duplicates="none"
    )
    records = open_source(str(made.images)).records
    photographs = prepare_photographs(records, config, None)
    folder = RunFolder(tmp_path)
    write_plan(photographs, folder)
    folder.checkpoint.mkdir()
    write_plan(photographs, folder)
    assert folder.checkpoint.exists()
    kept = read_region(folder.region)
    assert kept is not None
    write_region(replace(kept, mask=~kept.mask), folder.region)
    write_plan(photographs, folder)
    assert not folder.checkpoint.exists()


def test_an_overlay_leaves_what_lies_outside_as_it_is(made: Made) -> None:
    image = scratch(draw_plates(41)[0][40], 5)
    (answer,) = mvdefect.load(made.run.path).predict(image, heatmaps=True)
    assert answer.heatmap is not None
    low, high = read_view(made.run.path).heat_range
    # All of it is hot on this scale.
    view = replace(
        read_view(made.run.path), rule=None, heat_range=(low - 2 * (high - low), low)
    )  # all is hot
    shown = draw_overlay(image.copy(), view, answer, answer.heatmap)
    outside = ~cv2.dilate(PLATE.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    assert np.array_equal(shown[outside], image[outside])
    assert (shown[40:56, 40:56] != image[40:56, 40:56]).any(axis=2).mean() > 0.9
