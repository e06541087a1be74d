"""The heatmaps of a run survive the disk, and damaged ones are refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvdefect.core.errors import RunError
from mvdefect.evaluation.evaluate import read_operating_point
from mvdefect.evaluation.heatmaps import (
    Heatmaps,
    HeatScale,
    choose_heat_scale,
    read_heat_scale,
    read_heatmaps,
    write_heat_scale,
    write_heatmaps,
)
from mvdefect.evaluation.regions import ImagePlace, RegionRule, find_place
from mvdefect.runs import RunFolder, read_predictions

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


def test_a_scale_is_of_the_score_that_it_was_made_for(finished_run: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    shutil.copy(finished_run / "operating_point.json", folder.operating_point)
    made = read_operating_point(folder).calibration
    scale = HeatScale(-1.0, 2.0, RegionRule(1.5, -1.0))
    write_heat_scale(folder, scale, made)
    assert read_heat_scale(folder) == scale
    write_heat_scale(folder, scale, replace(made, novelty_weight=made.novelty_weight + 1))
    assert read_heat_scale(folder) == replace(scale, rule=None)
    folder.heat_scale.write_text('{"low": 1}')
    with pytest.raises(RunError, match=r"heat_scale.json is damaged: KeyError"):
        read_heat_scale(folder)


def test_a_fit_writes_the_scale_of_its_good_test_images(finished_run: Path) -> None:
    folder = RunFolder(finished_run)
    written, maps = read_heat_scale(folder), read_heatmaps(folder)
    good = [row.id for row in read_predictions(folder) if row.split == "test" and not row.label]
    expected = choose_heat_scale(maps.select(good), [ImagePlace(64, 64)] * len(good))
    assert written == expected
    assert written.rule.level > written.low


def test_padding_has_no_part_in_a_scale() -> None:
    maps = np.random.default_rng(0).normal(size=(30, 8, 8)).astype(np.float32)
    place = find_place(40, 80, (64, 64), "letterbox")
    padded = maps.copy()
    padded[:, :2] = padded[:, 6:] = 1000
    assert choose_heat_scale(padded, [place] * 30) == choose_heat_scale(maps, [place] * 30)
