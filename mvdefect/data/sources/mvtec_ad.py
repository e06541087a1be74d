"""MVTec AD as a TFDS data set, and as a checked folder to read records from.

Importing this module registers the data set: `tfds.load("mvtec_ad/bottle")` finds it by then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mvdefect.core.errors import LayoutError
from mvdefect.data.records import Record
from mvdefect.data.sources.folders import MVTEC_AD_PARTS, read_records
from mvdefect.data.sources.mvtec_ad_release import (
    ARCHIVE_BYTES,
    ARCHIVE_FOLDER,
    ARCHIVE_NAME,
    ARCHIVE_URL,
    CATEGORIES,
    HOMEPAGE,
    LICENCE,
    CategoryFacts,
    check_tree,
    download_archive,
    find_tree,
    find_unpacked,
    log_licence,
    refuse_derived_copy,
    select_categories,
    unpack_archive,
)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow_datasets as tfds
from tensorflow_datasets.core import constants
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

ALL = "all"

DESCRIPTION = """\
MVTec AD: 5,354 photographs of 15 kinds of products and surfaces. Those to train on are all good; those to
test on are good or have one of 73 kinds of defects, with a mask that marks the defect.
"""
CITATION = """\
@article{bergmann2021mvtec,
  title={The {MVTec} Anomaly Detection Dataset: A Comprehensive Real-World Dataset for Unsupervised Anomaly
         Detection},
  author={Bergmann, Paul and Batzner, Kilian and Fauser, Michael and Sattlegger, David and Steger, Carsten},
  journal={International Journal of Computer Vision},
  volume={129}, number={4}, pages={1038--1059}, year={2021}, doi={10.1007/s11263-020-01400-4}
}
@inproceedings{bergmann2019mvtec,
  title={{MVTec AD}: A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection},
  author={Bergmann, Paul and Fauser, Michael and Sattlegger, David and Steger, Carsten},
  booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages={9584--9592}, year={2019}, doi={10.1109/CVPR.2019.00982}
}
"""


class MvtecAd(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
    """TFDS builder of MVTec AD: one config a category, and `all`; its own train and test."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "The archive of 2021."}
    BUILDER_CONFIGS: ClassVar[list[Any]] = [
        *(tfds.core.BuilderConfig(name=name, description=f"The category {name}.") for name in CATEGORIES),
        tfds.core.BuilderConfig(name=ALL, description="All 15 categories."),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = ALL
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Only where there is no network: put {ARCHIVE_NAME} from {HOMEPAGE}, or what it holds, here."
    )
    EXPECTED: ClassVar[Mapping[str, CategoryFacts]] = CATEGORIES

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=["good", "defective"]),
                    "defect_type": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            homepage=HOMEPAGE,
            citation=CITATION,
            license=f"{LICENCE}, non-commercial use only",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        name = self.builder_config.name
        categories = tuple(CATEGORIES) if name == ALL else (name,)
        try:
            manual_dir = Path(os.fspath(dl_manager.manual_dir))
        except AssertionError:  # TFDS's word for a folder that is missing or empty
            manual_dir = Path(os.fspath(dl_manager.download_dir)) / "manual"
        tree = _obtain_tree(
            categories, manual_dir, self.EXPECTED, lambda: Path(os.fspath(dl_manager.download(ARCHIVE_URL)))
        )
        records = read_records(tree, categories)
        return {
            part: self._generate_examples([record for record in records if record.part == part])
            for part in MVTEC_AD_PARTS
        }

    def _generate_examples(self, records: Iterable[Record]) -> Iterator[tuple[str, dict[str, Any]]]:
        for record in records:
            size_px = self.EXPECTED[record.category].size_px
            yield (
                record.id,
                {
                    "id": record.id,
                    "image": record.path,
                    "mask": record.mask_path or np.zeros((size_px, size_px, 1), np.uint8),
                    "label": record.label,
                    "defect_type": record.defect_type,
                },
            )


def find_manual_dir() -> Path:
    """Return the folder in which TFDS looks for what was downloaded by hand."""
    return Path(constants.DATA_DIR).expanduser() / "downloads" / "manual"


def locate_tree(
    categories: Sequence[str] = (),
    manual_dir: Path | None = None,
    expected: Mapping[str, CategoryFacts] = CATEGORIES,
) -> Path:
    """Find MVTec AD, check it, and say under which licence it comes.

    What lies unpacked in `manual_dir` is taken first, then the archive there (the whole one, or that of the
    one category asked for), then what was unpacked before; else the archive is downloaded. An archive is
    unpacked once, into the cache.

    Args:
        categories: The categories that are needed; empty for all.
        manual_dir: Where to look; by default TFDS's own folder, see `find_manual_dir`.
        expected: What each category must hold.

    Returns:
        The folder that holds the category folders.

    Raises:
        LayoutError: A category is unknown, the data cannot be had, or they differ from what was published.
    """
    return _obtain_tree(categories, manual_dir or find_manual_dir(), expected, download_archive)


def _obtain_tree(
    categories: Sequence[str],
    manual_dir: Path,
    expected: Mapping[str, CategoryFacts],
    download: Callable[[], Path],
) -> Path:
    names = select_categories(categories, expected)
    tree = find_tree(manual_dir, names)
    if tree is None:
        tree = _unpack_tree(names, manual_dir, expected, download)
    check_tree(tree, names, expected)
    log_licence()
    return tree


def _unpack_tree(
    names: Sequence[str],
    manual_dir: Path,
    expected: Mapping[str, CategoryFacts],
    download: Callable[[], Path],
) -> Path:
    stems = [ARCHIVE_FOLDER, *names] if len(names) == 1 else [ARCHIVE_FOLDER]
    archives = [manual_dir / f"{stem}.tar.xz" for stem in stems]
    archive = next((path for path in archives if path.is_file()), None)
    if archive is None:
        refuse_derived_copy(manual_dir)
        tree = find_unpacked(names)
        if tree is not None:
            return tree
        archive = _download(download, manual_dir)
    return unpack_archive(archive, expected)


def _download(download: Callable[[], Path], manual_dir: Path) -> Path:
    try:
        return download()
    except (LayoutError, OSError, tfds.download.DownloadError, NonMatchingChecksumError) as error:
        reason = " ".join(str(error).split())
        raise LayoutError(
            f"MVTec AD is not in {manual_dir} and cannot be downloaded ({reason}). Put the file "
            f"{ARCHIVE_NAME} ({ARCHIVE_BYTES:,} bytes) from {HOMEPAGE} there"
        ) from error
