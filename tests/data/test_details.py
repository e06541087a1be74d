"""Details: what two pictures share, whatever their light, place and size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mvdefect.data.groups.alignment import Aligner
from mvdefect.data.groups.details import (
    FINGERPRINT_LENGTH,
    MAX_BLOCKS,
    MAX_PICTURE_PX,
    PICTURE_AREA_PX,
    TURNS,
    Detail,
    make_detail,
    measure_repetition,
    pose_fingerprints,
    take_fingerprint,
    turn_structure,
)
from mvdefect.data.groups.poses import lay_in_pose
from mvdefect.data.images import Pixels
from tests.conftest import make_surface


def grey(seed: int, height: int = 200, width: int = 200) -> Pixels:
    return make_surface(seed, height, width)[:, :, 0]


def agree(first: Detail, second: Detail) -> float:
    """Return what three quarters of the informative blocks reach."""
    found = Aligner(first).compare(second.structure)
    return float(np.nanquantile(found[first.is_informative], 0.25))


@pytest.mark.parametrize(
    ("height", "width"), [(200, 200), (1000, 40), (1, 6000), (64, 48), (5, 3), (4096, 256)]
)
def test_a_picture_has_the_common_area_whatever_came(height: int, width: int) -> None:
    detail = make_detail(np.full((height, width), 90, np.uint8))
    assert detail.grey.shape == detail.structure.shape
    assert 0.4 * PICTURE_AREA_PX <= detail.grey.size <= MAX_PICTURE_PX
    assert len(detail.is_informative) <= MAX_BLOCKS
    assert not detail.is_informative.any()  # an even grey shows nothing
    if min(height, width) > 30:
        assert detail.grey.shape[0] / detail.grey.shape[1] == pytest.approx(height / width, rel=0.1)


def test_background_is_not_informative() -> None:
    picture = np.full((200, 200), 128, np.uint8) + np.random.default_rng(0).integers(
        0, 3, (200, 200), np.uint8
    )
    picture[50:150, 50:150] = grey(0)[50:150, 50:150]
    marked = make_detail(picture).is_informative.reshape(6, 6)
    assert marked[2:4, 2:4].all()
    assert not marked[0].any()
    assert not marked[:, 5].any()


CHANGES = {
    "darker": lambda image: np.clip(image * 0.6 + 5, 0, 255).astype(np.uint8),
    "lit from one side": lambda image: np.clip(image * np.linspace(0.5, 1.2, 200), 0, 255).astype(np.uint8),
    "as JPEG": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [1, 50])[1], 0),
    "smaller": lambda image: cv2.resize(image, (120, 120), interpolation=cv2.INTER_AREA),
    "larger": lambda image: cv2.resize(image, (333, 333), interpolation=cv2.INTER_CUBIC),
    "shifted": lambda image: np.roll(image, (9, -7), (0, 1)),
    "turned by 4 degrees": lambda image: cv2.warpAffine(
        image, cv2.getRotationMatrix2D((100, 100), 4, 1), (200, 200), borderMode=cv2.BORDER_REFLECT
    ),
    "cropped": lambda image: image[4:194, 6:196],
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_same_surface_agrees_however_it_was_taken(name: str) -> None:
    assert agree(make_detail(grey(1)), make_detail(CHANGES[name](grey(1)))) > 0.8


def test_another_surface_does_not_agree() -> None:
    assert max(agree(make_detail(grey(1)), make_detail(grey(seed))) for seed in range(2, 8)) < 0.35


def test_what_lies_outside_is_not_counted() -> None:
    half = np.zeros((200, 200), np.uint8)
    half[:, :100] = grey(3)[:, 100:]
    found = Aligner(make_detail(grey(3))).compare(make_detail(half).structure).reshape(6, 6)
    shifted = (
        Aligner(make_detail(grey(3))).compare(np.roll(make_detail(grey(3)).structure, 11, 1)).reshape(6, 6)
    )
    assert np.isfinite(found).all()
    assert shifted[:, 1:5].min() > 0.9


@pytest.mark.parametrize("turn", [0, 1, 5, 6, 12, 18, 24, 25, 30, 47])
def test_turns_are_undone(turn: int) -> None:
    structure = make_detail(grey(4)).structure
    undoing = turn if turn >= TURNS else -turn % TURNS
    back = turn_structure(turn_structure(structure, turn), undoing)
    middle = (slice(40, 90), slice(40, 90))
    assert np.corrcoef(back[middle].ravel(), structure[middle].ravel())[0, 1] > 0.8


def test_a_weave_repeats_itself_and_a_surface_or_stripes_do_not() -> None:
    y, x = np.mgrid[:128, :128]
    weave = np.clip(120 + 50 * np.sin(x / 1.5) * np.sin(y / 1.5), 0, 255).astype(np.uint8)
    grain = np.random.default_rng(5).normal(size=128)
    stripes = np.clip(120 + 30 * np.convolve(grain, np.ones(3), "same") + 0 * y, 0, 255).astype(np.uint8)
    assert np.nanmedian(measure_repetition(make_detail(weave))) > 0.9
    assert np.nanmedian(measure_repetition(make_detail(grey(5)))) < 0.5
    assert np.nanmedian(measure_repetition(make_detail(stripes))) < 0.7


@pytest.mark.parametrize("shape", [(200, 200), (150, 240), (60, 600)])
@pytest.mark.parametrize("pose", range(8))
def test_a_fingerprint_in_a_pose_is_that_of_the_posed_picture(pose: int, shape: tuple[int, int]) -> None:
    image = grey(6, *shape)
    posed = take_fingerprint(make_detail(np.ascontiguousarray(lay_in_pose(image[np.newaxis], pose)[0])))
    ordered = pose_fingerprints(take_fingerprint(make_detail(image))[np.newaxis], pose)[0]
    assert len(posed) == FINGERPRINT_LENGTH
    assert np.corrcoef(posed.astype(float), ordered.astype(float))[0, 1] > 0.98


def test_a_fingerprint_forgets_the_place_and_keeps_the_surface() -> None:
    first = take_fingerprint(make_detail(grey(7, 220, 220)[:200, :200])).astype(float)
    moved = take_fingerprint(make_detail(grey(7, 220, 220)[8:208, 12:212])).astype(float)
    others = [take_fingerprint(make_detail(grey(seed))).astype(float) for seed in range(8, 20)]
    usual = np.mean([first, moved, *others], axis=0)
    alike = [float(np.corrcoef(first - usual, other - usual)[0, 1]) for other in (moved, *others)]
    assert alike[0] > 0.4 > 0.3 > max(alike[1:])


def test_an_even_picture_has_no_fingerprint() -> None:
    assert not take_fingerprint(make_detail(np.full((90, 120), 77, np.uint8))).any()
