"""Photo: the place of a drawn photograph in MVTec AD's tree, and how pixels become files."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mvdefect.data.images import Pixels
from mvdefect.data.layouts import MASK_SUFFIX
from mvdefect.data.records import GOOD

HIGH_QUALITY = 95  # of a JPEG


@dataclass(frozen=True)
class Photo:
    """A photograph by its name.

    Attributes:
        category: The product.
        part: "train" or "test", MVTec AD's folder.
        defect_type: "good", or the name of the defect.
        number: Unique within its category and type.
        suffix: ".png" or ".jpg".
    """

    category: str
    part: str
    defect_type: str
    number: int
    suffix: str = ".png"

    @property
    def id(self) -> str:
        """POSIX path of the image below the root of the data."""
        return f"{self.category}/{self.part}/{self.defect_type}/{self.number:03}{self.suffix}"

    @property
    def mask_id(self) -> str:
        """POSIX path of its mask below the root of the data, whether or not there is one."""
        return f"{self.category}/ground_truth/{self.defect_type}/{self.number:03}{MASK_SUFFIX}.png"

    @property
    def is_defective(self) -> bool:
        """Whether it is in the folder of a defect type."""
        return self.defect_type != GOOD

    def make_rng(self, seed: int, purpose: str) -> np.random.Generator:
        """Return random numbers that depend on the seed, the photograph and the purpose alone."""
        key = f"{purpose}/{self.category}/{self.defect_type}/{self.number}"
        return np.random.default_rng([seed, zlib.crc32(key.encode())])


def encode_image(image: Pixels, suffix: str, quality: int = HIGH_QUALITY) -> bytes:
    """Encode uint8 RGB (height, width, 3), or a mask (height, width), as ".png" or ".jpg"."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    stored = image[:, :, ::-1] if image.ndim == 3 else image
    encoded: bytes = cv2.imencode(suffix, np.ascontiguousarray(stored), options)[1].tobytes()
    return encoded


def write_file(path: Path, encoded: bytes) -> None:
    """Write bytes, in a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded)
