"""The table of backbones: preprocessing, block boundaries, names."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mvdefect.core.errors import ConfigError
from mvdefect.models.backbones import BACKBONES, find_backbone

SIZE_PX = 64
KERAS_PREPROCESSING = {
    "resnet50": keras.applications.resnet.preprocess_input,
    "efficientnetb0": keras.applications.efficientnet.preprocess_input,
    "densenet121": keras.applications.densenet.preprocess_input,
    "mobilenetv2": keras.applications.mobilenet_v2.preprocess_input,
}


@pytest.fixture(scope="module", params=sorted(BACKBONES))
def built(request: pytest.FixtureRequest):
    spec = BACKBONES[request.param]
    return spec, spec.build(SIZE_PX, None)


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


def test_an_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown backbone 'densenet'\. Did you mean 'densenet121'\?"):
        find_backbone("densenet")
