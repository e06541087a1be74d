"""The prepared store: any TFDS user can read it, and it is made only when it must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from mvdefect.data.images import decode_image, resize_image
from mvdefect.data.layouts import read_records
from mvdefect.data.prepare import PreparedImages, prepare_images
from mvdefect.data.scan import scan_images
from mvdefect.errors import ImageError
from tests.conftest import make_texture, write_class_folders, write_image


def read_all(path: Path) -> list[dict[str, np.ndarray]]:
    builder = tfds.builder_from_directory(path)
    return list(tfds.as_numpy(builder.as_dataset(split="images")))


def test_the_store_holds_every_pixel_sorted_by_id(parts_root: Path) -> None:
    scan = scan_images(read_records(parts_root))
    examples = read_all(prepare_images(scan, 64, "letterbox").path)
    assert [example["id"].decode() for example in examples] == [record.id for record in scan.records]
    for record, example in zip(scan.records, examples, strict=True):
        expected = resize_image(decode_image(record.path.read_bytes()), 64)
        assert np.array_equal(example["image"], expected)
        assert example["label"] == record.label
        assert example["category"].decode() == record.category
        assert example["defect_type"].decode() == record.defect_type
        assert example["has_mask"] == (record.mask_path is not None)
        assert example["mask"].any() == (record.label == 1)


def test_masks_are_prepared_as_their_images(tmp_path: Path) -> None:
    product = tmp_path / "nut"
    write_image(product / "train/good/000.png", make_texture(0, 30, 60))
    image = np.zeros((30, 60, 3), np.uint8)
    image[10:20, 40:55] = 255
    write_image(product / "test/dent/000.png", image)
    write_image(product / "ground_truth/dent/000_mask.png", image[:, :, 0])
    store = prepare_images(scan_images(read_records(product)), 64, "letterbox")
    example = read_all(store.path)[0]
    bright = example["image"][:, :, 0] > 0
    assert np.array_equal(example["mask"][:, :, 0] > 0, bright)
    assert bright.sum() > 100


def test_the_store_is_reused_until_something_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path / "cache"))
    root = write_class_folders(tmp_path / "nut")
    scan = scan_images(read_records(root))
    first = prepare_images(scan, 64, "letterbox")
    with monkeypatch.context() as patch:
        patch.setattr(PreparedImages, "_make_example", lambda *_: pytest.fail("prepared again"))
        assert prepare_images(scan, 64, "letterbox") == first
    assert prepare_images(scan, 96, "letterbox").path != first.path
    assert prepare_images(scan, 64, "stretch").path != first.path
    write_image(root / "good" / "000.png", make_texture(77))
    assert prepare_images(scan_images(read_records(root)), 64, "letterbox").path != first.path


def test_an_interrupted_preparation_is_not_taken_for_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path / "cache"))
    scan = scan_images(read_records(write_class_folders(tmp_path / "nut")))
    make_example = PreparedImages._make_example

    def interrupt(self: PreparedImages, record: object) -> object:
        if record is scan.records[-1]:
            raise KeyboardInterrupt
        return make_example(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(PreparedImages, "_make_example", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare_images(scan, 64, "letterbox")
    assert len(read_all(prepare_images(scan, 64, "letterbox").path)) == len(scan.records)


def test_a_file_that_breaks_in_between_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path / "cache"))
    scan = scan_images(read_records(write_class_folders(tmp_path / "nut")))
    scan.records[5].path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"005\.png changed since it was first read"):
        prepare_images(scan, 64, "letterbox")


def test_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path / "cache"))
    scan = scan_images(read_records(write_class_folders(tmp_path / "nut")))
    prepare_images(scan, 64, "letterbox")
    assert capfd.readouterr().out == ""
