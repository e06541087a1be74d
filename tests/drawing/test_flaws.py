"""Planted faults: each is what `planted.json` says, and is absent where none was asked for."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mvdefect.core.errors import ConfigError, ImageError, LayoutError
from mvdefect.data.images import Pixels, decode_image, decode_mask
from mvdefect.data.sources.folders import check_layout, read_layout
from mvdefect.drawing.catalogue import draw_image
from mvdefect.drawing.data_set import write_parts
from mvdefect.drawing.flaws import MASK_FAULTS, TRANSFORMATIONS, WAYS_TO_BREAK, Faults

SIZE_PX = 48
GOOD, PER_TYPE = 24, 6
ALL = Faults(14, 4, 4, 10, 10, 4)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products with every fault but a shortcut."""
    root = tmp_path_factory.mktemp("faulty") / "parts"
    return write_parts(root, good=GOOD, defective_per_type=PER_TYPE, size_px=SIZE_PX, faults=ALL)


@pytest.fixture(scope="module")
def planted(faulty: Path) -> dict[str, list[list[str]]]:
    listed: dict[str, list[list[str]]] = json.loads((faulty / "planted.json").read_text())
    return listed


def load(path: Path) -> Pixels:
    return decode_image(path.read_bytes())


def find_mask(root: Path, image_id: str) -> Path:
    category, _, defect_type, name = image_id.split("/")
    return root / category / "ground_truth" / defect_type / f"{name.split('.')[0]}_mask.png"


def count_repeated_files(root: Path) -> int:
    hashes = Counter(hashlib.sha256(path.read_bytes()).digest() for path in list_images(root))
    return sum(count - 1 for count in hashes.values())


def list_images(root: Path) -> list[Path]:
    return [path for part in ("train", "test") for path in sorted(root.glob(f"*/{part}/*/*"))]


def correlate(one: Pixels, two: Pixels) -> float:
    """Correlation of two pictures of one size, in grey."""
    return float(np.corrcoef(one.mean(axis=2).ravel(), two.mean(axis=2).ravel())[0, 1])


def test_all_faults_are_listed_once_each(planted: dict[str, list[list[str]]]) -> None:
    assert {kind: len(rows) for kind, rows in planted.items() if kind != "shortcut"} == {
        "near_duplicates": 14,
        "exact_duplicates": 4,
        "conflicts": 4,
        "broken": 10,
        "wrong_masks": 10,
        "exif_rotated": 4,
    }
    assert planted["shortcut"] == ""
    names = [name for kind, rows in planted.items() if kind != "shortcut" for row in rows for name in row]
    names = [name for name in names if "/" in name]
    assert len(names) == len(set(names))  # no photograph has two faults


def test_every_kind_takes_its_turn(planted: dict[str, list[list[str]]]) -> None:
    assert Counter(how for _, _, how in planted["near_duplicates"]) == dict.fromkeys(TRANSFORMATIONS, 2)
    assert Counter(how for _, how in planted["broken"]) == dict.fromkeys(WAYS_TO_BREAK, 2)
    assert Counter(how for _, _, how in planted["wrong_masks"]) == dict.fromkeys(MASK_FAULTS, 2)


def test_near_duplicates_are_transformed_originals(faulty: Path, planted: dict[str, list[list[str]]]) -> None:
    flips = {"mirrored": 1, "turned_180": -1}
    turns = {"turned_90": cv2.ROTATE_90_COUNTERCLOCKWISE, "turned_270": cv2.ROTATE_90_CLOCKWISE}
    for copy_id, original_id, how in planted["near_duplicates"]:
        assert Path(copy_id).parent == Path(original_id).parent
        copy, original = load(faulty / copy_id), load(faulty / original_id)
        if how in flips:
            assert np.array_equal(copy, cv2.flip(original, flips[how]))
        elif how in turns:
            assert np.array_equal(copy, cv2.rotate(original, turns[how]))
        elif how == "resized":
            assert 0.65 <= len(copy) / SIZE_PX <= 1.35
            assert len(copy) != SIZE_PX
            again = cv2.resize(copy, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)
            assert correlate(again, original) > 0.8
        else:
            assert not np.array_equal(copy, original)
            assert correlate(copy, original) > 0.9
            assert (how == "recompressed") == copy_id.endswith(".jpg")
            assert abs(copy.mean() - original.mean()) < 35


def test_the_mask_of_a_copy_is_transformed_likewise(tmp_path: Path) -> None:
    """Where the copy's mask says, the copy is the original's defect: tried on copies of all images."""
    root = write_parts(
        tmp_path / "parts",
        good=1,
        defective_per_type=7,
        size_px=SIZE_PX,
        categories=("wood",),
        defect_types=("hole",),
        defect_size=2.0,
        faults=Faults(near_duplicates=7),
    )
    rows = json.loads((root / "planted.json").read_text())["near_duplicates"]
    copies = [row for row in rows if "/hole/" in row[0]]
    assert len(copies) >= 6
    for copy_id, _, _ in copies:
        copy, mask = load(root / copy_id), decode_mask(find_mask(root, copy_id).read_bytes())
        assert mask.shape == copy.shape[:2]
        assert copy[mask].mean() < 0.75 * copy[~mask].mean()


def test_exact_duplicates_are_the_same_bytes_in_the_same_class(
    faulty: Path, planted: dict[str, list[list[str]]]
) -> None:
    for copy_id, original_id in planted["exact_duplicates"]:
        assert Path(copy_id).parent == Path(original_id).parent
        assert (faulty / copy_id).read_bytes() == (faulty / original_id).read_bytes()
        if "/good/" not in copy_id:
            one, two = find_mask(faulty, copy_id), find_mask(faulty, original_id)
            assert one.read_bytes() == two.read_bytes()


