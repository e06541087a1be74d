"""The three one-class scores have one interface, and are kept on disk."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from mvdefect.config import FitConfig
from mvdefect.core.errors import ConfigError, RunError
from mvdefect.models.feature_maps import FeatureSource, average_neighbourhoods, iterate_chunks
from mvdefect.models.memory_bank import MemoryBank
from mvdefect.models.normality import (
    KINDS,
    fit_normality,
    load_normality,
    save_normality,
)
from mvdefect.models.one_class import Normality

RNG = np.random.default_rng(0)
GOOD = RNG.normal(0, 1, (40, 6, 5, 8)).astype(np.float16)
NEW = RNG.normal(0, 1, (4, 6, 5, 8)).astype(np.float16)


def score(normality: Normality, features: FeatureSource) -> np.ndarray:
    """Return the maps, from which the image scores follow."""
    return normality.score_positions(features)


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_far_from_good_scores_higher(kind: str) -> None:
    normality = fit_normality(kind, GOOD)
    near, far = normality.score_images(NEW), normality.score_images(NEW + np.float16(4))
    assert near.shape == (4,)
    assert near.dtype == np.float64
    assert near.max() < far.min()
    assert normality.kind == kind


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_any_size_give_what_the_whole_gives(kind: str) -> None:
    whole = fit_normality(kind, GOOD)
    pieces = fit_normality(kind, (GOOD[i:j] for i, j in ((0, 1), (1, 1), (1, 18), (18, 40))))
    expected = score(whole, NEW)
    assert np.allclose(score(pieces, NEW), expected, rtol=1e-4)
    assert np.allclose(score(whole, iter([NEW[:1], NEW[1:]])), expected, rtol=1e-5)


def test_the_mean_of_a_map_of_the_whole_image_is_its_distance() -> None:
    normality = fit_normality("gaussian", GOOD)
    planted = NEW.astype(np.float32)
    planted[1, 4, 2] += 12
    maps = normality.score_positions(planted)
    assert np.allclose(maps.mean(axis=(1, 2)), normality.score_images(planted), rtol=1e-4)
    assert np.unravel_index(maps[1].argmax(), maps[1].shape) == (4, 2)
    assert normality.score_positions(GOOD[:0]).shape[0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_novelty_is_the_mean_of_the_map(kind: str) -> None:
    normality = fit_normality(kind, GOOD)
    novelty, means = normality.measure_images(iter([NEW[:1], NEW[1:]]))
    assert means.dtype == np.float64
    assert np.allclose(means, normality.score_positions(NEW).mean(axis=(1, 2)), rtol=1e-4)
    assert np.array_equal(novelty, normality.score_images(NEW))


@pytest.mark.parametrize("kind", ["padim", "memory_bank"])
def test_a_local_defect_moves_the_novelty_and_what_is_unlike_everywhere_the_mean(kind: str) -> None:
    normality = fit_normality(kind, GOOD)
    local, everywhere = NEW.astype(np.float32), NEW + np.float32(4)
    local[:, 4, 2] += 40
    (local_novelty, local_mean), (novelty, mean) = map(normality.measure_images, (local, everywhere))
    assert local_novelty.min() > novelty.max()
    assert local_mean.max() < mean.min()


@pytest.mark.parametrize("kind", ["padim", "memory_bank"])
def test_a_planted_patch_is_found_where_it_lies(kind: str) -> None:
    normality = fit_normality(kind, GOOD)
    planted = NEW.astype(np.float32)
    planted[1, 4, 2] += 12
    maps, images = normality.score_positions(planted), normality.score_images(planted)
    assert maps.dtype == np.float32
    row, column = np.unravel_index(maps[1].argmax(), maps[1].shape)
    assert max(abs(row - 4), abs(column - 2)) <= 1  # its neighbours hold a ninth of it
    assert images.argmax() == 1
    assert np.array_equal(images, maps.max(axis=(1, 2)).astype(np.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kept_score_is_the_same_to_the_last_bit(kind: str, tmp_path: Path) -> None:
    normality = fit_normality(kind, GOOD, seed=3)
    save_normality(normality, tmp_path / "normality.npz")
    again = load_normality(tmp_path / "normality.npz")
    assert type(again) is type(normality)
    assert np.array_equal(score(again, NEW), score(normality, NEW))
    assert [path.name for path in tmp_path.iterdir()] == ["normality.npz"]


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_a_score_holds_is_kept(kind: str) -> None:
    assert [field.name for field in fields(KINDS[kind])] == list(KINDS[kind].layout)


def test_the_kinds_are_those_of_the_configuration() -> None:
    assert get_args(FitConfig.model_fields["one_class"].annotation) == tuple(KINDS)


def test_a_score_needs_the_suffix_that_numpy_would_add(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"kept as \.npz. Received"):
        save_normality(fit_normality("gaussian", GOOD), tmp_path / "normality.bin")


@pytest.mark.parametrize("kind", ["padim", "memory_bank"])
def test_positions_that_do_not_count_are_not_measured(kind: str, tmp_path: Path) -> None:
    counted = np.zeros((6, 5), bool)
    counted[1:3, 2:5] = True
    normality = fit_normality(kind, GOOD).within(counted)
    save_normality(normality, tmp_path / "normality.npz")
    again = load_normality(tmp_path / "normality.npz")
    maps = score(normality, NEW)
    for one in (normality, again):
        novelty, mean = one.measure_images(NEW)
        assert np.allclose(novelty, maps[:, 1:3, 2:5].max(axis=(1, 2)))
        assert np.allclose(mean, maps[:, 1:3, 2:5].mean(axis=(1, 2)))
        tensors = [found.numpy() for found in one.measure_tensors(NEW.astype(np.float32))]
        assert np.allclose(tensors, (novelty, mean), rtol=1e-3)
    assert fit_normality(kind, GOOD).counted is None
    everywhere = fit_normality(kind, GOOD).measure_images(NEW)[0]
    assert (everywhere >= novelty).all()
    assert (everywhere > novelty).any()


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_short_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "normality.npz"
    save_normality(fit_normality(kind, GOOD), path)
    content = path.read_bytes()
    for length in (0, 3, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(RunError, match="cannot be loaded"):
            load_normality(path)


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "normality.npz"
    save_normality(fit_normality("gaussian", GOOD), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(RunError, match="cannot be loaded"):
        load_normality(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "normality.npz"
    with pytest.raises(RunError, match="cannot be loaded"):
        load_normality(path)
    path.write_text("not an archive")
    with pytest.raises(RunError, match="cannot be loaded"):
        load_normality(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(RunError, match="cannot be loaded"):
        load_normality(path)
    np.savez(path, mean=np.zeros(3))
    with pytest.raises(RunError, match="header"):
        load_normality(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("header", np.array('{"format": "another", "kind": "padim"}'), "another"),
        ("header", np.array('{"format": "mvdefect normality 1", "kind": "other"}'), "other"),
        ("header", np.array("[]"), "cannot be loaded"),
        ("mean", np.zeros((6, 5, 8)), "mean is not as it was written"),
        ("mean", np.full((6, 5, 8), np.nan, np.float32), "mean is not as it was written"),
        ("mean", np.zeros((6, 5, 7), np.float32), "is not as it was written"),
        ("input_channels", np.array(3), "maps of 3 channels lack"),
        ("extra", np.zeros(1), "extra"),
    ],
)
def test_changed_contents_are_refused(name: str, value: np.ndarray, message: str, tmp_path: Path) -> None:
    path = tmp_path / "normality.npz"
    save_normality(fit_normality("padim", GOOD), path)
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, name: value})
    with pytest.raises(RunError, match=message):
        load_normality(path)


@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow_with_the_images(kind: str) -> None:
    def lazy(batches: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(1)
        for _ in range(batches):
            yield rng.random((16, 16, 16, 32), dtype=np.float32)

    def peak_bytes(batches: int) -> int:
        tracemalloc.start()
        fit(lazy(batches)).score_images(lazy(batches))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    fit = partial(fit_normality, kind)
    if kind == "memory_bank":  # a smaller one, to be quick
        fit = partial(MemoryBank.fit, max_vectors=100, max_candidates=2000)
    fit(lazy(2))  # imports
    many = 120  # 60 MiB
    assert peak_bytes(many) < peak_bytes(many // 2) + (many * 16 * 16 * 16 * 32 * 4) // 20


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown kind of one-class score 'padin'. Did you mean 'padim'"):
        fit_normality("padin", GOOD)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("features", "message"),
    [
        (GOOD[0], "of shape .images, height, width, channels"),
        (GOOD.astype(np.int64), "must be floats"),
        (GOOD[:, :0], "of shape .images, height"),
        (np.where(GOOD > 3, np.float16(np.inf), GOOD), "must be finite"),
        ([GOOD, GOOD[..., :4]], r"\(images, 6, 5, 8\). Received: shape \(40, 6, 5, 4\)"),
        (GOOD[:1], "at least 2 good images are needed. Received: 1"),
        ([], "at least 2 good images are needed. Received: 0"),
    ],
)
def test_features_that_cannot_be_learnt_from_are_refused(
    kind: str, features: FeatureSource, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit_normality(kind, features)


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_another_network_are_not_scored(kind: str) -> None:
    normality = fit_normality(kind, GOOD)
    with pytest.raises(ConfigError, match="Received: shape"):
        normality.score_images(GOOD[..., :4])
    assert normality.score_images(GOOD[:0]).shape == (0,)


def test_a_neighbourhood_is_averaged_over_what_exists() -> None:
    maps = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)
    averaged = average_neighbourhoods(maps)[0, :, :, 0]
    assert averaged[1, 1] == np.mean([0, 1, 2, 4, 5, 6, 8, 9, 10])
    assert averaged[0, 0] == np.mean([0, 1, 4, 5])
    assert np.isclose(averaged[2, 1], np.mean([4, 5, 6, 8, 9, 10]))
    assert maps[0, 1, 1, 0] == 5  # the input is as it was
    assert average_neighbourhoods(maps[:, :1, :1])[0, 0, 0, 0] == 0


def test_chunks_are_the_whole_in_order_and_small(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", RNG.normal(0, 1, (70, 32, 32, 128)).astype(np.float16))
    stored = np.load(tmp_path / "features.npy", mmap_mode="r")
    chunks = list(iterate_chunks(stored))
    assert max(chunk.nbytes for chunk in chunks) <= 16 << 20
    assert len(chunks) > 1
    assert np.array_equal(np.concatenate(chunks), stored.astype(np.float32))
