"""The layout of a picture: edges by direction, brightness and contrast in each cell."""

from __future__ import annotations

import numpy as np

from mvdefect.pretraining.scenes import CHANNELS, DIRECTIONS, count_numbers, measure_layout
from mvdefect.pretraining.settings import PretrainConfig
from mvdefect.pretraining.stream import draw_batch

SIZE = 64
CELLS = SIZE // 16


def _measure(picture: np.ndarray) -> np.ndarray:
    found = measure_layout(picture[np.newaxis])
    assert found.shape == (1, count_numbers(SIZE))
    assert found.dtype == np.float32
    return found.reshape(CELLS, CELLS, CHANNELS)


def _stripe(horizontal: bool) -> np.ndarray:
    """A bright line through the cells of the second row, or of the second column."""
    picture = np.full((SIZE, SIZE, 3), 60, np.uint8)
    (picture if horizontal else picture.transpose(1, 0, 2))[22:25] = 200
    return picture


def test_an_edge_is_found_where_it_lies_and_in_its_direction() -> None:
    found = _measure(_stripe(horizontal=True))
    edges = found[..., :DIRECTIONS]
    # Brightness changes downwards: a quarter turn, half of the eight directions of half a turn.
    assert (edges[1].argmax(axis=-1) == DIRECTIONS // 2).all()
    assert (edges[1].max(axis=-1) > edges[3].max(axis=-1) + 2).all()
    upright = _measure(_stripe(horizontal=False))[..., :DIRECTIONS]
    assert (upright[:, 1].argmax(axis=-1) == 0).all()


def test_brightness_and_contrast_are_those_of_the_cell() -> None:
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[:16, :16] = 255
    found = _measure(picture)
    assert np.allclose(found[0, 0, DIRECTIONS], (1 - 0.45) / 0.25)
    assert np.allclose(found[2, 2, DIRECTIONS], (0 - 0.45) / 0.25)
    assert found[0, 0, -1] == found[2, 2, -1]  # both are even
    rng = np.random.default_rng(0)
    picture[32:48, 32:48] = rng.integers(0, 256, (16, 16, 1))
    assert _measure(picture)[2, 2, -1] > found[2, 2, -1] + 3


def test_numbers_of_drawn_surfaces_are_about_standard() -> None:
    config = PretrainConfig(image_size_px=96, surfaces=16)
    numbers = np.concatenate([draw_batch(config, [], step).answers["layout"] for step in range(3)])
    channels = numbers.reshape(-1, CHANNELS)
    assert (np.abs(channels.mean(axis=0)) < 0.5).all()
    assert ((channels.std(axis=0) > 0.6) & (channels.std(axis=0) < 1.6)).all()
