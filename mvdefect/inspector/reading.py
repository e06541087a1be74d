"""Reading: image files become pixels at working size, in one way for every engine, before it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mvdefect.config import Size
from mvdefect.core.errors import ImageError
from mvdefect.core.parallel import count_cores
from mvdefect.core.progress import logger
from mvdefect.data.images import Pixels, decode_at_size_with_header
from mvdefect.data.records import GOOD
from mvdefect.data.resolution import bound_batch
from mvdefect.evaluation.regions import find_place, find_regions
from mvdefect.inspector.answers import UNREADABLE, Answer, Engine
from mvdefect.inspector.places import Preparation

LARGEST_BATCH = 32  # more at a time cost memory and gain nothing

Ask = Callable[[Pixels, bool], Iterable[Answer]]


@dataclass(frozen=True)
class ReadImage:
    """What came of an image file.

    Attributes:
        pixels: uint8 RGB at working size; None: it cannot be read.
        remark: Why not, or what is wrong with it although it can; "" otherwise.
        size_px: Height and width of the image itself, upright.
    """

    pixels: Pixels | None
    remark: str = ""
    size_px: Size = (0, 0)


def make_engine(preparation: Preparation, ask: Ask) -> Engine:
    """Return an engine that reads files as training does, by several threads.

    Args:
        preparation: How files become pixels.
        ask: Answers for pixels at working size, uint8 (n, height, width, 3), with heatmaps or without; n is
            32 at most.
    """
    readers = ThreadPoolExecutor(count_cores(), thread_name_prefix="decode")
    told: set[str] = set()
    most = bound_batch(preparation.size_px, LARGEST_BATCH)

    def inspect(files: Sequence[bytes], with_heatmaps: bool = False) -> list[Answer]:
        images = readers.map(partial(read_image, preparation=preparation), files)
        answers = list(_answer(images, len(files), ask, with_heatmaps, most, preparation))
        remark = next((one.error for one in answers if one.error and one.is_readable), "")
        if remark and not told:
            told.add(remark)
            logger.warning("an image has %s; the rows tell which ones", remark)
        return answers

    return inspect


def read_image(encoded: bytes, preparation: Preparation) -> ReadImage:
    """Decode an image file and bring it to the working size, as training does."""
    decoding, region = preparation.decoding, preparation.region
    try:
        pixels, header, size = decode_at_size_with_header(
            encoded, preparation.size_px, preparation.resize, decoding
        )
    except ImageError as error:
        return ReadImage(None, str(error))
    remarks = []
    if header.peak > decoding.white:
        remarks.append(
            f"values up to {header.peak}, above {decoding.white}, the largest of {decoding.used_bits} bits "
            "that the inspector was trained with: what is brighter is white"
        )
    if region is not None and not region.fits(*size):
        remarks.append(
            f"{size[1]}x{size[0]} pixels, another shape than the {region.image_px[1]}x{region.image_px[0]} "
            "that its inspector's region was made for: what counts may be cut off"
        )
    return ReadImage(pixels, "; ".join(remarks), size)


def _answer(
    images: Iterator[ReadImage],
    count: int,
    ask: Ask,
    with_heatmaps: bool,
    most: int,
    preparation: Preparation,
) -> Iterator[Answer]:
    """Answer for images while those of the next batch are decoded."""
    for start in range(0, count, most):
        batch = [next(images) for _ in range(min(most, count - start))]
        readable = [image.pixels for image in batch if image.pixels is not None]
        answers = iter(ask(np.stack(readable), with_heatmaps) if readable else ())
        for image in batch:
            if image.pixels is None:
                yield Answer(UNREADABLE, None, None, error=image.remark)
            else:
                answer = find_answer_regions(next(answers), image.size_px, preparation)
                yield replace(answer, error=image.remark)


def find_answer_regions(answer: Answer, size_px: Size, preparation: Preparation) -> Answer:
    """Return an answer with the suspicious regions of its heatmap; as it is where either is not known.

    Args:
        answer: What was said of an image.
        size_px: Height and width of the image itself.
        preparation: How the inspector saw it.
    """
    rule = preparation.rule
    if answer.heatmap is None or rule is None:
        return answer
    place = find_place(*size_px, preparation.size_px, preparation.resize)
    needs_peak = answer.label != GOOD
    regions = find_regions(answer.heatmap, place, rule, needs_peak, preparation.mm_per_px)
    return replace(answer, regions=regions)
