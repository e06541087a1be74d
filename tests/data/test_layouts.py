"""Folders as people have them: parts, stations, masks, side files, links; and what is said of the rest."""

from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from mvdefect.core.errors import LayoutError, UnlabelledError
from mvdefect.core.progress import logger
from mvdefect.data.records import name_defect_type
from mvdefect.data.sources import tree as tree_module
from mvdefect.data.sources.folders import Layout, check_layout, read_layout
from mvdefect.data.sources.opening import log_notes, open_source
from mvdefect.data.sources.tree import read_tree
from tests.conftest import make_texture, write_class_folders, write_image

MASK = np.zeros((40, 48), np.uint8)
MASK[10:20, 10:20] = 255


def write_images(root: Path, *names: str) -> Path:
    for name in names:
        write_image(root / name, make_texture(sum(name.encode())))
    return root


def describe(layout: Layout) -> dict[str, tuple[str, str, str]]:
    return {one.id: (one.category, one.defect_type, one.part) for one in layout.records}


@pytest.mark.parametrize(
    ("name", "is_good"),
    [
        *(
            (name, True)
            for name in ("OK_front", "iO", "i.O.", "gut", "Gutteile", "OK-Teile", "fehlerfrei", "bon")
        ),
        *(
            (name, True)
            for name in ("sans_défaut", "conforme", "bueno", "sin_defectos", "buoni", "senza difetti")
        ),
        *(
            (name, True)
            for name in ("images_good", "no_crack", "non-defective", "良品", "None", "Passed", "OK parts")
        ),
        *(
            (name, False)
            for name in ("n.i.O.", "nio", "NOK", "not_ok", "nogood", "non_conforme", "nonconforming")
        ),
        *(
            (name, False)
            for name in ("okra", "abnormal", "不良品", "ungut", "imperfect", "unsound", "good_2", "front")
        ),
    ],
)
def test_words_for_good_in_several_languages(name: str, is_good: bool) -> None:
    assert (name_defect_type(name) == "good") == is_good


def test_parts_are_known_by_their_usual_names(tmp_path: Path) -> None:
    names = ("Training/OK/0.png", "valid/NG/1.png", "validation/ok/2.png", "testing/NG/3.png")
    assert describe(read_layout(write_images(tmp_path / "nut", *names))) == {
        "Training/OK/0.png": ("nut", "good", "train"),
        "testing/NG/3.png": ("nut", "NG", "test"),
        "valid/NG/1.png": ("nut", "NG", "val"),
        "validation/ok/2.png": ("nut", "good", "val"),
    }


def test_parts_may_lie_in_class_folders(tmp_path: Path) -> None:
    root = write_images(
        tmp_path / "nut", "good/train/0.png", "good/test/0.png", "dent/train/1.png", "dent/9/1.png"
    )
    parts = {id_: part for id_, (_, _, part) in describe(read_layout(root)).items()}
    assert parts == {
        "good/train/0.png": "train",
        "good/test/0.png": "test",
        "dent/train/1.png": "",
        "dent/9/1.png": "",
    }


def test_products_lie_at_any_depth(tmp_path: Path) -> None:
    root = write_images(
        tmp_path / "hall",
        *("line1/station_a/good/0.png", "line1/station_a/dent/1.png", "line2/good/0.png", "line2/dent/1.png"),
        *("overview/9.png", "line1/8.png"),
    )
    layout = read_layout(root)
    assert Counter(record.category for record in layout.records) == {"line1/station_a": 2, "line2": 2}
    (note,) = layout.notes
    assert "2 image(s) lie in no class folder and are not used: 1 in" in note
    assert "1 in " + str(root / "overview") in note
    assert {record.category for record in read_layout(root, ["line2"]).records} == {"line2"}


def test_good_folders_can_be_named(tmp_path: Path) -> None:
    root = write_images(tmp_path / "nut", "A-Ware/0.png", "B-Ware/1.png", "Muster/2.png")
    with pytest.raises(UnlabelledError) as caught:
        read_layout(root)
    told = str(caught.value)
    assert "Found there: A-Ware (1 images), B-Ware (1 images), Muster (1 images)" in told
    assert all(way in told for way in ("--good NAME", "--label-pattern", "mvdefect data manifest"))
    layout = read_layout(root, good=["a-ware", "Muster"])
    assert Counter(record.defect_type for record in layout.records) == {"good": 2, "B-Ware": 1}


