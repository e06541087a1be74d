"""Photographs that a person marked as wrong, in class folders, so that `fit` accepts them as data."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shlex
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from mvdefect.core.errors import ImageError
from mvdefect.core.files import replace_file
from mvdefect.data.images import Decoding, decode_image, decode_mask
from mvdefect.data.records import GOOD
from mvdefect.evaluation.operating_point import DEFECTIVE
from mvdefect.server.image_headers import check_pixels, explain_unreadable, read_header
from mvdefect.server.refusals import RETRY_SECONDS, Refusal
from mvdefect.server.settings import MEGA, Limits

CLASSES = (GOOD, DEFECTIVE)
LOG = "corrections.jsonl"
REGION = "region.png"
NAME_LENGTH = 32
SMALLEST_SPACE = 200 * MEGA  # bytes that stay free on the disk


@dataclass(frozen=True)
class Correction:
    """What a person said of a photograph.

    Attributes:
        file: Its place below the folder of corrections.
        label: What it is: good or defective.
        said: What the inspector had said; "" where that is not known.
        inspector: Name and version of the inspector.
        time: When, in UTC.
    """

    file: str
    label: str
    said: str
    inspector: str
    time: str


@dataclass(frozen=True)
class PaintedRegion:
    """A mask of the region that counts, as it was painted on the page.

    Attributes:
        file: Its place below the folder of corrections.
        share: Of its pixels that count.
        command: What uses it.
    """

    file: str
    share: float
    command: str


Stored = TypeVar("Stored")


class Corrections:
    """A folder with `good/` and `defective/`, and a line for each correction in `corrections.jsonl`.

    Args:
        folder: It is made when the first photograph comes.
        limits: How large a photograph may be, and how many may wait to be stored.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self.limits = limits
        self._thread = ThreadPoolExecutor(1, "corrections")  # one at a time: each is decoded in memory
        self._waiting = 0

    async def take(self, file: bytes, label: str, said: str, inspector: str) -> Correction:
        """Store a photograph when those that came before are stored; see `store`.

        Raises:
            Refusal: Too many wait, or as for `store`.
        """
        return await self._queue(lambda: self.store(file, label, said, inspector))

    async def take_region(self, file: bytes) -> PaintedRegion:
        """Store a mask when what came before is stored; see `store_region`.

        Raises:
            Refusal: Too many wait, or as for `store_region`.
        """
        return await self._queue(lambda: self.store_region(file))

    async def _queue(self, work: Callable[[], Stored]) -> Stored:
        if self._waiting >= self.limits.corrections_waiting:
            raise Refusal(503, f"{self._waiting} corrections wait already; try again", "queue", RETRY_SECONDS)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1

    def store(self, file: bytes, label: str, said: str = "", inspector: str = "") -> Correction:
        """Store a photograph under its class; one that lies under the other class moves.

        Args:
            file: Its bytes; its name comes from them alone.
            label: good or defective.
            said: What the inspector had said.
            inspector: Its name and version.

        Raises:
            Refusal: It is no photograph that can be learned from, or the disk is full.
        """
        if label not in CLASSES:
            raise Refusal(400, f"label must be one of {', '.join(CLASSES)}. Received: {label[:40]}")
        suffix = self._check_size(file)
        try:
            decode_image(file, Decoding(max_megapixels=self.limits.max_megapixels))
        except ImageError as error:
            raise Refusal(422, f"nothing can be learned from this file: {error}", "unreadable") from None
        name = hashlib.sha256(file).hexdigest()[:NAME_LENGTH] + suffix
        return self._write(file, name, label, said, inspector)

    def store_region(self, file: bytes) -> PaintedRegion:
        """Store a mask of the region that counts, in place of one that was painted before.

        Args:
            file: A PNG, white where it counts.

        Raises:
            Refusal: It is no mask, nothing of it counts, or the disk is full.
        """
        if self._check_size(file) != ".png":
            raise Refusal(422, "a mask must be a PNG: other files change colours", "unreadable")
        try:
            mask = decode_mask(file, Decoding(max_megapixels=self.limits.max_megapixels))
        except ImageError as error:
            raise Refusal(422, f"this is no mask: {error}", "unreadable") from None
        if not mask.any():
            raise Refusal(422, "the mask is black: nothing of an image would count", "unreadable")
        place = (self.folder / REGION).absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check_space()
            with replace_file(place) as partial:
                partial.write_bytes(file)
        except OSError as error:
            raise Refusal(507, f"the mask cannot be written: {error.strerror or error}", "disk") from error
        command = f"mvdefect fit IMAGES --region {shlex.quote(str(place))}"
        return PaintedRegion(REGION, round(float(mask.mean()), 4), command)

    def _check_size(self, file: bytes) -> str:
        """Return the suffix of an image file that is not too large."""
        header = read_header(file)
        if header is None:
            raise Refusal(422, explain_unreadable(file), "unreadable")
        check_pixels(header.pixels, self.limits)
        return header.suffix

    def _check_space(self) -> None:
        if shutil.disk_usage(self.folder).free < SMALLEST_SPACE:
            raise Refusal(507, "the disk with the corrections is full", "disk")

    def _write(self, file: bytes, name: str, label: str, said: str, inspector: str) -> Correction:
        try:
            for one in CLASSES:  # `fit` knows class folders by `good`
                (self.folder / one).mkdir(parents=True, exist_ok=True)
            self._check_space()
            with replace_file(self.folder / label / name) as partial:
                partial.write_bytes(file)
            other = CLASSES[1 - CLASSES.index(label)]
            (self.folder / other / name).unlink(missing_ok=True)
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            found = Correction(f"{label}/{name}", label, said, inspector, moment)
            with (self.folder / LOG).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(found)) + "\n")
        except OSError as error:
            reason = f"the correction cannot be written: {error.strerror or error}"
            raise Refusal(507, reason, "disk") from error
        return found
