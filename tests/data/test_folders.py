"""Readers of folder layouts."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from mvdefect.core.errors import LayoutError
from mvdefect.data.sources.folders import list_files, read_layout, read_records
from tests.conftest import make_texture, write_class_folders, write_image


@pytest.fixture
def mvtec_root(tmp_path: Path) -> Path:
    product = tmp_path / "data" / "bottle"
    for name in ("train/good/000.png", "test/good/000.png", "test/crack/000.png", "test/crack/001.png"):
        write_image(product / name, make_texture(hash(name) % 1000))
    write_image(product / "ground_truth/crack/000_mask.png", np.full((40, 48), 255, np.uint8))
    (product / "license.txt").write_text("CC")
    return tmp_path / "data"


def test_mvtec_tree_of_several_products(mvtec_root: Path) -> None:
    records = read_records(mvtec_root)
    assert [record.id for record in records] == [
        "bottle/test/crack/000.png",
        "bottle/test/crack/001.png",
        "bottle/test/good/000.png",
        "bottle/train/good/000.png",
    ]
    assert [record.label for record in records] == [1, 1, 0, 0]
    assert {record.category for record in records} == {"bottle"}
    assert records[0].mask_path == mvtec_root / "bottle/ground_truth/crack/000_mask.png"
    assert records[1].mask_path is None
    assert [record.part for record in records] == ["test", "test", "test", "train"]


def test_a_mask_beside_a_good_image_belongs_to_the_test_part(mvtec_root: Path) -> None:
    mask = write_image(mvtec_root / "bottle/ground_truth/good/000_mask.png", np.zeros((40, 48), np.uint8))
    assert [record.mask_path for record in read_records(mvtec_root) if not record.label] == [mask, None]


def test_mvtec_tree_of_one_product(mvtec_root: Path) -> None:
    records = read_records(mvtec_root / "bottle")
    assert records[0].id == "test/crack/000.png"
    assert {record.category for record in records} == {"bottle"}


def test_class_folders_nested_and_hidden_files(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "nut", good=2, defective=2)
    write_image(root / "dent" / "line 2" / "900.png", make_texture(7))
    (root / "good" / ".DS_Store").write_bytes(b"x")
    (root / "good" / "Thumbs.db").write_bytes(b"x")
    records = read_records(root)
    assert [(record.id, record.defect_type) for record in records] == [
        ("dent/000.png", "dent"),
        ("dent/001.png", "dent"),
        ("dent/line 2/900.png", "dent"),
        ("good/000.png", "good"),
        ("good/001.png", "good"),
    ]
    assert {record.category for record in records} == {"nut"}


def test_categories_are_selected(tmp_path: Path) -> None:
    for name in ("nut", "pill"):
        write_class_folders(tmp_path / name, good=1, defective=1)
    assert {record.category for record in read_records(tmp_path, ["pill"])} == {"pill"}
    assert {record.category for record in read_records(tmp_path)} == {"nut", "pill"}


def test_unknown_category_names_the_nearest(tmp_path: Path) -> None:
    for name in ("nut", "pill"):
        write_class_folders(tmp_path / name, good=1, defective=1)
    with pytest.raises(
        LayoutError, match=r"unknown category 'pil'\. Did you mean 'pill'\? Allowed: nut, pill"
    ):
        read_records(tmp_path, ["pil"])


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="does not exist"):
        read_records(tmp_path / "nowhere")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = write_image(tmp_path / "one.png", make_texture(0))
    with pytest.raises(LayoutError, match="must be a folder"):
        read_records(path)


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="the data folder is empty"):
        read_records(tmp_path)


def test_unknown_layout_lists_what_is_there(tmp_path: Path) -> None:
    write_image(tmp_path / "pictures" / "a.png", make_texture(0))
    with pytest.raises(LayoutError, match=r"no known layout .* Found there: pictures"):
        read_records(tmp_path)


def test_good_images_alone_are_read_and_defective_ones_alone_are_not(tmp_path: Path) -> None:
    assert len(read_records(write_class_folders(tmp_path / "good alone", 3, 0))) == 3
    root = write_class_folders(tmp_path / "nut", 0, 3)
    (root / "good").mkdir()
    with pytest.raises(LayoutError, match="good images are needed, but there is none among the 3"):
        read_records(root)


@pytest.mark.parametrize(
    "name", ["good", "Good", "OK", "pass", "Normal", "ok_front", "no_defect", "defect-free", "i.O.", "Gut"]
)
def test_good_images_are_known_by_what_people_call_them(tmp_path: Path, name: str) -> None:
    root = write_class_folders(tmp_path / "nut", good=2, defective=2)
    (root / "good").rename(root / "renamed")
    (root / "renamed").rename(root / name)
    records = read_records(root)
    assert [record.defect_type for record in records if name in record.id] == ["good", "good"]
    assert sum(record.label for record in records) == 2


def test_parts_with_class_folders_in_each(tmp_path: Path) -> None:
    for number, place in enumerate(("train/ok_front", "train/def_front", "test/ok_front", "test/def_front")):
        write_image(tmp_path / "casting" / place / "0.png", make_texture(number))
    found = {record.id: (record.part, record.defect_type) for record in read_records(tmp_path / "casting")}
    assert found == {
        "test/def_front/0.png": ("test", "def_front"),
        "test/ok_front/0.png": ("test", "good"),
        "train/def_front/0.png": ("train", "def_front"),
        "train/ok_front/0.png": ("train", "good"),
    }


@pytest.mark.parametrize(("name", "is_warned"), [("good_2", True), ("OK - Copy (3)", True), ("okra", False)])
def test_a_second_folder_of_good_images_is_asked_about(tmp_path: Path, name: str, is_warned: bool) -> None:
    root = write_class_folders(tmp_path / "nut", good=2, defective=2)
    write_image(root / name / "9.png", make_texture(9))
    layout = read_layout(root)
    assert sum(record.label for record in layout.records) == 3
    assert [f"the images in {root / name} count as defective" in said for said in layout.notes] == (
        [True] if is_warned else []
    )
    assert sum(record.label for record in read_layout(root, good=[name.upper()]).records) == 2


@pytest.mark.parametrize(("code", "is_passed_over"), [(errno.EACCES, False), (errno.ENOENT, True)])
def test_a_folder_that_cannot_be_read_is_not_left_out_unnoticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, is_passed_over: bool
) -> None:
    write_image(tmp_path / "a.png", make_texture(1))
    write_image(tmp_path / "closed" / "b.png", make_texture(2))
    scan = os.scandir

    def refuse(place: str) -> object:
        if Path(place).name == "closed":
            raise OSError(code, os.strerror(code), place)
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    if is_passed_over:
        assert list_files(tmp_path) == [tmp_path / "a.png"]
    else:
        with pytest.raises(OSError, match="closed"):
            list_files(tmp_path)


def test_folders_without_any_image(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "dent").mkdir()
    with pytest.raises(LayoutError, match="no image below"):
        read_records(tmp_path)


def test_two_files_with_one_name(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "nut", good=2, defective=2)
    write_image(root / "good" / "000.jpg", make_texture(5))
    with pytest.raises(LayoutError, match=r"1 name\(s\) are shared .*000\.jpg.*000\.png"):
        read_records(root)


def test_names_that_differ_in_unicode_form_alone(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "nut", good=1, defective=1)
    write_image(root / "good" / "gru\u0308n.png", make_texture(5))
    write_image(root / "good" / "gr\u00fcn.png", make_texture(6))
    with pytest.raises(LayoutError, match="shared by two or more"):
        read_records(root)


def test_a_mask_without_an_image(mvtec_root: Path) -> None:
    write_image(mvtec_root / "bottle/ground_truth/crack/009_mask.png", np.zeros((40, 48), np.uint8))
    with pytest.raises(LayoutError, match=r"1 mask\(s\) have no image.*009_mask\.png"):
        read_records(mvtec_root)
