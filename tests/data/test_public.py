"""Public data sets are read as they are laid out by those who publish them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mvdefect.core.errors import LayoutError
from mvdefect.data.images import decode_mask
from mvdefect.data.records import Record
from mvdefect.data.sources.folders import check_layout
from mvdefect.data.sources.opening import log_notes, open_source
from tests.conftest import make_texture, write_image

SIZE_PX = (40, 48)
SEEDS = iter(range(10**6))


def draw(*paths: Path) -> None:
    for path in paths:
        write_image(path, make_texture(next(SEEDS), *SIZE_PX))


def mark(path: Path, rows: slice = slice(0, 0), grey: int = 255) -> Path:
    """Write a mask with some rows of pixels that are not black."""
    mask = np.zeros(SIZE_PX, np.uint8)
    mask[rows] = grey
    return write_image(path, mask)


def read(root: Path) -> tuple[Record, ...]:
    layout = open_source(str(root))
    log_notes(layout)
    return check_layout(layout)


def describe(root: Path) -> dict[str, tuple[str, str, str, str]]:
    """Return category, defect type, part and mask by id; of a mask in the cache, "merged"."""
    described = {}
    for record in read(root):
        mask = record.mask_path
        inside = mask is not None and mask.is_relative_to(root)
        name = mask.relative_to(root).as_posix() if mask and inside else "merged" if mask else ""
        described[record.id] = (record.category, record.defect_type, record.part, name)
    return described


@pytest.fixture
def loco(tmp_path: Path) -> Path:
    root = tmp_path / "mvtec_loco_anomaly_detection"
    product = root / "juice_bottle"
    for name in ("train/good/000.png", "validation/good/000.png", "test/good/000.png"):
        draw(product / name)
    draw(product / "test/logical_anomalies/000.png", product / "test/structural_anomalies/000.png")
    mark(product / "ground_truth/logical_anomalies/000/000.png", slice(0, 3), grey=254)
    mark(product / "ground_truth/logical_anomalies/000/001.png", slice(2, 7), grey=251)
    mark(product / "ground_truth/structural_anomalies/000/000.png", slice(5, 6))
    (product / "defects_config.json").write_text("[]")
    return root


def test_mvtec_loco_with_several_masks_of_an_image(loco: Path) -> None:
    assert describe(loco) == {
        "juice_bottle/train/good/000.png": ("juice_bottle", "good", "train", ""),
        "juice_bottle/validation/good/000.png": ("juice_bottle", "good", "val", ""),
        "juice_bottle/test/good/000.png": ("juice_bottle", "good", "test", ""),
        "juice_bottle/test/logical_anomalies/000.png": (
            "juice_bottle",
            "logical_anomalies",
            "test",
            "merged",
        ),
        "juice_bottle/test/structural_anomalies/000.png": (
            "juice_bottle",
            "structural_anomalies",
            "test",
            "juice_bottle/ground_truth/structural_anomalies/000/000.png",
        ),
    }
    merged = next(record.mask_path for record in read(loco) if record.defect_type == "logical_anomalies")
    assert merged is not None
    rows = decode_mask(merged.read_bytes()).all(axis=1)
    assert np.flatnonzero(rows).tolist() == list(range(7))
    assert {id_.partition("/")[0] for id_ in describe(loco / "juice_bottle")} == {
        "train",
        "validation",
        "test",
    }


def test_a_merged_mask_follows_its_files(loco: Path) -> None:
    first = {record.mask_path for record in read(loco)}
    mark(loco / "juice_bottle/ground_truth/logical_anomalies/000/001.png", slice(2, 12))
    changed = next(record.mask_path for record in read(loco) if record.defect_type == "logical_anomalies")
    assert changed not in first
    assert changed is not None
    assert decode_mask(changed.read_bytes()).all(axis=1).sum() == 12


def test_masks_of_loco_that_fit_no_image(loco: Path) -> None:
    orphan = mark(loco / "juice_bottle/ground_truth/logical_anomalies/777/000.png", slice(0, 3))
    assert open_source(str(loco)).orphan_masks == (orphan,)
    with pytest.raises(LayoutError, match=r"1 mask\(s\) have no image"):
        read(loco)
    orphan.unlink()
    write_image(loco / "juice_bottle/ground_truth/logical_anomalies/000/002.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(LayoutError, match="a mask of 5x5 pixels does not fit an image of 48x40"):
        open_source(str(loco))


def test_a_tree_like_mvtec_ad_with_folders_within_its_types_is_not_loco(tmp_path: Path) -> None:
    product = tmp_path / "nut"
    draw(product / "train/good/0.png", product / "test/crack/line2/0.png", product / "test/good/0.png")
    mask = mark(product / "ground_truth/crack/line2/0_mask.png", slice(0, 3))
    assert [record.mask_path for record in read(product) if record.label] == [mask]


def test_btad_is_read_as_mvtec_ad(tmp_path: Path) -> None:
    root = tmp_path / "BTech_Dataset_transformed"
    draw(root / "01/train/ok/0000.bmp", root / "01/test/ok/0001.bmp", root / "01/test/ko/0002.bmp")
    draw(root / "02/train/ok/0000.png", root / "02/test/ko/0001.png")
    mark(root / "01/ground_truth/ko/0002.png", slice(0, 3))
    mark(root / "02/ground_truth/ko/0001.png", slice(0, 3))
    assert describe(root) == {
        "01/train/ok/0000.bmp": ("01", "good", "train", ""),
        "01/test/ok/0001.bmp": ("01", "good", "test", ""),
        "01/test/ko/0002.bmp": ("01", "ko", "test", "01/ground_truth/ko/0002.png"),
        "02/train/ok/0000.png": ("02", "good", "train", ""),
        "02/test/ko/0001.png": ("02", "ko", "test", "02/ground_truth/ko/0001.png"),
    }


@pytest.fixture
def visa(tmp_path: Path) -> Path:
    root = tmp_path / "VisA"
    rows = ["object,split,label,image,mask"]
    types = {"000": '"hole, melt"', "001": "hole", "002": "wax"}
    for product in ("candle", "pcb1"):
        images = root / product / "Data/Images"
        draw(*(images / f"Normal/{number:04}.JPG" for number in range(2)))
        rows += [
            f"{product},{part},normal,{product}/Data/Images/Normal/000{n}.JPG,"
            for n, part in ((0, "train"), (1, "test"))
        ]
        for number in types:
            draw(images / f"Anomaly/{number}.JPG")
            mark(root / product / f"Data/Masks/Anomaly/{number}.png", slice(0, 3), grey=1)
            mask = f"{product}/Data/Masks/Anomaly/{number}.png"
            rows.append(f"{product},test,anomaly,{product}/Data/Images/Anomaly/{number}.JPG,{mask}")
    listed = [f"candle/Data/Images/Anomaly/{number}.JPG,{name}," for number, name in types.items()]
    listed.append("candle/Data/Images/Normal/0000.JPG,normal,")
    (root / "candle/image_anno.csv").write_text("\n".join(["image,label,mask", *listed]))
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text("\n".join(rows))
    return root


def test_visa_with_its_tables(visa: Path) -> None:
    found = describe(visa)
    assert len(found) == 10
    assert {id_: facts for id_, facts in found.items() if id_.startswith("candle")} == {
        "candle/Data/Images/Normal/0000.JPG": ("candle", "good", "train", ""),
        "candle/Data/Images/Normal/0001.JPG": ("candle", "good", "test", ""),
        "candle/Data/Images/Anomaly/000.JPG": (
            "candle",
            "hole+melt",
            "test",
            "candle/Data/Masks/Anomaly/000.png",
        ),
        "candle/Data/Images/Anomaly/001.JPG": ("candle", "hole", "test", "candle/Data/Masks/Anomaly/001.png"),
        "candle/Data/Images/Anomaly/002.JPG": ("candle", "wax", "test", "candle/Data/Masks/Anomaly/002.png"),
    }
    assert {facts[1] for id_, facts in found.items() if "pcb1/Data/Images/Anomaly" in id_} == {"defective"}


def test_one_product_of_visa(visa: Path) -> None:
    assert Counter(facts[1:3] for facts in describe(visa / "candle").values()) == {
        ("good", "train"): 1,
        ("good", "test"): 1,
        ("hole+melt", "test"): 1,
        ("hole", "test"): 1,
        ("wax", "test"): 1,
    }
    assert {record.category for record in open_source(str(visa), ["pcb1"]).records} == {"pcb1"}
    with pytest.raises(LayoutError, match="unknown category 'pcb7'. Did you mean 'pcb1'"):
        open_source(str(visa), ["pcb7"])


def test_other_folders_beside_visa_are_told(visa: Path, messages: list[str]) -> None:
    draw(visa / "mine" / "good" / "0.png")
    read(visa)
    assert "VisA: left out 1 image(s) in folders that are laid out otherwise" in messages
    assert "VisA: 10 images of 2 product(s), 6 of them defective" in messages


def test_a_damaged_table_of_visa(visa: Path) -> None:
    (visa / "split_csv/1cls.csv").write_bytes(b"object,split,label,image,mask\n\xff\xfe\n")
    with pytest.raises(LayoutError, match=r"VisA's table .*1cls.csv cannot be read"):
        open_source(str(visa))


def test_kolektor_sdd_keeps_the_surfaces_of_a_product_together(tmp_path: Path) -> None:
    root = tmp_path / "KolektorSDD"
    for item in ("kos01", "kos02"):
        for number in range(3):
            draw(root / item / f"Part{number}.jpg")
            mark(
                root / item / f"Part{number}_label.bmp", slice(0, 3 if item == "kos02" and number == 1 else 0)
            )
    assert {record.id: (record.label, record.group) for record in read(root)} == {
        f"{item}/Part{number}.jpg": (int(item == "kos02" and number == 1), item)
        for item in ("kos01", "kos02")
        for number in range(3)
    }
    assert [record.mask_path for record in read(root) if record.label] == [root / "kos02/Part1_label.bmp"]


def test_kolektor_sdd2(tmp_path: Path) -> None:
    root = tmp_path / "KolektorSDD2"
    for name, rows in (("train/10000", 0), ("train/10001", 4), ("test/20000", 0), ("test/20001", 2)):
        draw(root / f"{name}.png")
        mark(root / f"{name}_GT.png", slice(0, rows))
    product = "KolektorSDD2"
    assert describe(root) == {
        "train/10000.png": (product, "good", "train", ""),
        "train/10001.png": (product, "defective", "train", "train/10001_GT.png"),
        "test/20000.png": (product, "good", "test", ""),
        "test/20001.png": (product, "defective", "test", "test/20001_GT.png"),
    }


def test_labels_without_image_and_unreadable_labels(tmp_path: Path) -> None:
    root = tmp_path / "KolektorSDD2"
    draw(root / "train/1.png", root / "train/2.png")
    mark(root / "train/1_GT.png")
    (root / "train/2_GT.png").write_bytes(b"no image")
    orphan = mark(root / "train/3_GT.png")
    draw(root / "train/4.png")
    layout = open_source(str(root))
    assert "KolektorSDD2: 1 image(s) have no label image and count as good" in layout.notes
    (root / "train/4.png").unlink()
    layout = open_source(str(root))
    assert {record.id: record.label for record in layout.records} == {"train/1.png": 0, "train/2.png": 1}
    assert layout.orphan_masks == (orphan,)


def test_dagm(tmp_path: Path) -> None:
    root = tmp_path / "DAGM"
    for product in ("Class1", "Class2"):
        for part in ("Train", "Test"):
            draw(*(root / product / part / f"000{number}.PNG" for number in range(1, 4)))
            mark(root / product / part / "Label" / "0002_label.PNG", slice(3, 9))
    lines = "1\n1\t0\t0001.PNG\t0\t0\n2\t1\t0002.PNG\t0\t0002_label.PNG\n3\t1\t0003.PNG\t0\t0003_label.PNG\n"
    (root / "Class1/Train/Label/Labels.txt").write_text(lines)
    found = describe(root)
    assert len(found) == 12
    assert found["Class1/Train/0001.PNG"] == ("Class1", "good", "train", "")
    label = "Class1/Train/Label/0002_label.PNG"
    assert found["Class1/Train/0002.PNG"] == ("Class1", "defective", "train", label)
    assert found["Class1/Train/0003.PNG"] == ("Class1", "defective", "train", "")
    assert found["Class2/Test/0003.PNG"] == ("Class2", "good", "test", "")
    root.rename(tmp_path / "Class0")
    root = tmp_path / "as" / "it" / "comes"
    root.mkdir(parents=True)
    (tmp_path / "Class0").rename(root / "DAGM2007")
    assert {facts[0] for facts in describe(root).values()} == {"DAGM2007/Class1", "DAGM2007/Class2"}


def test_a_few_folders_of_a_public_layout_among_class_folders_change_nothing(tmp_path: Path) -> None:
    root = tmp_path / "nut"
    draw(*(root / "good" / f"{number}.png" for number in range(4)))
    draw(*(root / "crack" / f"{number}.png" for number in range(2)), root / "crack" / "Train" / "0.png")
    (root / "crack" / "Train" / "Label").mkdir()
    assert Counter(facts[1] for facts in describe(root).values()) == {"good": 4, "crack": 3}
