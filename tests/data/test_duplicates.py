"""Groups of near-duplicates."""

from __future__ import annotations

import numpy as np
import pytest

from mvdefect.data import duplicates
from mvdefect.data.duplicates import group_near_duplicates, normalise_thumbnails
from mvdefect.data.images import make_thumbnail
from tests.conftest import make_texture


def group(
    thumbnails: list[np.ndarray], sha256: list[str] | None = None, **options: object
) -> duplicates.Groups:
    names = sha256 or [str(number) for number in range(len(thumbnails))]
    return group_near_duplicates(np.array(thumbnails, np.uint8), names, ["nut"] * len(names), **options)


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
    assert set(group(list(thumbnails)).codes) == {0}


def test_blocks_give_what_the_whole_matrix_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "BLOCK_ROWS", 7)
    rng = np.random.default_rng(1)
    base = rng.uniform(0, 255, (15, 24, 24))
    near = np.clip(np.concatenate([base, base + rng.normal(0, 9, base.shape)]), 0, 255).astype(np.uint8)
    codes = group(list(near)).codes
    vectors = near.reshape(len(near), -1).astype(np.float64)
    linked = np.corrcoef(vectors) > 0.98
    assert linked.sum() > len(near)
    assert np.array_equal(linked, codes[:, None] == codes[None, :])


def test_identical_files_are_joined_though_blank_and_in_other_categories() -> None:
    blank = np.full((3, 24, 24), 9, np.uint8)
    found = group_near_duplicates(blank, ["a", "b", "a"], ["nut", "nut", "pill"])
    assert found.codes.tolist() == [0, 1, 0]


def test_parts_that_all_look_alike_are_compared_by_what_differs() -> None:
    rng = np.random.default_rng(2)
    fixture = make_thumbnail(make_texture(0, 96, 96)).astype(float)
    parts = [fixture + rng.normal(0, 2, (24, 24)) for _ in range(40)]
    parts.append(parts[3] + rng.normal(0, 0.1, (24, 24)))  # the same part once more
    found = group([np.clip(part, 0, 255).round() for part in parts], min_correlation=0.95)
    assert found.codes[40] == found.codes[3]
    assert len(set(found.codes)) == 40
    assert "all look alike" in found.notes[0]


def test_parts_that_cannot_be_told_apart_are_kept_apart_and_told() -> None:
    fixture = make_thumbnail(make_texture(0, 96, 96)).astype(int)
    shades = [np.clip(fixture + number % 2 * 40, 0, 255) for number in range(40)]
    found = group(shades, [str(number // 2) for number in range(40)])
    assert len(set(found.codes)) == 20
    assert "only identical files" in found.notes[0]


@pytest.mark.slow
def test_real_tiles_form_the_known_groups(magnetic_tile) -> None:
    from mvdefect.data.layouts import read_records
    from mvdefect.data.scan import scan_images

    scan = scan_images(read_records(magnetic_tile))
    found = group_near_duplicates(scan.thumbnails, scan.sha256, [r.category for r in scan.records])
    sizes = np.bincount(found.codes)
    assert (len(scan.records), len(sizes), sizes.max()) == (1344, 621, 12)
