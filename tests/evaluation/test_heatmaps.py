"""The heatmaps of a run survive the disk, and damaged ones are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mvdefect.core.errors import RunError
from mvdefect.evaluation.heatmaps import Heatmaps, read_heatmaps, write_heatmaps
from mvdefect.runs import RunFolder

MAPS = np.random.default_rng(0).normal(0, 3, (3, 4, 5)).astype(np.float16)
IDS = ("a/1.png", "a/2.png", "b/ö.png")


def test_heatmaps_survive_the_disk(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert read_heatmaps(folder) is None
    write_heatmaps(folder, Heatmaps(IDS, MAPS))
    found = read_heatmaps(folder)
    assert found.ids == IDS
    assert all(type(key) is str for key in found.ids)
    assert found.maps.dtype == np.float16
    assert np.array_equal(found.maps, MAPS)
    assert [path.name for path in tmp_path.iterdir()] == ["heatmaps.npz"]


def test_a_run_that_tested_nothing_has_none() -> None:
    assert Heatmaps((), MAPS[:0]).select([]).shape == (0, 4, 5)


def test_maps_are_found_by_id() -> None:
    found = Heatmaps(IDS, MAPS).select(["b/ö.png", "a/1.png"])
    assert np.array_equal(found, MAPS[[2, 0]])
    with pytest.raises(RunError, match="Received: c.png"):
        Heatmaps(IDS, MAPS).select(["a/1.png", "c.png"])


@pytest.mark.parametrize(
    ("heatmaps", "message"),
    [
        (Heatmaps(IDS[::-1], MAPS), "ids must be sorted"),
        (Heatmaps(("a", "a", "b"), MAPS), "each there once"),
        (Heatmaps(IDS, MAPS.astype(np.float32)), "must be float16 .* Received: float32"),
        (
            Heatmaps(IDS[:2], MAPS),
            "of shape \\(2, height, width\\). Received: float16 of shape \\(3, 4, 5\\)",
        ),
        (Heatmaps(IDS, MAPS[:, 0]), "height, width"),
        (Heatmaps(IDS, MAPS * np.float16(np.nan)), "must be finite"),
    ],
)
def test_what_would_mislead_is_not_written(tmp_path: Path, heatmaps: Heatmaps, message: str) -> None:
    with pytest.raises(RunError, match=message):
        write_heatmaps(RunFolder(tmp_path), heatmaps)
    assert list(tmp_path.iterdir()) == []


def test_damaged_heatmaps_are_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_heatmaps(folder, Heatmaps(IDS, MAPS))
    whole = folder.heatmaps.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content in (b"", b"text", whole[: len(whole) // 2], bytes(flipped)):
        folder.heatmaps.write_bytes(content)
        with pytest.raises(RunError, match="heatmaps.npz cannot be read"):
            read_heatmaps(folder)


def test_other_arrays_are_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    others = (
        {"maps": MAPS},
        {"ids": np.arange(3), "maps": MAPS},
        {"ids": np.array(IDS, object), "maps": MAPS},
    )
    for arrays in others:
        np.savez(folder.heatmaps, **arrays)
        with pytest.raises(RunError, match="cannot be read"):
            read_heatmaps(folder)
    with folder.heatmaps.open("wb") as stream:
        np.save(stream, MAPS)
    with pytest.raises(RunError, match="cannot be read"):
        read_heatmaps(folder)
