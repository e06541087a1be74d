"""Manifest: every column is read, and what is wrong is told by its line."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mvdefect.core.errors import LayoutError
from mvdefect.data.records import Record
from mvdefect.data.sources.manifest import read_manifest
from tests.conftest import make_texture, write_image


@pytest.fixture
def line_hall(tmp_path: Path) -> Path:
    """Six photographs and a mask in a folder with the name of the product."""
    folder = tmp_path / "gear"
    for number in range(6):
        write_image(folder / "images" / f"{number}.png", make_texture(number))
    write_image(folder / "masks" / "3.png", make_texture(3)[..., 0])
    return folder


def write_manifest(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path = folder / "manifest.csv"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return path


def read(folder: Path, *lines: str, encoding: str = "utf-8") -> tuple[Record, ...]:
    return read_manifest(write_manifest(folder, *lines, encoding=encoding)).records


def refuse(folder: Path, *lines: str) -> str:
    with pytest.raises(LayoutError) as caught:
        read(folder, *lines)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_all_columns_in_any_order(line_hall: Path) -> None:
    path = write_manifest(
        line_hall,
        "group,split,path,mask,defect_type,label,category",
        "serial 1,train,images/1.png,,good,good,nut",
        "serial 1,val,images/0.png,,,0,nut",
        ",test,images/3.png,masks/3.png,crack,defective,bolt",
        ",test,images/2.png,,,1,",
    )
    layout = read_manifest(path)
    assert layout.root == line_hall.resolve()
    assert layout.orphan_masks == ()
    images, root = line_hall.resolve() / "images", line_hall.resolve()
    assert layout.records == (
        Record("images/0.png", images / "0.png", "nut", "good", None, "serial 1", "val"),
        Record("images/1.png", images / "1.png", "nut", "good", None, "serial 1", "train"),
        Record("images/2.png", images / "2.png", "gear", "defective", None, "", "test"),
        Record("images/3.png", images / "3.png", "bolt", "crack", root / "masks" / "3.png", "", "test"),
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("ending", ["", "\r"])
def test_what_spreadsheets_write(line_hall: Path, separator: str, encoding: str, ending: str) -> None:
    other = ";" if separator == "," else ","
    rows = [
        [" Path ", '"Defect_Type"', "GROUP"],
        ["images/0.png", "Good", f'"a{other}{other}{other} ""b"""'],
        [""] * 3,
        [" images/1.png ", "crack", "ü"],
    ]
    lines = [separator.join(row) + ending for row in rows]
    first, second = read(line_hall, *lines, "", encoding=encoding)
    assert (first.id, first.defect_type, first.group) == (
        "images/0.png",
        "good",
        f'a{other}{other}{other} "b"',
    )
    assert (second.id, second.defect_type, second.group, second.part) == ("images/1.png", "crack", "ü", "")


@pytest.mark.parametrize(
    ("header", "cells", "expected"),
    [
        ("label", "good", "good"),
        ("label", "0", "good"),
        ("label", "1", "defective"),
        ("label", "Defective", "defective"),
        ("defect_type", "good", "good"),
        ("defect_type", "crack", "crack"),
        ("label,defect_type", "1,crack", "crack"),
        ("label,defect_type", ",crack", "crack"),
        ("label,defect_type", "good,", "good"),
    ],
)
def test_label_and_defect_type(line_hall: Path, header: str, cells: str, expected: str) -> None:
    (record,) = read(line_hall, f"path,{header}", f"images/0.png,{cells}")
    assert record.defect_type == expected
    assert record.label == (expected != "good")


