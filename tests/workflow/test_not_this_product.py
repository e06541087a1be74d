"""Images that show nothing are told from a product and from its defects."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mvdefect.data.images import Pixels, decode_at_size
from mvdefect.data.sources.folders import read_records
from mvdefect.drawing.data_set import write_parts
from mvdefect.evaluation.operating_point import Judged, add_foreign_threshold, choose_operating_point
from mvdefect.models.backbones import find_backbone
from mvdefect.models.features import build_features, load_trunk
from mvdefect.models.normality import KINDS, fit_normality
from mvdefect.models.weights import find_weights

SIZE_PX = 96
RNG = np.random.default_rng(0)


def fill(level: int) -> Pixels:
    """Return an image of one grey."""
    return np.full((SIZE_PX, SIZE_PX, 3), level, np.uint8)


NOTHING = {
    "black": fill(0),
    "nearly black": RNG.integers(0, 8, (SIZE_PX, SIZE_PX, 3), np.uint8),
    "grey": fill(128),
    "white": fill(255),
}


@pytest.fixture(scope="module")
def look() -> Callable[[Pixels], np.ndarray]:
    """The features that a fit without any network takes."""
    spec = find_backbone("efficientnetb0")
    network = build_features(load_trunk(spec, (SIZE_PX, SIZE_PX), find_weights(spec, "texture")))
    return lambda images: np.asarray(network(images, training=False))


@pytest.fixture(scope="module")
def product(
    look: Callable[[Pixels], np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of drawn washers, (n,), and their features."""
    place = tmp_path_factory.mktemp("washers") / "images"
    root = write_parts(place, 0, good=24, defective_per_type=3, size_px=SIZE_PX, categories=("washer",))
    records = read_records(root)
    images = np.stack([decode_at_size(record.path.read_bytes(), (SIZE_PX, SIZE_PX)) for record in records])
    return np.array([record.label == 1 for record in records]), look(images)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_nothing_is_not_this_product(
    kind: str, look: Callable[[Pixels], np.ndarray], product: tuple[np.ndarray, np.ndarray]
) -> None:
    labels, features = product
    held = np.arange(len(labels)) % 4 == 0
    normality = fit_normality(kind, features[~labels & ~held])
    novelty, means = normality.measure_images(features)
    seen = labels[~held]
    known = Judged(seen, np.arange(len(seen)), np.where(seen, 1.0, -1.0), novelty[~held], means[~held])
    point = add_foreign_threshold(choose_operating_point(known, "val"), known)
    assert not point.find_foreign(novelty[held], means[held]).any()
    found = point.find_foreign(*normality.measure_images(look(np.stack(list(NOTHING.values())))))
    assert dict(zip(NOTHING, found.tolist(), strict=True)) == dict.fromkeys(NOTHING, True)
