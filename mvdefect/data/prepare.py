"""Prepared store: the photographs at working size, shrunk once, as a TFDS data set."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mvdefect.data.images import Pixels, ResizeMethod, decode_image, decode_mask, resize_image
from mvdefect.data.records import Record
from mvdefect.data.scan import Scan
from mvdefect.errors import ImageError
from mvdefect.parallel import map_in_threads
from mvdefect.paths import cache_dir
from mvdefect.progress import logger, track

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow_datasets as tfds

SPLIT = "images"
FORMAT_VERSION = "1.0.0"
PNG_COMPRESSION = 3


@dataclass(frozen=True)
class PreparedStore:
    """A finished store.

    Attributes:
        path: The folder of the TFDS data set; `tfds.builder_from_directory(path)` reads it.
        size_px: Height and width of each image and mask.
        count: How many images there are.
    """

    path: Path
    size_px: int
    count: int


class PreparedImages(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
    """TFDS builder of a prepared store; its one split holds every image, sorted by id."""

    VERSION = tfds.core.Version(FORMAT_VERSION)

    def __init__(self, records: Sequence[Record], size_px: int, method: ResizeMethod, data_dir: Path) -> None:
        self._records = records
        self._size_px = size_px
        self._method = method
        super().__init__(data_dir=str(data_dir))

    def _info(self) -> tfds.core.DatasetInfo:
        size_px = self._size_px
        return tfds.core.DatasetInfo(
            builder=self,
            description="Photographs of manufactured products at working size, with pixel masks of defects.",
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(size_px, size_px, 3), encoding_format="png"),
                    "mask": tfds.features.Image(shape=(size_px, size_px, 1), encoding_format="png"),
                    "has_mask": np.bool_,
                    "label": tfds.features.ClassLabel(names=["good", "defective"]),
                    "category": tfds.features.Text(),
                    "defect_type": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        examples = map_in_threads(self._make_example, self._records)
        yield from enumerate(track(examples, "Preparing images", len(self._records)))

    def _make_example(self, record: Record) -> dict[str, Any]:
        try:
            image = resize_image(decode_image(record.path.read_bytes()), self._size_px, self._method)
            mask = self._make_mask(record)
        except (ImageError, OSError) as error:
            raise ImageError(f"{record.path} changed since it was first read: {error}") from error
        return {
            "id": record.id,
            "image": io.BytesIO(_encode_png(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))),
            "mask": io.BytesIO(_encode_png(mask)),
            "has_mask": record.mask_path is not None,
            "label": record.label,
            "category": record.category,
            "defect_type": record.defect_type,
        }

    def _make_mask(self, record: Record) -> Pixels:
        if record.mask_path is None:
            return np.zeros((self._size_px, self._size_px), np.uint8)
        mask = decode_mask(record.mask_path.read_bytes()).astype(np.uint8) * np.uint8(255)
        return resize_image(mask, self._size_px, self._method)


def prepare_images(scan: Scan, size_px: int, method: ResizeMethod) -> PreparedStore:
    """Shrink every photograph and mask to the working size and store them, without loss.

    The store lies in the cache and is made anew only when a file, a label, the size or the method has
    changed. It is written aside and renamed, so a half-made store is never taken for a whole one.

    Args:
        scan: The photographs, sorted by id.
        size_px: Height and width of the result.
        method: See `mvdefect.data.images.resize_image`.

    Raises:
        ImageError: A file that could be read during the scan cannot be read any more.
    """
    data_dir = cache_dir("prepared") / _make_key(scan, size_px, method)
    tfds.disable_progress_bar()
    builder = PreparedImages(scan.records, size_px, method, data_dir)
    path = Path(builder.data_path)
    if path.exists():
        logger.info("prepared images found in %s", path)
    else:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints; stdout belongs to data
            builder.download_and_prepare()
        logger.info("prepared %d images at %d pixels in %s", len(scan.records), size_px, path)
    return PreparedStore(path, size_px, len(scan.records))


def _make_key(scan: Scan, size_px: int, method: ResizeMethod) -> str:
    key = hashlib.sha256(f"{FORMAT_VERSION} {size_px} {method}\n".encode())
    for record, sha256 in zip(scan.records, scan.sha256, strict=True):
        mask = hashlib.sha256(record.mask_path.read_bytes()).hexdigest() if record.mask_path else "-"
        key.update(f"{record.id}\0{record.stratum}\0{sha256}\0{mask}\n".encode())
    return key.hexdigest()[:32]


def _encode_png(image: Pixels) -> bytes:
    encoded: bytes = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION])[1].tobytes()
    return encoded
