"""Drawn parts: deterministic, unlike each other, and with exact masks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mvdefect.core.errors import ConfigError
from mvdefect.data.images import make_thumbnail
from mvdefect.drawing.canvas import DrawnPart
from mvdefect.drawing.catalogue import DEFECTS, MIN_DEFECT_AREA, PARTS, draw_image, plant_defect
from mvdefect.drawing.defects import Severity

EVERY_DEFECT = [(category, defect) for category, (_, defects) in PARTS.items() for defect in defects]
TEXTURES = ("brushed_metal", "fabric", "grid", "speckle", "wood")
GREY_LEVEL = 1 / 255


def draw_part(category: str, seed: int, size_px: int = 96) -> DrawnPart:
    return PARTS[category][0](np.random.default_rng(seed), size_px)


def measure(category: str, defect_type: str, severity: Severity) -> tuple[float, float]:
    """Return the mean area of a defect in pixels, and how strongly it changes the picture altogether."""
    areas, changes = [], []
    for seed in range(12):
        part = draw_part(category, seed)
        canvas, mask = plant_defect(part, defect_type, np.random.default_rng(seed), severity)
        areas.append(mask.sum())
        changes.append(np.abs(canvas - part.canvas).sum())
    return float(np.mean(areas)), float(np.mean(changes))


def test_the_catalogue_has_every_kind_of_defect_and_uses_each() -> None:
    assert {defect for _, defect in EVERY_DEFECT} == set(DEFECTS)
    assert all(len(defects) >= 3 for _, defects in PARTS.values())


@pytest.mark.parametrize(("category", "defect_type"), EVERY_DEFECT)
@pytest.mark.parametrize("size_px", [64, 128])
def test_a_defect_has_a_mask_of_some_size(category: str, defect_type: str, size_px: int) -> None:
    for number in range(3):
        image, mask = draw_image(category, defect_type, number, seed=0, size_px=size_px)
        assert image.shape == (size_px, size_px, 3)
        assert image.dtype == np.uint8
        assert MIN_DEFECT_AREA <= mask.mean() < 0.2


@pytest.mark.parametrize(("category", "defect_type"), EVERY_DEFECT)
def test_a_mask_is_exact(category: str, defect_type: str) -> None:
    """Outside nothing changes that eight bits could show; inside nearly everything does."""
    changed_share = []
    for seed in range(8):
        part = draw_part(category, seed)
        canvas, mask = plant_defect(part, defect_type, np.random.default_rng(seed))
        change = np.abs(canvas - part.canvas).max(axis=2)
        assert change[~mask].max() < 0.5 * GREY_LEVEL
        assert change[mask].max() > 10 * GREY_LEVEL  # and it can be seen
        changed_share.append((change[mask] >= 0.5 * GREY_LEVEL).mean())
    assert np.mean(changed_share) > 0.75  # the middle of a dent is as bright as the surface


@pytest.mark.parametrize(("category", "defect_type"), EVERY_DEFECT)
def test_a_larger_defect_takes_more_room(category: str, defect_type: str) -> None:
    small, normal, large = (measure(category, defect_type, Severity(size))[0] for size in (0.5, 1, 1.8))
    assert small < 0.85 * normal
    assert large > 1.15 * normal


@pytest.mark.parametrize(("category", "defect_type"), EVERY_DEFECT)
def test_a_stronger_contrast_changes_more(category: str, defect_type: str) -> None:
    faint, normal, strong = (
        measure(category, defect_type, Severity(contrast=contrast))[1] for contrast in (0.3, 1, 1.7)
    )
    assert faint < 0.6 * normal
    assert strong > normal  # a crack in black plastic is nearly black already


@pytest.mark.parametrize(("category", "defect_type"), EVERY_DEFECT)
@pytest.mark.parametrize("severity", [Severity(0.25, 0.05), Severity(3.0, 2.0)])
def test_the_limits_of_size_and_contrast_can_be_drawn(
    category: str, defect_type: str, severity: Severity
) -> None:
    assert draw_image(category, defect_type, 0, seed=0, size_px=32, severity=severity)[1].any()


@pytest.mark.parametrize(("size", "contrast"), [(0, 1), (4, 1), (1, 0), (1, -1), (float("nan"), 1)])
def test_size_and_contrast_out_of_range_are_refused(size: float, contrast: float) -> None:
    with pytest.raises(ConfigError, match="of defects must be .* Received: "):
        Severity(size, contrast)


@pytest.mark.parametrize("defect_type", ["missing_part", "misprint"])
def test_what_a_part_does_not_have_it_cannot_lose(defect_type: str) -> None:
    with pytest.raises(ConfigError, match="only a part with"):
        plant_defect(draw_part("wood", 0), defect_type, np.random.default_rng(0))


def test_at_half_size_half_a_pin_is_gone_and_at_twice_the_size_two_are() -> None:
    areas = [measure("connector", "missing_part", Severity(size))[0] for size in (0.5, 1, 2, 3)]
    assert np.allclose(np.array(areas) / areas[1], [0.5, 1, 2, 3], rtol=0.15)


@pytest.mark.parametrize("category", PARTS)
def test_good_images_have_no_mask(category: str) -> None:
    assert not draw_image(category, "good", 0, seed=0, size_px=64)[1].any()


@pytest.mark.parametrize(("category", "defect_type"), EVERY_DEFECT)
def test_an_image_is_a_function_of_its_name_and_seed(category: str, defect_type: str) -> None:
    first, mask = draw_image(category, defect_type, 3, seed=1, size_px=64)
    again, same_mask = draw_image(category, defect_type, 3, seed=1, size_px=64)
    assert np.array_equal(first, again)
    assert np.array_equal(mask, same_mask)
    assert not np.array_equal(first, draw_image(category, defect_type, 4, seed=1, size_px=64)[0])
    assert not np.array_equal(first, draw_image(category, defect_type, 3, seed=2, size_px=64)[0])


@pytest.mark.parametrize("category", TEXTURES)
@pytest.mark.parametrize("size_px", [64, 128])
def test_no_two_pictures_of_a_texture_are_alike(category: str, size_px: int) -> None:
    images = [draw_image(category, "good", number, seed=0, size_px=size_px)[0] for number in range(40)]
    thumbnails = np.array([make_thumbnail(image) for image in images], np.float64).reshape(40, -1)
    y, x = np.mgrid[0:24, 0:24]
    plane = np.stack([np.ones(576), x.ravel(), y.ravel()], axis=1)
    residuals = thumbnails.T - plane @ np.linalg.lstsq(plane, thumbnails.T, rcond=None)[0]
    correlation = np.abs(np.corrcoef(residuals.T))[np.triu_indices(40, 1)]
    assert np.percentile(correlation, 99.5) < 0.5


@pytest.mark.parametrize("category", PARTS)
def test_light_and_colour_vary(category: str) -> None:
    images = [draw_image(category, "good", number, seed=0, size_px=64)[0] for number in range(20)]
    brightness = np.array([image.mean() for image in images])
    assert brightness.std() > 0.04 * brightness.mean()


@pytest.mark.parametrize("category", ["connector", "nut", "pill", "washer"])
def test_objects_lie_at_different_places(category: str) -> None:
    """The defects' surface is the object: its centre moves, and it stays within the picture."""
    surfaces = [draw_part(category, seed).surface for seed in range(20)]
    centres = np.array([np.argwhere(surface).mean(axis=0) for surface in surfaces])
    assert (centres.std(axis=0) > 2).all()
    assert not any(surface[[0, -1]].any() or surface[:, [0, -1]].any() for surface in surfaces)


