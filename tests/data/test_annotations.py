"""Data sets that annotations describe: what has a box is defective, boxes and polygons become masks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mvdefect import cli
from mvdefect.core.errors import LayoutError, UnlabelledError
from mvdefect.data.images import decode_mask
from mvdefect.data.sources.opening import log_notes, open_source
from tests.conftest import make_texture, write_class_folders
from tests.data.annotating import (
    BOX,
    HEIGHT,
    WIDTH,
    draw,
    make_coco,
    make_labelme,
    make_voc,
    read,
    refuse,
    write_json,
    write_text,
)

# COCO


def test_coco_with_boxes_polygons_and_run_lengths(root: Path, messages: list[str]) -> None:
    names = [f"{number}.png" for number in range(7)]
    draw(*(root / "images" / name for name in names))
    polygon = [[10, 8, 16, 8, 16, 12, 10, 12], [30, 30, 34, 30, 34, 32, 30, 32]]
    runs = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * 2, 5, HEIGHT * WIDTH - HEIGHT * 2 - 5]}
    content = make_coco(
        {
            "0.png": [],
            "1.png": [{"bbox": BOX}],
            "2.png": [{"bbox": BOX, "segmentation": polygon}],
            "3.png": [{"bbox": BOX, "segmentation": runs, "iscrowd": 1, "category_id": 2}],
            "4.png": [{"bbox": BOX, "category_id": 2}, {"bbox": BOX}, {"bbox": BOX}],
            "5.png": [{"bbox": BOX, "category_id": 3}],
            "6.png": [{"bbox": [40, 30, 100, 100], "segmentation": []}],
        }
    )
    write_json(root / "annotations" / "instances.json", content)
    assert read(root) == {
        "images/0.png": ("good", "", -1),
        "images/1.png": ("scratch", "", 24),
        "images/2.png": ("scratch", "", 32),
        "images/3.png": ("dent", "", 5),
        "images/4.png": ("dent+scratch", "", 24),
        "images/5.png": ("good", "", -1),
        "images/6.png": ("scratch", "", 80),
    }
    assert [message for message in messages if "COCO" in message] == [
        "COCO annotations in annotations/instances.json: 5 images with a box, a region or a defect's class "
        "count as defective, 2 without as good"
    ]


def test_the_mask_is_where_the_box_is(root: Path) -> None:
    draw(root / "1.png", root / "0.png")
    write_json(root / "coco.json", make_coco({"1.png": [{"bbox": BOX}], "0.png": []}))
    record = open_source(str(root)).records[1]
    assert record.mask_path is not None
    mask = decode_mask(record.mask_path.read_bytes())
    left, top, width, height = BOX
    assert mask[top : top + height, left : left + width].all()
    assert mask.sum() == width * height
    assert record.mask_path == open_source(str(root)).records[1].mask_path


def test_coco_in_parts_as_roboflow_and_coco_write_them(root: Path) -> None:
    draw(*(root / part / f"{number}.jpg" for part in ("train", "valid", "test") for number in range(2)))
    for part in ("train", "valid", "test"):
        content = make_coco({"0.jpg": [], "1.jpg": [{"bbox": BOX}]})
        write_json(root / part / "_annotations.coco.json", content)
    parts = {"train": "train", "valid": "val", "test": "test"}
    assert read(root) == {
        f"{folder}/{number}.jpg": (("good", "scratch")[number], part, (-1, 24)[number])
        for folder, part in parts.items()
        for number in range(2)
    }
    assert set(read(root / "train")) == {"0.jpg", "1.jpg"}


def test_coco_names_images_as_other_computers_do(root: Path) -> None:
    draw(*(root / "photos" / part / f"{number}.PNG" for part in ("train", "val") for number in range(2)))
    for part, prefix in (("train", "C:\\data\\train\\"), ("val", "/home/anna/photos/val/")):
        content = make_coco({f"{prefix}0.PNG": [{"bbox": BOX}], f"{prefix}1.png": []})
        write_json(root / "labels" / f"instances_{part}2017.json", content)
    assert {id_: facts[:2] for id_, facts in read(root).items()} == {
        "photos/train/0.PNG": ("scratch", "train"),
        "photos/train/1.PNG": ("good", "train"),
        "photos/val/0.PNG": ("scratch", "val"),
        "photos/val/1.PNG": ("good", "val"),
    }


def test_an_image_of_another_part_is_not_taken_for_a_missing_one(root: Path, messages: list[str]) -> None:
    draw(root / "val" / "7.png", root / "train" / "8.png")
    write_json(root / "coco.json", make_coco({"train/7.png": [{"bbox": BOX}], "train/8.png": []}))
    assert read(root) == {"train/8.png": ("good", "train", -1)}
    assert any("left out 1 image(s) that are annotated but are not there: train/7.png" in m for m in messages)


def test_what_coco_leaves_open_is_told(root: Path, messages: list[str]) -> None:
    draw(root / "0.png", root / "1.png", root / "extra.png")
    content = make_coco({"0.png": [{"bbox": BOX, "category_id": 9}], "1.png": [], "gone.png": []})
    content["annotations"].append({"image_id": 77, "category_id": 1, "bbox": BOX})
    content["images"].append({"id": 88, "file_name": "1.png"})
    write_json(root / "coco.json", content)
    assert read(root) == {"0.png": ("category 9", "", 24), "1.png": ("good", "", -1)}
    told = "\n".join(messages)
    for expected in (
        "coco.json does not name category 9 (1 annotation(s))",
        "1 annotation(s) in coco.json belong to no image in it",
        "left out 1 image(s) that are annotated but are not there: gone.png",
        "1 image(s) are annotated more than once, joined: 1.png",
        "left out 1 image(s) that are not in it: extra.png",
    ):
        assert expected in told


def test_coco_of_no_image_that_is_there(root: Path) -> None:
    draw(root / "0.png")
    write_json(root / "coco.json", make_coco({"a.png": [{"bbox": BOX}]}))
    message = refuse(root)
    assert "COCO annotations in coco.json name no image that is below" in message
    assert "mvdefect data manifest" in message


def test_ids_of_coco_as_text_and_ids_that_are_there_twice(root: Path) -> None:
    draw(root / "0.png", root / "1.png")
    content = make_coco({"0.png": [{"bbox": BOX}], "1.png": []})
    for annotation in content["annotations"]:
        annotation |= {"image_id": str(annotation["image_id"]), "category_id": "1"}
    write_json(root / "coco.json", content)
    assert {id_: facts[0] for id_, facts in read(root).items()} == {"0.png": "scratch", "1.png": "good"}
    content["images"][1]["id"] = content["images"][0]["id"]
    content["categories"][1]["id"] = 1
    write_json(root / "coco.json", content)
    message = refuse(root)
    assert "coco.json: several images have the id 0" in message
    assert "coco.json: several categories have one id" in message


def test_one_file_of_annotations_is_a_source(root: Path) -> None:
    draw(root / "images" / "0.png", root / "images" / "1.png")
    content = make_coco({"0.png": [{"bbox": BOX}], "1.png": []})
    path = write_json(root / "annotations" / "all.json", content)
    assert read(path) == {"images/0.png": ("scratch", "", 24), "images/1.png": ("good", "", -1)}
    assert {record.category for record in open_source(str(path)).records} == {"gear"}
    write_json(root / "package.json", {"name": "images", "images": ["a.png"]})
    assert "must be COCO's" in refuse(root / "package.json")


# What is no set of annotations, and what annotations do to class folders


def test_class_folders_win_and_take_masks_from_annotations(tmp_path: Path, messages: list[str]) -> None:
    root = write_class_folders(tmp_path / "gear", good=3, defective=3)
    aside = tmp_path / "aside"
    draw(aside / "0.png")
    write_text(root / "labels" / "dent" / "000.txt", "0 0.5 0.5 0.25 0.1")
    (root / "images").mkdir()
    for name in ("good", "dent"):
        (root / name).rename(root / "images" / name)
    layout = open_source(str(root))
    log_notes(layout)
    assert {one.id: (one.defect_type, one.mask_path is not None) for one in layout.records} == {
        **{f"images/good/00{number}.png": ("good", False) for number in range(3)},
        **{f"images/dent/00{number}.png": ("dent", number == 0) for number in range(3)},
    }
    assert any("YOLO annotations beside class folders: masks of 1 images" in message for message in messages)


def test_two_formats_for_different_images_are_refused(root: Path, messages: list[str]) -> None:
    draw(root / "0.png", root / "1.png")
    write_json(root / "0.json", make_labelme("0.png", ("dent", "rectangle", [[16, 12], [10, 8]])))
    write_text(root / "1.xml", make_voc("1.png", ("rust", (10, 8, 16, 12))))
    message = refuse(root)
    assert "LabelMe annotations are there, and Pascal VOC annotations, but 1 image(s) have no file" in message
    write_json(root / "1.json", make_labelme("1.png"))
    assert {id_: facts[0] for id_, facts in read(root).items()} == {"0.png": "dent", "1.png": "good"}
    told = "LabelMe annotations: not read, for it is there as well: Pascal VOC annotations"
    assert told in messages


@pytest.mark.parametrize("side", [-1, 10**9, 10**400])
def test_a_size_that_no_image_has(root: Path, side: int) -> None:
    draw(root / "0.png")
    content = make_coco({"0.png": [{"bbox": BOX}]})
    content["images"][0]["width"] = side
    write_json(root / "coco.json", content)
    assert f"coco.json: 0.png: an image of {side}"[:60] in refuse(root)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("package.json", '{"name": "gear", "images": ["a.png"], "version": "1.0"}'),
        ("tsconfig.json", "{"),
        ("pom.xml", "<project/>"),
        ("notes.txt", "0 0.5 0.5 0.1 0.1"),
        ("log.jsonl", '{"message": "started"}'),
        ("data.yaml", "names: [a, b]"),
        ("requirements.txt", "numpy"),
    ],
)
def test_other_files_do_not_make_a_set_of_annotations(root: Path, name: str, content: str) -> None:
    draw(root / "0.png", root / "1.png")
    write_text(root / name, content)
    assert "annotations" not in refuse(root).split("Found there")[0].lower()


def test_masks_fit_images_that_are_stored_turned_or_were_resized(root: Path) -> None:
    root.mkdir()
    image = Image.fromarray(make_texture(1, HEIGHT, WIDTH))
    exif = Image.Exif()
    exif[274] = 6
    image.save(root / "turned.jpg", exif=exif)
    image.resize((WIDTH * 2, HEIGHT * 2)).save(root / "resized.png")
    image.save(root / "cropped.png")
    images = {"turned.jpg": [{"bbox": BOX}], "resized.png": [{"bbox": BOX}]}
    write_json(root / "coco.json", make_coco(images))
    by_name = {record.path.name: record.mask_path for record in open_source(str(root)).records}
    turned, resized = (decode_mask(by_name[name].read_bytes()) for name in ("turned.jpg", "resized.png"))  # type: ignore[union-attr]
    left, top, width, height = BOX
    flat = np.zeros((HEIGHT, WIDTH), np.uint8)
    flat[top : top + height, left : left + width] = 1
    np.testing.assert_array_equal(turned, cv2.rotate(flat, cv2.ROTATE_90_CLOCKWISE) > 0)
    np.testing.assert_array_equal(
        resized, cv2.resize(flat, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST) > 0
    )
    content = make_coco({"cropped.png": [{"bbox": BOX}]})
    content["images"][0] |= {"width": 640, "height": 100}
    write_json(root / "coco.json", content)
    message = refuse(root)
    assert (
        "the annotations of 1 image(s) do not fit: cropped.png: it was annotated at 640x100 pixels" in message
    )


def test_names_that_are_not_utf8(root: Path) -> None:
    root.mkdir()
    raw = os.fsencode(root) + b"/caf\xe9.png"
    draw(root / "plain.png")
    (root / "plain.png").rename(os.fsdecode(raw))
    draw(root / "0.png")
    xml = make_voc("0.png", ("rust/red&#9;", (10, 8, 16, 12)))
    write_text(Path(os.fsdecode(raw)).with_suffix(".xml"), xml)
    assert {id_: facts[0] for id_, facts in read(root).items()} == {
        "0.png": "good",
        "caf\\xe9.png": "rust-red",
    }


def test_classes_that_mean_good_by_name(root: Path) -> None:
    draw(root / "0.png", root / "1.png", root / "2.png")
    images = {"0.png": [{"bbox": BOX}], "1.png": [{"bbox": BOX}, {"bbox": BOX, "category_id": 2}]}
    write_json(root / "coco.json", make_coco(images))
    layout = open_source(str(root), good=["Scratch"])
    assert [record.defect_type for record in layout.records] == ["good", "dent"]
    assert "all 2 images have a box" in open_source(str(root)).notes[0]
    assert "by --good" in open_source(str(root)).notes[0]


def test_a_zip_of_annotated_images(root: Path) -> None:
    draw(root / "train" / "images" / "0.png", root / "train" / "images" / "1.png")
    write_text(root / "train" / "labels" / "0.txt", "0 0.5 0.5 0.25 0.1")
    write_text(root / "data.yaml", "names: [dent]")
    archive = shutil.make_archive(str(root), "zip", root)
    assert [facts[:2] for facts in read(Path(archive)).values()] == [("dent", "train"), ("good", "train")]


def test_what_cannot_say_which_images_are_defective(root: Path) -> None:
    """Neither an empty folder `labels` nor the XML of another program makes every image a good one."""
    draw(root / "images" / "0.png")
    (root / "labels").mkdir()
    assert "no known layout" in refuse(root)
    boxes = '<annotations><image name="0.png"><box label="dent" xtl="1" ytl="1"/></image></annotations>'
    write_text(root / "annotations.xml", boxes)
    assert "no known layout" in refuse(root)
    write_text(root / "other.xml", "<annotation/>")
    assert "Pascal VOC annotations name no image that is below" in refuse(root)


def test_a_root_within_folders_that_are_called_so(tmp_path: Path) -> None:
    root = tmp_path / "images" / "labels" / "gear"
    draw(root / "0.png", root / "1.png")
    write_text(root / "notes.txt", "0 0.5 0.5 0.1 0.1")
    assert "no known layout" in refuse(root)
    write_text(root / "0.txt", "0 0.5 0.5 0.25 0.1")
    assert {id_: facts[0] for id_, facts in read(root).items()} == {"0.png": "class 0", "1.png": "good"}


def test_images_in_other_folders_are_left_out_and_told(root: Path, messages: list[str]) -> None:
    draw(root / "a" / "0.png", root / "a" / "1.png", root / "templates" / "7.png")
    write_text(root / "a" / "0.xml", make_voc("0.png", ("hole", (0, 0, 2, 2))))
    assert set(read(root)) == {"a/0.png", "a/1.png"}
    told = "Pascal VOC annotations: left out 1 image(s) that lie in other folders: templates/7.png"
    assert told in messages


def write_table(source: Path, table: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["data", "manifest", str(source), "--out", str(table)])
    assert not ended.value.code


def test_a_table_can_be_written_of_images_whose_annotations_are_damaged(root: Path, tmp_path: Path) -> None:
    draw(root / "0.png", root / "1.png")
    write_text(root / "coco.json", '{"images": [{"file_name": "0.png"')
    with pytest.raises(UnlabelledError):
        open_source(str(root))
    write_table(root, tmp_path / "table.csv")
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 3


def test_a_table_of_annotated_images_reads_the_same(root: Path, tmp_path: Path) -> None:
    draw(root / "train" / "0.png", root / "test" / "1.png")
    images = {"train/0.png": [{"bbox": BOX}, {"bbox": BOX, "category_id": 2}], "test/1.png": []}
    write_json(root / "coco.json", make_coco(images))
    table = tmp_path / "table.csv"
    write_table(root, table)
    assert read(table) == read(root)


def test_an_unknown_product_is_refused(root: Path) -> None:
    draw(root / "0.png")
    write_json(root / "coco.json", make_coco({"0.png": []}))
    assert len(open_source(str(root), ["gear"]).records) == 1
    with pytest.raises(LayoutError, match="unknown category 'nut'"):
        open_source(str(root), ["nut"])
