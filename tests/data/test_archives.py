"""Archives of one's own: unpacked once, and only if they are harmless."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from mvdefect.audit.audit import audit_data
from mvdefect.core.errors import LayoutError, UnlabelledError
from mvdefect.data.sources import archives
from mvdefect.data.sources.archives import open_archive
from mvdefect.data.sources.opening import open_source
from tests.conftest import make_texture, write_class_folders, write_image


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / archives.CACHE


def list_files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def pack_zip(root: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in list_files(root):
            archive.write(file, prefix + file.relative_to(root).as_posix())
    return path


def pack_tar(root: Path, path: Path, prefix: str = "") -> Path:
    with tarfile.open(path, f"w:{path.suffix[1:].replace('tgz', 'gz').replace('tar', '')}") as archive:
        archive.add(root, prefix.strip("/") or ".")
    return path


def test_an_archive_is_shown_by_its_own_name(tmp_path: Path, cache: Path) -> None:
    """In the title of the data check, in notes and in errors; never by its place in the cache."""
    root = write_class_folders(tmp_path / "lot", 2, 2)
    write_image(root / "loose.png", make_texture(8))
    path = pack_zip(root, tmp_path / "lot.zip")
    layout = open_source(str(path))
    assert layout.title == str(path)
    assert audit_data(layout).root == str(path)
    assert any(f"1 in {path}" in note for note in layout.notes)
    (root / "good").rename(root / "A-Ware")
    with pytest.raises(UnlabelledError) as caught:
        open_source(str(pack_zip(root, tmp_path / "other.zip")))
    assert f"no known layout in {tmp_path / 'other.zip'}: " in str(caught.value)
    assert not any(str(cache) in text for text in (str(caught.value), *layout.notes))


@pytest.mark.parametrize(
    "name", ["lot 7.zip", "lot 7.tar", "lot 7.tar.gz", "lot 7.tgz", "lot 7.tar.xz", "lot 7.tar.bz2"]
)
@pytest.mark.parametrize("prefix", ["", "lot 7/"])
def test_an_archive_is_read_as_its_folder_would_be(
    tmp_path: Path, cache: Path, messages: list[str], name: str, prefix: str
) -> None:
    root = write_class_folders(tmp_path / "lot 7", 2, 2)
    pack = pack_zip if name.endswith("zip") else pack_tar
    path = pack(root, tmp_path / name, prefix)
    wanted = open_source(str(root)).records
    for _ in range(2):
        found = open_source(str(path)).records
        assert [(one.id, one.category, one.defect_type) for one in found] == [
            (one.id, one.category, one.defect_type) for one in wanted
        ]
    assert found[0].path.read_bytes() == wanted[0].path.read_bytes()
    assert [said for said in messages if "unpacking" not in said] == []  # no licence of MVTec AD above all
    assert sum("unpacking" in said for said in messages) == 1
    assert len(list(cache.iterdir())) == 1


def test_other_content_under_the_same_name_is_other_data(tmp_path: Path, cache: Path) -> None:
    root = write_class_folders(tmp_path / "lot", 2, 2)
    path = pack_zip(root, tmp_path / "lot.zip")
    assert len(open_source(str(path)).records) == 4
    write_image(root / "good" / "9.png", make_texture(9))
    assert len(open_source(str(pack_zip(root, path))).records) == 5


def test_a_zip_of_macs_and_of_windows_is_read(tmp_path: Path, cache: Path) -> None:
    root = write_class_folders(tmp_path / "lot", 1, 1)
    path = tmp_path / "lot.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in list_files(root):
            archive.write(file, "lot\\" + "\\".join(file.relative_to(root).parts))
            archive.writestr(f"__MACOSX/lot/{file.parent.name}/._{file.name}", b"x")
    assert [(one.id, one.category) for one in open_source(str(path)).records] == [
        ("dent/000.png", "lot"),
        ("good/000.png", "lot"),
    ]


@pytest.mark.parametrize("name", ["../out.png", "/out.png", "a/../../out.png", "C:\\out.png", "..\\out.png"])
def test_a_zip_cannot_write_outside_its_folder(tmp_path: Path, cache: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(LayoutError, match="must hold only files and folders"):
        open_archive(tmp_path / "evil.zip")
    assert not list(tmp_path.rglob("*out.png"))
    assert list(cache.iterdir()) == []


def test_a_zip_with_a_link_is_refused(tmp_path: Path, cache: Path) -> None:
    link = zipfile.ZipInfo("good")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(link, "/etc")
    with pytest.raises(LayoutError, match="only files and folders. Received: 'good'"):
        open_archive(tmp_path / "evil.zip")


@pytest.mark.parametrize(("limit", "value"), [("MAX_MEMBERS", 3), ("MAX_UNPACKED_BYTES", 100)])
@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_an_archive_of_many_or_large_files_is_refused(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, suffix: str
) -> None:
    root = write_class_folders(tmp_path / "lot", 2, 2)
    path = (pack_zip if suffix == "zip" else pack_tar)(root, tmp_path / f"lot.{suffix}")
    monkeypatch.setattr(archives, limit, value)
    with pytest.raises(LayoutError, match="at most .* are unpacked. Received: more in"):
        open_archive(path)
    assert list(cache.iterdir()) == []


def test_a_disk_that_is_too_full_is_told_before_anything_is_written(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack_zip(write_class_folders(tmp_path / "lot", 1, 1), tmp_path / "lot.zip")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(LayoutError, match="the disk of the cache has 10; unpack it elsewhere"):
        open_archive(path)


def test_an_encrypted_zip_is_told(tmp_path: Path, cache: Path) -> None:
    path = pack_zip(write_class_folders(tmp_path / "lot", 1, 1), tmp_path / "lot.zip")
    encoded = bytearray(path.read_bytes())
    place = encoded.index(b"PK\x01\x02")
    encoded[place + 8] |= 1
    path.write_bytes(encoded)
    with pytest.raises(LayoutError, match="the archive is encrypted"):
        open_archive(path)


@pytest.mark.parametrize("name", ["lot.zip", "lot.tar.gz"])
@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_damaged_archive_is_one_line_and_leaves_nothing(
    tmp_path: Path, cache: Path, name: str, content: bytes | None
) -> None:
    root = write_class_folders(tmp_path / "lot", 2, 2)
    path = (pack_zip if name.endswith("zip") else pack_tar)(root, tmp_path / name)
    path.write_bytes(path.read_bytes()[:-400] if content is None else content)
    with pytest.raises(LayoutError, match="the archive cannot be unpacked .* Received: .* bytes") as caught:
        open_archive(path)
    assert len(str(caught.value).splitlines()) == 1
    assert list(cache.iterdir()) == []


def test_a_member_that_is_longer_than_it_says_is_cut_off(tmp_path: Path, cache: Path) -> None:
    """A bomb whose directory lies about the size."""
    path = tmp_path / "lot.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good/0.png", bytes(10_000_000))
    encoded = path.read_bytes().replace((10_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(encoded)
    with pytest.raises(LayoutError, match="cannot be unpacked"):
        open_archive(path)
    assert list(cache.iterdir()) == []


def test_a_tar_with_a_link_is_refused(tmp_path: Path, cache: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("good/a.png"), io.BytesIO())
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    with pytest.raises(LayoutError, match="only files and folders. Received: 'link'"):
        open_archive(tmp_path / "evil.tar")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("name", ["lot.7z", "lot.rar"])
def test_other_archives_are_told_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(LayoutError, match="archives must be zip or tar; unpack this one"):
        open_source(str(tmp_path / name))


def test_a_spreadsheet_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "lot.xlsx").write_bytes(b"x")
    with pytest.raises(LayoutError, match="a spreadsheet must be saved as CSV"):
        open_source(str(tmp_path / "lot.xlsx"))
