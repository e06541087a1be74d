"""OpenVINO's networks in 8-bit integers (NNCF, post-training), with pixels exactly as they are."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from mvdefect.serving.formats.kinds import OWN_PRECISION, Pixels

CONVOLUTIONS = ("Convolution", "GroupConvolution")
BLACK, WHITE = 0, 255


def quantize(model: Any, calibration: Pixels) -> Any:
    """Return a model whose weights and activations are 8-bit integers where they are convolved or multiplied.

    Head and novelty stay as they are: they are small, and verdicts hang on them. What the first convolution
    gets is pixels, which are 8-bit already. Where preprocessing treats all colours alike, its 256 levels
    become those of the integers and nothing is lost; levels fitted to calibration images fall between those
    of pixels, and the difference goes through everything. Where colours are shifted and stretched each in
    its own way, no 256 levels hold them, and the first convolution stays as it is.

    Args:
        model: Of OpenVINO, in float32.
        calibration: uint8 (n, size, size, 3).
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    first = find_first_convolution(model)
    levels = find_pixel_range(model, first)
    overflow = nncf.OverflowFix  # 7 bits for the weights of the first layer, where pixels reach it
    quantized = nncf.quantize(
        model,
        nncf.Dataset(list(calibration[:, np.newaxis])),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(calibration),
        model_type=nncf.ModelType.TRANSFORMER,  # which leaves sums and products of activations alone
        ignored_scope=nncf.IgnoredScope(
            names=[] if levels else [first.get_friendly_name()], patterns=[OWN_PRECISION], validate=False
        ),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=overflow.FIRST_LAYER if levels else overflow.DISABLE
        ),
    )
    if levels:
        _set_levels(_find_quantizer(find_first_convolution(quantized)), *levels)
    return quantized


def find_first_convolution(model: Any) -> Any:
    """Return the operation of a model that gets preprocessed pixels."""
    return next(one for one in model.get_ordered_ops() if one.get_type_name() in CONVOLUTIONS)


def find_pixel_range(model: Any, convolution: Any) -> tuple[float, float] | None:
    """Return what black and white are where they reach a convolution; None: not the same in all colours."""
    import openvino

    before = openvino.Model([convolution.input_value(0)], model.get_parameters(), "before")
    look = openvino.compile_model(before, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    shape = [1, *(side.get_length() for side in list(model.inputs[0].partial_shape)[1:])]
    found = [look(np.full(shape, level, np.uint8))[0] for level in (BLACK, WHITE)]
    low, high = (values[0, :, values.shape[2] // 2, values.shape[3] // 2] for values in found)  # (colours,)
    if np.ptp(low) or np.ptp(high):
        return None
    return float(low[0]), float(high[0])


def _find_quantizer(convolution: Any) -> Any:
    """Return the operation that makes 8-bit integers of what a convolution gets; padding may lie between."""
    node = convolution.input_value(0).get_node()
    while node.get_type_name() != "FakeQuantize":
        node = node.input_value(0).get_node()
    return node


def _set_levels(quantizer: Any, low: float, high: float) -> None:
    """Let the levels of a FakeQuantize, 256 by its type, go from `low` to `high`, in and out."""
    from openvino import opset13

    for place, value in enumerate((low, high, low, high), start=1):
        shape = list(quantizer.input_value(place).get_shape())
        constant = opset13.constant(np.full(shape, value, np.float32))
        quantizer.input(place).replace_source_output(constant.output(0))
