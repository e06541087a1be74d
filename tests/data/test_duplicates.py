"""Near-duplicates: the same part and the same image are found, and what only looks alike is not."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from mvdefect.data.groups.details import FINGERPRINT_LENGTH, make_detail, take_fingerprint
from mvdefect.data.groups.duplicates import (
    Links,
    connect,
    differ_in_light_alone,
    find_near_duplicates,
    link_equal_names,
)
from mvdefect.data.groups.grouping import find_links, group_records
from mvdefect.data.groups.poses import lay_in_pose
from mvdefect.data.images import Pixels, make_thumbnail
from mvdefect.data.scan import Scan, scan_images
from mvdefect.data.sources.folders import read_records
from tests.conftest import make_surface

SIZE = 128


def draw_part(seed: int, grain: float = 12.0) -> np.ndarray:
    """Draw a part of a product with strong edges of its own: a ring with holes, and this part's own grain."""
    part = np.full((SIZE, SIZE), 60, np.uint8)
    cv2.circle(part, (64, 64), 52, 150, -1)
    cv2.circle(part, (64, 64), 20, 40, -1)
    for angle in np.arange(6) * np.pi / 3 + 0.2:
        cv2.circle(part, (int(64 + 36 * np.cos(angle)), int(64 + 36 * np.sin(angle))), 7, 220, 2)
    cv2.putText(part, "K7", (50, 112), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 90, 1)
    noise = np.random.default_rng(seed).normal(size=(SIZE, SIZE)).astype(np.float32)
    own = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.asarray(part + grain * own / own.std(), np.float32)


def photograph(part: np.ndarray, seed: int) -> Pixels:
    """Photograph a part: moved and turned a little, in light that falls otherwise, with a camera's noise."""
    rng = np.random.default_rng((7, seed))
    matrix = cv2.getRotationMatrix2D((64, 64), rng.normal(0, 0.7), rng.normal(1, 0.01))
    matrix[:, 2] += rng.normal(0, 1.0, 2)
    moved = cv2.warpAffine(part, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT)
    light = rng.uniform(0.8, 1.1) * (1 + np.linspace(-0.15, 0.15, SIZE) * rng.normal())
    return np.clip(moved * light + rng.normal(0, 1.5, (SIZE, SIZE)), 0, 255).astype(np.uint8)


def search(images: Sequence[Pixels], categories: Sequence[str] | None = None) -> Links:
    colours = [cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) for image in images]
    thumbnails = np.array([make_thumbnail(image) for image in colours], np.uint8).reshape(-1, 24, 24)
    prints = [take_fingerprint(make_detail(image)) for image in images]
    fingerprints = np.array(prints, np.float16).reshape(-1, FINGERPRINT_LENGTH)
    sizes = np.array([image.shape for image in images], np.int64).reshape(-1, 2)
    names = categories or ["nut"] * len(images)
    return find_near_duplicates(fingerprints, thumbnails, sizes, names, lambda index: images[index])


def list_pairs(links: Links) -> list[tuple[int, int]]:
    return list(zip(links.first.tolist(), links.second.tolist(), strict=True))


@pytest.fixture(scope="module")
def parts() -> list[Pixels]:
    """Fifty parts in one fixture, each photographed once."""
    return [photograph(draw_part(seed), seed) for seed in range(50)]


def test_parts_that_lie_alike_are_not_the_same_part(parts: list[Pixels]) -> None:
    links = search(parts)
    assert list_pairs(links) == []
    assert len(links.undecided) == 0


def test_a_part_that_is_photographed_again_is_found(parts: list[Pixels]) -> None:
    again = [photograph(draw_part(seed), 100 + seed) for seed in range(8)]
    links = search([*parts, *again])
    assert list_pairs(links) == [(seed, 50 + seed) for seed in range(8)]
    assert not links.is_same_image.any()
    assert links.evidence.min() > 0.75


