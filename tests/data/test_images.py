"""Decoding and resizing: every mode of picture, and every way in which a file can be broken."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mvdefect.config import ResizeMethod, Size
from mvdefect.core.errors import ImageError
from mvdefect.data.images import (
    Decoding,
    decode_at_size,
    decode_image,
    decode_mask,
    decode_with_header,
    make_thumbnail,
)
from mvdefect.data.resizing import mark_photograph, resize_image, resize_mask
from tests.conftest import make_texture


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    picture = make_texture(0)
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(decode_image(encode(Image.fromarray(picture), kind, **options)), picture)


def test_jpeg_is_close() -> None:
    picture = make_texture(0)
    decoded = decode_image(encode(Image.fromarray(picture), "JPEG", quality=95))
    assert np.abs(decoded.astype(int) - picture).mean() < 8


def test_grey_is_expanded() -> None:
    grey = make_texture(0)[:, :, 0]
    decoded = decode_image(encode(Image.fromarray(grey)))
    assert decoded.shape == (40, 48, 3)
    assert all(np.array_equal(decoded[:, :, channel], grey) for channel in range(3))


def test_sixteen_bit_grey_keeps_the_upper_eight() -> None:
    grey = np.array([[0, 255, 256], [32768, 65279, 65535]], np.uint16)
    decoded = decode_image(cv2.imencode(".png", grey)[1].tobytes())
    assert decoded[:, :, 0].tolist() == [[0, 0, 1], [128, 254, 255]]


def test_sixteen_bit_colour_keeps_the_upper_eight() -> None:
    colour = (make_texture(0).astype(np.uint16) << 8) + 77
    decoded = decode_image(cv2.imencode(".png", colour[:, :, ::-1])[1].tobytes())
    assert np.array_equal(decoded, make_texture(0))


def test_palette_is_looked_up() -> None:
    image = Image.fromarray(make_texture(0)).quantize(32)
    assert np.array_equal(decode_image(encode(image)), np.asarray(image.convert("RGB")))


def test_alpha_is_dropped() -> None:
    picture = make_texture(0)
    alpha = np.full((40, 48, 1), 128, np.uint8)
    image = Image.fromarray(np.concatenate([picture, alpha], axis=2))
    assert np.array_equal(decode_image(encode(image)), picture)


def test_cmyk_is_converted() -> None:
    solid = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, full magenta and yellow: red
    red, green, blue = decode_image(encode(solid, "JPEG", quality=95)).mean(axis=(0, 1))
    assert red > 200
    assert green < 60
    assert blue < 60


def test_black_and_white_image() -> None:
    bits = np.eye(8, dtype=bool)
    assert np.array_equal(decode_image(encode(Image.fromarray(bits)))[:, :, 0], bits * 255)


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    picture = make_texture(0)
    decoded = decode_image(encode(Image.fromarray(picture), "PNG", exif=exif))
    assert np.array_equal(decoded, np.rot90(picture, -1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated_files_are_refused(kind: str, share: float) -> None:
    encoded = encode(Image.fromarray(make_texture(0, 200, 200)), kind)
    with pytest.raises(ImageError, match="broken|no image"):
        decode_image(encoded[: int(len(encoded) * share)])


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(ImageError, match="empty"):
        decode_image(b"")


def test_a_file_that_is_no_image_is_refused() -> None:
    with pytest.raises(ImageError, match="no image that can be recognised"):
        decode_image(b"to whom it may concern")


def test_an_animation_is_refused() -> None:
    frames = [Image.fromarray(make_texture(seed)) for seed in range(3)]
    animated = encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="3 frames"):
        decode_image(animated)


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_values_are_scaled_by_the_bits_in_use(bits: int, kind: str, channels: int) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits, (30, 20, channels)).astype(np.uint16)
    values[0, 0] = 2**bits - 1
    encoded = cv2.imencode(f".{kind.lower()}", values)[1].tobytes()
    decoded, header = decode_with_header(encoded, Decoding(bits))
    expected = values[..., 2::-1] if channels > 1 else values.repeat(3, axis=2)
    assert np.array_equal(decoded, expected // 2 ** (bits - 8))
    assert (header.bits, header.peak) == (16, 2**bits - 1)
    assert header.peak == values[..., :3].max()


def test_values_above_the_bits_in_use_are_white() -> None:
    encoded = encode(Image.fromarray(np.array([[4095, 4096, 65535, 2048]], np.uint16)))
    decoded, header = decode_with_header(encoded, Decoding(12))
    assert decoded[0, :, 0].tolist() == [255, 255, 255, 128]
    assert header.peak == 65535


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_deep_colour_stands_upright(kind: str, orientation: int) -> None:
    colour = np.random.default_rng(0).integers(0, 65536, (6, 9, 3)).astype(np.uint16)
    if kind == "PNG":
        plain, tag = cv2.imencode(".png", colour[..., ::-1])[1].tobytes(), Image.Exif()
        tag[274] = orientation
        exif = tag.tobytes().removeprefix(b"Exif\0\0")
        chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
        encoded = plain[:33] + chunk + plain[33:]
    else:
        encoded = write_tiff(colour, extratags=[(274, "H", 1, orientation, True)])
    eight = Image.fromarray((colour >> 8).astype(np.uint8))
    eight.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(eight))
    assert np.array_equal(decode_image(encoded), expected)


def write_tiff(values: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    is_colour = values.ndim == 3 and values.shape[2] == 3
    tifffile.imwrite(stream, values, photometric="rgb" if is_colour else "minisblack", **options)
    return stream.getvalue()


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint32", "uint16"])
def test_whole_numbers_are_read_whatever_holds_them(dtype: str) -> None:
    values = np.arange(0, 4096, 17).reshape(1, -1).astype(dtype)
    decoded = decode_image(write_tiff(values), Decoding(12))
    assert np.array_equal(decoded[..., 0], values // 16)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([[-3, 900]], np.int16), "Received: -3 to 900"),
        (np.array([[5, 70_000]], np.int32), "Received: 5 to 70000"),
        (np.array([[0, 255]], np.float32), "between 0 and 1: .* Received: 0 to 255"),
        (np.array([[-0.5, 1]], np.float32), "Received: -0.5 to 1"),
        (np.array([[0, np.nan]], np.float32), "Received: nan to nan"),
        (np.array([[0, np.inf]], np.float32), "Received: 0 to inf"),
        (np.array([[0, 1]], np.float64), "a TIFF of this kind is not read"),
    ],
)
def test_values_of_no_known_range_are_refused(values: np.ndarray, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        decode_image(write_tiff(values))


def test_fractions_reach_from_black_to_white() -> None:
    values = np.array([[0, 0.2, 0.5, 1]], np.float32)
    assert decode_image(write_tiff(values))[0, :, 0].tolist() == [0, 51, 128, 255]


def test_a_huge_picture_is_refused_by_its_size_and_the_setting() -> None:
    encoded = encode(Image.fromarray(make_texture(0)))  # 48 by 40
    with pytest.raises(ImageError, match=r"48x40 pixels, .* at most 0.001 are read; --max-megapixels 1 "):
        decode_image(encoded, Decoding(max_megapixels=0.001))
    assert decode_image(encoded, Decoding(max_megapixels=0.00192)).shape == (40, 48, 3)


def test_no_limit_but_ours_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow's own says 'decompression bomb'
    assert decode_image(encode(Image.fromarray(make_texture(0)), "BMP")).shape == (40, 48, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("big", [False, True])
def test_pages_are_counted(big: bool) -> None:
    three = write_tiff(np.zeros((3, 8, 8), np.uint8), bigtiff=big)
    with pytest.raises(ImageError, match="the file holds 3 pages, and one is allowed"):
        decode_image(three)
    place = (8, "<Q", "<Q", 8, 20) if big else (4, "<I", "<H", 2, 12)
    start, offset, number, width, entry = place
    (first,) = struct.unpack_from(offset, three, start)
    (entries,) = struct.unpack_from(number, three, first)
    endless = bytearray(three)
    struct.pack_into(offset, endless, first + width + entry * entries, first)  # the next page is this one
    with pytest.raises(ImageError, match="1000 pages"):
        decode_image(bytes(endless))


def make_overlapping_tags(count: int) -> bytes:
    """Return the directory of a TIFF whose tags all claim the same megabyte."""
    tags = b"".join(struct.pack("<HHII", 300 + number, 1, 1_000_000, 8) for number in range(count))
    return b"II*\0" + struct.pack("<IH", 8, count) + tags + bytes(4)


def test_tags_that_would_fill_the_memory_are_refused_unread() -> None:
    block = make_overlapping_tags(5000)
    with pytest.raises(ImageError, match="tags of the TIFF overlap"):
        decode_image(block + bytes(1_000_000))
    plain = encode(Image.fromarray(make_texture(0)))
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    with pytest.raises(ImageError, match="tags of EXIF overlap"):
        decode_image(plain[:33] + chunk + plain[33:])


def test_a_raw_image_is_not_taken_for_its_preview() -> None:
    for tag in ((254, "I", 1, 1, True), (50706, "B", 4, (1, 4, 0, 0), True)):
        with pytest.raises(ImageError, match="raw image of a camera"):
            decode_image(write_tiff(np.zeros((8, 8), np.uint8), extratags=[tag]))


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC is not supported; convert it to PNG or JPEG"),
        (b"\0\0\0\x18ftypmif1", "HEIF is not supported"),
        (b"\x93NUMPY\1\0", "NumPy's format is not supported"),
        (b"PK\3\4", "an archive; unpack it"),
        (b"\0\0\0\x18ftypisom", "a video"),
    ],
)
def test_known_formats_that_are_not_read_are_named(start: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        decode_image(start + bytes(99))


@given(garbage=st.binary(max_size=300))
def test_garbage_never_does_worse_than_an_image_error(garbage: bytes) -> None:
    for head in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\x00\x10JFIF", b"BM", b"II*\x00"):
        with pytest.raises(ImageError):
            decode_image(head + garbage)


def test_mask_is_true_wherever_it_is_not_black() -> None:
    grey = np.array([[0, 1], [128, 255]], np.uint8)
    assert decode_mask(encode(Image.fromarray(grey))).tolist() == [[False, True], [True, True]]
    for dtype in (np.uint16, np.int32, np.float32):
        encoded = write_tiff(np.array([[0, 1], [0, 3]], dtype))
        assert decode_mask(encoded).tolist() == [[False, True], [False, True]]


def test_letterbox_keeps_the_aspect_ratio() -> None:
    white = np.full((30, 60, 3), 255, np.uint8)
    boxed = resize_image(white, (64, 64))
    assert boxed.shape == (64, 64, 3)
    assert (boxed[16:48] == 255).all()
    assert (boxed[:16] == 0).all()
    assert (boxed[48:] == 0).all()


def test_stretch_fills_the_square() -> None:
    white = np.full((30, 60, 3), 255, np.uint8)
    assert (resize_image(white, (64, 64), "stretch") == 255).all()


def test_shrinking_averages() -> None:
    stripes = np.tile(np.array([0, 200], np.uint8), (64, 32))[:, :, np.newaxis].repeat(3, axis=2)
    assert (resize_image(stripes, (32, 32)) == 100).all()


@given(height=st.integers(1, 90), width=st.integers(1, 90))
def test_any_shape_fits(height: int, width: int) -> None:
    image = np.full((height, width, 3), 9, np.uint8)
    for method in ("letterbox", "stretch"):
        assert resize_image(image, (32, 64), method).shape == (32, 64, 3)


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    size_px=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    mode=st.sampled_from(["L", "RGB", "I;16"]),
    kind=st.sampled_from(["PNG", "JPEG", "TIFF"]),
    method=st.sampled_from(["letterbox", "stretch"]),
    seed=st.integers(0, 1000),
)
def test_decoding_at_size_is_decoding_and_resizing(
    height: int, width: int, size_px: Size, mode: str, kind: str, method: ResizeMethod, seed: int
) -> None:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    noise = np.random.default_rng(seed).integers(0, 256, shape)
    picture = noise.astype(np.uint16) * 257 if mode == "I;16" else noise.astype(np.uint8)
    encoded = encode(Image.fromarray(picture), "TIFF" if mode == "I;16" else kind)
    expected = resize_image(decode_image(encoded), size_px, method)
    found = decode_at_size(encoded, size_px, method)
    assert found.shape == (*size_px, 3)
    assert np.array_equal(found, expected)


def test_a_hairline_stays_in_the_mask() -> None:
    mask = np.zeros((1024, 1024), bool)
    mask[:, 500] = True
    shrunk = resize_mask(mask, (64, 64))
    assert shrunk.any(axis=1).all()
    assert set(np.unique(shrunk)) == {0, 255}


def test_thumbnail_of_grey_levels() -> None:
    image = np.full((48, 72, 3), 50, np.uint8)
    assert (make_thumbnail(image) == 50).all()
    assert make_thumbnail(image).shape == (24, 24)


@pytest.mark.parametrize("shape", [(30, 64), (64, 31), (100, 100), (7, 200), (1, 999)])
def test_padding_is_told_from_the_photograph(shape: tuple[int, int]) -> None:
    white = np.full((*shape, 3), 255, np.uint8)
    for method in ("letterbox", "stretch"):
        expected = resize_image(white, (64, 96), method)[..., 0] == 255
        assert np.array_equal(mark_photograph(*shape, (64, 96), method), expected)
    assert mark_photograph(*shape, (64, 64), "stretch").all()
    assert mark_photograph(30, 64, (64, 64)).sum() == 30 * 64
