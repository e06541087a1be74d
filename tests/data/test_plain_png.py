"""The fast way to decode: the pixels of Pillow, and nothing that Pillow would refuse."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mvdefect.core.errors import ImageError
from mvdefect.data.images import decode_image, decode_plain_png, decode_with_header
from tests.conftest import make_texture

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def make_noise(mode: str, height: int = 37, width: int = 53) -> Image.Image:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 4)).astype(np.uint8))
    return image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)


def make_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("mode", MODES)
def test_pixels_are_those_of_pillow(mode: str, level: int) -> None:
    encoded = encode(make_noise(mode), compress_level=level)
    found = decode_plain_png(encoded)
    assert (found is not None) == (mode in ("L", "RGB", "I;16"))
    if found is not None:
        pixels, name = found
        assert name == mode
        assert pixels.dtype == (np.uint16 if mode == "I;16" else np.uint8)
        assert pixels.flags.writeable
        assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(encoded))))
        header = decode_with_header(encoded)[1]
        bits = 8 * pixels.itemsize
        assert (header.format, header.mode, header.bits, header.orientation) == ("PNG", mode, bits, 1)


@pytest.mark.parametrize(
    "chunk", [(b"gAMA", struct.pack(">I", 100_000)), (b"sRGB", b"\0"), (b"pHYs", bytes(9))]
)
def test_a_note_on_colours_changes_no_pixel(chunk: tuple[bytes, bytes]) -> None:
    encoded = encode(Image.fromarray(make_texture(0)))
    noted = encoded[:33] + make_chunk(*chunk) + encoded[33:]
    found = decode_plain_png(noted)
    assert found is not None
    assert np.array_equal(found[0], make_texture(0))


def test_what_may_hold_an_orientation_or_frames_is_left_to_pillow() -> None:
    image = Image.fromarray(make_texture(0))
    exif = Image.Exif()
    exif[274] = 6
    turned = encode(image, exif=exif)
    assert decode_plain_png(turned) is None
    assert decode_image(turned).shape == (48, 40, 3)
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "x")
    assert decode_plain_png(encode(image, pnginfo=text)) is None
    assert decode_plain_png(encode(image, transparency=(1, 2, 3))) is None
    assert decode_plain_png(encode(image, save_all=True, append_images=[image])) is None
    assert decode_plain_png(encode(image, "JPEG")) is None
    assert decode_plain_png(b"") is None


def test_a_truncated_file_is_refused_wherever_it_ends() -> None:
    encoded = encode(make_noise("RGB"))
    assert all(decode_plain_png(encoded[:end]) is None for end in range(len(encoded)))


def test_a_flipped_bit_is_never_taken_for_a_pixel(capfd: pytest.CaptureFixture[str]) -> None:
    encoded, rng = encode(make_noise("RGB")), np.random.default_rng(0)
    expected = decode_image(encoded)
    accepted = 0
    for position in rng.integers(8, len(encoded), 200):
        damaged = bytearray(encoded)
        damaged[position] ^= 1 << int(rng.integers(8))
        assert decode_plain_png(bytes(damaged)) is None
        try:
            accepted += np.array_equal(decode_image(bytes(damaged)), expected)
        except ImageError:
            continue
    assert accepted < 20  # Pillow is content with damage behind the last pixel


def test_a_huge_picture_is_left_to_who_says_so() -> None:
    encoded = encode(make_noise("RGB"))
    assert decode_plain_png(encoded, 37 * 53 - 1) is None
    assert decode_plain_png(encoded, 37 * 53) is not None
