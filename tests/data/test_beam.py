"""Preparing with Apache Beam: the same bytes, whichever engine writes them."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path

import numpy as np
import pytest

from mvdefect.core.errors import ConfigError, ImageError
from mvdefect.data import shards, store
from mvdefect.data.counted_region import CountedRegion
from mvdefect.data.records import Record
from mvdefect.data.sources.folders import read_records
from mvdefect.data.store import prepare_images
from tests.beam_engines import DIRECT, MARKS, PORTABLE, quiet_beam  # noqa: F401 (a fixture for all)
from tests.conftest import make_texture, write_class_folders, write_image

pytest.importorskip("apache_beam")
pytestmark = MARKS


@pytest.fixture
def records(tmp_path: Path) -> tuple[Record, ...]:
    """Class folders and MVTec AD's layout, so that some have masks; four shards, one file broken."""
    write_class_folders(tmp_path / "parts" / "nut", 20, 20)
    product = tmp_path / "parts" / "pill"
    for number in range(12):
        write_image(product / f"train/good/{number:03}.png", make_texture(number))
    write_image(product / "test/dent/000.png", make_texture(0))
    write_image(product / "ground_truth/dent/000_mask.png", make_texture(0)[:, :, 0])
    (product / "train/good/003.png").write_bytes(b"no image")
    return read_records(tmp_path / "parts" / "nut") + read_records(product)


def read_bytes(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize(("runner", "options"), [DIRECT, PORTABLE], ids=["direct", "portable"])
def test_the_result_is_that_of_the_threads(
    records: tuple[Record, ...], tmp_path: Path, runner: str, options: tuple[str, ...]
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    threads = prepare_images(records, (64, 64), "stretch", out=one, skip_broken=True)
    engine = prepare_images(
        records, (64, 64), "stretch", out=other, runner=runner, runner_options=options, skip_broken=True
    )
    assert engine.count == threads.count == 52
    assert read_bytes(one) == read_bytes(other)
    assert len(list(one.glob("*-of-00004"))) == 4


def test_a_region_reaches_the_workers(records: tuple[Record, ...], tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    region = CountedRegion(np.eye(64, dtype=bool), (1, 2, 3), (64, 64))
    runner, options = DIRECT
    prepare_images(records, (64, 64), "stretch", out=one, skip_broken=True, region=region)
    prepare_images(
        records,
        (64, 64),
        "stretch",
        out=other,
        runner=runner,
        runner_options=options,
        skip_broken=True,
        region=region,
    )
    assert read_bytes(one) == read_bytes(other)


def test_what_is_there_is_not_written_again(
    records: tuple[Record, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, make_example = tmp_path / "store", shards.make_example
    runner, options = DIRECT

    def fail_at_the_last(record: Record, *rest: object) -> bytes:
        if record.id == records[-1].id:
            raise OSError("the cable fell out")
        return make_example(record, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "make_example", fail_at_the_last)
        with pytest.raises(ConfigError, match=r"DirectRunner did not finish .*the cable fell out") as caught:
            prepare_images(records, (64, 64), "stretch", out=out, runner=runner, runner_options=options)
        assert "\n" not in str(caught.value)
    before = {file.name: file.stat().st_mtime_ns for file in out.glob("*-of-00004")}
    assert len(before) == 3
    with pytest.raises(ImageError, match=r"1 file.*003\.png"):
        prepare_images(records, (64, 64), "stretch", out=out, runner=runner, runner_options=options)
    after = {file.name: file.stat().st_mtime_ns for file in out.glob("*-of-00004")}
    assert before.items() < after.items()
    prepare_images(records, (64, 64), "stretch", out=out, skip_broken=True)
    whole = prepare_images(records, (64, 64), "stretch", out=tmp_path / "whole", skip_broken=True)
    assert read_bytes(out) == read_bytes(whole.path)


def test_workers_that_see_another_folder_are_found_out(
    records: tuple[Record, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(store, "write_stored_shard", len)  # they end well, and leave nothing here
    runner, options = DIRECT
    with pytest.raises(ConfigError, match=r"4 of 4 shards are not in .*store: each worker must see"):
        prepare_images(
            records, (64, 64), "stretch", out=tmp_path / "store", runner=runner, runner_options=options
        )


@pytest.mark.parametrize(
    ("runner", "options", "message"),
    [
        ("thread", (), r"runner must be 'threads' or a runner .* Received: thread.*FlinkRunner"),
        ("FlinkRunner", ("--flink_version=0.1",), r"Received: FlinkRunner.*--flink_version.*invalid choice"),
    ],
)
def test_a_runner_that_cannot_be_had_is_one_line(
    records: tuple[Record, ...], tmp_path: Path, runner: str, options: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        prepare_images(
            records, (64, 64), "stretch", out=tmp_path / "out", runner=runner, runner_options=options
        )
    assert "\n" not in str(caught.value)


def test_without_beam_the_extra_is_named(
    records: tuple[Record, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_import = builtins.__import__

    def refuse(name: str, *rest: object, **more: object) -> object:
        if name.split(".")[0] == "apache_beam":
            raise ModuleNotFoundError("No module named 'apache_beam'")
        return real_import(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for name in [name for name in sys.modules if name.split(".")[0] == "apache_beam"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=r"pip install 'mvdefect\[beam\]'"):
        prepare_images(records, (64, 64), "stretch", out=tmp_path / "out", runner="DirectRunner")
