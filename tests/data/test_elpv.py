"""ELPV: read from a package folder of the published form, made here with four images."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mvdefect.core.errors import LayoutError
from mvdefect.data.sources.elpv import find_elpv, read_elpv
from mvdefect.data.sources.opening import are_there, name_sources, open_source, resolve_sources
from tests.conftest import make_texture, write_image

TABLE = """\
images/cell0001.png  1.0                 mono
images/cell0002.png  0.3333333333333333  poly
images/cell0003.png  0.6666666666666666  mono
images/cell0004.png  0.0                 poly
"""
Install = Callable[[str], Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make a package that fails when it is imported, and put it where packages are found."""

    def make(table: str) -> Path:
        package = tmp_path / "site" / "elpv_dataset"
        for number in range(1, 5):
            write_image(package / "data" / "images" / f"cell{number:04}.png", make_texture(number))
        (package / "__init__.py").write_text("raise AssertionError('imported')")
        (package / "data" / "labels.csv").write_text(table)
        return package / "data"

    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "elpv_dataset", raising=False)
    return make


def test_certain_cells_are_read_and_the_others_counted(install: Install) -> None:
    folder = install(TABLE)
    assert find_elpv() == folder
    layout = open_source("elpv")
    assert [(r.id, r.category, r.defect_type, r.confidence) for r in layout.records] == [
        ("images/cell0001.png", "solar_cell", "mono", 1.0),
        ("images/cell0004.png", "solar_cell", "good", 1.0),
    ]
    licence, counts = layout.notes
    assert "CC BY-NC-SA 4.0" in licence
    assert "2 cells; left out 2 of uncertain label" in counts
    assert all(record.path.is_file() for record in layout.records)


def test_all_cells_are_read_when_asked_for(install: Install) -> None:
    install(TABLE)
    found = [(r.label, r.defect_type, r.confidence) for r in open_source("elpv:all").records]
    assert found == [(1, "mono", 1.0), (0, "good", 0.6667), (1, "mono", 0.6667), (0, "good", 1.0)]


def test_the_name_is_no_path(install: Install) -> None:
    install(TABLE)
    assert are_there(["elpv", "elpv:all"])
    assert resolve_sources(["elpv:all"]) == ("elpv:all",)
    assert name_sources(["elpv:all"]) == "elpv-all"


def test_a_missing_package_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "elpv_dataset", None)
    assert not are_there(["elpv"])
    with pytest.raises(LayoutError, match=r"pip install 'mvdefect\[elpv\]'"):
        open_source("elpv")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "0 of 0 images"),
        (TABLE.replace("cell0001", "cell0009"), "1 of 4 images .*cell0009"),
        (TABLE.replace("images/cell0001.png", "../../secret.png"), "path in that folder"),
        (TABLE.replace("images/cell0001.png", "/etc/passwd"), "path in that folder"),
        (TABLE.replace("1.0 ", "nan "), "probability from 0 to 1"),
        (TABLE.replace("1.0 ", "7 "), "probability from 0 to 1"),
        (TABLE.replace("mono", "multi"), "mono or poly"),
        ("one two\n", "Received: 'one two'"),
    ],
)
def test_a_damaged_table_is_refused(table: str, message: str, install: Install) -> None:
    with pytest.raises(LayoutError, match=message):
        read_elpv(folder=install(table))


def test_an_unknown_choice_is_refused(install: Install) -> None:
    install(TABLE)
    with pytest.raises(LayoutError, match="'elpv' or 'elpv:all'.*'elpv:some'"):
        open_source("elpv:some")