@pytest.mark.parametrize(
    ("category", "defect_type", "size_px", "quarters"),
    [
        ("fabric", "good", 64, [116.25, 128.08, 108.12, 119.79]),
        ("fabric", "crack", 64, [83.15, 92.62, 87.00, 99.03]),
        ("fabric", "hole", 64, [105.67, 99.84, 112.54, 105.09]),
        ("fabric", "scratch", 64, [97.43, 98.28, 108.42, 114.60]),
        ("fabric", "stain", 64, [128.59, 141.48, 133.54, 153.54]),
        ("washer", "good", 64, [85.59, 88.27, 93.55, 88.32]),
        ("washer", "dent", 64, [72.71, 78.97, 88.97, 94.23]),
        ("washer", "hole", 64, [84.12, 92.30, 74.91, 80.08]),
        ("washer", "scratch", 64, [81.42, 80.95, 75.17, 70.66]),
        ("washer", "stain", 64, [85.22, 72.98, 87.15, 70.08]),
        ("fabric", "good", 128, [102.78, 101.66, 102.97, 101.68]),
        ("fabric", "crack", 128, [118.81, 108.77, 108.09, 100.32]),
        ("fabric", "hole", 128, [113.00, 124.73, 102.23, 117.57]),
        ("fabric", "scratch", 128, [128.36, 112.61, 133.98, 119.69]),
        ("fabric", "stain", 128, [122.72, 130.17, 117.96, 123.45]),
        ("washer", "good", 128, [112.03, 105.88, 99.85, 92.77]),
        ("washer", "dent", 128, [81.83, 84.51, 90.77, 89.75]),
        ("washer", "hole", 128, [65.30, 61.65, 63.09, 66.94]),
        ("washer", "scratch", 128, [97.00, 95.74, 81.65, 85.91]),
        ("washer", "stain", 128, [78.38, 64.83, 79.08, 71.94]),
    ],
)
def test_the_parts_of_the_demo_stay_as_they_were(
    category: str, defect_type: str, size_px: int, quarters: list[float]
) -> None:
    """The demo's published figures were measured on these very pictures."""
    image, _ = draw_image(category, defect_type, 5, seed=0, size_px=size_px)
    means = cv2.resize(image.mean(axis=2), (2, 2), interpolation=cv2.INTER_AREA)
    assert np.allclose(means.ravel(), quarters, atol=0.02)
