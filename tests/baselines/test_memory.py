"""Pictures that were described before are not described again, and their features are the same."""

from __future__ import annotations

import numpy as np
import pytest

from mvdefect.baselines.frozen import FrozenSVMClassifier
from mvdefect.baselines.handcrafted import HandcraftedClassifier
from mvdefect.baselines.memory import describe_once, remember_descriptions

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)


def test_each_picture_is_described_once_within_the_block() -> None:
    seen: list[int] = []

    def describe(pictures: np.ndarray) -> np.ndarray:
        seen.append(len(pictures))
        return pictures.reshape(len(pictures), -1)[:, :7].astype(np.float32)

    expected = describe(PICTURES)
    with remember_descriptions():
        for eyes, numbers in (("a", [0, 1, 2]), ("a", [2, 4, 0]), ("b", [0]), ("a", [4, 1])):
            assert np.array_equal(describe_once(eyes, PICTURES[numbers], describe), expected[numbers])
        turned = PICTURES[:1].reshape(1, 4, 16, 3)  # the same bytes, but another picture
        describe_once("a", turned, describe)
    assert seen == [5, 3, 1, 1, 1]
    describe_once("a", PICTURES, describe)
    assert seen[-1] == 5


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (FrozenSVMClassifier(seed=0), FrozenSVMClassifier(seed=1, folds=2, n_jobs=2), True),
        (FrozenSVMClassifier(weights="none", seed=0), FrozenSVMClassifier(weights="none", seed=1), False),
        (FrozenSVMClassifier(), FrozenSVMClassifier(backbone="resnet50"), False),
        (HandcraftedClassifier(seed=0), HandcraftedClassifier(seed=1), True),
        (HandcraftedClassifier(), HandcraftedClassifier(descriptors=("hog",)), False),
    ],
)
def test_eyes_are_what_features_depend_on(one: object, other: object, is_same: bool) -> None:
    assert (one._name_eyes() == other._name_eyes()) is is_same
