"""The memory bank: nearest neighbours, and which patches are kept."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from mvdefect.core.errors import ConfigError
from mvdefect.models.feature_maps import average_neighbourhoods
from mvdefect.models.memory_bank import MemoryBank, choose_coreset

RNG = np.random.default_rng(0)
GOOD = RNG.normal(0, 1, (30, 4, 5, 6)).astype(np.float32)
NEW = RNG.normal(0, 2, (3, 4, 5, 6)).astype(np.float32)


def test_distances_to_a_bank_by_hand() -> None:
    bank = MemoryBank(
        scale=np.array([1, 2], np.float32),
        vectors=np.array([[0, 0], [3, 4]], np.float32),
        usual=np.array([[1.0]], np.float32),
        spread=np.array([[0.5]], np.float32),
    )
    features = np.array([[0, 0], [3, 8], [3, 0], [0, 6], [3, 12]], np.float32).reshape(5, 1, 1, 2)
    # Scaled: (0, 0), (3, 4), (3, 0), (0, 3), (3, 6).
    assert np.allclose(bank.measure_distances(features)[:, 0, 0], [0, 0, 3, 3, 2])
    assert np.allclose(bank.score_images(features), [-2, -2, 4, 4, 2])


def test_a_bank_of_all_patches_has_the_distances_of_scipy() -> None:
    bank = MemoryBank.fit(GOOD, max_vectors=10_000)
    good, new = (average_neighbourhoods(maps).reshape(-1, 6) for maps in (GOOD, NEW))
    scale = good.std(axis=0)
    assert np.allclose(bank.scale, scale, rtol=1e-5)
    expected = cdist(new / scale, good / scale).min(axis=1).reshape(3, 4, 5)
    assert np.allclose(bank.measure_distances(NEW), expected, rtol=1e-4)
    assert np.allclose(bank.measure_distances(GOOD), 0, atol=1e-5)


def test_the_coreset_is_the_greedy_one() -> None:
    line = np.array([0, 1, 4, 9, 10, 5], np.float32)[:, np.newaxis]
    # The mean is 4.83: 5 is nearest. 0 and 10 are both 5 away, 0 comes first. Then 10, then 1, 9 and 4 by
    # number: each is 1 away from what is chosen.
    assert choose_coreset(line, 6).tolist() == [5, 0, 4, 1, 2, 3]
    assert choose_coreset(line, 2).tolist() == [5, 0]


def test_the_coreset_is_that_of_a_plain_search() -> None:
    points = RNG.normal(0, 1, (200, 5)).astype(np.float32)
    distances = cdist(points, points)
    expected = [int(np.linalg.norm(points - points.mean(axis=0), axis=1).argmin())]
    while len(expected) < 40:
        expected.append(int(distances[:, expected].min(axis=1).argmax()))
    assert choose_coreset(points, 40).tolist() == expected


def test_a_coreset_covers_better_than_a_random_choice() -> None:
    rng = np.random.default_rng(2)  # its own: what others draw before depends on how tests are divided
    points = np.concatenate([rng.normal(0, 1, (2000, 8)), rng.normal(6, 1, (20, 8))]).astype(np.float32)
    chosen = choose_coreset(points, 60)
    assert len(set(chosen)) == 60
    radius = cdist(points, points[chosen]).min(axis=1).max()
    for _ in range(20):
        drawn = rng.choice(len(points), 60, replace=False)
        assert radius < 0.8 * cdist(points, points[drawn]).min(axis=1).max()


def test_copies_are_kept_once() -> None:
    points = np.repeat(RNG.normal(100, 1, (5, 3)), 10, axis=0).astype(np.float32)
    assert sorted(choose_coreset(points, 50) // 10) == [0, 1, 2, 3, 4]


def test_sizes_are_bounds_and_seeds_decide() -> None:
    wide = RNG.normal(0, 1, (20, 4, 5, 80)).astype(np.float32)  # wide enough to be projected
    first, again, other = (MemoryBank.fit(wide, seed, 50, 200) for seed in (1, 1, 2))
    assert first.vectors.shape == (50, 80)
    assert np.array_equal(first.vectors, again.vectors)
    assert np.array_equal(first.score_positions(wide), again.score_positions(wide))
    assert not np.array_equal(first.vectors, other.vectors)


def test_candidates_are_drawn_evenly() -> None:
    numbered = np.arange(400, dtype=np.float32)[:, np.newaxis, np.newaxis, np.newaxis]
    scaled = np.concatenate([MemoryBank.fit(numbered, seed, 40, 40).vectors[:, 0] for seed in range(25)])
    drawn = scaled / scaled.std() * 400 / np.sqrt(12)
    assert len(drawn) == 1000
    counts, _ = np.histogram(drawn, bins=4, range=(0, 400))
    assert counts.sum() > 950
    assert np.all(np.abs(counts - 250) < 60)


def test_places_that_vary_more_are_allowed_more() -> None:
    good = RNG.normal(0, 1, (300, 1, 12, 2)).astype(np.float32)
    good[:, :, 8:] *= 5
    bank = MemoryBank.fit(good, max_vectors=10_000)
    assert bank.usual[0, 10] > 2 * bank.usual[0, 2]
    odd = RNG.normal(0, 1, (1, 1, 12, 2)).astype(np.float32)
    assert bank.score_positions(odd)[0, 0, :6].max() < 6
    odd[0, 0, 2:5] = [14, -14]
    assert bank.score_positions(odd)[0, 0].argmax() in (2, 3, 4)


def test_what_is_usual_is_measured_against_other_images() -> None:
    bank = MemoryBank.fit(GOOD, max_vectors=10_000)  # every patch is in it
    patches = average_neighbourhoods(GOOD).reshape(30, -1, 6) / bank.scale
    odd, even = patches[1::2].reshape(-1, 6), patches[::2].reshape(-1, 6)
    distances = np.concatenate([cdist(odd, even).min(axis=1), cdist(even, odd).min(axis=1)])
    by_position = distances.reshape(30, 20)
    expected = (30 * by_position.mean(axis=0) + 10 * distances.mean()) / 40
    assert np.allclose(bank.usual.ravel(), expected, rtol=1e-4)
    squares = ((by_position - expected) ** 2).sum(axis=0)
    assert np.allclose(bank.spread.ravel() ** 2, (squares + 10 * distances.var()) / 40, rtol=1e-3)


@pytest.mark.parametrize("same", [np.zeros((4, 2, 2, 3)), np.broadcast_to(GOOD[:1], (6, 4, 5, 6))])
def test_good_images_that_are_all_alike_give_finite_scores(same: np.ndarray) -> None:
    bank = MemoryBank.fit(same.astype(np.float32))
    assert np.isfinite(bank.score_images(same.astype(np.float32) + 1)).all()
    assert bank.score_images(same.astype(np.float32) + 1).min() > bank.score_images(same).max()


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="must be at least 1. Received: max_vectors=0, max_candidates=5"):
        MemoryBank.fit(GOOD, max_vectors=0, max_candidates=5)
