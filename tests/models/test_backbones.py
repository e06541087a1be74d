"""The table of backbones: preprocessing, block boundaries, names, and the rule of their defaults."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from mvdefect.config import FitConfig
from mvdefect.core.errors import ConfigError
from mvdefect.models.backbones import BACKBONES, BackboneSpec, find_backbone

ROOT = Path(__file__).parents[2]
SIZE_PX = 64
KERAS_PREPROCESSING = {
    "resnet50": keras.applications.resnet.preprocess_input,
    "efficientnetb0": keras.applications.efficientnet.preprocess_input,
    "densenet121": keras.applications.densenet.preprocess_input,
    "mobilenetv2": keras.applications.mobilenet_v2.preprocess_input,
    "efficientnetv2b0": keras.applications.efficientnet_v2.preprocess_input,
    "convnext_tiny": keras.applications.convnext.preprocess_input,
}
COARSE_STRIDE = 16
NOVELTY_DEVIATIONS = {"resnet50": ("conv3_block4_out",)}  # measured, see docs/experiments.md
RATE_DEVIATIONS = {"densenet121"}  # its rate is half of what the rule gives, and was not measured


@pytest.fixture(scope="module", params=sorted(BACKBONES))
def built(request: pytest.FixtureRequest):
    spec = BACKBONES[request.param]
    return spec, spec.build((SIZE_PX, SIZE_PX), None)


@pytest.mark.parametrize("name", sorted(KERAS_PREPROCESSING))
def test_preprocessing_is_that_of_keras(name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.float32)
    ours = keras.ops.convert_to_numpy(find_backbone(name).preprocess(keras.ops.array(pixels)))
    assert np.allclose(ours, KERAS_PREPROCESSING[name](pixels.copy()), atol=1e-4)


def test_the_graph_can_be_cut_at_every_boundary(built) -> None:
    """Below and above a boundary are two networks that, one after the other, give the same as the whole."""
    spec, network = built
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, SIZE_PX, SIZE_PX, 3)).astype(np.float32)
    whole = network(pixels, training=False)
    for name in spec.boundaries[:-1]:
        boundary = network.get_layer(name).output
        below = keras.Model(network.input, boundary)
        above = keras.Model(boundary, network.output)
        assert np.allclose(above(below(pixels, training=False), training=False), whole, atol=1e-4), name


def test_boundaries_follow_the_order_of_the_layers_and_end_at_the_output(built) -> None:
    spec, network = built
    names = [layer.name for layer in network.layers]
    positions = [names.index(name) for name in spec.boundaries]
    assert positions == sorted(positions)
    assert network.get_layer(spec.boundaries[-1]).output is network.output


def find_stride(tensor: Any) -> int:
    return SIZE_PX // tensor.shape[1]


def list_blocks(spec: BackboneSpec, network: Any) -> list[list[Any]]:
    """Return the layers of each block that give maps; those of a squeeze give one position."""
    names = [layer.name for layer in network.layers]
    ends = [0, *(names.index(name) + 1 for name in spec.boundaries)]
    blocks = [network.layers[start:end] for start, end in pairwise(ends)]
    return [[layer for layer in block if min((*layer.output.shape, 2)[1:3]) > 1] for block in blocks]


def find_coarsest_weights(block: list[Any]) -> int:
    """Return the largest stride at which a layer of a block has weights; 0: none has any."""
    return max((find_stride(layer.output) for layer in block if layer.weights), default=0)


def test_the_fine_tap_ends_the_last_block_at_twice_the_resolution_of_the_output(built) -> None:
    spec, network = built
    fine = find_stride(network.output) // 2
    *_, last = (block for block in list_blocks(spec, network) if find_coarsest_weights(block) == fine)
    assert spec.fine_tap == [layer.name for layer in last if find_stride(layer.output) == fine][-1]


def test_blocks_at_a_sixteenth_of_the_resolution_learn_and_all_where_nothing_is_published(built) -> None:
    spec, network = built
    strides = [find_coarsest_weights(block) for block in list_blocks(spec, network)]
    coarse = sum(stride >= COARSE_STRIDE for stride in strides)
    assert spec.depth_blocks == (coarse if spec.imagenet_file else len(spec.boundaries))


def test_small_backbones_take_longer_steps(built) -> None:
    spec, network = built
    expected = 1e-4 * (23.6e6 / network.count_params()) ** (2 / 3)
    assert (spec.learning_rate == pytest.approx(expected, rel=0.25)) == (spec.name not in RATE_DEVIATIONS)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_the_novelty_looks_where_the_head_looks_for_small_things(name: str) -> None:
    spec = BACKBONES[name]
    assert spec.novelty_taps == NOVELTY_DEVIATIONS.get(name, (spec.fine_tap,))


@pytest.mark.parametrize("place", ["README.md", "docs/configuration.md", "help"])
def test_every_backbone_is_listed_where_people_look(place: str) -> None:
    help_text = FitConfig.model_fields["backbone"].description or ""
    text = help_text if place == "help" else (ROOT / place).read_text()
    assert [name for name in BACKBONES if name not in text] == []


def test_an_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown backbone 'densenet'\. Did you mean 'densenet121'\?"):
        find_backbone("densenet")