def test_files_elsewhere_have_ids_below_their_common_folder(line_hall: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "archive" / "old.png", make_texture(9))
    lines = ("path,label,category", "images/0.png,good,nut", f"{tmp_path}/archive/old.png,1,bolt")
    assert [record.id for record in read(line_hall, *lines)] == ["archive/old.png", "gear/images/0.png"]
    # Neither the categories that are asked for nor the manifest's own place change an id.
    (alone,) = read_manifest(line_hall / "manifest.csv", ["nut"]).records
    assert alone.id == "gear/images/0.png"
    elsewhere = tmp_path / "lists"
    elsewhere.mkdir()
    lines = ("path,label", "../gear/images/0.png,good", "../archive/old.png,1")
    assert [record.id for record in read(elsewhere, *lines)] == ["archive/old.png", "gear/images/0.png"]


def test_names_are_normalised_and_files_are_found_as_they_are_spelt(tmp_path: Path) -> None:
    spelt = unicodedata.normalize("NFD", "prüf")
    write_image(tmp_path / f"{spelt}.png", make_texture(0))
    (record,) = read(
        tmp_path, "path,defect_type,category,group", ",".join([f"{spelt}.png", spelt, spelt, spelt])
    )
    assert record.path.name == f"{spelt}.png"
    assert (record.id, record.defect_type, record.category, record.group) == ("prüf.png", *["prüf"] * 3)


def test_categories_are_selected(line_hall: Path) -> None:
    path = write_manifest(
        line_hall, "path,label,category", "images/0.png,0,nut", "images/1.png,1,bolt", "images/2.png,1,nut"
    )
    assert [record.id for record in read_manifest(path, ["nut"]).records] == ["images/0.png", "images/2.png"]
    with pytest.raises(LayoutError, match="unknown category 'nuts'. Did you mean 'nut'"):
        read_manifest(path, ["nuts"])


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("path,lable", "Received: path, lable.* Did you mean 'label' by 'lable'"),
        ("path,label,path", "the header .* names the column path more than once"),
        ("path,category", r"columns: path .* and label or defect_type.*Received: path, category"),
        ("label,defect_type", "Received: label, defect_type"),
    ],
)
def test_a_wrong_header_is_refused(line_hall: Path, header: str, message: str) -> None:
    path = write_manifest(line_hall, header, "images/0.png,good")
    with pytest.raises(LayoutError, match=message):
        read_manifest(path)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("images/9.png,good,,,,", "path must name a file.* Received: 'images/9.png'"),
        ("images,good,,,,", "path must name a file.* Received: 'images'"),
        (",good,,,,", "path must name a file.* Received: ''"),
        (r"images\9.png,good,,,,", r"path must name a file"),
        (f"{'x' * 300}.png,good,,,,", "path cannot be read: File name too long"),
        ("images/0.png,maybe,,,,", "label must be good or 0, or defective or 1.*Received: 'maybe'"),
        ("images/0.png,,,,,", "label or defect_type is needed"),
        (
            "images/0.png,good,crack,,,",
            "label and defect_type contradict each other. Received: 'good' and 'crack'",
        ),
        ("images/0.png,1,good,,,", "label and defect_type contradict each other. Received: '1' and 'good'"),
        ("images/0.png,,a/b,,,", "defect_type must be a name .*Received: 'a/b'"),
        ("images/0.png,1,,a//b,,", "category must be a name .*Received: 'a//b'"),
        ("images/0.png,1,,,masks/9.png,", "mask must name a file.* Received: 'masks/9.png'"),
        ("images/0.png,1,,,,holdout", "split must be train, val, test. Received: 'holdout'"),
        ("images/0.png,1,,,", "it must have 6 cells.*Received: 5"),
        ("images/0.png,1,,,,train,x", "it must have 6 cells.*Received: 7"),
    ],
)
def test_a_wrong_row_is_told_by_its_line(line_hall: Path, cells: str, message: str) -> None:
    header = "path,label,defect_type,category,mask,split"
    path = write_manifest(line_hall, header, "images/1.png,good,,,,train", "", cells)
    with pytest.raises(LayoutError, match=f"line 4: {message}"):
        read_manifest(path)


