"""Candidates: pairs whose fingerprints agree in what tells images apart, in any pose; and the look-alikes."""

from __future__ import annotations

import numpy as np
import pytest

from mvdefect.data.groups import candidates
from mvdefect.data.groups.candidates import (
    Pairs,
    find_candidates,
    rank_look_alikes,
    settle_half_turns,
)
from mvdefect.data.groups.details import FINGERPRINT_LENGTH, WAVES, pose_fingerprints
from mvdefect.data.groups.poses import lay_in_pose

NO_PRINTS = np.zeros((70, FINGERPRINT_LENGTH), np.float16)


@pytest.fixture(scope="module")
def prints() -> np.ndarray:
    """Sixty fingerprints with much in common; then the first 16 once more, in four poses, with noise."""
    rng = np.random.default_rng(1)
    length = np.hypot(*WAVES)  # the same in every pose
    base = 30 / length + rng.normal(0, 0.5, (60, FINGERPRINT_LENGTH))
    poses = candidates.FINGERPRINT_POSES
    copies = [pose_fingerprints(base[k : k + 1], poses[k % 4])[0] for k in range(16)]
    again = np.array(copies) + rng.normal(0, 0.2, (16, FINGERPRINT_LENGTH))
    return np.concatenate([base, again]).astype(np.float16)


def seek(prints: np.ndarray, aspects: np.ndarray | None = None) -> dict[tuple[int, int], int]:
    pairs = find_candidates(prints, np.zeros(len(prints), np.float32) if aspects is None else aspects)
    listed = [(first, second) for first, second, _ in pairs]
    assert listed == sorted(set(listed))
    assert (pairs.first < pairs.second).all()
    return {(first, second): pose for first, second, pose in pairs}


@pytest.mark.parametrize("exact_search_images", [0, 10_000])
def test_what_comes_back_is_found_among_what_is_alike(
    prints: np.ndarray, exact_search_images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "EXACT_SEARCH_IMAGES", exact_search_images)
    monkeypatch.setattr(candidates, "BLOCK_ROWS", 7)
    assert np.median(np.corrcoef(prints[:60].astype(float))) > 0.7  # as they are, all of them are alike
    found = {pair: pose for pair, pose in seek(prints).items() if pair[1] >= 60 > pair[0]}
    assert len(found) < 32  # of 960
    for k in range(16):
        pose = found[k, 60 + k]
        assert pose // 4 * 4 + pose % 2 == candidates.FINGERPRINT_POSES[k % 4]  # but for half a turn


def test_few_images_are_all_candidates(prints: np.ndarray) -> None:
    assert len(seek(prints[:12])) == 66


def test_images_of_another_shape_are_none(prints: np.ndarray) -> None:
    aspects = np.zeros(len(prints), np.float32)
    aspects[60:] = 0.5
    assert not [pair for pair in seek(prints, aspects) if pair[1] >= 60 > pair[0]]
    aspects[:60] = -0.5  # a quarter turn makes one shape of the other
    turned = [pose % 2 for pair, pose in seek(prints, aspects).items() if pair[1] >= 60 > pair[0]]
    assert set(turned) == {1}


def test_images_without_a_fingerprint_are_none(prints: np.ndarray) -> None:
    blank = prints.copy()
    blank[7] = blank[9] = 0
    assert not {7, 9} & {image for pair in seek(blank) for image in pair}


def test_half_a_turn_is_settled_by_thumbnails_or_left_open() -> None:
    rng = np.random.default_rng(4)
    thumbnail = rng.integers(0, 256, (24, 24)).astype(np.uint8)
    even = np.full((24, 24), 9, np.uint8)
    thumbnails = np.array([thumbnail, lay_in_pose(thumbnail[np.newaxis], 3)[0], even, even])
    pairs = Pairs(np.array([0, 2]), np.array([1, 3]), np.array([1, 4]))
    tried, owner = settle_half_turns(thumbnails, pairs)
    assert sorted(zip(owner.tolist(), tried.pose.tolist(), strict=True)) == [(0, 3), (1, 4), (1, 6)]


def test_look_alikes_are_found_turned_by_any_angle() -> None:
    rng = np.random.default_rng(2)
    bar = np.full((24, 24), 60, np.uint8)
    bar[10:14, 3:21] = 220
    bar[6:10, 3:8] = 160
    turned = [candidates._turn_thumbnails(bar[np.newaxis], turn)[0] for turn in (0, 5, 30)]
    others = rng.integers(0, 256, (30, 24, 24)).astype(np.uint8)
    thumbnails = np.array([*turned, *others], np.uint8)
    found, turns = rank_look_alikes(NO_PRINTS[:33], thumbnails, np.zeros(33, np.float32), np.array([0]), 5)
    assert found.shape == turns.shape == (1, 5)
    assert dict(zip(found[0, :2].tolist(), turns[0, :2].tolist(), strict=True)) == {1: 5, 2: 30}


def test_an_image_is_no_look_alike_of_itself() -> None:
    thumbnails = np.random.default_rng(3).integers(0, 256, (70, 24, 24)).astype(np.uint8)
    found, _ = rank_look_alikes(NO_PRINTS, thumbnails, np.zeros(70, np.float32), np.arange(5), 100)
    assert found.shape == (5, 69)
    assert not (found == np.arange(5)[:, np.newaxis]).any()


def test_the_part_itself_is_passed_over_where_it_would_fill_the_look_alikes() -> None:
    rng = np.random.default_rng(5)
    prints = rng.normal(5, 1, (90, FINGERPRINT_LENGTH))
    prints[:30] = prints[0] + rng.normal(0, 0.3, (30, FINGERPRINT_LENGTH))  # thirty images of one part
    thumbnails = rng.integers(100, 140, (90, 24, 24))
    thumbnails[:30] = thumbnails[0] + rng.integers(0, 5, (30, 24, 24))
    looks = (prints.astype(np.float16), thumbnails.astype(np.uint8), np.zeros(90, np.float32))
    found, _ = rank_look_alikes(*looks, np.array([0, 60]), 40)
    assert (found[0] >= 30).all()
    assert found[1].min() < 30  # which other parts look like
