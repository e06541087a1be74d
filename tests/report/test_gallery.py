"""Photographs of the report: the right ones, cropped as they were, outlined, and under their heatmaps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mvdefect.data.records import Record
from mvdefect.evaluation.heatmaps import Heatmaps, HeatScale
from mvdefect.report import gallery
from mvdefect.report.contents import RunContents, read_contents
from mvdefect.report.gallery import Heat, choose_caught, choose_rows, draw_picture, make_galleries
from mvdefect.runs import PredictionRow, RunFolder
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
    image = decode(picture.outline)
    height, width, _ = image.shape
    assert width == pytest.approx(2 * height, abs=2)
    assert height * width == pytest.approx(gallery.PICTURE_SIZE_PX**2, rel=0.02)
    plain = decode(picture.photograph)
    assert plain.shape == image.shape
    assert np.abs(plain - 100).max() < 8  # nothing hides the defect
    yellow = image[:, :, 0] - image[:, :, 2] > 60
    rows, columns = np.flatnonzero(yellow.any(axis=1)), np.flatnonzero(yellow.any(axis=0))
    height, width = yellow.shape
    assert (rows[0] / height, rows[-1] / height) == pytest.approx((0.25, 0.75), abs=0.03)
    assert (columns[0] / width, columns[-1] / width) == pytest.approx((50 / 80, 70 / 80), abs=0.03)
    assert np.abs(image[:, : width // 2] - 100).max() < 8  # nothing is drawn where nothing is marked
    assert picture.is_wide
    assert picture.heatmap is None
    assert [alt for _, _, alt in picture.views] == [picture.alt, "The same with the defect outlined"]


def test_a_very_long_image_stays_within_the_page(run: RunContents, tmp_path: Path) -> None:
    path = write_image(tmp_path / "long.png", np.full((20, 2000, 3), 100, np.uint8))
    image = decode(draw_picture(run.rows[0], Record("a.png", path, "nut", "dent"), run, None).photograph)
    assert image.shape == (9, gallery.LONGEST_PX, 3)


def test_heat_lies_where_the_map_is_high(run: RunContents, record: Record) -> None:
    maps = np.zeros((1, 8, 8), np.float16)
    maps[:, :, :2] = 9  # the left quarter
    heat = Heat(Heatmaps((run.rows[0].id,), maps), HeatScale(0.0, 1.0, None))
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
    caught = [row for _, rows, _ in choose_caught(run.rows) for row in rows]
    ids = [row.id for rows in (misses, alarms, others, caught) for row in rows]
    assert len(ids) == len(set(ids))


def make_caught(run: RunContents, counts: dict[str, int]) -> list[PredictionRow]:
    """Return caught defects, the surest first."""
    row = next(row for row in run.rows if row.label)
    return [
        replace(row, id=f"{kind}/{number}", defect_type=kind, verdict="defective", score=9.0 - number / 10)
        for kind, count in counts.items()
        for number in range(count)
    ]


def test_of_each_type_the_most_doubtful_caught_defects_are_shown(run: RunContents) -> None:
    found = choose_caught(make_caught(run, {"scratch": 7, "dent": 2}))
    assert [title for title, _, _ in found] == [
        "Caught: dent (2)",
        "Caught: scratch (4 of 7, the most doubtful first)",
    ]
    assert [row.id for row in found[1][1]] == ["scratch/6", "scratch/5", "scratch/4", "scratch/3"]
    assert [count for _, _, count in found] == [2, 7]


def test_the_number_of_caught_defects_is_bounded(run: RunContents) -> None:
    rows = make_caught(run, {f"type {number:02}": 5 for number in range(40)})
    found = choose_caught(rows)
    assert sum(len(shown) for _, shown, _ in found) == gallery.MAX_CAUGHT
    assert choose_caught(rows[::-1]) == found
    assert len(choose_caught(make_caught(run, dict.fromkeys("abcdefg", 5)))) == 7
    assert choose_caught([row for row in run.rows if not row.label]) == []


def test_several_products_are_told_apart(run: RunContents) -> None:
    rows = make_caught(run, {"dent": 2})
    (first, _, _), (second, _, _) = choose_caught([rows[0], replace(rows[1], category="a bolt")])
    assert (first, second) == ("Caught: a bolt: dent (1)", f"Caught: {rows[0].category}: dent (1)")


def test_what_finds_no_place_is_counted(
    run: RunContents, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tuple(replace(row, label=1, verdict="good") for row in run.rows)
    many = replace(run, rows=rows)
    records = {row.id: record for row in rows}
    size = sum(len(encoded) for _, encoded, _ in draw_picture(rows[0], record, many, None).views)
    monkeypatch.setattr(gallery, "read_heat", lambda _: None)
    monkeypatch.setattr(gallery, "MAX_BYTES", 3 * size + 10)
    (missed,) = [one for one in make_galleries(many, records) if one.slug == "missed"]
    assert (len(missed.pictures), missed.left_out) == (3, len(rows) - 3)
    monkeypatch.setattr(gallery, "MAX_BYTES", 10**7)
    monkeypatch.setattr(gallery, "MAX_PICTURES", 2)
    (missed,) = [one for one in make_galleries(many, records) if one.slug == "missed"]
    assert (len(missed.pictures), missed.left_out) == (2, len(rows) - 2)


def test_caught_defects_leave_room_for_the_errors(
    run: RunContents, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught = make_caught(run, {"dent": 3, "scratch": 3})
    missed = [replace(caught[0], id="missed", verdict="good")]
    records = {row.id: record for row in (*caught, *missed)}
    monkeypatch.setattr(gallery, "read_heat", lambda _: None)
    size = sum(len(encoded) for _, encoded, _ in draw_picture(caught[0], record, run, None).views)
    monkeypatch.setattr(gallery, "MAX_CAUGHT_BYTES", 4 * size + 10)
    monkeypatch.setattr(gallery, "MAX_BYTES", 5 * size + 10)
    found = make_galleries(replace(run, rows=(*caught, *missed)), records)
    assert [(one.slug, len(one.pictures), one.left_out) for one in found[:3]] == [
        ("caught_01", 3, 0),
        ("caught_02", 1, 2),
        ("missed", 1, 0),
    ]
