"""The patch scorer: finds from labels of whole images which positions are defective."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mvdefect.models.backbones import find_backbone
from mvdefect.models.classifier import build_classifier, load_classifier
from mvdefect.models.feature_maps import average_neighbourhoods
from mvdefect.models.features import Trunk, share_trunk
from mvdefect.models.heads import HeadSettings
from mvdefect.models.members import join_members
from mvdefect.models.patch_scorer import (
    PatchMachine,
    build_patch_look,
    build_patch_scorer,
    count_highest,
    list_patch_taps,
)
from mvdefect.models.saliency import build_heatmaps

IMAGES, SIDE, CHANNELS = 60, 12, 8
LABELS = np.arange(IMAGES) % 3 == 0
WEIGHTS = np.ones(IMAGES, np.float32)


def draw_maps(seed: int, strength: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Noise; 3 by 3 positions of each defective image are higher in two channels. Also where they are."""
    random = np.random.default_rng(seed)
    maps = random.normal(size=(IMAGES, SIDE, SIDE, CHANNELS)).astype(np.float32)
    marked = np.zeros(maps.shape[:3], bool)
    for image in np.flatnonzero(LABELS):
        top, left = random.integers(1, SIDE - 4, 2)
        marked[image, top : top + 3, left : left + 3] = True
    maps[marked, :2] += strength / 2
    return maps, marked


def test_positions_are_found_from_labels_of_images() -> None:
    machine = PatchMachine.fit(draw_maps(0)[0], LABELS.astype(np.int64), WEIGHTS)
    maps, marked = draw_maps(1)
    assert roc_auc_score(LABELS, machine.score(maps)) > 0.99
    found = average_neighbourhoods(maps) @ machine.kernel
    highest = found[LABELS].reshape(LABELS.sum(), -1).argmax(axis=1)
    inside = marked[LABELS].reshape(LABELS.sum(), -1)
    assert inside[np.arange(len(highest)), highest].mean() > 0.9
    assert np.abs(machine.kernel[:2]).min() > 5 * np.abs(machine.kernel[2:]).max()


def test_the_score_of_an_image_is_the_mean_of_its_highest_positions() -> None:
    maps = draw_maps(2)[0]
    machine = PatchMachine(np.linspace(-1, 1, CHANNELS).astype(np.float32), 0.5)
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
    counts = np.pad(np.ones((SIDE, SIDE)), 1)
    total = sum(
        np.roll(padded, (down, left), (1, 2))[:, 1:-1, 1:-1] for down in (-1, 0, 1) for left in (-1, 0, 1)
    )
    present = sum(
        np.roll(counts, (down, left), (0, 1))[1:-1, 1:-1] for down in (-1, 0, 1) for left in (-1, 0, 1)
    )
    scores = np.sort(((total / present[..., np.newaxis]) @ machine.kernel).reshape(IMAGES, -1))
    assert count_highest(SIDE * SIDE) == 3
    np.testing.assert_allclose(machine.score(maps), scores[:, -3:].mean(axis=1) + 0.5, atol=1e-5)


@pytest.mark.parametrize("is_marked", [False, True])
def test_a_mask_says_which_positions_are_defective(is_marked: bool) -> None:
    """Something else that defective images share, more striking than the defect, is not taken for it."""
    maps, marked = draw_maps(3)
    maps[LABELS, :3, :3, 5] += 6
    machine = PatchMachine.fit(maps, LABELS.astype(np.int64), WEIGHTS, marked if is_marked else None)
    assert (machine.kernel[0] > machine.kernel[5]) == is_marked


def test_images_without_a_mask_are_learned_from_beside_those_with_one() -> None:
    maps, marked = draw_maps(4)
    marked[: IMAGES // 2] = False
    machine = PatchMachine.fit(maps, LABELS.astype(np.int64), WEIGHTS, marked)
    assert roc_auc_score(LABELS, machine.score(draw_maps(5)[0])) > 0.99
    same = PatchMachine.fit(maps, LABELS.astype(np.int64), WEIGHTS, np.zeros_like(marked))
    unmarked = PatchMachine.fit(maps, LABELS.astype(np.int64), WEIGHTS)
    np.testing.assert_array_equal(same.kernel, unmarked.kernel)
    assert not np.array_equal(machine.kernel, unmarked.kernel)


def test_one_defective_image_and_channels_that_never_change_are_enough() -> None:
    maps = draw_maps(6)[0][:13]
    maps[..., 6:] = 1.0
    machine = PatchMachine.fit(maps, (np.arange(13) == 0).astype(np.int64), WEIGHTS[:13])
    assert np.isfinite(machine.score(maps)).all()
    assert machine.score(maps).argmax() == 0


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Noise; the defective ones have a bright square at the lower left."""
    images = np.random.default_rng(0).integers(60, 120, (24, 64, 64, 3)).astype(np.uint8)
    images[1::2, 40:56, 8:24] = 255
    return images


def make_trunk(name: str) -> Trunk:
    keras.utils.set_random_seed(1)
    spec = find_backbone(name)
    return share_trunk(build_classifier(spec, (64, 64), HeadSettings(), 2, None), spec)


def run(model: Any, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(model(pixels)))


@pytest.mark.parametrize("name", ["small_cnn", "resnet50"])  # taps of one size; of two, with many channels
def test_the_scorer_says_what_its_machine_says(name: str, pixels: np.ndarray, tmp_path: Any) -> None:
    trunk = make_trunk(name)
    look = build_patch_look(trunk, 7)
    maps = keras.ops.convert_to_numpy(look(pixels)[0])
    assert maps.shape[-1] <= 200
    machine = PatchMachine.fit(maps, np.arange(24) % 2, np.ones(24, np.float32))
    scorer = build_patch_scorer(trunk, machine, 7)
    expected = machine.score(maps)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(run(scorer, pixels)[:, 0] / scale, expected / scale, atol=1e-4)
    assert roc_auc_score(np.arange(24) % 2, expected) == 1
    scorer.save(tmp_path / "scorer.keras")
    loaded = load_classifier(tmp_path / "scorer.keras")
    np.testing.assert_array_equal(run(loaded, pixels), run(scorer, pixels))


def test_its_heatmap_is_highest_on_the_defect(pixels: np.ndarray) -> None:
    trunk = make_trunk("small_cnn")
    maps = keras.ops.convert_to_numpy(build_patch_look(trunk, 0)(pixels)[0])
    machine = PatchMachine.fit(maps, np.arange(24) % 2, np.ones(24, np.float32))
    heatmaps = run(build_heatmaps(join_members([(build_patch_scorer(trunk, machine, 0), 2.0)], True)), pixels)
    cells = 64 // heatmaps.shape[1]
    for heatmap in heatmaps[1::2]:
        down, left = np.unravel_index(heatmap.argmax(), heatmap.shape)
        assert 40 - cells <= down * cells < 56 + cells
        assert 8 - cells <= left * cells < 24 + cells


def test_taps_are_the_fine_one_and_the_end_of_the_block_before() -> None:
    assert list_patch_taps(make_trunk("small_cnn")) == ("block2b_relu", "block3b_relu")
    assert list_patch_taps(make_trunk("mobilenetv2")) == ("block_9_add", "block_12_add")
    assert list_patch_taps(make_trunk("densenet121")) == ("pool3_pool", "pool4_conv")
