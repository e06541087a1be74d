"""A drawn data set: MVTec AD's layout, the stamp, and nothing that gives the label away."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mvdefect.core.errors import ConfigError, LayoutError
from mvdefect.data.images import decode_image, decode_mask
from mvdefect.data.records import count_by_stratum
from mvdefect.data.sources.folders import read_records
from mvdefect.drawing.catalogue import PARTS, draw_image
from mvdefect.drawing.data_set import write_parts
from mvdefect.drawing.defects import Severity
from mvdefect.drawing.flaws import Faults


def read_files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_the_folder_is_that_of_mvtec_ad(parts_root: Path) -> None:
    records = read_records(parts_root)
    expected = {f"{name}/{defect}": 5 for name in ("fabric", "washer") for defect in PARTS[name][1]}
    assert count_by_stratum(records) == {**expected, "fabric/good": 20, "washer/good": 20}
    assert all((record.mask_path is not None) == bool(record.label) for record in records)
    assert {record.part for record in records if record.label} == {"test"}
    assert sum(record.part == "train" for record in records) == 2 * 15


def test_the_files_hold_what_is_drawn(tmp_path: Path) -> None:
    root = write_parts(
        tmp_path / "parts",
        seed=3,
        good=1,
        defective_per_type=2,
        size_px=48,
        categories=("pill",),
        defect_types=("misprint",),
        defect_size=1.5,
        defect_contrast=0.7,
    )
    image, mask = draw_image("pill", "misprint", 1, 3, 48, Severity(1.5, 0.7))
    assert np.array_equal(decode_image((root / "pill/test/misprint/001.png").read_bytes()), image)
    stored = decode_mask((root / "pill/ground_truth/misprint/001_mask.png").read_bytes())
    assert np.array_equal(stored, mask)


def test_every_category_can_be_written(tmp_path: Path) -> None:
    root = write_parts(tmp_path / "parts", good=4, defective_per_type=1, size_px=32, categories=tuple(PARTS))
    expected = {f"{name}/{defect}": 1 for name, (_, defects) in PARTS.items() for defect in defects}
    assert count_by_stratum(read_records(root)) == {**expected, **{f"{name}/good": 4 for name in PARTS}}


def test_defect_types_can_be_picked(tmp_path: Path) -> None:
    root = write_parts(
        tmp_path / "parts",
        good=2,
        defective_per_type=1,
        size_px=32,
        categories=("nut", "washer"),
        defect_types=("missing_part", "stain"),
    )
    types = {record.stratum for record in read_records(root) if record.label}
    assert types == {"nut/missing_part", "nut/stain", "washer/stain"}


def test_nothing_but_the_defect_tells_good_from_defective(parts_root: Path) -> None:
    encoded = [record.path.read_bytes() for record in read_records(parts_root)]
    assert all(data.startswith(b"\x89PNG") for data in encoded)
    assert {decode_image(data).shape for data in encoded} == {(64, 64, 3)}
    assert not (parts_root / "planted.json").exists()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    faults = Faults(2, 1, 1, 5, 5, 1, "size")
    roots = [
        write_parts(tmp_path / name, seed=seed, good=12, defective_per_type=4, size_px=32, faults=faults)
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    ]
    one, again, other = (read_files(root) for root in roots)
    assert one == again
    common = set(one) & set(other)
    images = [name for name in common if "/good/" in name and name.endswith(".png") and one[name]]
    assert images
    assert not any(one[name] == other[name] for name in images)
    assert one["planted.json"] != other["planted.json"]


def test_drawing_again_changes_nothing(tmp_path: Path) -> None:
    recipe = {"good": 8, "defective_per_type": 2, "size_px": 32, "faults": Faults(near_duplicates=2)}
    root = write_parts(tmp_path / "parts", **recipe)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    write_parts(root, **recipe)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_the_stamp_tells_the_whole_recipe(parts_root: Path) -> None:
    first, rest = (parts_root / "synthetic.txt").read_text().split("\n", 1)
    assert first == "drawn by mvdefect"
    recipe = json.loads(rest)
    assert recipe["good"] == 20
    assert recipe["categories"] == ["fabric", "washer"]
    assert recipe["severity"] == {"size": 1.0, "contrast": 1.0}
    assert recipe["faults"]["near_duplicates"] == 0


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"good": 3},
        {"size_px": 40},
        {"categories": ("fabric",)},
        {"defect_types": ("hole",)},
        {"defect_size": 2.0},
        {"defect_contrast": 0.5},
        {"faults": Faults(broken=1)},
        {"faults": Faults(shortcut="border")},
    ],
)
def test_another_recipe_is_refused(other: dict[str, object], tmp_path: Path) -> None:
    recipe: dict[str, object] = {"good": 2, "defective_per_type": 1, "size_px": 32}
    root = write_parts(tmp_path / "parts", **recipe)  # type: ignore[arg-type]
    before = read_files(root)
    with pytest.raises(LayoutError, match="new or empty folder.*another recipe"):
        write_parts(root, **{**recipe, **other})  # type: ignore[arg-type]
    assert read_files(root) == before


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(LayoutError, match="new or empty folder"):
        write_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"categories": ("washr",)}, "unknown category 'washr'. Did you mean 'washer'?"),
        ({"categories": ()}, "number of categories must be at least 1. Received: 0"),
        ({"defect_types": ("stian",)}, "unknown defect type 'stian'. Did you mean 'stain'?"),
        ({"defect_types": ("misprint",)}, "unknown defect type 'misprint'"),
        ({"defect_size": 5.0}, "size of defects must be 0.25 to 3.0. Received: 5.0"),
        ({"defect_contrast": 0.0}, "contrast of defects must be 0.05 to 2.0. Received: 0.0"),
        ({"good": 0}, "number of good images must be at least 1"),
        ({"defective_per_type": -1}, "number of images a defect type must be at least 0"),
        ({"size_px": 16}, "size in pixels must be at least 32. Received: 16"),
        ({"seed": -1}, "seed must be at least 0. Received: -1"),
    ],
)
def test_values_out_of_range_are_refused_before_anything_is_written(
    wrong: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refused:
        write_parts(tmp_path / "parts", **wrong)  # type: ignore[arg-type]
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "parts").exists()
