"""ConvNeXt is that of Keras: the same function of the same weights, in files of either."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mvdefect.models.convnext import build_convnext_tiny

SIZE_PX = 64


@pytest.fixture(scope="module")
def theirs() -> keras.Model:
    """Keras's own network. Its residual branches begin a millionth as strong as others; here they count."""
    network = keras.applications.ConvNeXtTiny(
        include_top=False, weights=None, input_shape=(SIZE_PX, SIZE_PX, 3)
    )
    rng = np.random.default_rng(0)
    for weight in network.weights:
        value = keras.ops.convert_to_numpy(weight)
        weight.assign(value + 0.3 * (value == np.float32(1e-6)) + rng.normal(0, 0.01, value.shape))
    return network


@pytest.fixture(scope="module")
def ours() -> keras.Model:
    return build_convnext_tiny((SIZE_PX, SIZE_PX))


@pytest.mark.parametrize("name", ["saved.weights.h5", "saved.h5"])
def test_weights_of_keras_fit_and_give_the_same(
    theirs: keras.Model, ours: keras.Model, tmp_path: Path, name: str
) -> None:
    """Keras publishes HDF5 of its older kind (.h5), and writes the newer kind."""
    (theirs.save_weights if name.endswith(".weights.h5") else theirs.save)(tmp_path / name)
    ours.set_weights([np.zeros_like(weight) for weight in ours.get_weights()])
    ours.load_weights(tmp_path / name)
    pixels = np.random.default_rng(1).integers(0, 256, (2, SIZE_PX, SIZE_PX, 3)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(theirs(pixels))
    assert expected.std() > 0.5
    np.testing.assert_allclose(keras.ops.convert_to_numpy(ours(pixels)), expected, atol=1e-4)


def test_every_block_ends_with_a_layer_of_a_known_name(ours: keras.Model) -> None:
    names = [
        f"stage_{stage}_block_{block}_add"
        for stage, depth in enumerate((3, 3, 9, 3))
        for block in range(depth)
    ]
    sums = [layer for layer in ours.layers if isinstance(layer, keras.layers.Add)]
    assert [layer.name for layer in sums] == names
    assert ours.layers[-1].name == "last_layernorm"
    for layer in sums:
        branch = ours.get_layer(f"convnext_tiny_{layer.name.removesuffix('_add')}_identity")
        assert any(tensor is branch.output for tensor in layer.input)


def test_tensorflow_computes_it_without_xla_and_exports_know_all_operations(ours: keras.Model) -> None:
    """XLA is called as a function, and is 60 times slower on a processor; ONNX has no `Erfc`."""
    pixels = tf.TensorSpec((None, SIZE_PX, SIZE_PX, 3), tf.float32)
    graph = tf.function(ours).get_concrete_function(pixels).graph
    kinds = Counter(operation.type for operation in graph.get_operations())
    assert kinds["DepthwiseConv2dNative"] == kinds["Erf"] == 18
    assert not set(kinds) & {"StatefulPartitionedCall", "PartitionedCall", "Erfc"}