def test_copies_are_the_same_image_in_every_pose(parts: list[Pixels]) -> None:
    copies = [lay_in_pose(parts[k][np.newaxis], k)[0] for k in range(8)]
    changed = [
        cv2.imdecode(cv2.imencode(".jpg", parts[8], [cv2.IMWRITE_JPEG_QUALITY, 90])[1], cv2.IMREAD_GRAYSCALE),
        np.clip(parts[9] * 0.9 + 8, 0, 255).astype(np.uint8),
        cv2.resize(parts[10], (160, 160), interpolation=cv2.INTER_CUBIC),
    ]
    links = search([*parts, *copies, *changed])
    assert list_pairs(links) == [(k, 50 + k) for k in range(11)]
    assert links.pose.tolist() == [*range(8), 0, 0, 0]
    assert links.is_same_image.all()


def test_a_part_before_and_after_damage_is_the_same_part_and_another_image(parts: list[Pixels]) -> None:
    damaged = parts[0].copy()
    damaged[60:64, 88:108] = 30
    links = search([*parts, damaged])
    assert list_pairs(links) == [(0, 50)]
    assert not links.is_same_image.any()


def test_a_large_group_is_found_whole(parts: list[Pixels]) -> None:
    again = [photograph(draw_part(0), 200 + number) for number in range(8)]
    links = search([*parts, *again])
    assert connect(links.first, links.second, 58).tolist() == [*range(50), *[0] * 8]


def test_bursts_are_found_though_they_are_most_of_what_looks_alike() -> None:
    rng = np.random.default_rng(9)
    frames = [photograph(draw_part(part), part) for part in range(4) for _ in range(30)]
    images = [np.clip(frame + rng.normal(0, 2, frame.shape), 0, 255).astype(np.uint8) for frame in frames]
    links = search(images)
    assert connect(links.first, links.second, 120).tolist() == [part for part in range(4) for _ in range(30)]


def test_a_weave_that_fits_itself_everywhere_proves_nothing() -> None:
    y, x = np.mgrid[:SIZE, :SIZE]
    rng = np.random.default_rng(3)
    images = []
    for _ in range(45):
        period, right, down = rng.uniform(5, 9), *rng.uniform(0, 9, 2)
        weave = np.sin(2 * np.pi * (x + right) / period) * np.sin(2 * np.pi * (y + down) / period)
        images.append(np.clip(120 + 60 * weave + rng.normal(0, 2, weave.shape), 0, 255).astype(np.uint8))
    assert list_pairs(search(images)) == []


def test_strips_keep_their_long_side_and_are_found_turned() -> None:
    strips = [make_surface(seed, 40, 400)[:, :, 0] for seed in range(20)]
    copies = [np.rot90(strips[0]), strips[1][:, ::-1], np.rot90(strips[2][:, ::-1], 3)]
    links = search([*strips, *copies])
    assert list_pairs(links) == [(0, 20), (1, 21), (2, 22)]
    for first, pose, copy in zip(strips, links.pose.tolist(), copies, strict=False):
        assert np.array_equal(lay_in_pose(first[np.newaxis], pose)[0], copy)


def test_images_without_detail_are_not_decided_on(parts: list[Pixels]) -> None:
    ramp = np.tile(np.linspace(90, 110, SIZE).astype(np.uint8), (SIZE, 1))
    links = search([*parts[:20], ramp, ramp.copy()])
    assert list_pairs(links) == []
    assert links.undecided.tolist() == [20, 21]


def test_too_few_images_are_not_decided_on(parts: list[Pixels]) -> None:
    assert search(parts[:3]).undecided.tolist() == [0, 1, 2]
    assert search(parts[:1]).undecided.tolist() == []
    assert list_pairs(search([])) == []


def test_products_are_compared_among_themselves(parts: list[Pixels]) -> None:
    images = [*parts[:10], *[image.copy() for image in parts[:10]]]
    assert list_pairs(search(images, ["nut"] * 10 + ["bolt"] * 10)) == []
    assert len(list_pairs(search(images, ["nut"] * 20))) == 10


def test_a_result_does_not_depend_on_the_order(parts: list[Pixels]) -> None:
    images = [*parts[:30], *[photograph(draw_part(seed), 300 + seed) for seed in range(5)]]
    straight, reverse = search(images), search(images[::-1])
    turned = sorted((34 - second, 34 - first) for first, second in list_pairs(reverse))
    assert turned == list_pairs(straight) == [(seed, 30 + seed) for seed in range(5)]