@pytest.mark.parametrize("kind", ["folders", "table", "pattern", "two", "unlabelled"])
def test_a_name_of_good_images_that_nothing_has_is_refused(tmp_path: Path, kind: str) -> None:
    """One that only another source has is fine."""
    root = write_images(tmp_path / "nut", "A-Ware/0.png", "good/1.png", "dent/2.png")
    sources, pattern = [str(root)], ""
    if kind == "table":
        sources = [str(root / "table.csv")]
        (root / "table.csv").write_text("path,label\nA-Ware/0.png,A-Ware\ngood/1.png,ok\ndent/2.png,dent\n")
    elif kind == "pattern":
        pattern = "^(?P<type>[^/]+)/"
    elif kind == "two":
        sources = [*sources, str(write_images(tmp_path / "more", "good/3.png", "dent/4.png"))]
    elif kind == "unlabelled":
        (root / "good").rename(root / "B-Ware")
    with pytest.raises(LayoutError, match=r"--good 'A-Waer' names no .*\? .*'?A-Ware") as caught:
        open_source(sources, good=["A-Waer"], label_pattern=pattern)
    assert "Did you mean --good 'A-Ware'?" in str(caught.value)
    layout = open_source(sources, good=["a-ware"], label_pattern=pattern)
    assert {one.defect_type for one in layout.records if "A-Ware" in one.id} == {"good"}


def test_images_in_the_folder_itself_are_good_if_the_user_says_so(tmp_path: Path) -> None:
    root = write_images(tmp_path / "nut", "0.png", "1.png", "dent/2.png")
    with pytest.raises(
        UnlabelledError, match=r"2 images in the folder itself \(if all of them are good: --good \.\)"
    ):
        read_layout(root)
    assert Counter(one.defect_type for one in read_layout(root, good=["."]).records) == {"good": 2, "dent": 1}


@pytest.mark.parametrize("folder", ["ground_truth", "masks", "Mask", "labels", "annotations"])
@pytest.mark.parametrize("inner", ["dent/", "", "test/dent/"])
def test_folders_of_masks_beside_class_folders_hold_no_defects(
    tmp_path: Path, folder: str, inner: str
) -> None:
    root = write_class_folders(tmp_path / "nut", 3, 3)
    ending = "_mask" if inner == "dent/" else ""
    for number in range(3):
        write_image(root / folder / f"{inner}{number:03}{ending}.png", MASK)
    records = read_layout(root).records
    assert {record.defect_type for record in records} == {"good", "dent"}
    masks = {record.id: record.mask_path.name for record in records if record.mask_path}
    assert masks == {f"dent/{number:03}.png": f"{number:03}{ending}.png" for number in range(3)}


def test_masks_may_be_jpegs_that_number_defects_or_lie_beside_the_folder_of_images(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "nut" / "images", 2, 2).parent
    write_image(root / "masks" / "dent" / "000.jpg", cv2.GaussianBlur(MASK, (3, 3), 0))
    write_image(root / "masks" / "dent" / "001.png", MASK // 255 * 2)
    layout = read_layout(root)
    assert [record.mask_path is not None for record in layout.records] == [True, True, False, False]
    assert layout.notes == ()


def test_a_defect_may_be_called_label(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "bottle", 2, 2)
    write_images(root, "label/000.png", "label/001.png")
    assert Counter(one.defect_type for one in read_layout(root).records) == {"good": 2, "dent": 2, "label": 2}


def test_masks_of_no_image_are_told(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "nut", 2, 2)
    for name in ("000", "777"):
        write_image(root / "masks" / f"{name}.png", MASK)
    layout = read_layout(root)
    assert sum(record.mask_path is not None for record in layout.records) == 1
    assert ["1 of the 2 masks in" in note for note in layout.notes] == [True]


def test_a_mask_of_one_type_is_none_of_another(tmp_path: Path) -> None:
    """An image that is gone leaves its mask; an image of another defect has the same number."""
    root = write_images(tmp_path / "nut", "good/1.png", "dent/7.png", "crack/8.png")
    write_image(root / "ground_truth" / "crack" / "7_mask.png", MASK)
    write_image(root / "masks" / "defective" / "8.png", MASK)
    layout = read_layout(root)
    assert layout.orphan_masks == (root / "ground_truth/crack/7_mask.png",)
    assert [one.id for one in layout.records if one.mask_path] == ["crack/8.png"]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("7.jpg", "7_mask.png"),
        ("7.png", "7_GT.png"),
        ("7.jpg", "7_label.bmp"),
        ("7.jpg", "7.png"),
        ("7.jpeg", "7.bmp"),
    ],
)
def test_masks_beside_their_images_are_masks(tmp_path: Path, image: str, mask: str) -> None:
    root = write_images(tmp_path / "nut", "good/0.jpg", f"dent/{image}")
    write_image(root / "dent" / mask, MASK)
    dent, good = read_layout(root).records
    assert (dent.id, dent.mask_path) == (f"dent/{image}", root / "dent" / mask)
    assert good.mask_path is None


def test_two_images_of_one_name_are_no_image_and_mask(tmp_path: Path) -> None:
    root = write_images(
        tmp_path / "nut", "good/0.jpg", "dent/7.jpg", "dent/7.bmp", "dent/8.png", "dent/8_mask.png"
    )
    with pytest.raises(
        LayoutError, match=r"1 name\(s\) are shared .*7\.bmp.*7\.jpg.*name those to use in a table"
    ):
        read_layout(root)


