"""MVTec AD: what was published is taken, from wherever it lies, and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar
from urllib.error import URLError

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from mvdefect.core.errors import LayoutError
from mvdefect.data.sources import archives, mvtec_ad
from mvdefect.data.sources import mvtec_ad_release as mvtec_ad_archive
from mvdefect.data.sources.folders import read_records
from mvdefect.data.sources.mvtec_ad import MvtecAd, find_manual_dir, locate_tree
from mvdefect.data.sources.mvtec_ad_release import (
    ARCHIVE_BYTES,
    ARCHIVE_NAME,
    ARCHIVE_SHA256,
    ARCHIVE_URL,
    CATEGORIES,
    LICENCE_NOTE,
    CategoryFacts,
    check_tree,
    download_archive,
    looks_like_mvtec_ad,
    unpack_archive,
)

GREY = ("grid", "screw", "zipper")
TINY = {
    name: dataclasses.replace(facts, size_px=8 + number, train=2, test=dict.fromkeys(facts.test, 1))
    for number, (name, facts) in enumerate(CATEGORIES.items())
}


def write_png(path: Path, size_px: int, seed: int, mode: str = "RGB", format_: str = "PNG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size_px, size_px, 3)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, format_)


def write_tree(
    root: Path, categories: Iterable[str] = CATEGORIES, facts: Mapping[str, CategoryFacts] = TINY
) -> Path:
    """Write a tree with few and small images, each unlike the others, and masks whose middle is defective."""
    seed = 0
    for name in categories:
        size_px, mode = facts[name].size_px, "L" if name in GREY else "RGB"
        counts = {"train/good": facts[name].train}
        counts |= {f"test/{type_}": count for type_, count in facts[name].test.items()}
        for folder, count in counts.items():
            for number in range(count):
                seed += 1
                write_png(root / name / folder / f"{number:03}.png", size_px, seed, mode)
                if folder not in ("train/good", "test/good"):
                    mask = Image.new("L", (size_px, size_px))
                    mask.putpixel((size_px // 2, size_px // 2), 255)
                    path = root / name / folder.replace("test", "ground_truth") / f"{number:03}_mask.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    mask.save(path)
        (root / name / "license.txt").write_text("CC BY-NC-SA 4.0")
    return root


def write_archive(tree: Path, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:xz", preset=0) as archive:
        for child in sorted(tree.iterdir()):
            archive.add(child, child.name)
    return path


@pytest.fixture(scope="module")
def tiny_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 15 categories; tests change copies of it."""
    return write_tree(tmp_path_factory.mktemp("mvtec_ad") / "tree")


@pytest.fixture(scope="module")
def tiny_archive(tiny_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tiny_tree, tmp_path_factory.mktemp("archive") / ARCHIVE_NAME)


@pytest.fixture
def pill(tmp_path: Path) -> Path:
    """A tree of one category that a test may spoil."""
    return write_tree(tmp_path / "tree", ["pill"])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mvtec_ad"


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mvtec_ad, "download_archive", lambda: pytest.fail("downloaded"))


def refuse(tree: Path, categories: tuple[str, ...] = ("pill",)) -> str:
    """Return the one line with which a tree is refused."""
    with pytest.raises(LayoutError) as refused:
        check_tree(tree, categories, TINY)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# What was published


def test_the_counts_sum_up_to_what_was_published() -> None:
    train = sum(facts.train for facts in CATEGORIES.values())
    good = sum(facts.test["good"] for facts in CATEGORIES.values())
    everything = train + sum(sum(facts.test.values()) for facts in CATEGORIES.values())
    kinds = sum(len(facts.test) - 1 for facts in CATEGORIES.values())
    assert (len(CATEGORIES), kinds) == (15, 73)
    assert (train, good, everything - train - good, everything) == (3629, 467, 1258, 5354)


def test_the_registered_checksum_is_that_of_the_archive() -> None:
    info = MvtecAd.url_infos[ARCHIVE_URL]
    assert (int(info.size), info.checksum, info.filename) == (ARCHIVE_BYTES, ARCHIVE_SHA256, ARCHIVE_NAME)