@pytest.mark.parametrize("words", [("OK", "NG"), ("pass", "Fail"), ("normal", "anomaly"), ("0.0", "1.0")])
def test_labels_are_read_as_people_write_them(line_hall: Path, words: tuple[str, str]) -> None:
    rows = [f"images/{number}.png,{words[number % 2]}" for number in range(4)]
    records = read_manifest(write_manifest(line_hall, "path,label", *rows)).records
    assert [record.label for record in records] == [0, 1, 0, 1]


def test_lines_are_counted_as_an_editor_does(line_hall: Path) -> None:
    lines = ("path,label,group", 'images/0.png,good,"two', 'lines"', "images/9.png,good,", "images/8.png,1,")
    message = refuse(line_hall, *lines)
    assert "2 error(s)" in message
    assert "line 4: path must name a file" in message
    assert "line 5: path must name a file" in message


def test_one_image_in_two_rows_is_told_with_both_lines(line_hall: Path) -> None:
    message = refuse(line_hall, "path,label", "images/0.png,0", "images/1.png,0", "images/../images/0.png,1")
    assert "1 error(s)" in message
    assert "line 4: path names the image of line 2 again" in message


def test_a_split_for_some_rows_is_refused(line_hall: Path) -> None:
    rows = ("images/0.png,0,", "images/1.png,0,test", "images/2.png,0,")
    message = refuse(line_hall, "path,label,split", *rows)
    assert "2 error(s)" in message
    assert "line 2: split is empty" in message
    assert "line 4: split is empty" in message
    assert [record.part for record in read(line_hall, "path,label,split", *rows[::2])] == ["", ""]


def test_ten_errors_are_listed_in_order_and_the_rest_counted(line_hall: Path) -> None:
    rows = [f"missing/{number}.png,0" for number in range(14)]
    message = refuse(line_hall, "path,label", "images/0.png,0", "images/0.png,0", *rows)
    assert message.startswith("14 error(s) in the table ")
    places = [message.index(f"line {number}:") for number in range(4, 14)]
    assert places == sorted(places)
    assert "line 14:" not in message
    assert message.endswith("; and 4 more")


def test_two_images_with_one_name_are_refused(line_hall: Path) -> None:
    write_image(line_hall / "images" / "0.jpg", make_texture(20))
    assert "file suffixes do not count" in refuse(line_hall, "path,label", "images/0.png,0", "images/0.jpg,0")


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"", "the table is empty"),
        (b"\n\n", "columns: path"),
        (b"path,label\n", "names no image"),
        (b"path,label\n\nimages/0.png,\x81\n", "must be UTF-8 .*line 3 is neither"),
        ("path,label\n".encode("utf-16"), "names no image"),
        (b'path,label\nimages/0.png,"good\n', "no CSV file from line 2 on"),
        (b'path,label\nimages/1.png,0\nimages/0.png,"good"x\n', "no CSV file from line 3 on"),
    ],
)
def test_a_damaged_file_is_refused(line_hall: Path, encoded: bytes, message: str) -> None:
    path = line_hall / "manifest.csv"
    path.write_bytes(encoded)
    with pytest.raises(LayoutError, match=message):
        read_manifest(path)


def test_a_missing_file_and_a_folder_are_refused(line_hall: Path) -> None:
    for path in (line_hall / "missing.csv", line_hall):
        with pytest.raises(LayoutError, match="the table cannot be read"):
            read_manifest(path)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    encoded=st.one_of(
        st.binary(max_size=60), st.text(max_size=60).map(lambda tail: f"path,label\n{tail}".encode())
    )
)
def test_any_content_is_read_or_refused_in_one_line(line_hall: Path, encoded: bytes) -> None:
    path = line_hall / "manifest.csv"
    path.write_bytes(encoded)
    with pytest.raises(LayoutError) as caught:
        read_manifest(path)
    assert len(str(caught.value).splitlines()) == 1
