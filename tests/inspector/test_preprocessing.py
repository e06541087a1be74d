"""An export sees what training saw: decoding and resizing in TensorFlow against Pillow and OpenCV."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mvdefect.config import ResizeMethod, Size
from mvdefect.data.images import Decoding, decode_image
from mvdefect.data.resizing import resize_image
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


@pytest.mark.parametrize("size_px", [(64, 64), (32, 96)])
@pytest.mark.parametrize("method", ["letterbox", "stretch"])
def test_resizing_is_that_of_training(method: ResizeMethod, size_px: Size) -> None:
    signature = [tf.TensorSpec([None, None, None, 3], tf.uint8)]
    resize = tf.function(lambda pixels: resize_photographs(pixels, size_px, method), signature)
    random = np.random.default_rng(0).integers(1, 700, (20, 2)).tolist()
    for height, width in [*SIZES, *random]:
        image = draw(height, width)
        found = resize(image[np.newaxis])[0].numpy()
        np.testing.assert_array_equal(found, resize_image(image, size_px, method), str((height, width)))


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
        ("PNG", "1"),
        ("PNG", "LA"),
        ("BMP", "RGB"),
        ("BMP", "L"),
    ],
)
def test_every_format_is_decoded_as_in_training(kind: str, mode: str) -> None:
    encoded = encode(Image.fromarray(draw(33, 47)).convert(mode), kind)
    np.testing.assert_array_equal(decode_photograph(tf.constant(encoded)).numpy(), decode_image(encoded))


@pytest.mark.parametrize("bits", [8, 10, 12, 13, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_scaled_by_those_in_use(bits: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 2**bits, (20, 30, channels)).astype(np.uint16)
    values[0, 0] = 65535  # beyond what the bits hold
    encoded = cv2.imencode(".png", values)[1].tobytes()
    found = decode_photograph(tf.constant(encoded), bits).numpy()
    np.testing.assert_array_equal(found, decode_image(encoded, Decoding(bits)))


def make_foreign_files() -> dict[str, bytes]:
    """Files that this package reads, or refuses, and of which TensorFlow would make another picture."""
    image, exif = Image.fromarray(draw(24, 40)), Image.Exif()
    exif[0x0112] = 6
    packed = bytearray(encode(image.convert("L"), "BMP"))
    packed[30] = 1  # says that its pixels are packed
    short = bytearray(encode(image.convert("L"), "BMP"))
    short[46] = 16  # says that its palette has 16 colours
    return {
        "TIFF": encode(image, "TIFF"),
        "GIF": encode(image, "GIF"),
        "WebP, turned": encode(image, "WEBP", lossless=True, exif=exif),
        "animated PNG": encode(image, "PNG", save_all=True, append_images=[Image.fromarray(draw(24, 40, 1))]),
        "palette BMP": encode(image.quantize(256), "BMP"),
        "palette BMP of few colours": encode(image.quantize(9), "BMP"),
        "BMP of one bit": encode(image.convert("1"), "BMP"),
        "packed BMP": bytes(packed),
        "BMP of 16 greys": bytes(short),
        "JPEG for print": encode(image.convert("CMYK"), "JPEG"),
        "a BMP without an end": encode(image, "BMP")[:30],
    }


@pytest.mark.parametrize(("name", "encoded"), make_foreign_files().items())
def test_what_tensorflow_would_see_otherwise_is_unreadable(name: str, encoded: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        trace()(encoded)
    good = encode(Image.fromarray(draw(24, 40)), "PNG")
    readable = read_photographs(tf.constant([encoded, good]), (64, 64), "letterbox")[1]
    assert readable.numpy().tolist() == [False, True], name


def test_a_broken_file_costs_the_others_nothing() -> None:
    good = encode(Image.fromarray(draw(40, 64)), "PNG")
    files = [good, b"", good[: len(good) // 2], b"no picture", good]
    pixels, readable = tf.function(lambda encoded: read_photographs(encoded, (64, 64), "letterbox"))(
        tf.constant(files)
    )
    np.testing.assert_array_equal(readable, [True, False, False, False, True])
    expected = resize_image(decode_image(good), (64, 64))
    np.testing.assert_array_equal(pixels[0], expected)
    np.testing.assert_array_equal(pixels[4], expected)
    assert not pixels[1:4].numpy().any()


def test_nothing_but_broken_files() -> None:
    pixels, readable = read_photographs(tf.constant([b"x", b"y"]), (64, 64), "letterbox")
    assert pixels.shape == (2, 64, 64, 3)
    assert not readable.numpy().any()
