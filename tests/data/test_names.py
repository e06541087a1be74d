"""Labels that stand in names or paths."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mvdefect.core.errors import LayoutError, UnlabelledError
from mvdefect.data.sources.names import read_names
from tests.conftest import make_texture, write_image

NAMES = ("part_1_ok.png", "part_2_ok.png", "part_3_ng.png")


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        write_image(tmp_path / "gear" / name, make_texture(number))
    return tmp_path / "gear"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"_(?P<label>ok|ng)\.", ["good", "good", "defective"]),
        (r"_(?P<type>ok|ng)\.", ["good", "good", "ng"]),
        (r"(ok|ng)\.png$", ["good", "good", "defective"]),
        (r"(?P<type>ok|[a-z]+)\.png", ["good", "good", "ng"]),
    ],
)
def test_labels_are_found_in_names(flat: Path, pattern: str, expected: list[str]) -> None:
    layout = read_names(flat, pattern)
    assert [record.defect_type for record in layout.records] == expected
    assert {record.category for record in layout.records} == {"gear"}
    assert layout.notes[0].startswith("--label-pattern found ")


def test_a_suffix_is_no_label(tmp_path: Path) -> None:
    for number, name in enumerate(("1_ok.png", "2_ng.png", "3.png")):
        write_image(tmp_path / name, make_texture(number))
    with pytest.raises(LayoutError, match=r"finds none in 1 of 3: 3\.png"):
        read_names(tmp_path, "(?P<label>ok|ng)")
    (tmp_path / "3.png").unlink()
    assert [one.label for one in read_names(tmp_path, ".*(?P<label>ok|ng)").records] == [0, 1]


def test_product_group_and_part_are_found_too(tmp_path: Path) -> None:
    for number, name in enumerate(
        ("nut/train/SN1-OK.png", "nut/valid/SN2-crack.png", "bolt/test/SN2-OK.png")
    ):
        write_image(tmp_path / name, make_texture(number))
    pattern = r"^(?P<category>\w+)/(?P<part>\w+)/(?P<group>SN\d+)-(?P<type>\w+)"
    records = read_names(tmp_path, pattern).records
    assert [(one.category, one.part, one.group, one.defect_type) for one in records] == [
        ("bolt", "test", "SN2", "good"),
        ("nut", "train", "SN1", "good"),
        ("nut", "val", "SN2", "crack"),
    ]
    assert len(read_names(tmp_path, pattern, ["nut"]).records) == 2
    with pytest.raises(LayoutError, match="unknown category 'nit'. Did you mean 'nut'"):
        read_names(tmp_path, pattern, ["nit"])


def test_masks_are_masks_here_too(flat: Path) -> None:
    mask = np.zeros((40, 48), np.uint8)
    mask[5:9, 5:9] = 255
    write_image(flat / "part_3_ng_GT.png", mask)
    write_image(flat / "masks" / "part_2_ok.png", 0 * mask)
    defect = {one.id: one.mask_path for one in read_names(flat, "(ok|ng)").records}
    assert defect == {
        "part_1_ok.png": None,
        "part_2_ok.png": flat / "masks" / "part_2_ok.png",
        "part_3_ng.png": flat / "part_3_ng_GT.png",
    }


def test_other_words_for_good_can_be_named(tmp_path: Path) -> None:
    for number, name in enumerate(("A1.png", "A2.png", "B3.png")):
        write_image(tmp_path / name, make_texture(number))
    with pytest.raises(LayoutError, match="found no word for good: 2 A, 1 B. If one of them is: --good WORD"):
        read_names(tmp_path, "^(?P<label>[AB])")
    records = read_names(tmp_path, "^(?P<label>[AB])", good=["a"]).records
    assert Counter(one.defect_type for one in records) == {"good": 2, "B": 1}


@pytest.mark.parametrize(
    ("pattern", "kind", "message"),
    [
        ("(ok", LayoutError, "is no regular expression: missing \\)"),
        ("ok|ng", LayoutError, r"needs a group \(\?P<label>...\) or \(\?P<type>...\)"),
        ("(o)(k)", LayoutError, "needs a group"),
        ("(?P<lable>ok|ng)", LayoutError, "unknown group in --label-pattern 'lable'. Did you mean 'label'"),
        (
            "(?P<label>OK|NG)",
            UnlabelledError,
            r"finds none in 3 of 3: part_1_ok.png.*unless it begins with \(\?i\)",
        ),
        ("(?P<label>ok)", LayoutError, "finds none in 1 of 3: part_3_ng.png"),
        ("(?P<label>x)?part", UnlabelledError, "finds none in 3 of 3"),
        ("(?P<part>p).*(?P<label>ok|ng)", LayoutError, "part must find train, val or test. Received: 'p'"),
        (
            "(?P<type>part).*(?P<label>ok|ng)",
            LayoutError,
            "label and type contradict each other. Received: 'ok'",
        ),
    ],
)
def test_a_wrong_pattern_is_told(flat: Path, pattern: str, kind: type[LayoutError], message: str) -> None:
    with pytest.raises(LayoutError, match=message) as caught:
        read_names(flat, pattern)
    assert type(caught.value) is kind


def test_a_folder_without_images_or_none_at_all_is_told(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="the data folder is empty"):
        read_names(tmp_path, "(ok|ng)")
    with pytest.raises(LayoutError, match="does not exist"):
        read_names(tmp_path / "gone", "(ok|ng)")
