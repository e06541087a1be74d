"""What a SavedModel reads by itself: said at once; the rest is compared by PNGs of the same pixels."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mvdefect.data.images import Decoding, decode_image, read_header
from mvdefect.exporting.servable import is_servable, make_servable, warn_of_formats
from mvdefect.inspector.engines import open_engine
from tests.conftest import make_texture

PICTURE = Image.fromarray(make_texture(0))
SERVABLE = {
    "rgb.png": PICTURE,
    "palette.png": PICTURE.quantize(9),
    "deep.png": Image.fromarray(make_texture(0)[..., 0].astype(np.uint16)),
    "rgb.jpg": PICTURE,
    "grey.bmp": PICTURE.convert("L"),
}
FOREIGN = {
    "rgb.tif": PICTURE,
    "rgb.webp": PICTURE,
    "palette.bmp": PICTURE.quantize(9),
    "print.jpg": PICTURE.convert("CMYK"),
}


def encode(name: str, image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, Image.registered_extensions()[Path(name).suffix])
    return stream.getvalue()


@pytest.mark.parametrize("name", [*SERVABLE, *FOREIGN])
def test_what_is_not_read_becomes_a_png_of_the_same_pixels(name: str) -> None:
    encoded = encode(name, {**SERVABLE, **FOREIGN}[name])
    made = make_servable(encoded, Decoding(10))
    assert (made == encoded) == is_servable(read_header(encoded)) == (name in SERVABLE)
    assert is_servable(read_header(made))
    assert np.array_equal(decode_image(made, Decoding(10)), decode_image(encoded, Decoding(10)))


def test_it_is_said_at_once_of_which_kinds_they_are(tmp_path: Path, messages: list[str]) -> None:
    for name, image in {**SERVABLE, **FOREIGN}.items():
        (tmp_path / name).write_bytes(encode(name, image))
    warn_of_formats([tmp_path / name for name in SERVABLE])
    assert messages == []
    warn_of_formats(sorted(tmp_path.iterdir()))
    (message,) = messages
    assert "does not read 4 of 9 test images" in message
    assert "(1 BMP with a palette, 1 JPEG in CMYK, 1 TIFF, 1 WEBP)" in message
    assert "--format openvino" in message


@pytest.mark.parametrize("place", ["run", "export"])
def test_an_engine_sees_one_picture_in_whatever_file(place: str, finished_run: Path, exported: Path) -> None:
    engine = open_engine(finished_run if place == "run" else exported)
    image = cv2.resize(make_texture(3), (64, 64))
    kinds = {"PNG": {}, "TIFF": {}, "BMP": {}, "WEBP": {"lossless": True}}
    files = []
    for kind, options in kinds.items():
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, kind, **options)
        files.append(stream.getvalue())
    answers = engine([*files, files[1][:200]], True)
    assert [answer.label for answer in answers[:4]] == [answers[0].label] * 4
    for answer in answers[1:4]:
        assert answer.probability == pytest.approx(answers[0].probability, abs=1e-6)
        assert np.allclose(answer.heatmap, answers[0].heatmap, atol=1e-5)
    assert "broken" in answers[4].error
    small = open_engine(finished_run if place == "run" else exported, max_megapixels=0.004)
    (refused,) = small(files[:1])
    assert "--max-megapixels" in refused.error
