"""ConvNeXt of Keras Applications, with named block ends and fast convolutions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from mvdefect.config import Size

LAST_NORMALISATION = "last_layernorm"


@keras.saving.register_keras_serializable("mvdefect")
class Conv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """A convolution with one filter per channel, as ConvNeXt has.

    Keras builds it as a grouped convolution, which TensorFlow computes on processors by way of XLA, 60
    times slower than what this layer calls. Name of the class, weights and results are the same, so that
    weights files of either fit the other: Keras finds layers in a file by the names of their classes.

    Input: float (b, height, width, channels). Output: the same.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve each channel by its own filter.

        Args:
            inputs: Float (b, height, width, channels).
            kernel: Float (rows, columns, 1, channels).
        """
        filters = keras.ops.reshape(kernel, (*self.kernel_size, self.groups, 1))
        return keras.ops.depthwise_conv(
            inputs, filters, strides=self.strides, padding=self.padding, data_format=self.data_format
        )


@keras.saving.register_keras_serializable("mvdefect")  # type: ignore[untyped-decorator]
def gelu(x: Any) -> Any:
    """Return the Gaussian error linear unit (Hendrycks & Gimpel, 2016) of each number.

    TensorFlow computes it by the complement of the error function, which ONNX lacks.
    """
    return 0.5 * x * (1 + keras.ops.erf(x * math.sqrt(0.5)))


def build_convnext_tiny(size_px: Size, weights: str | None = None) -> Any:
    """Build ConvNeXt-Tiny (Liu et al., 2022) without its top.

    Block j of stage i ends with the layer `stage_i_block_j_add`, both counted from 0, and the network with
    the layer `last_layernorm`. In Keras's own network these are sums without a layer and a layer whose name
    depends on what was built before, so that neither could be found again.

    Args:
        size_px: Height and width of the input.
        weights: None for random ones, or "imagenet".
    """
    network = keras.applications.ConvNeXtTiny(include_top=False, weights=weights, input_shape=(*size_px, 3))
    return name_blocks(network, (3, 3, 9, 3))


def name_blocks(network: Any, depths: Sequence[int]) -> keras.Model:
    """Return a copy of a ConvNeXt of Keras whose blocks end with layers of known names.

    Args:
        network: From Keras.
        depths: Blocks per stage.
    """
    names = _name_sums(depths)
    last = network.layers[-1]

    def copy(operation: Any) -> Any:
        if not isinstance(operation, keras.layers.Layer):
            return operation
        if isinstance(operation, keras.layers.Activation) and operation.name.endswith("_gelu"):
            return keras.layers.Activation(gelu, name=operation.name)
        make = Conv2D if isinstance(operation, keras.layers.Conv2D) else type(operation)
        name = LAST_NORMALISATION if operation is last else operation.name
        return make.from_config({**operation.get_config(), "name": name})

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(operation, keras.layers.Layer):
            return operation(*args, **kwargs)
        return keras.layers.Add(name=next(names))(list(args))

    named = keras.models.clone_model(network, clone_function=copy, call_function=call)
    named.set_weights(network.get_weights())
    return named


def _name_sums(depths: Sequence[int]) -> Iterator[str]:
    for stage, depth in enumerate(depths):
        yield from (f"stage_{stage}_block_{block}_add" for block in range(depth))