def test_only_light_may_differ_between_one_image_and_itself() -> None:
    image = make_surface(1, 128, 128)[:, :, 0]
    assert differ_in_light_alone(image, np.clip(image * 0.8 + 20, 0, 255).astype(np.uint8), 0)
    assert differ_in_light_alone(image, np.rot90(image, 3), 3)
    assert not differ_in_light_alone(image, np.rot90(image, 3), 1)
    scratched = image.copy()
    scratched[40:46, 40:90] = 255
    assert not differ_in_light_alone(image, scratched, 0)


def test_equal_names_are_linked_and_empty_ones_are_not() -> None:
    first, second = link_equal_names(["a", "", "b", "a", "", "a"])
    assert (first.tolist(), second.tolist()) == ([0, 0], [3, 5])


def read_real(root: Path, keep: Callable[[str], bool] = lambda _: True) -> Scan:
    return scan_images([record for record in read_records(root) if keep(record.id)])


def name_tiles(scan: Scan) -> list[int]:
    """Tell tiles by the rule of their names.

    Within a type, numbers of one tile follow each other from light to light (exp1 to exp6); tiles of two
    sizes may take turns, so an image goes to the last tile of about its size whose light comes before.
    """
    number = 0
    names = [0] * len(scan.records)
    by_type: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for index, record in enumerate(scan.records):
        light, serial = map(int, re.findall(r"exp(\d+)_num_(\d+)", record.id)[0])
        by_type[record.defect_type].append((serial, light, index))
    for rows in by_type.values():
        open_tiles: list[tuple[int, int, np.ndarray, int]] = []
        for serial, light, index in sorted(rows):
            size = np.log(scan.sizes_px[index])
            fitting = [
                tile
                for tile in open_tiles
                if light > tile[1] and serial - tile[0] < 1500 and np.abs(size - tile[2]).max() < 0.15
            ]
            if fitting:
                latest = max(fitting, key=lambda tile: tile[0])
                open_tiles.remove(latest)
                names[index] = latest[3]
            else:
                number += 1
                names[index] = number
            open_tiles.append((serial, light, size, names[index]))
    return names


@pytest.mark.slow
def test_exposures_of_one_tile_are_found(magnetic_tile: Path) -> None:
    scan = read_real(magnetic_tile)
    codes = group_records(scan).codes
    names = np.array(name_tiles(scan))
    same = (names[:, np.newaxis] == names) & ~np.eye(len(names), dtype=bool)
    assert same.sum() // 2 > 3000
    assert (codes[:, np.newaxis] == codes)[same].mean() >= 0.95
    sizes = np.bincount(codes)
    assert (len(sizes), sizes.max()) == (229, 15)


@pytest.mark.slow
def test_parts_in_eight_fields_are_not_merged_and_those_that_are_there_twice_are_found(
    magnetic_tile: Path,
) -> None:
    root = magnetic_tile.parent / "kolektor_sdd" / "commutator"
    if not root.is_dir():
        pytest.skip(f"no commutators at {root}")
    scan = read_real(root)
    parts = [re.findall(r"kos\d+", record.id)[0] for record in scan.records]
    codes = group_records(scan).codes.tolist()
    found: dict[int, set[str]] = defaultdict(set)
    for code, part in zip(codes, parts, strict=True):
        found[code].add(part)
    joined = {tuple(sorted(group)) for group in found.values() if len(group) > 1}
    # The first two are the same files; kos30 is kos32, photographed again.
    assert joined == {("kos01", "kos19"), ("kos13", "kos29"), ("kos30", "kos32")}
    assert max(np.bincount(codes)) == 2


@pytest.mark.slow
def test_strips_of_fabric_are_not_taken_for_one_another(magnetic_tile: Path) -> None:
    root = magnetic_tile.parent / "aitex"
    if not root.is_dir():
        pytest.skip(f"no fabrics at {root}")
    assert len(find_links(read_real(root)).first) == 0
