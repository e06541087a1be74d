"""No file of a folder is left out silently: each has a row, or is counted in a message."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from mvdefect.core.errors import ConfigError, RunError
from mvdefect.data.images import Decoding
from mvdefect.inspector.answers import Answer
from mvdefect.inspector.photographs import list_photographs, sort_names
from mvdefect.inspector.places import Preparation
from mvdefect.inspector.reading import make_engine
from mvdefect.prediction.inspectors import InspectorPlace, check_inspector
from mvdefect.prediction.predict import Tally, inspect_photographs
from mvdefect.prediction.rows import VerdictRow
from mvdefect.prediction.watch import watch_folder

HEIC = b"\0\0\0\x18ftypheic" + bytes(99)
PREPARATION = Preparation((64, 64), "letterbox", Decoding())


def answer_by_brightness(pixels: np.ndarray, _with_heatmaps: bool) -> Iterator[Answer]:
    """Dark images are defective."""
    for image in pixels:
        share = 1 - float(image.max()) / 255
        yield Answer("defective" if share > 0.5 else "good", share, 1.0)


def encode(grey: int, suffix: str = ".png", dtype: str = "uint8") -> bytes:
    return cv2.imencode(suffix, np.full((64, 64), grey, dtype))[1].tobytes()


def inspect(*sources: object, preparation: Preparation = PREPARATION) -> dict[str, VerdictRow]:
    engine = make_engine(preparation, answer_by_brightness)
    rows = inspect_photographs(engine, list_photographs([str(source) for source in sources]), 4)
    return {row.file.removeprefix(f"{sources[0]}/"): row for row in rows}


def count(rows: dict[str, VerdictRow]) -> Tally:
    tally = Tally()
    for row in rows.values():
        tally.add(row.label)
    return tally


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What may lie in a folder beside one good image."""
    root = tmp_path / "in"
    contents = {
        "000.png": encode(255),
        "IMG_0001.HEIC": HEIC,
        "heic_without_suffix": HEIC,
        "cam_0002.raw": bytes(9216),
        "shot.dng": encode(255, ".tiff"),
        "array.npy": b"\x93NUMPY\1\0" + bytes(99),
        "frame_0003": encode(0),
        "frame.0004": encode(255, ".jpg"),
        "noise": bytes(99),
        "empty": b"",
        "batch.zip": b"PK\3\4" + bytes(99),
        "notes.txt": b"a note",
        "labels.json": b"{}",
        "labels.csv": b"a,b",
        ".hidden.png": encode(0),
        "Thumbs.db": b"x",
    }
    root.mkdir()
    for name, content in contents.items():
        (root / name).write_bytes(content)
    return root


def test_every_file_has_a_row_or_is_counted(folder: Path, messages: list[str]) -> None:
    rows = inspect(folder)
    assert {name: row.label for name, row in rows.items() if row.label != "unreadable"} == {
        "000.png": "good",
        "frame_0003": "defective",
        "frame.0004": "good",
    }
    errors = {name: row.error for name, row in rows.items() if row.label == "unreadable"}
    assert errors == {
        "IMG_0001.HEIC": "HEIC is not supported; convert it to PNG or JPEG",
        "heic_without_suffix": "HEIC is not supported; convert it to PNG or JPEG",
        "cam_0002.raw": "the file is a raw image of a camera; convert it to PNG or JPEG",
        "shot.dng": "the file is a raw image of a camera; convert it to PNG or JPEG",
        "array.npy": "NumPy's format is not supported; convert it to PNG or JPEG",
        "noise": "the file is no image that can be recognised",
        "empty": "the file is empty",
        "batch.zip": "the file is an archive; unpack it",
    }
    assert count(rows).exit_code == 2
    (message,) = messages
    assert message == (
        f"{folder}: left out 3 file(s) whose names are not those of images: "
        "labels.csv, labels.json, notes.txt"
    )


def test_an_archive_hides_nothing_either(folder: Path, messages: list[str]) -> None:
    archive = folder.with_name("all.zip")
    with zipfile.ZipFile(archive, "w") as stream:
        for path in sorted(folder.iterdir()):
            stream.write(path, f"x/{path.name}")
        stream.writestr("__MACOSX/x/._000.png", b"x")
        stream.writestr("x/ground_truth/000.png", encode(255))
    found = inspect(archive)
    expected = inspect(folder)
    del expected["empty"]  # of which a zip says the same, below
    assert {name.removeprefix("x/"): row.label for name, row in found.items() if name != "x/empty"} == {
        name: row.label for name, row in expected.items()
    }
    assert found["x/empty"].error == "the file is empty"
    assert "left out 4 file(s)" in messages[0]  # Thumbs.db too
    assert "left out 1 mask(s): x/ground_truth/000.png" in messages[1]


