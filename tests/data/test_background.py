"""Which part of images is the product, by good images alone; where they disagree, everything counts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mvdefect.data.background import find_product
from mvdefect.data.images import Mask, Pixels
from mvdefect.drawing.catalogue import draw_image

SIDE = 96
ALL, NOTHING = np.ones((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)


def draw_plates(
    count: int, shift_px: int = 1, things: int = 3, angle: float = 0
) -> tuple[Pixels, list[Mask]]:
    """Draw striped plates of 36 by 48 pixels on a belt with things beside them, and where each plate is."""
    images, masks = [], []
    for number in range(count):
        rng = np.random.default_rng(number)
        canvas = 40 + rng.normal(0, 3, (SIDE, SIDE, 3))
        for _ in range(rng.integers(things + 1)):
            centre = tuple(map(int, rng.integers(0, SIDE, 2)))
            cv2.circle(canvas, centre, int(rng.integers(2, 7)), tuple(map(int, rng.integers(80, 255, 3))), -1)
        middle = tuple(float(SIDE / 2 + shift) for shift in rng.uniform(-shift_px, shift_px, 2))
        box = cv2.boxPoints((middle, (48, 36), float(rng.uniform(-angle, angle))))
        mask = np.zeros((SIDE, SIDE), np.uint8)
        cv2.fillPoly(mask, [np.rint(box).astype(np.int32)], 1)
        stripes = np.where(np.arange(SIDE) % 12 < 3, 120, 180)[:, np.newaxis, np.newaxis]
        canvas = np.where(mask[..., np.newaxis] > 0, stripes + rng.normal(0, 4, canvas.shape), canvas)
        images.append(np.clip(canvas, 0, 255).astype(np.uint8))
        masks.append(mask > 0)
    return np.stack(images), masks


def test_a_plate_among_clutter_is_found_as_a_whole_and_little_else() -> None:
    images, _ = draw_plates(30)
    found = find_product(images, ALL, NOTHING).mask
    assert found is not None
    for mask in draw_plates(60)[1]:  # fresh ones too
        assert found[mask].all()
    assert found.mean() < 0.4  # plates have 0.19 of the image
    assert not found[:12].any()
    assert not found[:, :8].any()


def test_a_marked_defect_always_counts() -> None:
    images, _ = draw_plates(30)
    defects = NOTHING.copy()
    defects[2:6, 2:6] = True
    plain, wider = (find_product(images, ALL, marked).mask for marked in (NOTHING, defects))
    assert plain is not None
    assert wider is not None
    assert not plain[defects].any()
    assert wider[defects].all()
    assert wider[plain].all()


def test_padding_does_not_count() -> None:
    images, _ = draw_plates(30)
    images[:, :14] = images[:, -14:] = 0
    inside = ALL.copy()
    inside[:14] = inside[-14:] = False
    found = find_product(images, inside, NOTHING).mask
    assert found is not None
    assert not found[~inside].any()


@pytest.mark.parametrize(
    "images",
    [
        draw_plates(30, angle=90)[0],
        draw_plates(30, shift_px=20)[0],
        np.stack([draw_image("nut", "good", number, 0, SIDE)[0] for number in range(20)]),
    ],
    ids=["turned", "moved", "nuts"],
)
def test_where_the_product_moves_everything_counts(images: Pixels) -> None:
    found = find_product(images, ALL, NOTHING)
    assert found.mask is None
    assert "lie alike" in found.reason


@pytest.mark.parametrize("category", ["wood", "fabric", "brushed_metal"])
def test_where_a_surface_fills_the_image_everything_counts(category: str) -> None:
    images = np.stack([draw_image(category, "good", number, 0, SIDE)[0] for number in range(20)])
    assert find_product(images, ALL, NOTHING).mask is None


def test_a_few_images_are_too_few() -> None:
    found = find_product(draw_plates(4)[0], ALL, NOTHING)
    assert found.mask is None
    assert "train has 4" in found.reason


def test_one_image_of_something_else_changes_nothing() -> None:
    images, _ = draw_plates(30)
    odd = images.copy()
    odd[0] = 255 - odd[0]
    first, second = (find_product(one, ALL, NOTHING).mask for one in (images, odd))
    assert first is not None
    assert second is not None
    assert (first != second).mean() < 0.02
