"""Candidates: the pairs whose thumbnails agree in what tells images apart, in any pose, and the look-alikes."""

from __future__ import annotations

import numpy as np
import pytest

from mvdefect.data import candidates
from mvdefect.data.candidates import find_candidates, rank_look_alikes
from mvdefect.data.poses import lay_in_pose


@pytest.fixture(scope="module")
def posed_copies() -> np.ndarray:
    """Sixty parts in one fixture; then the first 16 once more, in two poses each, with noise."""
    rng = np.random.default_rng(1)
    fixture = rng.uniform(60, 190, (24, 24))
    base = np.clip(fixture + rng.normal(0, 12, (60, 24, 24)), 0, 255)
    copies = np.concatenate([lay_in_pose(base[k : k + 1], k % 8) for k in range(16)])
    return np.clip(np.concatenate([base, copies + rng.normal(0, 2, copies.shape)]), 0, 255).astype(np.uint8)


def seek(thumbnails: np.ndarray) -> dict[tuple[int, int], int]:
    pairs = find_candidates(thumbnails, np.zeros(len(thumbnails), np.float32), range(8))
    assert (pairs.first < pairs.second).all()
    assert list(zip(pairs.first, pairs.second, strict=True)) == sorted(
        zip(pairs.first, pairs.second, strict=True)
    )
    return {(first, second): pose for first, second, pose in pairs}


@pytest.mark.parametrize("exact_search_images", [0, 10_000])
def test_parts_that_come_back_are_found_among_those_that_lie_alike(
    posed_copies: np.ndarray, exact_search_images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "EXACT_SEARCH_IMAGES", exact_search_images)
    monkeypatch.setattr(candidates, "BLOCK_ROWS", 7)
    plain = np.corrcoef(posed_copies[:60].reshape(60, -1).astype(float))
    assert np.median(plain) > 0.85  # by their thumbnails as they are, all of them lie alike
    found = seek(posed_copies)
    assert found.items() >= {(k, 60 + k): k % 8 for k in range(16)}.items()
    assert len(found) < 40


def test_few_images_are_all_candidates(posed_copies: np.ndarray) -> None:
    assert len(seek(posed_copies[:12])) == 66


def test_images_of_another_shape_are_none(posed_copies: np.ndarray) -> None:
    aspects = np.zeros(len(posed_copies), np.float32)
    aspects[60:] = 0.5
    pairs = find_candidates(posed_copies, aspects, range(8))
    assert not ((pairs.first < 60) & (pairs.second >= 60)).any()
    aspects[:60] = -0.5  # a quarter turn makes one shape of the other
    turned = find_candidates(posed_copies, aspects, range(8))
    across = turned.select((turned.first < 60) & (turned.second >= 60))
    assert set((across.pose % 2).tolist()) == {1}


def test_blank_thumbnails_are_none() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 256, (50, 24, 24)).astype(np.uint8)
    thumbnails[7] = thumbnails[9] = 9
    assert (7, 9) not in seek(thumbnails)


def test_look_alikes_are_found_turned_by_any_angle() -> None:
    rng = np.random.default_rng(2)
    bar = np.full((24, 24), 60, np.uint8)
    bar[10:14, 3:21] = 220
    bar[6:10, 3:8] = 160
    turned = [candidates._turn_thumbnails(bar[np.newaxis], turn)[0] for turn in (0, 5, 30)]
    others = rng.integers(0, 256, (30, 24, 24)).astype(np.uint8)
    thumbnails = np.array([*turned, *others], np.uint8)
    found, turns = rank_look_alikes(thumbnails, np.zeros(33, np.float32), np.array([0]), 5)
    assert found.shape == turns.shape == (1, 5)
    assert dict(zip(found[0, :2].tolist(), turns[0, :2].tolist(), strict=True)) == {1: 5, 2: 30}


def test_an_image_is_no_look_alike_of_itself(posed_copies: np.ndarray) -> None:
    found, _ = rank_look_alikes(posed_copies, np.zeros(len(posed_copies), np.float32), np.arange(5), 100)
    assert found.shape == (5, len(posed_copies) - 1)
    assert not (found == np.arange(5)[:, np.newaxis]).any()