def test_conflicts_are_the_same_bytes_under_two_labels(
    faulty: Path, planted: dict[str, list[list[str]]]
) -> None:
    for copy_id, original_id in planted["conflicts"]:
        assert "/good/" in original_id
        assert "/good/" not in copy_id
        assert copy_id.split("/")[0] == original_id.split("/")[0]
        assert (faulty / copy_id).read_bytes() == (faulty / original_id).read_bytes()
        mask = decode_mask(find_mask(faulty, copy_id).read_bytes())
        assert mask.any()
        assert mask.shape == (SIZE_PX, SIZE_PX)


def test_broken_files_are_broken_as_listed(faulty: Path, planted: dict[str, list[list[str]]]) -> None:
    for image_id, how in planted["broken"]:
        encoded = (faulty / image_id).read_bytes()
        if how == "wrong_extension":
            assert image_id.endswith(".png")
            assert encoded.startswith(b"\xff\xd8")
            assert decode_image(encoded).shape == (SIZE_PX, SIZE_PX, 3)
            continue
        with pytest.raises(ImageError) as refused:
            decode_image(encoded)
        words = {"truncated": "broken", "empty": "empty", "text": "no image", "animated": "2 frames"}
        assert words[how] in str(refused.value)


def test_wrong_masks_are_wrong_as_listed(faulty: Path, planted: dict[str, list[list[str]]]) -> None:
    for mask_id, image_id, how in planted["wrong_masks"]:
        path = faulty / mask_id
        assert path.exists() == (how != "missing")
        assert ("/good/" in mask_id) == (how == "on_good")
        if how == "orphaned":
            assert image_id == ""
            assert not list(faulty.glob(mask_id.replace("ground_truth", "test").replace("_mask.png", ".*")))
            continue
        assert path == find_mask(faulty, image_id)
        assert (faulty / image_id).exists()
        if how != "missing":
            mask = decode_mask(path.read_bytes())
            assert mask.any() == (how != "empty")
            assert (mask.shape == (SIZE_PX, SIZE_PX)) == (how != "other_size")


def test_a_layout_knows_the_orphaned_masks(faulty: Path, planted: dict[str, list[list[str]]]) -> None:
    layout = read_layout(faulty)
    listed = {faulty / mask_id for mask_id, _, how in planted["wrong_masks"] if how == "orphaned"}
    assert set(layout.orphan_masks) == listed
    with pytest.raises(LayoutError, match="have no image"):
        check_layout(layout)


def test_lying_photographs_stand_up_again_by_their_note(
    faulty: Path, planted: dict[str, list[list[str]]]
) -> None:
    for (image_id,) in planted["exif_rotated"]:
        path = faulty / image_id
        assert not path.with_suffix(".png").exists()
        category, _, defect_type, name = image_id.split("/")
        drawn, _ = draw_image(category, defect_type, int(name[:3]), 0, SIZE_PX)
        with Image.open(io.BytesIO(path.read_bytes())) as stored:
            assert stored.format == "JPEG"
            assert stored.getexif()[0x0112] == 6
            lying = np.array(stored)
        assert correlate(load(path), drawn) > 0.8
        assert correlate(load(path), drawn) > correlate(lying, drawn) + 0.1


def test_what_is_not_asked_for_is_absent(parts_root: Path) -> None:
    records = check_layout(read_layout(parts_root))
    assert count_repeated_files(parts_root) == 0
    for record in records:
        image = load(record.path)
        if record.mask_path:
            mask = decode_mask(record.mask_path.read_bytes())
            assert mask.any()
            assert mask.shape == image.shape[:2]
        assert Image.open(record.path).getexif() == {}


@pytest.mark.parametrize("kind", ["near_duplicates", "exif_rotated", "wrong_masks"])
def test_a_fault_comes_alone(kind: str, tmp_path: Path) -> None:
    root = write_parts(
        tmp_path / "parts", good=12, defective_per_type=4, size_px=32, faults=Faults(**{kind: 5})
    )
    listed = json.loads((root / "planted.json").read_text())
    assert {name for name, rows in listed.items() if rows} == {kind}
    assert count_repeated_files(root) == 0
    assert all(load(path).any() for path in list_images(root))


def test_all_other_files_are_those_of_the_faultless_data_set(
    faulty: Path, planted: dict[str, list[list[str]]], tmp_path: Path
) -> None:
    clean = write_parts(tmp_path / "clean", good=GOOD, defective_per_type=PER_TYPE, size_px=SIZE_PX)
    touched = {
        str(Path(row[0]).with_suffix("")) for kind in ("broken", "exif_rotated") for row in planted[kind]
    }
    untouched = [
        path.relative_to(clean)
        for path in list_images(clean)
        if str(path.relative_to(clean).with_suffix("")) not in touched
    ]
    assert len(untouched) == 2 * (GOOD + 4 * PER_TYPE) - 14
    assert all((faulty / path).read_bytes() == (clean / path).read_bytes() for path in untouched)


def test_too_few_images_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too few images .* none is left for conflicts"):
        write_parts(tmp_path / "parts", good=4, defective_per_type=1, faults=Faults(conflicts=9))
    assert not (tmp_path / "parts").exists()


def test_negative_counts_and_unknown_shortcuts_are_refused() -> None:
    with pytest.raises(ConfigError, match="number of broken must be 0 or more. Received: -1"):
        Faults(broken=-1)
    with pytest.raises(ConfigError, match="unknown shortcut 'brightnes'. Did you mean 'brightness'?"):
        Faults(shortcut="brightnes")
