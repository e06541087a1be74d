"""What one file says of itself."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvdefect.data.images import decode_with_header
from mvdefect.data.records import Record
from mvdefect.data.scan import average_between, count_values, measure_tones, read_file_facts
from tests.conftest import make_texture, write_image


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("quality", [30, 60, 75, 90, 97])
def test_the_quality_of_a_jpeg_is_that_it_was_saved_with(quality: int) -> None:
    encoded = encode(Image.fromarray(make_texture(0)), "JPEG", quality=quality)
    assert decode_with_header(encoded)[1].jpeg_quality == quality


def test_headers_tell_mode_bits_and_orientation() -> None:
    grey = Image.fromarray(make_texture(0)[:, :, 0])
    sixteen = Image.fromarray(make_texture(0)[:, :, 0].astype(np.uint16) * 256)
    exif = Image.Exif()
    exif[274] = 6
    turned = encode(grey, "JPEG", exif=exif)
    headers = [
        decode_with_header(encoded)[1] for encoded in (encode(grey, "PNG"), encode(sixteen, "PNG"), turned)
    ]
    assert [header.format for header in headers] == ["PNG", "PNG", "JPEG"]
    assert [header.mode for header in headers] == ["L", "I;16", "L"]
    assert [header.bits for header in headers] == [8, 16, 8]
    assert [header.orientation for header in headers] == [1, 1, 6]
    assert [header.jpeg_quality > 0 for header in headers] == [False, False, True]
    assert headers[2].exif_tags == 1


def test_facts_are_those_of_the_file_and_its_mask(tmp_path: Path) -> None:
    path = write_image(tmp_path / "000.png", make_texture(0))
    mask = np.zeros((40, 48), np.uint8)
    mask[10:20, 12:24] = 255
    mask_path = write_image(tmp_path / "000_mask.png", mask)
    facts, _, _ = read_file_facts(Record("000.png", path, "nut", "dent", mask_path))
    assert facts.size_bytes == path.stat().st_size
    assert facts.size_px == (40, 48)
    assert facts.mask is not None
    assert facts.mask.share == pytest.approx(120 / (40 * 48))
    assert facts.fault == facts.mask_fault == ""


def test_averages_between_ranks_are_those_of_the_sorted_values() -> None:
    values = np.random.default_rng(0).integers(0, 256, 1000).astype(np.uint8)
    ordered = np.sort(values).astype(float)
    for low, high in ((0.1, 0.9), (0.7, 0.8), (0, 1)):
        expected = ordered[round(low * 1000) : round(high * 1000)].mean()
        assert average_between(count_values(values), low, high) == pytest.approx(expected)


def test_a_small_defect_hardly_moves_the_tones_and_light_does() -> None:
    image = make_texture(3, 100, 100)
    scratched = image.copy()
    scratched[40:50, 20:40] = 0  # 2% of the area
    lighter = np.clip(image.astype(int) + 12, 0, 255).astype(np.uint8)
    plain, defect, light = map(measure_tones, (image, scratched, lighter))
    assert abs(defect.mean - plain.mean) < 3
    assert light.mean - plain.mean > 10
    assert defect.border == plain.border
    assert light.border[0] > plain.border[0]


def test_tones_of_one_grey() -> None:
    tones = measure_tones(np.full((10, 12, 3), 77, np.uint8))
    assert (tones.extremes, tones.mean, tones.spread, tones.border) == (
        (77, 77),
        77.0,
        0.0,
        (77.0, 77.0, 77.0),
    )
