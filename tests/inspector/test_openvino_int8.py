"""In 8-bit integers of OpenVINO the levels of pixels stay what they are, or the first convolution does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from mvdefect.inspector.formats.openvino import find_first_convolution, find_pixel_range, quantize

openvino = pytest.importorskip("openvino")
pytest.importorskip("nncf")
SIZE_PX = 16


def make_model(scales: Sequence[float], shifts: Sequence[float]) -> Any:
    """Pixels, scaled and shifted, padded, then two convolutions with weights from 0 to 1."""
    op = openvino.opset13
    pixels = op.parameter([-1, SIZE_PX, SIZE_PX, 3], np.uint8, "pixels")
    scaled = op.multiply(op.convert(pixels, np.float32), np.array(scales, np.float32))
    shifted = op.transpose(op.add(scaled, np.array(shifts, np.float32)), [0, 3, 1, 2])
    padded = op.pad(shifted, [0, 0, 1, 1], [0, 0, 1, 1], "constant", arg_pad_value=np.float32(0))
    node: Any = padded
    for outputs, inputs in ((4, 3), (2, 4)):
        weights = np.random.default_rng(outputs).random((outputs, inputs, 1, 1), np.float32)
        node = op.relu(op.convolution(node, weights, [1, 1], [0, 0], [0, 0], [1, 1]))
    return openvino.Model([node], [pixels], "small")


def look_before_second(model: Any, pixels: np.ndarray) -> np.ndarray:
    """What the first convolution gives, without its border."""
    inner = openvino.Model([find_first_convolution(model).output(0)], model.get_parameters(), "inner")
    look = openvino.compile_model(inner, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(look(pixels)[0])[:, :, 1:-1, 1:-1]


@pytest.fixture
def dark() -> np.ndarray:
    """Photographs without bright pixels, to which levels of their own would be fitted."""
    return np.random.default_rng(0).integers(20, 180, (40, SIZE_PX, SIZE_PX, 3), dtype=np.uint8)


@pytest.mark.parametrize(("scale", "shift"), [(1 / 127.5, -1.0), (1 / 255, 0.0), (1.0, -100.5)])
def test_no_pixel_is_rounded(dark: np.ndarray, scale: float, shift: float) -> None:
    model = make_model([scale] * 3, [shift] * 3)
    assert find_pixel_range(model, find_first_convolution(model)) == pytest.approx(
        (shift, 255 * scale + shift), abs=1e-5
    )
    small = quantize(model.clone(), dark)
    levels = np.arange(256, dtype=np.uint8)
    grey = np.broadcast_to(levels[:, np.newaxis, np.newaxis, np.newaxis], (256, SIZE_PX, SIZE_PX, 3))
    found = look_before_second(small, np.ascontiguousarray(grey))[:, :, 0, 0].astype(np.float64)
    slopes, offsets = np.polyfit(levels, found, 1)
    assert (slopes > 0).all()
    rounded = (found - offsets) / slopes - levels[:, np.newaxis]  # in levels; of weights all see the same
    assert np.abs(rounded).max() < 0.02


def test_where_colours_are_scaled_apart_the_first_convolution_stays(dark: np.ndarray) -> None:
    model = make_model([1 / 58.4, 1 / 57.1, 1 / 57.4], [-2.12, -2.04, -1.8])
    assert find_pixel_range(model, find_first_convolution(model)) is None
    small = quantize(model.clone(), dark)
    np.testing.assert_allclose(look_before_second(small, dark), look_before_second(model, dark), atol=1e-4)
    assert any(one.get_type_name() == "FakeQuantize" for one in small.get_ordered_ops())