def test_a_category_of_the_published_size_is_taken_and_one_image_less_is_not(tmp_path: Path) -> None:
    image = io.BytesIO()
    Image.new("RGB", (1024, 1024)).save(image, "PNG")
    counts = {"train/good": 60, "test/good": 12, "test/defective": 30, "ground_truth/defective": 30}
    for folder, count in counts.items():
        path = tmp_path / "toothbrush" / folder
        path.mkdir(parents=True)
        for number in range(count):
            suffix = "_mask.png" if folder.startswith("ground_truth") else ".png"
            (path / f"{number:03}{suffix}").write_bytes(image.getvalue())
    check_tree(tmp_path, ["toothbrush"])
    (tmp_path / "toothbrush/test/good/011.png").unlink()
    with pytest.raises(LayoutError, match="12 images in toothbrush/test/good. Received: 11 in"):
        check_tree(tmp_path, ["toothbrush"])


def test_the_whole_tree_is_taken(tiny_tree: Path) -> None:
    check_tree(tiny_tree, (), TINY)


# Faulty copies


def test_metal_nuts_among_the_pills_are_refused(pill: Path) -> None:
    write_png(pill / "pill/test/good/000.png", TINY["metal_nut"].size_px, 0)
    message = refuse(pill)
    size_px, other_px = TINY["pill"].size_px, TINY["metal_nut"].size_px
    assert f"Expected: PNG of {size_px}×{size_px} pixels in pill." in message
    assert f"pill/test/good/000.png (PNG of {other_px}×{other_px} pixels)" in message
    assert "download the original from https://www.mvtec.com" in message


def test_re_encoded_images_are_refused(pill: Path) -> None:
    write_png(pill / "pill/train/good/001.png", TINY["pill"].size_px, 0, format_="JPEG")
    assert "pill/train/good/001.png (JPEG of" in refuse(pill)


def test_a_shrunk_mask_is_refused(pill: Path) -> None:
    write_png(pill / "pill/ground_truth/crack/000_mask.png", 4, 0, mode="L")
    assert "pill/ground_truth/crack/000_mask.png (PNG of 4×4 pixels)" in refuse(pill)


def test_a_broken_image_is_refused(pill: Path) -> None:
    (pill / "pill/test/crack/000.png").write_bytes(b"\x89PNG")
    assert "pill/test/crack/000.png (no image that can be recognised)" in refuse(pill)


def test_missing_and_additional_images_are_refused(pill: Path) -> None:
    (pill / "pill/test/crack/000.png").unlink()
    write_png(pill / "pill/train/good/777.png", TINY["pill"].size_px, 0)
    write_png(pill / "pill/test/dent/000.png", TINY["pill"].size_px, 1)
    message = refuse(pill)
    assert (
        "Expected: 1 images in pill/test/crack, 0 images in pill/test/dent, 2 images in pill/train/good"
        in (message)
    )
    assert "Received: 0 in pill/test/crack, 1 in pill/test/dent, 3 in pill/train/good" in message


def test_a_missing_mask_is_refused(pill: Path) -> None:
    (pill / "pill/ground_truth/scratch/000_mask.png").unlink()
    assert "none of pill/test/scratch/000.png" in refuse(pill)


def test_a_copy_in_another_layout_is_refused_by_name(tmp_path: Path) -> None:
    write_png(tmp_path / "pill/image/good/000.png", 8, 0)
    for root in (tmp_path, tmp_path / "pill"):
        assert "metal nuts in pill/image/good" in refuse(root)


def test_an_unknown_category_is_named(tiny_tree: Path) -> None:
    assert "unknown category of MVTec AD 'bottel'. Did you mean 'bottle'?" in refuse(tiny_tree, ("bottel",))
    with pytest.raises(LayoutError, match="Did you mean 'pill'"):
        locate_tree(["pil"], tiny_tree, TINY)


def test_it_is_recognised_by_its_names(tiny_tree: Path, tmp_path: Path) -> None:
    assert looks_like_mvtec_ad(tiny_tree)
    assert looks_like_mvtec_ad(tiny_tree / "screw")
    (tmp_path / "mine").symlink_to(tiny_tree)
    assert looks_like_mvtec_ad(tmp_path / "mine")
    write_png(tmp_path / "own/screw/test/scratch_head/000.png", 8, 0)
    assert not looks_like_mvtec_ad(tmp_path / "own")
    assert not looks_like_mvtec_ad(tmp_path / "own/screw")
    assert not looks_like_mvtec_ad(tmp_path / "nowhere")


