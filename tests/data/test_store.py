"""The prepared store: any TFDS user can read it, it is made only when it must be, and no work is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_info import DatasetInfoFileError

from mvdefect.core.errors import ConfigError, ImageError
from mvdefect.core.parallel import count_cores
from mvdefect.data import shards
from mvdefect.data.counted_region import CountedRegion
from mvdefect.data.images import Decoding, decode_image
from mvdefect.data.records import Record
from mvdefect.data.resizing import resize_image
from mvdefect.data.scan import scan_images
from mvdefect.data.shards import KeptImages, plan_shards
from mvdefect.data.sources.folders import read_records
from mvdefect.data.store import prepare_images
from tests.conftest import make_texture, replace_unseen, write_class_folders, write_image


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Record, ...]:
    """Forty photographs, three shards, and a cache that is empty."""
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path / "cache"))
    return read_records(write_class_folders(tmp_path / "nut", 20, 20))


def read_all(path: Path) -> list[dict[str, np.ndarray]]:
    builder = tfds.builder_from_directory(path)
    return list(tfds.as_numpy(builder.as_dataset(split="images")))


def read_bytes(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*")}


def test_a_store_with_a_region_is_another_one_and_covers_what_lies_outside(
    records: tuple[Record, ...],
) -> None:
    mask = np.zeros((64, 64), bool)
    mask[10:30, 20:50] = True
    region = CountedRegion(mask, (9, 8, 7), (64, 64))
    store = prepare_images(records, (64, 64), "letterbox", region=region)
    assert store.region is not None
    assert store.region.digest == region.digest
    for record, example in zip(records, read_all(store.path), strict=True):
        image = resize_image(decode_image(record.path.read_bytes()), (64, 64))
        assert np.array_equal(example["image"][mask], image[mask])
        assert (example["image"][~mask] == (9, 8, 7)).all()
    plain = prepare_images(records, (64, 64), "letterbox")
    other = prepare_images(records, (64, 64), "letterbox", region=replace(region, fill=(9, 8, 6)))
    assert len({plain.key, store.key, other.key}) == 3
    assert plain.region is None
    assert prepare_images(records, (64, 64), "letterbox", region=region) == store


def test_the_store_holds_every_pixel_sorted_by_id(parts_root: Path) -> None:
    records = read_records(parts_root)
    store = prepare_images(records, (64, 64), "letterbox")
    examples = read_all(store.path)
    assert store.count == len(examples)
    assert [example["id"].decode() for example in examples] == [record.id for record in records]
    for record, example in zip(records, examples, strict=True):
        expected = resize_image(decode_image(record.path.read_bytes()), (64, 64))
        assert np.array_equal(example["image"], expected)
        assert example["label"] == record.label
        assert example["category"].decode() == record.category
        assert example["defect_type"].decode() == record.defect_type
        assert example["has_mask"] == (record.mask_path is not None)
        assert example["mask"].any() == (record.label == 1)


def test_the_store_tells_tfds_what_it_holds(records: tuple[Record, ...]) -> None:
    store = prepare_images(records, (64, 64), "letterbox")
    info = tfds.builder_from_directory(store.path).info
    assert info.splits["images"].num_examples == 40
    assert info.splits["images"].num_bytes == sum(f.stat().st_size for f in store.path.glob("*-of-00003"))
    assert info.features["label"].names == ["good", "defective"]
    assert info.features["image"].shape == (64, 64, 3)
    image, label = next(
        iter(tfds.builder_from_directory(store.path).as_dataset("images", as_supervised=True))
    )
    assert image.shape == (64, 64, 3)
    assert label == records[0].label


def test_masks_are_prepared_as_their_images(tmp_path: Path) -> None:
    product = tmp_path / "nut"
    write_image(product / "train/good/000.png", make_texture(0, 30, 60))
    image = np.zeros((30, 60, 3), np.uint8)
    image[10:20, 40:55] = 255
    write_image(product / "test/dent/000.png", image)
    write_image(product / "ground_truth/dent/000_mask.png", image[:, :, 0])
    example = read_all(prepare_images(read_records(product), (64, 64), "letterbox").path)[0]
    bright = example["image"][:, :, 0] > 0
    assert np.array_equal(example["mask"][:, :, 0] > 0, bright)
    assert bright.sum() > 100


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    product = tmp_path / "nut"
    write_image(product / "train/good/000.png", make_texture(0))
    write_image(product / "test/dent/000.png", make_texture(1, 30, 60))
    write_image(product / "ground_truth/dent/000_mask.png", make_texture(1, 20, 60)[:, :, 0])
    with pytest.raises(ImageError, match=r"dent/000\.png: its mask must have .*60x30 .* Received: 60x20"):
        prepare_images(read_records(product), (64, 64), "letterbox")


def test_the_store_is_reused_until_something_changes(
    records: tuple[Record, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare_images(records, (64, 64), "letterbox")
    with monkeypatch.context() as patch:
        patch.setattr(shards, "make_example", lambda *_: pytest.fail("prepared again"))
        assert prepare_images(records, (64, 64), "letterbox") == first
    assert prepare_images(records, (96, 96), "letterbox").path != first.path
    assert prepare_images(records, (64, 64), "stretch").path != first.path
    assert prepare_images(records[1:], (64, 64), "letterbox").path != first.path
    path = tmp_path / "nut" / "good" / "000.png"
    write_image(path, make_texture(77))
    second = prepare_images(records, (64, 64), "letterbox")
    assert second.path != first.path
    replace_unseen(path)
    assert prepare_images(records, (64, 64), "letterbox").path not in (first.path, second.path)


def test_shards_follow_from_the_number_of_records_alone() -> None:
    record = Record("good/0.png", Path("good/0.png"), "nut", "good")
    for count, number, length in ((1, 1, 1), (1000, 63, 16), (100_000, 1021, 98), (2_000_000, 1954, 1024)):
        specs = plan_shards([record] * count, Path("store"), (64, 64), "letterbox")
        assert (len(specs), len(specs[0].records)) == (number, length)
        assert sum(len(spec.records) for spec in specs) == count
        assert specs[-1].path.name.endswith(f"{number - 1:05}-of-{number:05}")


PREPARE = """
import sys
from pathlib import Path
from mvdefect.data import shards
from mvdefect.data.sources.folders import read_records
from mvdefect.data.store import prepare_images

