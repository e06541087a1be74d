"""The first look at every file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from mvdefect.core.errors import ImageError
from mvdefect.data import scan as scan_module
from mvdefect.data.images import Decoding, decode_image, make_thumbnail
from mvdefect.data.scan import refuse_broken, scan_images
from mvdefect.data.sources.folders import read_records
from tests.conftest import make_texture, replace_unseen, write_class_folders, write_image


def test_facts_are_those_of_the_files(tmp_path: Path) -> None:
    records = read_records(write_class_folders(tmp_path / "nut"))
    scan = scan_images(records)
    assert scan.records == records
    for index, record in enumerate(records):
        encoded = record.path.read_bytes()
        assert scan.sha256[index] == hashlib.sha256(encoded).hexdigest()
        assert np.array_equal(scan.thumbnails[index], make_thumbnail(decode_image(encoded)))
    assert scan.sizes_px.tolist() == [[40, 48]] * len(records)
    assert scan.defect_shares == {}  # class folders have no masks


def test_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = read_records(write_class_folders(tmp_path / "nut"))
    first = scan_images(records)
    monkeypatch.setattr(scan_module, "read_file_facts", lambda _: pytest.fail("read again"))
    second = scan_images(records)
    assert second.sha256 == first.sha256
    assert np.array_equal(second.thumbnails, first.thumbnails)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    records = read_records(write_class_folders(tmp_path / "nut"))
    first = scan_images(records)
    write_image(records[0].path, make_texture(99))
    second = scan_images(records)
    assert second.sha256[0] != first.sha256[0]
    replace_unseen(records[0].path)
    assert scan_images(records).sha256[0] not in (first.sha256[0], second.sha256[0])


def test_a_damaged_cache_is_ignored(tmp_path: Path) -> None:
    records = read_records(write_class_folders(tmp_path / "nut"))
    first = scan_images(records)
    scan_module._cache_file(records, Decoding()).write_bytes(b"not a cache")
    assert scan_images(records).sha256 == first.sha256


@pytest.fixture
def broken_root(tmp_path: Path) -> Path:
    root = write_class_folders(tmp_path / "nut")
    whole = (root / "good" / "000.png").read_bytes()
    (root / "good" / "000.png").write_bytes(whole[: len(whole) // 2])
    (root / "good" / "001.png").write_bytes(b"")
    (root / "dent" / "002.png").write_text("a note")
    (root / "dent" / "notes.png").write_text("a note")
    return root


def test_broken_files_are_all_named(broken_root: Path) -> None:
    with pytest.raises(ImageError, match=r"^4 file\(s\) cannot be used.*--skip-broken") as caught:
        scan_images(read_records(broken_root))
    for name in ("good/000.png", "good/001.png", "dent/002.png", "dent/notes.png"):
        assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_files_can_be_left_out(broken_root: Path, messages: list[str]) -> None:
    scan = scan_images(read_records(broken_root), skip_broken=True)
    assert len(scan.records) == len(scan.sha256) == len(scan.thumbnails) == 21
    assert any("left out 4 file(s)" in message for message in messages)


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    product = tmp_path / "nut"
    write_image(product / "train/good/000.png", make_texture(0))
    write_image(product / "test/dent/000.png", make_texture(1))
    mask = write_image(product / "ground_truth/dent/000_mask.png", np.zeros((10, 12), np.uint8))
    with pytest.raises(ImageError, match="must have the image's size, 48x40 pixels. Received: 12x10"):
        scan_images(read_records(product))
    mask.write_bytes(b"x")
    with pytest.raises(ImageError, match="its mask .* cannot be read"):
        scan_images(read_records(product))


def test_a_quick_look_finds_what_a_scan_finds_and_decodes_few(
    broken_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = read_records(broken_root)
    messages = []
    for look in (refuse_broken, scan_images):
        with pytest.raises(ImageError) as caught:
            look(records)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    for record in records:
        write_image(record.path, make_texture(5))
    with records[0].path.open("ab") as stream:
        stream.write(b"\0\0")  # as some cameras do
    decoded = []
    read = scan_module.read_file_facts
    monkeypatch.setattr(
        scan_module, "read_file_facts", lambda one, **options: decoded.append(one) or read(one, **options)
    )
    refuse_broken(records)
    assert decoded == [records[0]]
