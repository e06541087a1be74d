"""The scorer on its backbone, members joined, and their heatmaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mvdefect.models.backbones import find_backbone
from mvdefect.models.classifier import build_classifier, copy_classifier, load_classifier
from mvdefect.models.features import Trunk, build_features, share_trunk
from mvdefect.models.freezing import BACKBONE
from mvdefect.models.heads import HeadSettings, MapSpreading
from mvdefect.models.kernel_machine import KernelMachine, find_scaling
from mvdefect.models.members import join_members, list_members
from mvdefect.models.merging import Merged
from mvdefect.models.saliency import build_heatmaps
from mvdefect.models.scorer import build_look, build_scorer, list_blocks, list_depths

SIZE_PX = 64
LABELS = np.arange(24) % 2


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Noise; the defective ones have a bright square at the lower left."""
    images = np.random.default_rng(0).integers(60, 120, (24, SIZE_PX, SIZE_PX, 3)).astype(np.uint8)
    images[LABELS == 1, 44:60, 4:20] = 255
    return images


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_classifier(find_backbone("small_cnn"), (SIZE_PX, SIZE_PX), HeadSettings(), 2, None)


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    keras.utils.set_random_seed(1)
    spec = find_backbone("small_cnn")
    return share_trunk(build_classifier(spec, (SIZE_PX, SIZE_PX), HeadSettings(), 2, None), spec)


@pytest.fixture(scope="module")
def machine(trunk: Trunk, pixels: np.ndarray) -> KernelMachine:
    vectors = keras.ops.convert_to_numpy(build_look(trunk)(pixels)[1])
    scaling = find_scaling(vectors, list_blocks(trunk))
    return KernelMachine.fit(vectors, LABELS, np.ones(24, np.float32), scaling)


def run(model: Any, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(model(pixels)))


def test_one_pass_gives_what_novelty_and_scorer_look_at(trunk: Trunk, pixels: np.ndarray) -> None:
    maps, vectors = (keras.ops.convert_to_numpy(found) for found in build_look(trunk)(pixels))
    np.testing.assert_array_equal(maps, run(build_features(trunk), pixels))
    depths = [keras.ops.convert_to_numpy(found) for found in _tap_depths(trunk)(pixels)]
    expected = [depth.mean((1, 2)) for depth in depths] + [depth.max((1, 2)) for depth in depths]
    np.testing.assert_allclose(vectors, np.concatenate(expected, axis=1), rtol=1e-4, atol=1e-5)
    assert [part.shape[1] for part in expected] == list(list_blocks(trunk))


def _tap_depths(trunk: Trunk) -> keras.Model:
    return keras.Model(trunk.pixels, trunk.tap(list_depths(trunk.spec)))


def test_the_scorer_says_what_its_machine_says(
    trunk: Trunk, machine: KernelMachine, pixels: np.ndarray
) -> None:
    vectors = keras.ops.convert_to_numpy(build_look(trunk)(pixels)[1])
    scorer = build_scorer(trunk, machine)
    np.testing.assert_allclose(run(scorer, pixels)[:, 0], machine.score(vectors), atol=1e-4)


def test_members_are_summed_saved_and_explained(
    trunk: Trunk, machine: KernelMachine, classifier: keras.Model, pixels: np.ndarray, tmp_path: Path
) -> None:
    scorer = build_scorer(trunk, machine)
    joined = join_members([(scorer, 2.0), (classifier, 0.5)])
    expected = 2 * run(scorer, pixels) + 0.5 * run(classifier, pixels)
    np.testing.assert_allclose(run(joined, pixels), expected, atol=1e-4)
    joined.save(tmp_path / "model.keras")
    loaded = load_classifier(tmp_path / "model.keras")
    np.testing.assert_array_equal(run(loaded, pixels), run(joined, pixels))
    assert [share for _, share in list_members(loaded)] == [2.0, 0.5]
    maps = run(build_heatmaps(loaded), pixels)
    fine, coarse = (run(build_heatmaps(one), pixels) for one in (scorer, classifier))
    spread = run(MapSpreading(*fine.shape[1:]), coarse[..., np.newaxis])[..., 0]
    np.testing.assert_allclose(maps, 2 * fine + 0.5 * spread, atol=1e-3)