def test_masks_of_a_data_set_are_no_products(tmp_path: Path, messages: list[str]) -> None:
    names = (
        "test/dent/000.png",
        "ground_truth/dent/000_mask.png",
        "Masks/1.png",
        "a.jpg",
        "a_mask.png",
        "b_mask.png",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(encode(9))
    assert set(inspect(tmp_path)) == {"test/dent/000.png", "a.jpg", "b_mask.png"}
    assert "left out 3 mask(s): Masks/1.png, a_mask.png, ground_truth/dent/000_mask.png" in " ".join(messages)
    assert len(inspect(tmp_path / "ground_truth")) == 1  # which was named
    assert len(inspect(tmp_path / "ground_truth" / "dent" / "*.png")) == 1


def test_a_pattern_leaves_out_what_a_folder_does(folder: Path) -> None:
    (folder / "batch.zip").unlink()  # a pattern opens it
    assert {Path(name).name for name in inspect(folder / "*")} == set(inspect(folder))


def test_a_file_that_is_named_has_a_row_whatever_it_is(folder: Path) -> None:
    (row,) = inspect(folder / "notes.txt").values()
    assert (row.label, row.error) == ("unreadable", "the file is no image that can be recognised")


def test_of_a_large_file_without_a_suffix_only_the_beginning_is_read(tmp_path: Path) -> None:
    with (tmp_path / "disk").open("wb") as stream:
        stream.truncate(2**40)  # sparse
    (row,) = inspect(tmp_path).values()
    assert row.error == "the file is no image that can be recognised"


def test_names_of_any_bytes_are_sorted(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    assert sort_names([name, "a"]).notes == (name,)


def test_a_watched_folder_tells_what_it_leaves_out(folder: Path, messages: list[str]) -> None:
    moment = [0.0]
    newest = max(path.stat().st_mtime for path in folder.iterdir())

    def sleep(seconds: float) -> None:
        moment[0] += seconds

    coming = watch_folder(folder, 1.0, sleep, lambda: newest + moment[0])
    found = {next(coming).path.name for _ in range(11)}
    assert found == {path.name for path in folder.iterdir()} - {
        "notes.txt",
        "labels.json",
        "labels.csv",
        ".hidden.png",
        "Thumbs.db",
    }
    assert len([one for one in messages if "left out 3 file(s)" in one]) == 1  # not in every look


def test_the_reason_reaches_the_row(tmp_path: Path) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "pages.tif", np.zeros((3, 9, 9), np.uint8), photometric="minisblack")
    tifffile.imwrite(tmp_path / "float.tif", np.full((9, 9), 200, np.float32))
    cv2.imwrite(str(tmp_path / "large.png"), np.zeros((100, 120), np.uint8))
    whole = encode(1)
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    small = Preparation((64, 64), "letterbox", Decoding(max_megapixels=0.005))
    errors = {name: row.error for name, row in inspect(tmp_path, preparation=small).items()}
    assert "3 pages" in errors["pages.tif"]
    assert "Received: 200 to 200" in errors["float.tif"]
    assert "120x100 pixels, 0.012 megapixels" in errors["large.png"]
    assert "--max-megapixels" in errors["large.png"]
    assert "broken" in errors["cut.png"]


def test_values_beyond_the_bits_of_the_inspector_are_told(tmp_path: Path, messages: list[str]) -> None:
    for name, grey in (("a", 700), ("b", 1024), ("c", 4095)):
        (tmp_path / f"{name}.png").write_bytes(encode(grey, dtype="uint16"))
    ten = Preparation((64, 64), "letterbox", Decoding(10))
    rows = inspect(tmp_path, preparation=ten)
    assert [row.label for row in rows.values()] == ["good", "good", "good"]
    assert rows["a.png"].probability == pytest.approx(1 - 175 / 255)
    assert rows["a.png"].error == ""
    assert rows["c.png"].error.startswith("values up to 4095, above 1023")
    assert rows["b.png"].probability == rows["c.png"].probability == 0
    assert len(messages) == 1


def test_a_run_of_a_baseline_says_what_to_name_instead(finished_run: Path, tmp_path: Path) -> None:
    baseline_run = tmp_path / "majority"
    shutil.copytree(finished_run, baseline_run)
    config = baseline_run / "config.yaml"
    config.write_text(config.read_text().replace("baseline: null", "baseline: majority"))
    (baseline_run / "model.keras").unlink()
    with pytest.raises(RunError, match="run of the baseline majority, .* mvdefect fit makes one"):
        check_inspector(InspectorPlace(str(baseline_run)))


def test_the_limit_of_a_server_is_its_own() -> None:
    with pytest.raises(ConfigError, match="serve --max-megapixels"):
        check_inspector(InspectorPlace("http://line:8501/v1/models/x", max_megapixels=9))
