"""Freezing: what learns, and that batch normalisation never moves."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mvdefect.core.errors import ConfigError
from mvdefect.models.backbones import BACKBONES
from mvdefect.models.classifier import build_classifier
from mvdefect.models.freezing import BACKBONE, trainable_summary, unfreeze
from mvdefect.models.heads import HeadSettings

SIZE_PX = 64


@pytest.fixture(scope="module", params=sorted(BACKBONES))
def classifier(request: pytest.FixtureRequest):
    spec = BACKBONES[request.param]
    keras.utils.set_random_seed(0)
    return spec, build_classifier(spec, (SIZE_PX, SIZE_PX), HeadSettings(dropout=0.0), 2, None)


def test_depth_counts_blocks_from_the_top(classifier) -> None:
    spec, model = classifier
    for depth in range(spec.max_depth_blocks + 1):
        unfreeze(model, spec, depth)
        *blocks, head = trainable_summary(model, spec)
        frozen = len(blocks) - depth
        assert all(block.trainable == 0 for block in blocks[:frozen])
        assert all(block.trainable > 0 for block in blocks[frozen:] if block.parameters)
        assert head.trainable == head.parameters > 0


def test_the_summary_counts_every_parameter_once(classifier) -> None:
    spec, model = classifier
    unfreeze(model, spec, 1)
    summary = trainable_summary(model, spec)
    assert sum(block.parameters for block in summary) == model.count_params()
    trainable = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert sum(block.trainable for block in summary) == trainable


def test_the_backbone_is_one_function_in_training_and_in_use(classifier) -> None:
    """Neither dropout nor blocks that are left out by chance: what is frozen can run once."""
    spec, model = classifier
    unfreeze(model, spec, spec.max_depth_blocks)
    pixels = np.random.default_rng(1).integers(0, 256, (2, SIZE_PX, SIZE_PX, 3)).astype(np.uint8)
    logits = [keras.ops.convert_to_numpy(model(pixels, training=mode)) for mode in (True, True, False)]
    np.testing.assert_allclose(logits[0], logits[2], atol=1e-5)
    np.testing.assert_array_equal(logits[0], logits[1])


def test_batch_normalisation_does_not_move_in_a_fit(classifier) -> None:
    spec, model = classifier
    unfreeze(model, spec, spec.max_depth_blocks)
    layers = model.get_layer(BACKBONE).layers
    normalisations = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert bool(normalisations) == (spec.name not in {"small_cnn", "convnext_tiny"})
    before = [[weight.copy() for weight in layer.get_weights()] for layer in normalisations]
    learning = model.trainable_variables[0].numpy().copy()
    # Adam, because gradients are tiny at the bottom of a network of random weights.
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True), run_eagerly=True)
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIZE_PX, SIZE_PX, 3)).astype(np.uint8)
    model.fit(pixels, np.array([[0.0], [1.0], [0.0], [1.0]]), batch_size=2, verbose=0)
    assert not np.array_equal(model.trainable_variables[0].numpy(), learning)
    for layer, weights in zip(normalisations, before, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), weights, strict=True)), (
            layer.name
        )


@pytest.mark.parametrize("depth", [-1, 5])
def test_a_depth_that_does_not_exist(depth: int) -> None:
    spec = BACKBONES["small_cnn"]
    model = build_classifier(spec, (SIZE_PX, SIZE_PX), HeadSettings(dropout=0.0), 2, None)
    with pytest.raises(ConfigError, match=rf"from 0 \(head only\) to 4 .* Received: depth_blocks={depth}"):
        unfreeze(model, spec, depth)


def test_batch_normalisation_adapts_where_it_may_and_only_in_blocks_that_learn() -> None:
    spec = BACKBONES["mobilenetv2"]
    keras.utils.set_random_seed(0)
    model = build_classifier(spec, (SIZE_PX, SIZE_PX), HeadSettings(dropout=0.0), 2, None)
    unfreeze(model, spec, 2, "adapt")
    layers = model.get_layer(BACKBONE).layers
    names = [layer.name for layer in layers]
    boundary = names.index(spec.boundaries[-3])
    before = {layer.name: [w.copy() for w in layer.get_weights()] for layer in layers}
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True), run_eagerly=True)
    pixels = np.random.default_rng(0).integers(0, 256, (4, SIZE_PX, SIZE_PX, 3)).astype(np.uint8)
    model.fit(pixels, np.array([[0.0], [1.0], [0.0], [1.0]]), batch_size=2, verbose=0)
    for index, layer in enumerate(layers):
        if isinstance(layer, keras.layers.BatchNormalization):
            moved = not np.array_equal(layer.get_weights()[2], before[layer.name][2])
            assert moved == (index > boundary), layer.name
