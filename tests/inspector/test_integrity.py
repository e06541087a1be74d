"""An export that is not what was exported is not opened, and one that is pinned is opened alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import mvdefect
from mvdefect.core.errors import ConfigError, ExportError, RunError
from mvdefect.inspector import engines as engines_module
from mvdefect.inspector.engines import open_engine
from mvdefect.inspector.integrity import check_files, hash_export, hash_file, read_manifest
from mvdefect.inspector.places import MANIFEST
from mvdefect.prediction.inspectors import InspectorPlace, check_inspector


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "parts" / "1")


def test_every_file_of_an_export_is_listed(exported: Path) -> None:
    listed = read_manifest(exported)["files"]
    there = {path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()}
    assert set(listed) == there - {MANIFEST}
    assert listed == hash_export(exported)
    assert {"saved_model.pb", "model_card.md"} < set(listed)


def test_a_changed_file_is_named_and_nothing_is_opened(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_module, "load_tensorflow", lambda *_: pytest.fail("it is being opened"))
    listed = read_manifest(copy)["files"]
    for name in sorted(set(listed) - {"model_card.md"}):
        whole = (copy / name).read_bytes()
        (copy / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if whole else b"x")
        with pytest.raises(ExportError, match=f"1 file.* not what inspector.json says.*: {name}$"):
            open_engine(copy)
        (copy / name).write_bytes(whole)
    (copy / "saved_model.pb").rename(copy.parent / "elsewhere.pb")
    with pytest.raises(ExportError, match="saved_model.pb"):
        open_engine(copy)
    (copy / "model_card.md").write_text("our own words")
    (copy.parent / "elsewhere.pb").rename(copy / "saved_model.pb")
    check_files(copy, read_manifest(copy))  # people may write what they like


@pytest.mark.parametrize("files", [{"../../outside": "0" * 64}, {"/etc/passwd": "0" * 64}, {"a": 3}, [], "x"])
def test_a_list_that_leads_elsewhere_is_refused(copy: Path, files: object) -> None:
    with pytest.raises(ExportError):
        check_files(copy, {"files": files})


def test_a_pin_covers_every_file(copy: Path, finished_run: Path) -> None:
    digest = hash_file(copy / MANIFEST)
    assert mvdefect.load(copy, expect_sha256=digest.upper()).name == "parts/1"
    check_inspector(InspectorPlace(str(copy.parent), sha256=digest))
    for wrong, error in (("0" * 64, ExportError), ("abc", ConfigError), (digest + "0", ConfigError)):
        with pytest.raises(error, match="SHA-256"):
            mvdefect.load(copy, expect_sha256=wrong)
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["files"]["saved_model.pb"] = "0" * 64  # who changes the list changes its digest
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ExportError, match=f"must have the SHA-256 {digest}. Received: "):
        mvdefect.load(copy, expect_sha256=digest)
    for place in (str(finished_run), "http://line:8501/v1/models/parts"):
        with pytest.raises(ConfigError, match="only an export has a SHA-256"):
            mvdefect.load(place, expect_sha256=digest)


def test_an_export_of_old_is_opened_but_cannot_be_pinned(copy: Path) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    del manifest["files"]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    assert mvdefect.load(copy).name == "parts/1"
    with pytest.raises(ExportError, match="lists no files, as those of 0.1.0"):
        mvdefect.load(copy, expect_sha256=hash_file(copy / MANIFEST))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("{}", "lists no engines"),
        ('{"engines": 3}', "lists no engines"),
        ('{"engines": [{"name": "a", "format": "onnx", "file": "d"}], "files": {}}', "lacks the engine d"),
        ('{"engines": [3]}', "an engine needs name, format"),
        ('{"engines": [{"name": "a", "format": "b", "precision": "c", "file": "d"}]}', "Received: b"),
        (
            '{"engines": [{"name": "onnx", "format": "onnx", "precision": "c", "file": "d"}]}',
            "cannot be loaded",
        ),
    ],
)
def test_a_damaged_description_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises((ExportError, RunError), match=said) as refused:
        open_engine(tmp_path)
    assert "\n" not in str(refused.value)
