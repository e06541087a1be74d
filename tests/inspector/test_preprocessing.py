"""An export sees what training saw: decoding and resizing in TensorFlow against Pillow and OpenCV."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mvdefect.data.images import decode_image, resize_image
from mvdefect.inspector.preprocessing import decode_photograph, read_photographs, resize_photographs

SIZES = [
    (64, 64), (128, 128), (192, 64), (200, 300), (97, 331), (700, 256), (1024, 1024), (31, 50), (60, 40),
    (64, 20), (63, 64), (300, 65), (57, 210), (1014, 29),
]  # fmt: skip


@functools.cache
def trace() -> Callable[[bytes], tf.Tensor]:
    """Return the decoder as an export holds it, traced once for all tests."""
    return tf.function(decode_photograph, input_signature=[tf.TensorSpec([], tf.string)])


def draw(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, height, width]).integers(0, 256, (height, width, 3)).astype(np.uint8)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("method", ["letterbox", "stretch"])
def test_resizing_is_that_of_training(method: str) -> None:
    signature = [tf.TensorSpec([None, None, None, 3], tf.uint8)]
    resize = tf.function(lambda pixels: resize_photographs(pixels, 64, method), signature)
    random = np.random.default_rng(0).integers(1, 700, (40, 2)).tolist()
    for height, width in [*SIZES, *random]:
        image = draw(height, width)
        found = resize(image[np.newaxis])[0].numpy()
        np.testing.assert_array_equal(found, resize_image(image, 64, method), str((height, width)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_stand_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a camera"
    encoded = encode(Image.fromarray(draw(24, 40)), kind, quality=95, exif=exif)
    found = trace()(encoded).numpy()
    assert found.shape == ((40, 24, 3) if orientation >= 5 else (24, 40, 3))
    np.testing.assert_array_equal(found, decode_image(encoded))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("JPEG", "RGB"),
        ("JPEG", "L"),
        ("PNG", "RGB"),
        ("PNG", "L"),
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("BMP", "RGB"),
    ],
)
def test_every_format_is_decoded_as_in_training(kind: str, mode: str) -> None:
    encoded = encode(Image.fromarray(draw(33, 47)).convert(mode), kind)
    np.testing.assert_array_equal(decode_photograph(tf.constant(encoded)).numpy(), decode_image(encoded))


def test_sixteen_bits_keep_their_upper_eight() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (20, 30)).astype(np.uint16)
    encoded = encode(Image.fromarray(values), "PNG")
    np.testing.assert_array_equal(decode_photograph(tf.constant(encoded)).numpy(), decode_image(encoded))


def test_a_broken_file_costs_the_others_nothing() -> None:
    good = encode(Image.fromarray(draw(40, 64)), "PNG")
    files = [good, b"", good[: len(good) // 2], b"no picture", good]
    pixels, readable = tf.function(lambda encoded: read_photographs(encoded, 64, "letterbox"))(
        tf.constant(files)
    )
    np.testing.assert_array_equal(readable, [True, False, False, False, True])
    expected = resize_image(decode_image(good), 64)
    np.testing.assert_array_equal(pixels[0], expected)
    np.testing.assert_array_equal(pixels[4], expected)
    assert not pixels[1:4].numpy().any()


def test_nothing_but_broken_files() -> None:
    pixels, readable = read_photographs(tf.constant([b"x", b"y"]), 64, "letterbox")
    assert pixels.shape == (2, 64, 64, 3)
    assert not readable.numpy().any()
