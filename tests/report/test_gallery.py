"""Photographs of the report: the right ones, cropped as they were, outlined, and under their heatmaps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mvdefect.data.records import Record
from mvdefect.evaluation.heatmaps import Heatmaps
from mvdefect.report import gallery
from mvdefect.report.contents import RunContents, read_contents
from mvdefect.report.gallery import Heat, choose_rows, draw_picture, make_galleries
from mvdefect.runs import RunFolder
from tests.conftest import write_image


@pytest.fixture
def run(inspector: Path) -> RunContents:
    return read_contents(RunFolder(inspector))


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A grey photograph, 40 high and 80 wide, whose right half is marked as defective."""
    mask = np.zeros((40, 80), np.uint8)
    mask[10:30, 50:70] = 255
    image = np.full((40, 80, 3), 100, np.uint8)
    path, mask_path = write_image(tmp_path / "a.png", image), write_image(tmp_path / "a_mask.png", mask)
    return Record("a.png", path, "nut", "dent", mask_path)


def decode(encoded: bytes | None) -> np.ndarray:
    assert encoded is not None
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1].astype(int)


def test_the_outline_is_where_the_mask_is_and_the_padding_is_gone(run: RunContents, record: Record) -> None:
    picture = draw_picture(run.rows[0], record, run, None)
    image = decode(picture.photograph)
    assert image.shape == (gallery.PICTURE_SIZE_PX // 2, gallery.PICTURE_SIZE_PX, 3)
    yellow = image[:, :, 0] - image[:, :, 2] > 60
    rows, columns = np.flatnonzero(yellow.any(axis=1)), np.flatnonzero(yellow.any(axis=0))
    height, width = yellow.shape
    assert (rows[0] / height, rows[-1] / height) == pytest.approx((0.25, 0.75), abs=0.03)
    assert (columns[0] / width, columns[-1] / width) == pytest.approx((50 / 80, 70 / 80), abs=0.03)
    assert np.abs(image[:, : width // 2] - 100).max() < 8  # nothing is drawn where nothing is marked
    assert picture.is_wide
    assert picture.heatmap is None
    assert picture.alt.endswith("with the defect outlined")


def test_heat_lies_where_the_map_is_high(run: RunContents, record: Record) -> None:
    maps = np.zeros((1, 8, 8), np.float16)
    maps[:, :, :2] = 9  # the left quarter
    heat = Heat(Heatmaps((run.rows[0].id,), maps), 0.0, 1.0)
    image = decode(draw_picture(run.rows[0], record, run, heat).heatmap)
    assert np.abs(image[:, -60:] - 100).max() < 8
    assert image[:, :40].max(axis=2).min() > 150


def test_a_photograph_that_cannot_be_read_is_named(run: RunContents, record: Record) -> None:
    record.path.write_bytes(b"")
    for found in (draw_picture(run.rows[0], record, run, None), draw_picture(run.rows[0], None, run, None)):
        assert found.photograph is None
        assert "not there any more" in found.caption


def test_errors_come_first_and_no_photograph_comes_twice(run: RunContents) -> None:
    galleries = choose_rows(run.rows, run.evaluation)
    misses, alarms, others = (rows for _, _, rows in galleries)
    assert all(row.label and row.verdict == "good" for row in misses)
    assert all(not row.label and row.verdict == "defective" for row in alarms)
    assert len(misses) == run.evaluation.confusion["false_negative"].value
    assert len(alarms) == run.evaluation.confusion["false_positive"].value
    assert [row.score for row in misses] == sorted(row.score for row in misses)
    distances = [abs(row.score - run.evaluation.operating_point.score) for row in others]
    assert distances == sorted(distances)
    ids = [row.id for rows in (misses, alarms, others) for row in rows]
    assert len(ids) == len(set(ids))


def test_what_finds_no_place_is_counted(
    run: RunContents, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tuple(replace(row, label=1, verdict="good") for row in run.rows)
    many = replace(run, rows=rows)
    records = {row.id: record for row in rows}
    size = len(draw_picture(rows[0], record, many, None).photograph or b"")
    monkeypatch.setattr(gallery, "read_heat", lambda _: None)
    monkeypatch.setattr(gallery, "MAX_BYTES", 3 * size + 10)
    missed = make_galleries(many, records)[0]
    assert (len(missed.pictures), missed.left_out) == (3, len(rows) - 3)
    monkeypatch.setattr(gallery, "MAX_BYTES", 10**7)
    monkeypatch.setattr(gallery, "MAX_PICTURES", 2)
    missed = make_galleries(many, records)[0]
    assert (len(missed.pictures), missed.left_out) == (2, len(rows) - 2)
