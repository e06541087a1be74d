"""Planted shortcuts: each gives the label away, not always, and alone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from mvdefect.core.errors import ConfigError
from mvdefect.data.images import decode_image, decode_mask
from mvdefect.data.records import Record
from mvdefect.data.sources.folders import read_records
from mvdefect.drawing.data_set import write_parts
from mvdefect.drawing.flaws import Faults
from mvdefect.drawing.photos import SHORTCUTS


def measure_compression(record: Record) -> float:
    """Sum up the table by which a JPEG was quantised: the coarser, the larger."""
    with Image.open(io.BytesIO(record.path.read_bytes())) as image:
        tables = getattr(image, "quantization", {0: [0]})
    return float(sum(tables[0]))


MEASURES: dict[str, Callable[[Record], float]] = {
    "border": lambda record: float(decode_image(record.path.read_bytes())[0].mean()),
    "brightness": lambda record: float(decode_image(record.path.read_bytes()).mean()),
    "category": lambda record: float(record.category == "washer"),
    "compression": measure_compression,
    "size": lambda record: float(len(decode_image(record.path.read_bytes()))),
}


def measure_auc(root: Path, shortcut: str) -> float:
    """ROC-AUC of a model that sees nothing but one property."""
    records = read_records(root)
    values = [MEASURES[shortcut](record) for record in records]
    return float(roc_auc_score([record.label for record in records], values))


@pytest.fixture(scope="module", params=SHORTCUTS)
def cheated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data set with a shortcut, and its name."""
    shortcut: str = request.param
    root = tmp_path_factory.mktemp("shortcut") / shortcut
    faults = Faults(shortcut=shortcut)
    return write_parts(root, good=80, defective_per_type=20, size_px=48, faults=faults), shortcut


def test_every_shortcut_has_a_measure() -> None:
    assert set(MEASURES) == set(SHORTCUTS)


def test_a_shortcut_gives_the_label_away_but_not_always(cheated: tuple[Path, str]) -> None:
    assert 0.8 <= measure_auc(*cheated) <= 0.95


def test_the_other_properties_give_nothing_away(cheated: tuple[Path, str]) -> None:
    root, shortcut = cheated
    others = set(SHORTCUTS) - {shortcut, "category" if shortcut != "category" else shortcut}
    if shortcut == "category":
        others -= {"border", "brightness"}  # the products differ in these
    for other in sorted(others):
        assert 0.35 <= measure_auc(root, other) <= 0.7, other


def test_the_shortcut_is_listed(cheated: tuple[Path, str]) -> None:
    root, shortcut = cheated
    assert json.loads((root / "planted.json").read_text())["shortcut"] == shortcut


def test_masks_fit_their_images(cheated: tuple[Path, str]) -> None:
    for record in read_records(cheated[0]):
        if record.mask_path:
            mask = decode_mask(record.mask_path.read_bytes())
            assert mask.shape == decode_image(record.path.read_bytes()).shape[:2]
            assert mask.any()


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_without_it_the_property_gives_nothing_away(shortcut: str, parts_root: Path) -> None:
    assert 0.35 <= measure_auc(parts_root, shortcut) <= 0.65


def test_brightness_differs_by_a_few_grey_levels(tmp_path: Path) -> None:
    faults = Faults(shortcut="brightness")
    root = write_parts(tmp_path / "parts", good=40, defective_per_type=10, size_px=48, faults=faults)
    means = [(MEASURES["brightness"](record), record.label) for record in read_records(root)]
    good, defective = (np.mean([mean for mean, label in means if label == wanted]) for wanted in (0, 1))
    assert 3 < defective - good < 10


def test_a_compressed_data_set_is_jpeg_throughout_copies_included(tmp_path: Path) -> None:
    faults = Faults(near_duplicates=7, exact_duplicates=2, conflicts=2, shortcut="compression")
    root = write_parts(tmp_path / "parts", good=12, defective_per_type=3, size_px=32, faults=faults)
    images = [record.path for record in read_records(root)]
    assert {path.suffix for path in images} == {".jpg"}
    assert all(path.read_bytes().startswith(b"\xff\xd8") for path in images)


def test_a_file_of_another_format_than_its_suffix_says_exists_among_jpegs_too(tmp_path: Path) -> None:
    faults = Faults(broken=5, shortcut="compression")
    root = write_parts(tmp_path / "parts", good=12, defective_per_type=3, size_px=32, faults=faults)
    rows = json.loads((root / "planted.json").read_text())["broken"]
    (odd,) = (image_id for image_id, how in rows if how == "wrong_extension")
    assert odd.endswith(".jpg")
    assert (root / odd).read_bytes().startswith(b"\x89PNG")


def test_one_category_alone_cannot_be_a_shortcut(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="number of categories must be at least 2. Received: 1"):
        write_parts(tmp_path / "parts", categories=("nut",), faults=Faults(shortcut="category"))


def test_the_rare_classes_of_the_category_shortcut_are_never_empty(tmp_path: Path) -> None:
    faults = Faults(shortcut="category")
    root = write_parts(tmp_path / "parts", good=4, defective_per_type=1, size_px=32, faults=faults)
    found = {(record.category, record.label) for record in read_records(root)}
    assert found == {("fabric", 0), ("fabric", 1), ("washer", 0), ("washer", 1)}
