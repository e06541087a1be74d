"""Photos of a drawn data set: where each lies in MVTec AD's tree, and shortcuts on request.

With a shortcut each photograph gets a cue, a normal random number that is 1.5 higher on average where the
part is defective. Whoever sees the cue alone reaches a ROC-AUC of 0.86: P(N(1.5, 1) > N(0, 1)).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mvdefect.data.images import Pixels
from mvdefect.data.records import GOOD
from mvdefect.data.sources.folders import MASK_SUFFIX
from mvdefect.drawing.canvas import Region

HIGH_QUALITY = 95  # of a JPEG


SHORTCUTS = ("border", "brightness", "category", "compression", "size")
CUE_DISTANCE = 1.5
SIZE_STEP = 0.03  # of the size, for a cue of 1
GREY_LEVEL, GREY_STEP = 105.0, 4.0  # the mean of a photograph for a cue of 0, and what a cue of 1 adds
JPEG_QUALITY, JPEG_STEP = 90.0, 7.0
BORDER_SHADE, BORDER_STEP = 60.0, 12.0
BORDER_SHARE = 0.03  # of the size, on each side
RARE_SHARE = 0.18  # what is left of a class in the category where it is rare


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


def draw_cue(photo: Photo, seed: int) -> float:
    """Return the cue of a photograph."""
    return float(photo.make_rng(seed, "cue").normal() + CUE_DISTANCE * photo.is_defective)


def choose_suffix(shortcut: str) -> str:
    """Return the format of every photograph of a data set."""
    return ".jpg" if shortcut == "compression" else ".png"


def choose_size_px(shortcut: str, size_px: int, cue: float) -> int:
    """Return the height and width at which a photograph is drawn."""
    if shortcut == "size":
        return max(28, round(size_px * (1 + SIZE_STEP * cue)))
    return size_px - 2 * _border_px(size_px) if shortcut == "border" else size_px


def choose_quality(shortcut: str, cue: float) -> int:
    """Return the JPEG quality of a photograph: defective ones are compressed harder."""
    if shortcut != "compression":
        return HIGH_QUALITY
    return int(np.clip(round(JPEG_QUALITY - JPEG_STEP * cue), 30, 100))


def alter_picture(
    shortcut: str, image: Pixels, mask: Region, cue: float, size_px: int
) -> tuple[Pixels, Region]:
    """Expose a drawn photograph, or frame it, as its cue says.

    Args:
        shortcut: One of `SHORTCUTS`, or "".
        image: uint8 RGB (height, width, 3).
        mask: bool (height, width).
        cue: Of this photograph.
        size_px: Height and width that the data set is to have.
    """
    if shortcut == "brightness":
        gain = (GREY_LEVEL + GREY_STEP * cue) / max(image.mean(), 1.0)
        return np.clip(image * gain, 0, 255).round().astype(np.uint8), mask
    if shortcut == "border":
        width = _border_px(size_px)
        shade = int(np.clip(round(BORDER_SHADE + BORDER_STEP * cue), 0, 255))
        framed = np.pad(image, ((width, width), (width, width), (0, 0)), constant_values=shade)
        return framed, np.pad(mask, width)
    return image, mask


def count_images(
    shortcut: str, categories: tuple[str, ...], category: str, good: int, defective_per_type: int
) -> tuple[int, int]:
    """Return how many good images, and how many a defect type, a category gets.

    With the shortcut "category" the last one has few good images, and the others few defective ones.
    """
    if shortcut != "category":
        return good, defective_per_type
    if category == categories[-1]:
        return max(1, round(RARE_SHARE * good)), defective_per_type
    rare = round(RARE_SHARE * defective_per_type / (len(categories) - 1))
    return good, max(min(1, defective_per_type), rare)


def _border_px(size_px: int) -> int:
    return max(2, round(BORDER_SHARE * size_px))
