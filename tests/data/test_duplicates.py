"""Groups of near-duplicates."""

from __future__ import annotations

import numpy as np
import pytest

from mvdefect.data import duplicates
from mvdefect.data.duplicates import (
    connect,
    find_near_duplicates,
    lay_in_pose,
    link_equal_names,
    normalise_thumbnails,
)
from mvdefect.data.groups import Groups, group_records
from mvdefect.data.images import make_thumbnail
from tests.conftest import make_texture


def group(thumbnails: list[np.ndarray], sha256: list[str] | None = None, **options: object) -> Groups:
    names = sha256 or [str(number) for number in range(len(thumbnails))]
    links = find_near_duplicates(np.array(thumbnails, np.uint8), ["nut"] * len(names), **options)
    first, second = link_equal_names(names)
    joined = np.concatenate([links.first, first]), np.concatenate([links.second, second])
    return Groups(connect(*joined, len(names)), links.notes)


def test_copies_that_are_lighter_or_noisier_join_their_original() -> None:
    rng = np.random.default_rng(0)
    originals = [make_texture(seed, 96, 96) for seed in range(10)]
    lighter = [np.clip(image * 0.9 + 20, 0, 255).astype(np.uint8) for image in originals]
    noisy = [np.clip(image + rng.normal(0, 5, image.shape), 0, 255).astype(np.uint8) for image in originals]
    found = group([make_thumbnail(image) for image in [*originals, *lighter, *noisy]])
    assert found.codes.tolist() == list(range(10)) * 3
    assert found.notes == ()


def test_links_are_transitive() -> None:
    rng = np.random.default_rng(0)
    drift = np.cumsum(rng.normal(0, 1, (12, 24, 24)), axis=0) * 7 + rng.uniform(60, 190, (24, 24))
    thumbnails = np.clip(drift, 0, 255).astype(np.uint8)
    vectors = normalise_thumbnails(thumbnails)
    assert vectors[0] @ vectors[-1] < 0.98  # the ends alone would not be linked
    others = [make_thumbnail(make_texture(seed, 96, 96)) for seed in range(30)]
    assert group([*thumbnails, *others]).codes.tolist() == [0] * 12 + list(range(1, 31))


def find_by_brute_force(thumbnails: np.ndarray, min_correlation: float) -> dict[tuple[int, int], float]:
    """Return the best correlation of each pair above the limit, by NumPy's own corrcoef."""
    count = len(thumbnails)
    best = np.full((count, count), -1.0)
    for pose in range(8):
        posed = [np.rot90(image[:, ::-1] if pose >= 4 else image, pose % 4) for image in thumbnails]
        flat = np.concatenate([np.reshape(posed, (count, -1)), thumbnails.reshape(count, -1)])
        best = np.maximum(best, np.corrcoef(flat.astype(float))[:count, count:])
    return {
        (i, j): best[i, j] for i in range(count) for j in range(i + 1, count) if best[i, j] > min_correlation
    }


@pytest.fixture
def posed_copies() -> np.ndarray:
    rng = np.random.default_rng(1)
    base = rng.uniform(0, 255, (40, 24, 24))
    base = np.array([np.convolve(image.ravel(), np.ones(5) / 5, "same").reshape(24, 24) for image in base])
    copies = [np.rot90(image[:, ::-1] if k % 2 else image, k // 2) for k, image in enumerate(base[:8])]
    noisy = np.array([*copies, *base[8:16]]) + rng.normal(0, 3, (16, 24, 24))
    return np.clip(np.concatenate([base, noisy]), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("exact_search_images", [0, 10_000])
def test_links_are_those_of_all_pairs(
    posed_copies: np.ndarray, exact_search_images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "EXACT_SEARCH_IMAGES", exact_search_images)
    monkeypatch.setattr(duplicates, "BLOCK_ROWS", 7)
    links = find_near_duplicates(posed_copies, ["nut"] * len(posed_copies), 0.95)
    found = dict(
        zip(zip(links.first.tolist(), links.second.tolist(), strict=True), links.correlation, strict=True)
    )
    expected = find_by_brute_force(posed_copies, 0.95)
    assert len(expected) == 16
    assert list(found) == sorted(expected)
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_link_says_how_the_first_must_be_laid_to_look_like_the_second(posed_copies: np.ndarray) -> None:
    links = find_near_duplicates(posed_copies, ["nut"] * len(posed_copies), 0.95)
    assert set(links.pose.tolist()) == set(range(8))
    for first, second, pose in zip(links.first, links.second, links.pose, strict=True):
        laid = lay_in_pose(posed_copies[first : first + 1], pose)[0]
        assert np.corrcoef(laid.ravel(), posed_copies[second].ravel())[0, 1] > 0.95


def test_a_large_group_is_found_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "NEIGHBOURS", 2)
    rng = np.random.default_rng(0)
    part = rng.uniform(60, 190, (24, 24))
    again = part + rng.normal(0, 2, (30, 24, 24))
    others = [make_thumbnail(make_texture(seed, 96, 96)) for seed in range(40)]
    thumbnails = np.array([*again.round().astype(np.uint8), *others])
    links = find_near_duplicates(thumbnails, ["nut"] * 70)
    assert len(links.first) == 30 * 29 // 2
    assert links.second.max() == 29


def test_no_images_no_links() -> None:
    assert len(find_near_duplicates(np.zeros((0, 24, 24), np.uint8), []).first) == 0


def test_equal_names_are_linked_and_empty_ones_are_not() -> None:
    first, second = link_equal_names(["a", "", "b", "a", "", "a"])
    assert (first.tolist(), second.tolist()) == ([0, 0], [3, 5])


def test_blank_thumbnails_link_nothing_across_categories_neither() -> None:
    texture = make_thumbnail(make_texture(1))
    thumbnails = np.array([np.full((24, 24), 9), np.full((24, 24), 9), texture, texture], np.uint8)
    assert len(find_near_duplicates(thumbnails, ["nut", "nut", "nut", "pill"]).first) == 0
    assert len(find_near_duplicates(thumbnails, ["nut"] * 4).first) == 1


def test_parts_that_all_look_alike_are_compared_by_what_differs() -> None:
    rng = np.random.default_rng(2)
    fixture = make_thumbnail(make_texture(0, 96, 96)).astype(float)
    parts = [fixture + rng.normal(0, 2, (24, 24)) for _ in range(40)]
    parts.append(parts[3] + rng.normal(0, 0.1, (24, 24)))  # the same part once more
    found = group([np.clip(part, 0, 255).round() for part in parts], min_correlation=0.95)
    assert found.codes[40] == found.codes[3]
    assert len(set(found.codes)) == 40
    assert "look much alike" in found.notes[0]


def test_parts_that_cannot_be_told_apart_are_kept_apart_and_told() -> None:
    fixture = make_thumbnail(make_texture(0, 96, 96)).astype(int)
    shades = [np.clip(fixture + number % 2 * 40, 0, 255) for number in range(40)]
    found = group(shades, [str(number // 2) for number in range(40)])
    assert len(set(found.codes)) == 20
    assert "look much alike" in found.notes[0]


@pytest.mark.slow
def test_real_tiles_form_the_known_groups(magnetic_tile) -> None:
    from mvdefect.data.layouts import read_records
    from mvdefect.data.scan import scan_images

    scan = scan_images(read_records(magnetic_tile))
    found = group_records(scan)
    sizes = np.bincount(found.codes)
    assert (len(scan.records), len(sizes), sizes.max()) == (1344, 621, 12)