def test_what_is_no_image_is_left_out_and_counted(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "nut", 2, 2)
    for name in (
        "dent/000.json",
        "dent/001.json",
        "good/notes.txt",
        "good/3.HEIC",
        "good/Thumbs.db",
        "dent/run",
    ):
        (root / name).write_bytes(b"{}")
    write_images(root, "@eaDir/good/7.png", "good/@eaDir/000.png", "#recycle/9.png", "__MACOSX/good/000.png")
    layout = read_layout(root)
    assert len(layout.records) == 4
    files, pictures, folders = layout.notes
    assert files == "left out 5 file(s) that are no images: 2 .json, 1 .heic, 1 .txt, 1 without a suffix"
    assert pictures == "1 .heic cannot be read: save such images as PNG, TIFF or JPEG"
    assert folders == "left out the folder(s) of systems and programs: 2 @eaDir, 1 #recycle, 1 __MACOSX"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp"])
def test_an_image_without_the_suffix_of_one_is_read(tmp_path: Path, suffix: str) -> None:
    root = write_class_folders(tmp_path / "nut", 1, 1)
    write_image(tmp_path / f"image{suffix}", make_texture(7)).rename(root / "good" / "frame.0007")
    assert [record.id for record in read_layout(root).records] == [
        "dent/000.png",
        "good/000.png",
        "good/frame.0007",
    ]


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    real = write_class_folders(tmp_path / "archive" / "nut", 2, 2)
    root = tmp_path / "data" / "nut"
    root.mkdir(parents=True)
    (root / "good").symlink_to(real / "good")
    (root / "dent").symlink_to(real / "dent")
    for place, target in (("self", "."), ("up", "../.."), ("gone", "nowhere"), ("dent/back", root)):
        (root / place).symlink_to(target)
    layout = read_layout(root)
    assert [record.id for record in layout.records] == [
        *("dent/000.png", "dent/001.png", "good/000.png", "good/001.png"),
    ]
    assert layout.notes == ("left out 4 link(s) that lead nowhere, in a circle or to a folder again",)


def test_many_links_to_one_another_end(tmp_path: Path) -> None:
    """Each folder leads to all others: as a tree, they would be more than there are atoms."""
    folders = [tmp_path / f"{number:02}" for number in range(20)]
    for folder in folders:
        folder.mkdir()
        for other in folders:
            (folder / f"to-{other.name}").symlink_to(other)
    write_images(tmp_path, "00/good/0.png")
    assert read_tree(tmp_path).top.count < 100


def test_folders_nested_without_end_are_refused(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a"] * 80)
    deep.mkdir(parents=True)
    with pytest.raises(LayoutError, match="folders may be nested 64 deep"):
        read_layout(tmp_path)


def test_a_long_walk_says_that_it_goes_on(
    tmp_path: Path, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_module, "FILES_UNTIL_A_LINE", 4)
    read_tree(write_class_folders(tmp_path / "nut", 3, 3))
    assert [said.startswith("still looking for images:") for said in messages] == [True, True]


def test_a_file_that_cannot_be_opened_is_no_image_and_nothing_fails(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "nut", 1, 1)
    os.mkfifo(root / "good" / "pipe")  # to open one for reading waits until somebody writes
    os.mkfifo(root / "good" / "pipe.png")
    assert len(read_layout(root).records) == 2


def test_what_no_layout_fits_is_told_without_an_image_too(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(LayoutError, match="no image below"):
        check_layout(read_layout(tmp_path))
    (tmp_path / "good").rmdir()
    with pytest.raises(
        LayoutError, match=r"no image below .*left out 1 file\(s\) that are no images: 1 \.txt"
    ):
        read_layout(tmp_path)


def test_a_path_much_like_one_that_is_there_and_a_table_beside_images_are_named(tmp_path: Path) -> None:
    write_image(tmp_path / "okng" / "a.png", make_texture(1))
    with pytest.raises(LayoutError, match=r"does not exist. Did you mean .*/okng\? Received: .*/okgn"):
        read_layout(tmp_path / "okgn")
    (tmp_path / "okng" / "labels.csv").write_text("image;label")
    with pytest.raises(LayoutError, match=r"a table to give in place of the folder: .*/okng/labels.csv"):
        read_layout(tmp_path / "okng")


def test_only_what_may_spoil_the_result_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_images(tmp_path / "nut", "good/0.png", "good_2/1.png", "dent/2.png", "3.png")
    (root / "notes.txt").write_text("a note")
    (root / "raw.nef").write_bytes(b"raw")
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO, logger.name):
        log_notes(open_source(str(root)))
    told = {record.levelname: [] for record in caplog.records}
    for record in caplog.records:
        told[record.levelname].append(record.getMessage())
    assert sorted(
        next(word for word in ("good_2", "cannot be read") if word in note) for note in told["WARNING"]
    ) == ["cannot be read", "good_2"]
    assert [note[:10] for note in told["INFO"]] == ["left out 2", "1 image(s)"]
