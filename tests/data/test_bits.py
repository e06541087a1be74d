"""How many bits images use: found for the data set, the same for all of it, and part of all that is kept."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mvdefect.audit.audit import audit_data
from mvdefect.audit.findings import Severity
from mvdefect.core.errors import ImageError
from mvdefect.data.bits import find_used_bits
from mvdefect.data.images import Decoding
from mvdefect.data.records import Record
from mvdefect.data.resizing import resize_image
from mvdefect.data.scan import Scan, look_at_files, scan_images, settle_decoding
from mvdefect.data.shards import KeptImages
from mvdefect.data.sources.folders import read_layout, read_records
from mvdefect.data.store import PreparedStore, prepare_images


def draw(seed: int, bits: int) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 2**bits, (70, 90)).astype(np.uint16)
    values[0, 0] = 2**bits - 1
    return values


def write_product(root: Path, bits: dict[str, int]) -> Path:
    """Write five 16-bit images a folder, whose values have so many bits."""
    for folder, count in bits.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(5):
            cv2.imwrite(str(root / folder / f"{folder}{number}.png"), draw(number, count))
    return root


def read_store(store: PreparedStore) -> list[np.ndarray]:
    import tensorflow_datasets as tfds

    examples = tfds.builder_from_directory(store.path).as_dataset(split="images")
    return [example["image"].numpy() for example in examples]


@pytest.mark.parametrize(
    ("peak", "bits"),
    [(1, 8), (255, 8), (256, 10), (1023, 10), (1024, 12), (4096, 14), (16384, 16), (65535, 16)],
)
def test_the_bits_are_those_of_a_camera_that_holds_the_largest_value(peak: int, bits: int) -> None:
    used = find_used_bits({"a": peak, "b": 0})
    assert used is not None
    assert (used.bits, used.images, used.peak) == (bits, 1, peak)


def test_images_of_8_bits_use_no_others() -> None:
    assert find_used_bits({"a": 0, "b": 0}) is None


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_a_data_set_is_scaled_as_one(bits: int, tmp_path: Path) -> None:
    records = read_records(write_product(tmp_path / "nut", {"good": bits, "dent": bits - 2}))
    with KeptImages((64, 64), "letterbox") as kept:
        scan = scan_images(records, use=kept.keep)
        assert scan.decoding.bits == bits
        fast = prepare_images(
            records, (64, 64), "letterbox", kept=kept, decoding=scan.decoding, out=tmp_path / "1"
        )
    plain = prepare_images(records, (64, 64), "letterbox", decoding=scan.decoding, out=tmp_path / "2")
    expected = [
        draw(seed, depth) >> (bits - 8) for depth in (bits - 2, bits) for seed in range(5)
    ]  # dent, good
    for store in (fast, plain):
        for found, values in zip(read_store(store), expected, strict=True):
            grey = resize_image(values.astype(np.uint8), (64, 64))
            assert np.array_equal(found, grey[..., None].repeat(3, axis=2))


def test_10_bits_look_as_the_same_picture_in_16(tmp_path: Path) -> None:
    few = read_records(write_product(tmp_path / "few", {"good": 10, "dent": 10}))
    for record in few:
        path = tmp_path / "many" / record.id
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.imread(str(record.path), cv2.IMREAD_UNCHANGED) << 6)
    first, second = scan_images(few), scan_images(read_records(tmp_path / "many"))
    assert (first.decoding.bits, second.decoding.bits) == (10, 16)
    assert np.array_equal(first.thumbnails, second.thumbnails)
    assert np.array_equal(first.fingerprints, second.fingerprints)


def test_what_is_kept_goes_by_the_bits(tmp_path: Path) -> None:
    records = read_records(write_product(tmp_path / "nut", {"good": 12, "dent": 12}))

    def scan(bits: int | None) -> Scan:
        return scan_images(records, decoding=Decoding(bits))

    found, given, other = scan(None), scan(12), scan(13)
    assert np.array_equal(found.thumbnails, given.thumbnails)
    assert not np.array_equal(given.thumbnails, other.thumbnails)
    assert np.array_equal(scan(None).thumbnails, found.thumbnails)  # from the cache
    assert scan(None).decoding == found.decoding == given.decoding
    stores = [
        prepare_images(records, (64, 64), "letterbox", decoding=one.decoding) for one in (found, given, other)
    ]
    assert stores[0].path == stores[1].path != stores[2].path
    assert settle_decoding(records, Decoding()) == found.decoding


def test_a_mixture_is_refused_unless_somebody_says_what_counts(tmp_path: Path) -> None:
    root = write_product(tmp_path / "nut", {"good": 10, "dent": 16})
    records = read_records(root)
    said = (
        "5 of 10 images .* keep 16 grey values or fewer: their values reach 1023, those of the others 65535"
    )
    for work in (lambda: scan_images(records), lambda: settle_decoding(records, Decoding())):
        with pytest.raises(ImageError, match=f"{said}.*--bits 16.*--bits 10.*good/good0.png"):
            work()
    assert scan_images(records, decoding=Decoding(10)).decoding.bits == 10
    (finding,) = [one for one in audit_data(read_layout(root)).findings if one.code == "unused-bits"]
    assert finding.severity is Severity.ERROR
    assert {name for name, _ in finding.files} == {f"good/good{number}.png" for number in range(5)}


def test_one_dark_image_among_many_is_no_mixture() -> None:
    peaks = {str(number): 65535 for number in range(40)}
    used = find_used_bits({**peaks, "lens cap": 900})
    assert used is not None
    assert not used.is_mixture
    assert list(used.dim) == ["lens cap"]


def test_the_check_tells_how_many_bits_are_in_use(tmp_path: Path) -> None:
    root = write_product(tmp_path / "nut", {"good": 12, "dent": 12})
    (finding,) = [one for one in audit_data(read_layout(root)).findings if one.code == "unused-bits"]
    assert finding.severity is Severity.WARNING
    assert "10 image(s)" in finding.message
    assert "4095 of 65535: they are scaled by 12 bits" in finding.message
    write_product(tmp_path / "full", {"good": 16, "dent": 16})
    assert not [
        one for one in audit_data(read_layout(tmp_path / "full")).findings if one.code == "unused-bits"
    ]


def test_a_broken_image_and_8_bits_among_them_change_nothing(tmp_path: Path) -> None:
    root = write_product(tmp_path / "nut", {"good": 10, "dent": 10})
    cv2.imwrite(str(root / "dent" / "eight.png"), np.full((70, 90), 200, np.uint8))
    (root / "dent" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    look = look_at_files(read_records(root))
    assert look.used is not None
    assert (look.used.bits, look.used.images) == (10, 10)
    (eight,) = [number for number, record in enumerate(look.records) if record.id == "dent/eight.png"]
    assert (look.thumbnails[eight] == 200).all()


def test_a_mask_needs_no_bits(tmp_path: Path) -> None:
    values = np.zeros((70, 90), np.uint16)
    values[10:30, 10:30] = 1
    cv2.imwrite(str(tmp_path / "mask.png"), values)
    cv2.imwrite(str(tmp_path / "image.png"), draw(0, 12))
    record = Record("image.png", tmp_path / "image.png", "nut", "dent", tmp_path / "mask.png")
    assert scan_images([record]).defect_shares == {"image.png": pytest.approx(400 / 6300)}