# The archive


def test_an_archive_is_unpacked_once(
    tiny_tree: Path, tiny_archive: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = unpack_archive(tiny_archive, TINY)
    assert tree.is_relative_to(cache)
    original, unpacked = read_records(tiny_tree), read_records(tree)
    assert [record.id for record in unpacked] == [record.id for record in original]
    assert unpacked[5].path.read_bytes() == original[5].path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(mvtec_ad_archive, "extract_archive", lambda *_: pytest.fail("unpacked again"))
        assert unpack_archive(tiny_archive, TINY) == tree
    shutil.rmtree(tree)
    assert check_tree(unpack_archive(tiny_archive, TINY), (), TINY) is None


def test_an_archive_may_hold_the_folder_of_the_whole(pill: Path, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "outer").mkdir()
    pill.rename(tmp_path / "outer/mvtec_anomaly_detection")
    tree = unpack_archive(write_archive(tmp_path / "outer", tmp_path / "any.tar.xz"), TINY)
    assert tree.name == "mvtec_anomaly_detection"
    assert (tree / "pill/train/good/000.png").is_file()


def cut_short(archive: bytes) -> bytes:
    return archive[: len(archive) // 2]


def flip_a_byte(archive: bytes) -> bytes:
    middle = len(archive) // 2
    return archive[:middle] + bytes([archive[middle] ^ 255]) + archive[middle + 1 :]


@pytest.mark.parametrize("damage", [cut_short, flip_a_byte, lambda _: b"no archive", lambda _: b""])
def test_a_damaged_archive_gives_one_line_and_leaves_nothing(
    damage, tiny_archive: Path, tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / ARCHIVE_NAME
    path.write_bytes(damage(tiny_archive.read_bytes()))
    with pytest.raises(
        LayoutError, match="cannot be unpacked .*has 5,264,982,680 bytes. Received: "
    ) as refused:
        unpack_archive(path, TINY)
    assert "\n" not in str(refused.value)
    assert list(cache.iterdir()) == []


def test_an_archive_with_faulty_or_other_images_leaves_nothing(
    pill: Path, tmp_path: Path, cache: Path
) -> None:
    (pill / "pill/test/crack/000.png").unlink()
    with pytest.raises(LayoutError, match="not MVTec AD as published"):
        unpack_archive(write_archive(pill, tmp_path / "pill.tar.xz"), TINY)
    (pill / "pill").rename(pill / "pillow")
    with pytest.raises(LayoutError, match="holds no category folder"):
        unpack_archive(write_archive(pill, tmp_path / "other.tar.xz"), TINY)
    with pytest.raises(LayoutError, match="does not exist"):
        unpack_archive(tmp_path / "nowhere.tar.xz", TINY)
    assert list(cache.iterdir()) == []


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path, cache: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("../../evil.txt"), io.BytesIO())
    with pytest.raises(LayoutError, match="cannot be unpacked"):
        unpack_archive(tmp_path / "evil.tar", TINY)
    assert not list(tmp_path.rglob("evil.txt"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_an_archive_with_a_link_or_a_device_is_refused_before_anything_is_written(
    kind: bytes, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain of links that is longer than a path may be leads out of the folder on some Pythons."""
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda *_, **__: pytest.fail("unpacked"))
    member = tarfile.TarInfo("bottle/link")
    member.type, member.linkname = kind, "a/" * 2100
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("bottle/good.png"), io.BytesIO())
        archive.addfile(member)
    with pytest.raises(LayoutError, match="only files and folders. Received: 'bottle/link'"):
        unpack_archive(tmp_path / "evil.tar", TINY)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(("limit", "value"), [("MAX_MEMBERS", 3), ("MAX_UNPACKED_BYTES", 100)])
def test_an_archive_of_many_or_large_files_is_refused(
    limit: str, value: int, tiny_archive: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, limit, value)
    with pytest.raises(LayoutError, match=r"at most .* are unpacked. Received: more in"):
        unpack_archive(tiny_archive, TINY)
    assert list(cache.iterdir()) == []


def test_what_has_the_size_of_the_whole_archive_must_have_its_hash(
    tiny_archive: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mvtec_ad_archive, "ARCHIVE_BYTES", tiny_archive.stat().st_size)
    with pytest.raises(LayoutError, match=f"SHA-256 must be {ARCHIVE_SHA256}. Received: [0-9a-f]{{64}} for"):
        unpack_archive(tiny_archive, TINY)
    sha256 = hashlib.sha256(tiny_archive.read_bytes()).hexdigest()
    monkeypatch.setattr(mvtec_ad_archive, "ARCHIVE_SHA256", sha256)
    assert unpack_archive(tiny_archive, TINY) == cache / sha256


def test_a_download_is_taken_with_the_right_hash_alone(
    tiny_archive: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = tiny_archive.read_bytes()
    asked: list[str] = []

    def answer(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        return io.BytesIO(sent)

    monkeypatch.setattr("urllib.request.urlopen", answer)
    with pytest.raises(LayoutError, match="SHA-256 must be"):
        download_archive()
    assert list(cache.iterdir()) == []
    monkeypatch.setattr(mvtec_ad_archive, "ARCHIVE_SHA256", hashlib.sha256(sent).hexdigest())
    assert download_archive().read_bytes() == sent
    assert download_archive() == cache / ARCHIVE_NAME
    assert asked == [ARCHIVE_URL] * 2


# Where it is found


@pytest.mark.parametrize("below", ["", "mvtec_anomaly_detection"])
def test_an_unpacked_tree_is_taken_where_it_lies(
    below: str, tiny_tree: Path, tmp_path: Path, no_download: None, messages: list[str]
) -> None:
    shutil.copytree(tiny_tree, tmp_path / "manual" / below)
    assert locate_tree([], tmp_path / "manual", TINY) == tmp_path / "manual" / below
    assert messages == [LICENCE_NOTE]
    assert "non-commercial" in LICENCE_NOTE


def test_the_category_asked_for_is_enough(pill: Path, no_download: None) -> None:
    (pill / "another data set").mkdir()
    assert locate_tree(["pill"], pill, TINY) == pill


@pytest.mark.parametrize("name", [ARCHIVE_NAME, "pill.tar.xz"])
def test_an_archive_is_taken_where_it_lies(
    name: str, pill: Path, tmp_path: Path, cache: Path, no_download: None
) -> None:
    write_archive(pill, tmp_path / "manual" / name)
    tree = locate_tree(["pill"], tmp_path / "manual", TINY)
    assert tree.is_relative_to(cache)
    assert len(read_records(tree)) == 2 + 8


def test_a_download_is_unpacked_and_found_again_without_its_archive(
    tiny_archive: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = hashlib.sha256(tiny_archive.read_bytes()).hexdigest()
    monkeypatch.setattr(mvtec_ad_archive, "ARCHIVE_BYTES", tiny_archive.stat().st_size)
    monkeypatch.setattr(mvtec_ad_archive, "ARCHIVE_SHA256", sha256)
    monkeypatch.setattr(mvtec_ad, "download_archive", lambda: tiny_archive)
    tree = locate_tree(["wood"], tmp_path / "nowhere", TINY)
    monkeypatch.setattr(mvtec_ad, "download_archive", lambda: pytest.fail("downloaded again"))
    assert locate_tree(["tile", "wood"], tmp_path / "nowhere", TINY) == tree


def test_offline_the_message_says_which_file_goes_where(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "tfds"))
    with pytest.raises(LayoutError, match="Temporary failure in name resolution") as refused:
        locate_tree(["pill"])
    message = str(refused.value)
    assert "\n" not in message
    assert f"not in {tmp_path}/tfds/downloads/manual" in message
    assert f"Put the file {ARCHIVE_NAME} (5,264,982,680 bytes) from https://www.mvtec.com" in message
    assert find_manual_dir() == tmp_path / "tfds/downloads/manual"


def test_a_derived_copy_is_refused_before_anything_is_downloaded(tmp_path: Path, no_download: None) -> None:
    write_png(tmp_path / "pill/image/good/000.png", 8, 0)
    with pytest.raises(LayoutError, match="metal nuts in pill/image/good"):
        locate_tree(["pill"], tmp_path, TINY)


# TFDS


@pytest.fixture(scope="class")
def _tiny_facts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MvtecAd, "EXPECTED", TINY)
        patch.setenv("MVDEFECT_CACHE", str(tmp_path_factory.mktemp("cache")))
        request.cls.EXAMPLE_DIR = str(tmp_path_factory.mktemp("examples"))
        request.cls.write_examples(Path(request.cls.EXAMPLE_DIR))
        yield


@pytest.mark.usefixtures("_tiny_facts")
class TestUnpackedTree(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = MvtecAd
    BUILDER_CONFIG_NAMES_TO_TEST = ("bottle",)
    SPLITS: ClassVar = {"train": 2, "test": 4}

    @staticmethod
    def write_examples(folder: Path) -> None:
        write_tree(folder, ["bottle"])


@pytest.mark.usefixtures("_tiny_facts")
class TestArchive(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = MvtecAd
    BUILDER_CONFIG_NAMES_TO_TEST = ("all",)
    SPLITS: ClassVar = {"train": 30, "test": 73 + 15}

    @staticmethod
    def write_examples(folder: Path) -> None:
        write_archive(write_tree(folder / "aside"), folder / ARCHIVE_NAME)
        shutil.rmtree(folder / "aside")


@pytest.mark.usefixtures("_tiny_facts")
class TestDownload(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = MvtecAd
    BUILDER_CONFIG_NAMES_TO_TEST = ("grid",)
    DL_EXTRACT_RESULT = "downloaded"
    SPLITS: ClassVar = {"train": 2, "test": 6}

    @staticmethod
    def write_examples(folder: Path) -> None:
        write_archive(write_tree(folder / "aside", ["grid"]), folder / "downloaded")
        shutil.rmtree(folder / "aside")

    def test_the_address_is_the_one_with_a_checksum(self) -> None:
        self._download_and_prepare_as_dataset(self._make_builder("grid"))
        assert self._download_urls == {ARCHIVE_URL}


def load(
    manual_dir: Path, name: str, data_dir: Path
) -> tuple[dict[str, list[dict[str, np.ndarray]]], object]:
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    splits, info = tfds.load(
        name, data_dir=data_dir, with_info=True, download_and_prepare_kwargs={"download_config": config}
    )
    return {part: list(tfds.as_numpy(split)) for part, split in splits.items()}, info


def test_tfds_loads_every_pixel_and_mask(
    tiny_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MvtecAd, "EXPECTED", TINY)
    for name in ("bottle", "screw"):
        parts, info = load(tiny_tree, f"mvtec_ad/{name}", tmp_path)
        assert {part: len(examples) for part, examples in parts.items()} == {
            "train": 2,
            "test": len(CATEGORIES[name].test),
        }
        records = {record.id: record for record in read_records(tiny_tree, [name])}
        for part, examples in parts.items():
            for example in examples:
                record = records.pop(example["id"].decode())
                assert record.part == part
                assert record.id.startswith(f"{name}/{part}/")
                pixels = np.asarray(Image.open(record.path).convert("RGB"))
                assert np.array_equal(example["image"], pixels)
                assert example["label"] == record.label
                assert example["defect_type"].decode() == record.defect_type
                assert example["mask"].shape == (*pixels.shape[:2], 1)
                assert np.count_nonzero(example["mask"]) == record.label
        assert not records
        assert "non-commercial" in info.redistribution_info.license
        assert "Bergmann" in info.citation
        assert info.features["label"].names == ["good", "defective"]


def test_tfds_refuses_a_faulty_copy(tiny_tree: Path, tmp_path: Path) -> None:
    with pytest.raises(
        LayoutError, match="209 images in bottle/train/good. Received: .*2 in bottle/train/good"
    ):
        load(tiny_tree, "mvtec_ad/bottle", tmp_path)


def test_tfds_offline_says_which_file_goes_where(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise tfds.download.DownloadError("Failed to get url. HTTP code: 404.")

    monkeypatch.setattr(tfds.download.DownloadManager, "download", fail)
    with pytest.raises(LayoutError, match=f"HTTP code: 404.*Put the file {ARCHIVE_NAME}"):
        load(tmp_path / "nowhere", "mvtec_ad/bottle", tmp_path / "data")
