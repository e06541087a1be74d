"""Several sources as one: old images and corrections."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from mvdefect.core.errors import LayoutError
from mvdefect.data.sources.opening import open_source
from tests.conftest import make_texture, write_class_folders, write_image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "photos", 3, 3)


def test_ids_are_prefixed_whatever_the_order(tmp_path: Path, photos: Path) -> None:
    more = write_class_folders(tmp_path / "more", 0, 0)
    write_image(more / "OK" / "000.png", make_texture(50))
    write_image(more / "scratch" / "000.png", make_texture(51))
    layout = open_source([str(photos), str(more)])
    ids = [record.id for record in layout.records]
    assert ids == [
        *("more/OK/000.png", "more/scratch/000.png"),
        *(f"photos/{kind}/{number:03}.png" for kind in ("dent", "good") for number in range(3)),
    ]
    assert [record.id for record in open_source([str(more), str(photos)]).records] == ids
    assert {record.category for record in layout.records} == {"photos"}
    assert ["count as the product 'photos'" in note for note in layout.notes] == [True]
    assert layout.root == tmp_path


def test_sources_of_one_name_are_told_apart_by_the_folders_above(tmp_path: Path) -> None:
    days = [write_class_folders(tmp_path / day / "images", 1, 1) for day in ("monday", "tuesday")]
    write_image(days[1] / "good" / "000.png", make_texture(60))
    write_image(days[1] / "dent" / "000.png", make_texture(61))
    layout = open_source(list(map(str, days)))
    assert [record.id for record in layout.records][::2] == [
        "monday/images/dent/000.png",
        "tuesday/images/dent/000.png",
    ]
    assert layout.notes == ()


def test_one_source_twice_is_one_source(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    assert open_source(["photos", "./photos", str(photos)]) == open_source("photos")


def test_an_image_in_two_sources_is_used_once_and_the_last_label_counts(tmp_path: Path, photos: Path) -> None:
    corrections = tmp_path / "corrections"
    for name, label in (("good/000.png", "defective"), ("good/001.png", "good")):
        place = corrections / label / f"corrected-{Path(name).name}"
        place.parent.mkdir(parents=True)
        shutil.copy(photos / name, place)
    layout = open_source([str(photos), str(corrections)])
    assert Counter(record.defect_type for record in layout.records) == {"good": 2, "dent": 3, "defective": 1}
    assert "2 image(s) stand in more than one source, and are used once" in layout.notes
    (changed,) = [note for note in layout.notes if "several labels" in note]
    assert (
        "1 of them have several labels, of which the last counts: photos/good/000.png (good, then" in changed
    )
    turned = open_source([str(corrections), str(photos)])
    assert Counter(record.defect_type for record in turned.records) == {"good": 3, "dent": 3}


def test_copies_within_a_source_are_left_to_the_check(tmp_path: Path, photos: Path) -> None:
    shutil.copy(photos / "good" / "000.png", photos / "dent" / "copy.png")
    other = write_class_folders(tmp_path / "other", 0, 0)
    write_image(other / "good" / "0.png", make_texture(70))
    records = open_source([str(photos), str(other)]).records
    assert {"photos/good/000.png", "photos/dent/copy.png"} <= {record.id for record in records}


def test_corrections_need_no_good_image_and_may_be_a_table_or_labelled_by_folders(tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    for number, name in enumerate(("1_ok.png", "2_ng.png")):
        write_image(flat / name, make_texture(number))
    write_image(tmp_path / "corrections" / "defective" / "3.png", make_texture(3))
    write_image(tmp_path / "images" / "4.png", make_texture(4))
    (tmp_path / "table.csv").write_text("path,label\nimages/4.png,NG\n")
    sources = [str(tmp_path / name) for name in ("flat", "corrections", "table.csv")]
    layout = open_source(sources, label_pattern="(ok|ng)")
    assert {record.id: record.label for record in layout.records} == {
        "corrections/defective/3.png": 1,
        "flat/1_ok.png": 0,
        "flat/2_ng.png": 1,
        "table.csv/images/4.png": 1,
    }


def test_a_source_that_nothing_is_known_of_is_refused(tmp_path: Path, photos: Path) -> None:
    write_image(tmp_path / "what" / "ever" / "3.png", make_texture(3))
    with pytest.raises(LayoutError, match="no known layout in .*what.* Found there: ever"):
        open_source([str(photos), str(tmp_path / "what")])
    with pytest.raises(LayoutError, match="does not exist"):
        open_source([str(photos), str(tmp_path / "gone")])


def test_products_keep_their_names_and_can_be_chosen(tmp_path: Path) -> None:
    for number, place in enumerate(("a/nut", "a/bolt", "b/nut")):
        root = write_class_folders(tmp_path / place, 0, 0)
        write_image(root / "good" / "0.png", make_texture(2 * number))
        write_image(root / "dent" / "0.png", make_texture(2 * number + 1))
    sources = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert Counter(one.category for one in open_source(sources).records) == {"nut": 4, "bolt": 2}
    assert Counter(one.category for one in open_source(sources, ["bolt"]).records) == {"bolt": 2}
    with pytest.raises(LayoutError, match="unknown category 'bult'. Did you mean 'bolt'"):
        open_source(sources, ["bult"])


def test_few_files_are_read_to_compare_them(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_class_folders(tmp_path / "other", 3, 3)
    for path in other.rglob("*.png"):
        with path.open("ab") as stream:
            stream.write(bytes(1000))
    opened = []
    original = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *rest, **more: opened.append(self) or original(self, *rest, **more)
    )
    assert len(open_source([str(photos), str(other)]).records) == 12
    sizes = Counter(path.stat().st_size for root in (photos, other) for path in root.rglob("*.png"))
    assert len(opened) == sum(count for count in sizes.values() if count > 1)
