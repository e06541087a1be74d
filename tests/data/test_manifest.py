"""Manifest: every column is read, and what is wrong is told by its line."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mvdefect.core.errors import LayoutError
from mvdefect.data.records import Record, make_id, sort_records
from mvdefect.data.sources.folders import Layout
from mvdefect.data.sources.manifest import format_manifest, read_manifest
from mvdefect.data.sources.opening import open_unlabelled
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


@pytest.mark.parametrize("name", ["image", "Filename", "file_name", "FILE", "img", "image-path", "Bild"])
@pytest.mark.parametrize("label", ["label", "Class", "target", "y", "is_defective", "result"])
def test_columns_have_their_usual_names(line_hall: Path, name: str, label: str) -> None:
    layout = read_manifest(write_manifest(line_hall, f"{name},{label}", "images/0.png,0", "images/1.png,1"))
    assert [record.label for record in layout.records] == [0, 1]
    assert f"the column '{name}' is read as path" in layout.notes


def test_other_columns_are_named_and_ignored(line_hall: Path) -> None:
    path = write_manifest(
        line_hall, ",path,label,operator,\x07", "0,images/0.png,OK,7,", "1,images/1.png,NG,8,"
    )
    layout = read_manifest(path)
    assert [record.label for record in layout.records] == [0, 1]
    assert layout.notes == (f"the table {path}: ignored column(s): 'operator', '\\x07', 1 without a name",)


@pytest.mark.parametrize(
    ("words", "is_assumed"),
    [
        (("OK", "NG"), False),
        (("pass", "FAIL"), False),
        (("normal", "anomaly"), False),
        (("i.O.", "n.i.O."), False),
        (("False", "True"), True),
        (("0", "1"), True),
        (("0.0", "1.0"), True),
        (("no", "yes"), True),
    ],
)
def test_what_numbers_were_taken_for_is_told(
    line_hall: Path, words: tuple[str, str], is_assumed: bool
) -> None:
    rows = [f"images/{number}.png;{words[number % 2]}" for number in range(4)]
    layout = read_manifest(write_manifest(line_hall, "path;label", *rows))
    assert [record.defect_type for record in layout.records] == ["good", "defective"] * 2
    told = f"in the column 'label' {words[0]} is good, {words[1]} is defective; if 1 means good: --good 1"
    assert (told in layout.notes) == is_assumed
    assert len(layout.notes) == is_assumed


@pytest.mark.parametrize(("header", "good"), [("path,is_good", ()), ("path,label", ("1",)), ("path,OK", ())])
def test_one_may_mean_good(line_hall: Path, header: str, good: tuple[str, ...]) -> None:
    path = write_manifest(line_hall, header, "images/0.png,1", "images/1.png,0")
    assert [record.label for record in read_manifest(path, good=good).records] == [0, 1]


def test_labels_that_are_no_words_for_either_can_be_named_or_are_defects(line_hall: Path) -> None:
    path = write_manifest(line_hall, "path,label", "images/0.png,A", "images/1.png,B", "images/2.png,ok")
    layout = read_manifest(path)
    assert [record.defect_type for record in layout.records] == ["A", "B", "good"]
    assert layout.notes == ("the column 'label' names defects: A (1), B (1)",)
    assert [one.defect_type for one in read_manifest(path, good=["a"]).records] == ["good", "B", "good"]
    assert "Received: 'A'" in refuse(line_hall, "path,label", "images/0.png,A", "images/1.png,NG")


@pytest.mark.parametrize("word", ["none", "-", "N/A", "", "nan"])
def test_a_word_for_no_defect_is_no_defect_type(line_hall: Path, word: str) -> None:
    layout = read_manifest(
        write_manifest(line_hall, "path,defect_type", f"images/0.png,{word}", "images/1.png,crack")
    )
    assert [record.defect_type for record in layout.records] == ["good", "crack"]
    assert layout.notes == ("1 row(s) name no defect and count as good",)
    first, second = read(
        line_hall, "path,label,defect_type", f"images/0.png,NG,{word}", f"images/1.png,OK,{word}"
    )
    assert (first.defect_type, second.defect_type) == ("defective", "good")


def test_a_column_defect_may_say_yes_or_no(line_hall: Path) -> None:
    (first, second) = read(line_hall, "image;defect", "images/0.png;0", "images/1.png;1")
    assert (first.defect_type, second.defect_type) == ("good", "defective")
    (first, second) = read(line_hall, "image,label,defect", "images/0.png,OK,0", "images/1.png,NG,1")
    assert (first.defect_type, second.defect_type) == ("good", "defective")


def test_several_rows_of_one_image_are_one_image_with_all_defects(line_hall: Path) -> None:
    path = write_manifest(
        line_hall,
        "path,defect_type,mask",
        *("images/0.png,dent,", "images/0.png,crack,masks/3.png", "images/0.png,dent,", "images/1.png,good,"),
    )
    layout = read_manifest(path)
    assert [(one.id, one.defect_type) for one in layout.records] == [
        ("images/0.png", "crack+dent"),
        ("images/1.png", "good"),
    ]
    assert layout.records[0].mask_path == line_hall.resolve() / "masks" / "3.png"
    assert layout.notes == ("4 rows name 2 images; the defects of an image are joined by '+'",)


@pytest.mark.parametrize(
    ("column", "values", "differing"),
    [
        ("category", ("a", "b"), "category"),
        ("group", ("a", "b"), "group"),
        ("split", ("train", "test"), "split"),
        ("mask", ("masks/3.png", "images/3.png"), "mask"),
    ],
)
def test_rows_of_one_image_may_not_contradict_each_other(
    line_hall: Path, column: str, values: tuple[str, str], differing: str
) -> None:
    rows = [f"images/0.png,crack,{value}" for value in values]
    message = refuse(line_hall, f"path,defect_type,{column}", *rows)
    assert f"line 3: path names the image of line 2 again, with another {differing}" in message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_of_spreadsheets(line_hall: Path, encoding: str) -> None:
    write_image(line_hall / "Prüfling.png", make_texture(8))
    path = write_manifest(
        line_hall, "sep=\t", "path\tdefect_type", "Prüfling.png\tÖlfleck", encoding=encoding
    )
    layout = read_manifest(path)
    assert [(one.id, one.defect_type) for one in layout.records] == [("Prüfling.png", "Ölfleck")]
    assert any("read as cp1252" in note for note in layout.notes) == (encoding == "cp1252")


def test_files_are_found_by_what_a_table_of_another_machine_says(line_hall: Path) -> None:
    write_image(line_hall / "deeper" / "same.png", make_texture(8))
    write_image(line_hall / "other" / "same.png", make_texture(9))
    rows = ("images\\0.png,0", "1.png,0", "C:\\data\\images\\2.png,1", "/home/me/deeper/same.png,1")
    layout = read_manifest(write_manifest(line_hall, "path,label", *rows))
    assert [one.id for one in layout.records] == ["deeper/same.png", *(f"images/{n}.png" for n in range(3))]
    assert "3 file(s) were found by their names alone" in layout.notes
    assert "'same.png', of which there are 2 below" in refuse(line_hall, "path,label", "same.png,0")
    assert "'elsewhere/0.png'" in refuse(line_hall, "path,label", "elsewhere/0.png,0")


def test_usual_words_for_parts(line_hall: Path) -> None:
    rows = [f"images/{n}.png,0,{part}" for n, part in enumerate(("Training", "valid", "validation", "TEST"))]
    assert [one.part for one in read(line_hall, "path,label,split", *rows)] == ["train", "val", "val", "test"]


def list_facts(layout: Layout) -> list[tuple[object, ...]]:
    return [
        (one.id, one.path.resolve(), one.category, one.defect_type, one.mask_path, one.group, one.part)
        for one in layout.records
    ]


@pytest.mark.parametrize("place", ["", "lists/deep", "gear/images"])
def test_a_table_that_was_written_is_read_as_the_same_records(
    line_hall: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = 'a, "b"; c.png'
    for name in (odd, " spaces .png", "line\nbreak.png", "Stück.png", os.fsdecode(b"Kratzer_\xe4.png")):
        write_image(line_hall / "images" / "odd.png", make_texture(8)).rename(line_hall / "images" / name)
    (line_hall / "images" / "a, b.png").write_bytes(b"x")
    root = line_hall.resolve()
    mask = root / "masks" / "3.png"
    names = sorted(path.name for path in (root / "images").iterdir())
    records = sort_records(
        Record(
            id=make_id(root / "images" / name, root.parent),
            path=root / "images" / name,
            category="line1/gear",
            defect_type=("good", "crack", "defective", "crack+dent")[number % 4],
            mask_path=mask if number % 4 == 1 else None,
            group="SN 1" if number % 2 else "",
            part=("train", "val", "test")[number % 3],
        )
        for number, name in enumerate(names)
    )
    folder = line_hall.parent / place
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "table.csv"
    table.write_text(format_manifest(records, folder), encoding="utf-8", newline="")
    monkeypatch.chdir("/")
    assert list_facts(read_manifest(table)) == list_facts(Layout(root, records))
    assert str(root) not in table.read_text()


def test_a_table_without_labels_is_to_be_filled_in(line_hall: Path) -> None:
    layout = open_unlabelled(str(line_hall))
    table = line_hall / "table.csv"
    text = format_manifest(layout.records, line_hall)
    table.write_text(text)
    with pytest.raises(LayoutError, match="7 error.*line 2: label or defect_type is needed; both are empty"):
        read_manifest(table)
    table.write_text(text.replace(".png,,", ".png,ok,"))
    assert len(read_manifest(table).records) == 7
