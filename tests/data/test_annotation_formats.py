"""Pascal VOC, YOLO, LabelMe and JSON lines of cloud services, as they are written and damaged."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mvdefect.data.images import decode_mask
from mvdefect.data.sources.opening import open_source
from tests.conftest import write_image
from tests.data.annotating import (
    BOX,
    HEIGHT,
    WIDTH,
    draw,
    make_labelme,
    make_voc,
    read,
    refuse,
    write_json,
    write_text,
)

# Pascal VOC


def test_voc_in_its_own_folders(root: Path, messages: list[str]) -> None:
    draw(*(root / "JPEGImages" / f"{number}.jpg" for number in range(4)))
    write_image(root / "SegmentationClass" / "1.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    folder = root / "Annotations"
    write_text(folder / "0.xml", make_voc("0.jpg"))
    write_text(folder / "1.xml", make_voc("1.jpg", ("rust", (10, 8, 16, 12)), ("crack", None)))
    write_text(folder / "2.xml", make_voc("renamed.jpg", ("rust", (10, 8, 16, 12)), size=False))
    write_text(root / "ImageSets" / "Main" / "train.txt", "0", "1")
    write_text(root / "ImageSets" / "Main" / "val.txt", "2")
    write_text(root / "ImageSets" / "Main" / "trainval.txt", "0", "1", "2")
    assert read(root) == {
        "JPEGImages/0.jpg": ("good", "train", -1),
        "JPEGImages/1.jpg": ("crack+rust", "train", 24),
        "JPEGImages/2.jpg": ("rust", "val", 24),
        "JPEGImages/3.jpg": ("good", "", -1),
    }
    assert any("2 without as good (1 of them have no file)" in message for message in messages)


def test_voc_beside_its_images(root: Path) -> None:
    draw(root / "a" / "0.png", root / "a" / "1.png", root / "b" / "0.png")
    write_text(root / "a" / "0.xml", make_voc("0.png", ("hole", (0, 0, 2, 2))))
    write_text(root / "b" / "0.xml", make_voc("0.png"))
    assert {id_: facts[0] for id_, facts in read(root).items()} == {
        "a/0.png": "hole",
        "a/1.png": "good",
        "b/0.png": "good",
    }


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (
            '<!DOCTYPE a [<!ENTITY x "xxxx"><!ENTITY y "&x;&x;&x;&x;&x;">]><annotation>&y;</annotation>',
            "0.xml: it declares a document type (DTD)",
        ),
        (
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>',
            "0.xml: it declares a document type (DTD)",
        ),
        ("<annotation><object>", "0.xml: it is not XML"),
        (make_voc("0.png", ("rust", (10, 8, 6, 12))), "0.xml: a box must not end before it begins"),
        (make_voc("0.png", ("rust", ("nan", 8, 6, 12))), "0.xml: coordinates must be numbers"),  # type: ignore[arg-type]
        (make_voc("0.png", ("rust", ("x", 8, 6, 12))), "0.xml: a box needs xmin, ymin, xmax, ymax"),  # type: ignore[arg-type]
    ],
)
def test_damaged_and_hostile_xml(root: Path, xml: str, reason: str) -> None:
    draw(root / "0.png", root / "1.png")
    write_text(root / "1.xml", make_voc("1.png"))
    write_text(root / "0.xml", xml)
    message = refuse(root)
    assert reason in message
    assert "1 error(s) in Pascal VOC annotations" in message
    assert "mvdefect data manifest" in message


def test_xml_that_is_nested_a_million_deep(root: Path) -> None:
    draw(root / "0.png")
    (root / "0.xml").write_text("<annotation>" + "<a>" * 1_000_000 + "</a>" * 1_000_000 + "</annotation>")
    assert read(root) == {"0.png": ("good", "", -1)}


# YOLO


def test_yolo_with_boxes_and_polygons(root: Path) -> None:
    draw(*(root / "images" / part / f"{number}.jpg" for part in ("train", "val") for number in range(3)))
    labels = root / "labels"
    write_text(labels / "train" / "0.txt", "1 0.5 0.5 0.25 0.1", "0 0.1 0.1 0 0")
    write_text(labels / "train" / "1.txt")
    write_text(labels / "val" / "2.txt", "0 0.25 0.25 0.5 0.25 0.5 0.5 0.25 0.5")
    write_text(
        root / "data.yaml", "path: .", "train: images/train", "nc: 2", "names:", "  0: dent", "  1: rust"
    )
    assert read(root) == {
        "images/train/0.jpg": ("dent+rust", "train", 12 * 4 + 1),
        "images/train/1.jpg": ("good", "train", -1),
        "images/train/2.jpg": ("good", "train", -1),
        "images/val/0.jpg": ("good", "val", -1),
        "images/val/1.jpg": ("good", "val", -1),
        "images/val/2.jpg": ("dent", "val", 12 * 10),
    }
    assert read(root / "data.yaml") == read(root)


@pytest.mark.parametrize(
    ("file", "lines", "expected"),
    [
        ("data.yaml", ["names: [dent, rust]"], "rust"),
        ("classes.txt", ["dent", "rust"], "rust"),
        ("obj.names", ["dent", "rust"], "rust"),
        ("train/labels/classes.txt", ["dent", "rust"], "rust"),
        ("data.yaml", ["names: {1: 7}"], "7"),
        ("data.yaml", ["names: [dent]"], "class 1"),
        ("readme.md", ["names"], "class 1"),
    ],
)
def test_names_of_yolo_classes(
    root: Path, file: str, lines: list[str], expected: str, messages: list[str]
) -> None:
    draw(root / "train" / "images" / "0.png")
    write_text(root / "train" / "labels" / "0.txt", "1 0.5 0.5 0.25 0.1 0.93")
    write_text(root / file, *lines)
    assert read(root) == {"train/images/0.png": (expected, "train", 48)}
    assert any("gives the name of class 1" in message for message in messages) == (expected == "class 1")


def test_yolo_beside_its_images(root: Path) -> None:
    draw(root / "obj_train_data" / "0.png", root / "obj_train_data" / "1.png")
    write_text(root / "obj_train_data" / "0.txt", "0 0.5 0.5 0.25 0.1")
    write_text(root / "obj.names", "chip")
    write_text(root / "notes.txt", "by Anna")
    assert {id_: facts[0] for id_, facts in read(root).items()} == {
        "obj_train_data/0.png": "chip",
        "obj_train_data/1.png": "good",
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 nan 0.1", "line 1: coordinates must be numbers within 2. Received: nan"),
        ("nan 0.5 0.5 0.1 0.1", "line 1: coordinates must be numbers"),
        ("0 120 80 30 20", "line 1: coordinates must be numbers within 2. Received: 120.0"),
        ("0 0.5 0.5 -0.1 0.1", "line 1: a box must not have a negative side"),
        ("0 0.5 0.5 0.1", "line 1: a class and 4 numbers (box) or pairs (polygon) are needed. Received: 3"),
        ("dent 0.5 0.5 0.1 0.1", "line 1: could not convert"),
        ("1e999 0.5 0.5 0.1 0.1", "line 1: coordinates must be numbers"),
    ],
)
def test_lines_that_are_not_yolo(root: Path, line: str, reason: str) -> None:
    draw(root / "images" / "0.png", root / "images" / "1.png")
    write_text(root / "labels" / "1.txt", "0 0.5 0.5 0.1 0.1")
    write_text(root / "labels" / "0.txt", line)
    assert f"1 error(s) in YOLO annotations: labels/0.txt: {reason}" in refuse(root)


def test_yaml_that_would_grow_without_end(root: Path) -> None:
    draw(root / "images" / "0.png")
    write_text(root / "labels" / "0.txt", "0 0.5 0.5 0.1 0.1")
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    write_text(root / "data.yaml", *lines, "names: *a11")
    assert "`names` must list the names of the classes" in refuse(root)


# LabelMe


def test_labelme_with_all_its_shapes(root: Path) -> None:
    draw(*(root / f"{number}.jpg" for number in range(7)))
    write_json(root / "0.json", make_labelme("0.jpg", ("dent", "rectangle", [[16, 12], [10, 8]])))
    triangle = [[10.0, 8.0], [20.0, 8.0], [10.0, 18.0]]
    write_json(root / "1.json", make_labelme("..\\other\\1.jpg", ("rust", "polygon", triangle)))
    write_json(root / "2.json", make_labelme("2.jpg", ("rust", "circle", [[20, 20], [20, 30]])))
    lines = (("dent", "linestrip", [[0.5, 5.5], [47.5, 5.5]]), ("rust", "point", [[3.5, 9.5]]))
    write_json(root / "3.json", make_labelme("3.jpg", *lines))
    write_json(root / "4.json", make_labelme("4.jpg", ("ok", "rectangle", [[16, 12], [10, 8]])))
    write_json(root / "5.json", make_labelme("5.jpg"))
    write_json(root / "package.json", {"shapes": [{"label": "gear"}]})
    found = read(root)
    assert {id_: facts[0] for id_, facts in found.items()} == {
        "0.jpg": "dent",
        "1.jpg": "rust",
        "2.jpg": "rust",
        "3.jpg": "dent+rust",
        "4.jpg": "good",
        "5.jpg": "good",
        "6.jpg": "good",
    }
    assert found["0.jpg"][2] == 24
    assert found["1.jpg"][2] == pytest.approx(50, abs=6)
    assert found["2.jpg"][2] == pytest.approx(314, abs=8)
    assert found["3.jpg"][2] == 48 + 1


def test_labelme_with_a_mask(root: Path) -> None:
    draw(root / "0.png", root / "1.png")
    patch = np.zeros((4, 6), np.uint8)
    patch[1:3, 2:5] = 255
    encoded = base64.b64encode(cv2.imencode(".png", patch)[1].tobytes()).decode()
    content = make_labelme("0.png", ("dent", "mask", [[10.0, 8.0], [15.0, 11.0]]))
    content["shapes"][0]["mask"] = encoded
    write_json(root / "0.json", content)
    record = open_source(str(root)).records[0]
    assert record.mask_path is not None
    wanted = np.zeros((HEIGHT, WIDTH), bool)
    wanted[8 + 1 : 8 + 3, 10 + 2 : 10 + 5] = True
    np.testing.assert_array_equal(decode_mask(record.mask_path.read_bytes()), wanted)
    for damaged, reason in (("&", "a mask must be base64"), ("AAAA", "a mask cannot be read")):
        content["shapes"][0]["mask"] = damaged
        write_json(root / "0.json", content)
        assert reason in refuse(root)


def test_labelme_in_a_folder_of_its_own(root: Path) -> None:
    draw(root / "img" / "0.png", root / "img" / "1.png")
    write_json(root / "ann" / "0.json", make_labelme("0.png", ("dent", "rectangle", [[16, 12], [10, 8]])))
    assert {id_: facts[0] for id_, facts in read(root).items()} == {"img/0.png": "dent", "img/1.png": "good"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"shapes": [', "0.json: Invalid JSON"),
        ('{"shapes": ' + "[" * 100_000, "0.json: Invalid JSON: recursion limit exceeded"),
        (
            '{"shapes": [{"label": "a", "points": [[NaN, 1]]}]}',
            "0.json: shapes.0: Input should be a finite number",
        ),
        (
            '{"shapes": [{"label": "a", "points": [[1e300, 1], [2, 2], [3, 3]]}]}',
            "0.json: coordinates must be",
        ),
        ('{"shapes": [{"label": "a", "points": [[1, 1]]}]}', "0.json: a polygon needs at least 3 points"),
        (
            '{"shapes": [{"label": "a", "points": [[1, 1]], "shape_type": "circle"}]}',
            "0.json: a circle needs 2",
        ),
        (
            '{"shapes": [{"label": "a", "points": [[1, 1]], "shape_type": "cube"}]}',
            "0.json: a shape must be a",
        ),
    ],
)
def test_damaged_labelme(root: Path, content: str, reason: str) -> None:
    draw(root / "0.png", root / "1.png")
    write_text(root / "0.json", content)
    assert reason in refuse(root)


# JSON lines of SageMaker Ground Truth and Lookout for Vision


def write_lines(path: Path, *lines: dict[str, Any]) -> Path:
    return write_text(path, *map(json.dumps, lines))


def classify(name: str, label: int, class_name: str) -> dict[str, Any]:
    return {
        "source-ref": f"s3://bucket/gear/{name}",
        "anomaly-label": label,
        "anomaly-label-metadata": {"class-name": class_name, "type": "groundtruth/image-classification"},
    }


def test_lookout_for_vision_with_classes_and_masks(root: Path) -> None:
    draw(*(root / "photos" / f"{number}.png" for number in range(4)))
    mask = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    mask[8:12, 10:16] = (0x2C, 0xA0, 0x2C)
    write_image(root / "masks" / "3.png", mask)
    colours = {
        "0": {"class-name": "BACKGROUND", "hex-color": "#ffffff"},
        "1": {"class-name": "scratch", "hex-color": "#2ca02c"},
        "2": {"class-name": "dent", "hex-color": "#1f77b4"},
    }
    segmented = classify("3.png", 1, "anomaly") | {
        "anomaly-mask-ref": "s3://bucket/masks/3.png",
        "anomaly-mask-ref-metadata": {
            "internal-color-map": colours,
            "type": "groundtruth/semantic-segmentation",
        },
    }
    bare = {"source-ref": "s3://bucket/2.png", "anomaly-label": 1, "anomaly-label-metadata": {}}
    path = write_lines(
        root / "train.manifest",
        classify("0.png", 0, "normal"),
        classify("1.png", 1, "anomaly"),
        bare,
        segmented,
    )
    wanted = {
        "photos/0.png": ("good", "train", -1),
        "photos/1.png": ("anomaly", "train", -1),
        "photos/2.png": ("defective", "train", -1),
        "photos/3.png": ("scratch", "train", 24),
    }
    assert read(root) == wanted
    assert read(path) == wanted


def test_ground_truth_with_boxes_and_several_labels(root: Path, messages: list[str]) -> None:
    draw(*(root / f"{number}.png" for number in range(4)))
    left, top, width, height = BOX
    box = {"class_id": 1, "left": left, "top": top, "width": width, "height": height}
    sizes = [{"width": WIDTH, "height": HEIGHT, "depth": 3}]

    def detect(name: str, *boxes: dict[str, Any]) -> dict[str, Any]:
        return {
            "source-ref": f"s3://b/{name}",
            "job": {"image_size": sizes, "annotations": list(boxes)},
            "job-metadata": {"class-map": {"1": "dent"}, "type": "groundtruth/object-detection"},
        }

    several = {
        "source-ref": "s3://b/2.png",
        "job": [0, 2],
        "job-metadata": {"class-map": {"0": "rust", "2": "dent"}},
    }
    lines = (detect("0.png", box), detect("1.png"), several, {"source-ref": "s3://b/3.png"})
    write_lines(root / "output.manifest", *lines)
    assert read(root) == {
        "0.png": ("dent", "", 24),
        "1.png": ("good", "", -1),
        "2.png": ("dent+rust", "", -1),
    }
    assert any("left out 1 line(s) without a label" in message for message in messages)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line 2: Expecting property name"),
        ("[" * 100_000, "line 2: it is nested too deeply"),
        ("[1]", "line 2: each line must be a JSON object with 'source-ref'"),
        (
            '{"source-ref": "s3://b/0.png", "a": {"annotations": [{"left": 1}]}, "a-metadata": {}}',
            "line 2: a box needs left, top, width and height",
        ),
        (
            '{"source-ref": "s3://b/0.png", "a": {"annotations": 3}, "a-metadata": {}}',
            "line 2: a list of objects is needed",
        ),
        (
            '{"source-ref": "s3://b/0.png", "a": {"annotations": [{"left": NaN, "top": 1, "width": 1, '
            '"height": 1}]}, "a-metadata": {}}',
            "line 2: coordinates must be numbers",
        ),
        ('{"source-ref": "s3://b/0.png", "a": 7, "a-metadata": {}}', "line 2: the class needs a class-name"),
    ],
)
def test_damaged_lines(root: Path, line: str, reason: str) -> None:
    draw(root / "0.png", root / "1.png")
    write_text(root / "a.jsonl", json.dumps(classify("1.png", 0, "normal")), line)
    assert reason in refuse(root)