make_example = shards.make_example
def wait_for_the_end(record, *rest):
    if record.id == sys.argv[3]:
        print("there", flush=True)
        sys.stdin.read()
    return make_example(record, *rest)

shards.make_example = wait_for_the_end
prepare_images(read_records(Path(sys.argv[1])), (64, 64), "letterbox", out=Path(sys.argv[2]))
"""


def test_a_killed_preparation_goes_on_where_it_stopped(records: tuple[Record, ...], tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    last = records[-1].id  # in the third shard
    arguments = [sys.executable, "-c", PREPARE, str(tmp_path / "nut"), str(killed), last]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(arguments, cwd=Path(__file__).parents[2], **pipes) as process:
        assert process.stdout.readline() == b"there\n"
        first = plan_shards(records, killed, (64, 64), "letterbox")[0]
        deadline = time.monotonic() + 20
        while shards.read_facts(first.path) is None and time.monotonic() < deadline:
            time.sleep(0.01)  # with two threads the first shard may still be on its way
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(DatasetInfoFileError):
        tfds.builder_from_directory(killed)
    assert any(file.name.startswith(".") and ".tfrecord-" in file.name for file in killed.iterdir())
    done = [note.with_suffix("") for note in killed.glob("prepared_images*.json")]  # a shard, then its note
    before = {file.name: file.stat().st_mtime_ns for file in done}
    assert first.path.name in before
    assert f"{first.path.name[:-14]}00002-of-00003" not in before

    prepare_images(records, (64, 64), "letterbox", out=killed)
    assert before.items() <= {file.name: file.stat().st_mtime_ns for file in killed.iterdir()}.items()
    prepare_images(records, (64, 64), "letterbox", out=whole)
    assert read_bytes(killed) == read_bytes(whole)
    assert len(read_all(killed)) == 40


def test_a_shard_that_is_gone_cut_or_changed_is_written_again(records: tuple[Record, ...]) -> None:
    path = prepare_images(records, (64, 64), "letterbox").path
    before = read_bytes(path)
    first, second, third = sorted(path.glob("*-of-00003"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    third.write_bytes(third.read_bytes()[:-9] + b"?" + third.read_bytes()[-8:])
    assert prepare_images(records, (64, 64), "letterbox").count == 40
    assert read_bytes(path) == before


def test_an_error_loses_no_finished_shard(
    records: tuple[Record, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, make_example = [], shards.make_example

    def fail_at_the_last(record: Record, *rest: object) -> bytes:
        if record is records[-1]:
            raise OSError("the cable fell out")
        made.append(record)
        return make_example(record, *rest)

    monkeypatch.setattr(shards, "make_example", fail_at_the_last)
    with pytest.raises(OSError, match="the cable fell out"):
        prepare_images(records, (64, 64), "letterbox")
    made.clear()
    monkeypatch.setattr(shards, "make_example", lambda *args: made.append(args[0]) or make_example(*args))
    assert prepare_images(records, (64, 64), "letterbox").count == 40
    assert made == list(records[32:])


def test_broken_files_are_named_or_left_out(
    records: tuple[Record, ...], messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    records[5].path.write_bytes(b"")
    records[39].path.write_bytes(records[39].path.read_bytes()[:200])
    with pytest.raises(ImageError, match=r"2 file\(s\).*005\.png: the file is empty.*019\.png") as caught:
        prepare_images(records, (64, 64), "letterbox")
    assert "\n" not in str(caught.value)
    with monkeypatch.context() as patch:
        patch.setattr(shards, "make_example", lambda *_: pytest.fail("prepared again"))
        store = prepare_images(records, (64, 64), "letterbox", skip_broken=True)
        with pytest.raises(ImageError, match="2 file"):
            prepare_images(records, (64, 64), "letterbox")
    assert any("left out 2 file(s)" in message for message in messages)
    assert store.count == 38
    kept = [record.id for record in records if record not in (records[5], records[39])]
    assert [example["id"].decode() for example in read_all(store.path)] == kept


def test_a_shard_may_be_empty_but_a_store_may_not(records: tuple[Record, ...]) -> None:
    for record in records[16:32]:
        record.path.write_bytes(b"no image")
    store = prepare_images(records, (64, 64), "letterbox", skip_broken=True)
    assert len(read_all(store.path)) == store.count == 24
    with pytest.raises(ImageError, match="no image to prepare"):
        prepare_images(records[16:32], (64, 64), "letterbox", skip_broken=True)


def test_a_folder_that_holds_something_else_is_refused(records: tuple[Record, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert prepare_images(records, (64, 64), "letterbox", out=out).path == out
    before = read_bytes(out)
    for size_px, kept in (((96, 96), records), ((64, 64), records[1:])):
        with pytest.raises(ConfigError, match=r"must be new, empty, .* Received: .*out"):
            prepare_images(kept, size_px, "letterbox", out=out)
    assert read_bytes(out) == before
    with pytest.raises(ConfigError, match="must be new, empty"):
        prepare_images(records, (64, 64), "letterbox", out=tmp_path / "nut")
    with pytest.raises(ConfigError, match="must be new, empty"):
        prepare_images(records, (64, 64), "letterbox", out=records[0].path)
    assert {file.name for file in (tmp_path / "nut").iterdir()} == {"good", "dent"}


def test_two_at_a_time_prepare_once(records: tuple[Record, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    made, make_example = [], shards.make_example
    monkeypatch.setattr(shards, "make_example", lambda *args: made.append(args[0]) or make_example(*args))
    threads = [
        threading.Thread(target=prepare_images, args=(records, (64, 64), "letterbox")) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(record.id for record in made) == [record.id for record in records]


def test_a_buffer_that_is_used_again_mixes_no_files(tmp_path: Path) -> None:
    big, small = make_texture(0, 200, 300), make_texture(1, 10, 10)
    for number, image in enumerate((small, big, small, big, small)):
        write_image(tmp_path / "nut" / "good" / f"{number}.bmp", image)
    write_image(tmp_path / "nut" / "dent" / "0.bmp", small)
    (tmp_path / "nut" / "dent" / "1.bmp").write_bytes(b"")
    store = prepare_images(read_records(tmp_path / "nut"), (64, 64), "stretch", skip_broken=True)
    wide, narrow = (resize_image(image, (64, 64), "stretch") for image in (big, small))
    expected = [narrow, narrow, wide, narrow, wide, narrow]
    found = [example["image"] for example in read_all(store.path)]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_memory_holds_one_photograph_a_thread(
    records: tuple[Record, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    alive, most, lock = set(), [0], threading.Lock()

    def decode(encoded: memoryview, decoding: Decoding) -> np.ndarray:
        image = decode_image(encoded, decoding)
        with lock:
            alive.add(id(image))
            most[0] = max(most[0], len(alive))
        weakref.finalize(image, alive.discard, id(image))
        return image

    monkeypatch.setattr(shards, "decode_image", decode)
    prepare_images(records, (64, 64), "letterbox")
    assert 1 <= most[0] <= 2 * count_cores()  # a name may hold the last one while the next is decoded


def test_progress_counts_images(records: tuple[Record, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    from mvdefect.core import progress
    from mvdefect.data import store as prepare

    seen: list[int] = []

    class Steps:
        def __init__(self, *given: object) -> None:
            seen.append(given[1])

        def __enter__(self) -> object:
            return lambda: seen.append(1)

        def __exit__(self, *_: object) -> None:
            pass

    assert prepare.show_steps is progress.show_steps
    monkeypatch.setattr(prepare, "show_steps", Steps)
    prepare_images(records, (64, 64), "letterbox")
    assert seen == [40, *[1] * 40]


def test_nothing_is_printed(records: tuple[Record, ...], capfd: pytest.CaptureFixture[str]) -> None:
    prepare_images(records, (64, 64), "letterbox")
    assert capfd.readouterr().out == ""


def test_the_store_can_be_moved(records: tuple[Record, ...], tmp_path: Path) -> None:
    store = prepare_images(records, (64, 64), "letterbox")
    moved = shutil.move(store.path, tmp_path / "elsewhere")
    assert len(read_all(Path(moved))) == 40
    assert str(tmp_path) not in json.dumps(json.loads((moved / "dataset_info.json").read_text()))
    assert os.access(moved / "features.json", os.R_OK)


def test_what_the_scan_decoded_is_not_decoded_again(
    records: tuple[Record, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked = [replace(record, mask_path=write_mask(tmp_path, record)) for record in records[:3]]
    records = (*masked, *records[3:])
    with KeptImages((64, 64), "letterbox") as kept, monkeypatch.context() as patch:
        scan_images(records, use=kept.keep)
        patch.setattr(shards, "decode_image", lambda *_: pytest.fail("decoded again"))
        patch.setattr(shards, "decode_mask", lambda *_: pytest.fail("decoded again"))
        store = prepare_images(records, (64, 64), "letterbox", out=tmp_path / "kept", kept=kept)
    plain = prepare_images(records, (64, 64), "letterbox", out=tmp_path / "plain")
    files = [
        {path.name: path.read_bytes() for path in one.path.glob("*.tfrecord*")} for one in (store, plain)
    ]
    assert files[0] == files[1]
    assert len(files[0]) > 3


def write_mask(folder: Path, record: Record) -> Path:
    height, width = decode_image(record.path.read_bytes()).shape[:2]
    mask = np.zeros((height, width, 3), np.uint8)
    mask[: height // 3] = 255
    return write_image(folder / "masks" / f"{record.path.stem}.png", mask)