def test_members_that_look_twice_average_the_image_and_its_mirror_image(
    trunk: Trunk, machine: KernelMachine, classifier: keras.Model, pixels: np.ndarray, tmp_path: Path
) -> None:
    members = [(build_scorer(trunk, machine), 2.0), (classifier, 0.5)]
    once, twice = join_members(members), join_members(members, mirrored=True)
    mirrored = np.ascontiguousarray(pixels[:, :, ::-1])
    expected = (run(once, pixels) + run(once, mirrored)) / 2
    assert np.abs(run(once, pixels) - expected).max() > 0.01
    np.testing.assert_allclose(run(twice, pixels), expected, atol=1e-4)
    twice.save(tmp_path / "model.keras")
    loaded = load_classifier(tmp_path / "model.keras")
    assert [share for _, share in list_members(loaded)] == [2.0, 0.5]
    alone, both = (build_heatmaps(model) for model in (once, loaded))
    maps = (run(alone, pixels) + run(alone, mirrored)[:, :, ::-1]) / 2
    np.testing.assert_allclose(run(both, pixels), maps, atol=1e-3)


def test_what_networks_compute_alike_runs_once(
    trunk: Trunk, machine: KernelMachine, pixels: np.ndarray
) -> None:
    """Fine-tuned networks have weights of their own, also where these never changed."""
    keras.utils.set_random_seed(1)
    first = build_classifier(
        trunk.spec, (SIZE_PX, SIZE_PX), HeadSettings(), 2, None
    )  # has the weights of the trunk
    second = copy_classifier(first)
    upper = second.get_layer(BACKBONE).layers[-3:]
    for variable in [variable for layer in upper for variable in layer.variables]:
        variable.assign(variable + 0.1)
    members = [build_scorer(trunk, machine), first, second]
    merged = tf.function(Merged([build_features(trunk), *members]))
    for found, network in zip(merged(pixels), [build_features(trunk), *members], strict=True):
        np.testing.assert_allclose(found, run(network, pixels), rtol=1e-3, atol=1e-3)
    alone = tf.function(lambda images: first(images))
    again = sum("Conv2D" in type(layer).__name__ for layer in upper)
    assert again
    assert count_convolutions(merged, pixels) == count_convolutions(alone, pixels) + again


def test_mirror_images_and_heatmaps_run_with_the_rest(
    trunk: Trunk, machine: KernelMachine, classifier: keras.Model, pixels: np.ndarray
) -> None:
    joined = join_members([(build_scorer(trunk, machine), 1.0), (classifier, 1.0)], mirrored=True)
    networks = [build_features(trunk), joined, build_heatmaps(joined)]
    for found, network in zip(Merged(networks)(pixels), networks, strict=True):
        np.testing.assert_allclose(found, run(network, pixels), rtol=1e-3, atol=1e-3)


def count_convolutions(function: Any, pixels: np.ndarray) -> int:
    graph = function.get_concrete_function(tf.TensorSpec((None, *pixels.shape[1:]), tf.uint8)).graph
    return sum("Conv2D" in operation.type for operation in graph.get_operations())


def test_one_member_alone_is_the_classifier(classifier: keras.Model) -> None:
    assert join_members([(classifier, 0.3)]) is classifier
    assert list_members(classifier) == [(classifier, 1.0)]


def test_the_heatmap_of_the_scorer_shows_the_defect(
    trunk: Trunk, machine: KernelMachine, pixels: np.ndarray
) -> None:
    maps = run(build_heatmaps(build_scorer(trunk, machine)), pixels)[LABELS == 1]
    rows, columns = np.unravel_index(maps.reshape(len(maps), -1).argmax(axis=1), maps.shape[1:])
    cell = SIZE_PX / maps.shape[1]
    hits = (rows * cell >= 40) & (rows * cell < 60) & (columns * cell < 20)
    assert hits.mean() > 0.8
