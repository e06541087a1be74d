"""Surfaces, faults and scenes: drawn from numbers alone, and as they are described."""

from __future__ import annotations

import numpy as np
import pytest

from mvdefect.drawing.surface_defects import FAULTS, LEAST_AREA_PX, plant_fault
from mvdefect.drawing.surfaces import FIELDS, Surface, draw_surface, photograph
from mvdefect.pretraining.scenes import CELL_PX, MARGIN, UNASKED, VIEWS, average_cells, draw_scene

SIZE_PX = 64
DRAWN_PX = round(SIZE_PX * MARGIN)


def make_rng(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(numbers)


@pytest.mark.parametrize("draw", FIELDS, ids=lambda draw: draw.__name__)
def test_fields_are_normal_and_repeat(draw) -> None:
    for look in range(12):
        field = draw(make_rng(look), make_rng(1), DRAWN_PX)
        assert field.shape == (DRAWN_PX, DRAWN_PX)
        assert field.dtype == np.float32
        assert abs(field.mean()) < 1e-3
        assert field.std() == pytest.approx(1, abs=1e-2)
        np.testing.assert_array_equal(field, draw(make_rng(look), make_rng(1), DRAWN_PX))
        assert not np.array_equal(field, draw(make_rng(look), make_rng(2), DRAWN_PX))


def test_pictures_of_a_recipe_are_more_alike_than_those_of_others() -> None:
    def describe(recipe: int, place: int) -> np.ndarray:
        canvas = draw_surface(recipe, 0, make_rng(place), DRAWN_PX).canvas
        grey = canvas.mean(axis=2)
        rough = np.log(
            [np.abs(np.diff(grey, axis=axis, n=n)).mean() + 1e-3 for axis in (0, 1) for n in (1, 3)]
        )
        return np.concatenate([canvas.mean(axis=(0, 1)), rough])

    found = np.array([[describe(recipe, place) for place in range(4)] for recipe in range(25)])
    within = found.std(axis=1).mean(axis=0)
    between = found.mean(axis=1).std(axis=0)
    assert (between > 2 * within).all()


def test_surfaces_stay_in_range_and_some_are_objects() -> None:
    surfaces = [draw_surface(recipe, 0, make_rng(recipe), DRAWN_PX) for recipe in range(40)]
    for surface in surfaces:
        assert surface.canvas.min() >= 0
        assert surface.canvas.max() <= 1
        assert surface.region.any()
    objects = [surface for surface in surfaces if surface.ground is not None]
    assert 8 <= len(objects) <= 24
    assert all(not surface.region.all() for surface in objects)


@pytest.mark.parametrize("kind", range(len(FAULTS)), ids=[fault.__name__ for fault in FAULTS])
def test_a_mask_holds_all_that_changed(kind: int) -> None:
    planted = 0
    for number in range(20):
        surface = draw_surface(number, 0, make_rng(number), DRAWN_PX)
        canvas, mask = plant_fault(surface, kind, make_rng(number, kind))
        changed = np.abs(canvas - surface.canvas).max(axis=2)
        assert canvas.min() >= 0
        assert canvas.max() <= 1
        assert changed[mask == 0].max(initial=0) <= 0.02 + 1e-6
        assert not changed[~surface.region].any()
        planted += mask.sum() >= LEAST_AREA_PX
    assert planted >= 15


def test_a_flat_dark_surface_can_bear_every_fault() -> None:
    flat = Surface(np.full((64, 64, 3), 0.05, np.float32), np.ones((64, 64), bool))
    for kind in range(len(FAULTS)):
        canvas, _ = plant_fault(flat, kind, make_rng(kind))
        assert np.isfinite(canvas).all()


def test_a_scene_asks_about_what_it_shows() -> None:
    for number in range(30):
        place = make_rng(3, number)
        scene = draw_scene(draw_surface(number, 0, place, DRAWN_PX), number, place, SIZE_PX)
        assert scene.pixels.shape == (VIEWS, SIZE_PX, SIZE_PX, 3)
        assert scene.pixels.dtype == np.uint8
        assert (scene.recipe == number).all()
        assert not scene.defect_type[:2].any()
        assert not scene.position[:2].any()
        kind = scene.defect_type[2]
        asked = set(np.unique(scene.position[2]))
        assert asked <= {UNASKED, 0, kind}
        assert (kind > 0) == (kind in asked and kind != 0)


def test_cells_follow_turns_and_mirrors() -> None:
    """A bright fault is found where the position says, whatever the pose."""
    surface = Surface(np.full((DRAWN_PX, DRAWN_PX, 3), 0.3, np.float32), np.ones((DRAWN_PX, DRAWN_PX), bool))
    agreed = []
    for number in range(60):
        scene = draw_scene(surface, 0, make_rng(number), SIZE_PX)
        if scene.defect_type[2] != 1:  # a spot
            continue
        grey = scene.pixels[2].mean(axis=2)
        unlike = np.abs(grey - np.median(grey)) * (grey > 0)
        row, column = np.unravel_index(unlike.argmax(), unlike.shape)
        agreed.append(scene.position[2][row // CELL_PX, column // CELL_PX] != 0)
    assert len(agreed) >= 3
    assert np.mean(agreed) > 0.7


def test_cells_are_shares_of_a_mask() -> None:
    mask = np.zeros((32, 32), np.float32)
    mask[:8, :16] = 1
    np.testing.assert_array_equal(average_cells(mask), [[0.5, 0], [0, 0]])


def test_light_and_noise_differ_from_photograph_to_photograph() -> None:
    canvas = np.full((64, 64, 3), 0.5, np.float32)
    shots = [photograph(canvas, make_rng(number)) for number in range(8)]
    assert len({shot.tobytes() for shot in shots}) == 8
    assert np.std([shot.mean() for shot in shots]) > 5
