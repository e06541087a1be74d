"""What a server says, held to what an inspector would say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from mvdefect.client.retries import RefusedError
from mvdefect.evaluation.operating_point import MEAN_NOVELTY
from mvdefect.evaluation.regions import parse_regions
from mvdefect.inspector.answers import FOREIGN_OUTPUT, LABELS, OK, REGIONS, UNREADABLE, Answer

LONGEST_ERROR = 500


class Send(Protocol):
    """What carries one request.

    Attributes:
        largest_bytes: What the photographs of a request may have together.
    """

    largest_bytes: int

    def __call__(self, files: Sequence[bytes], signature: str, timeout_s: float) -> list[Answer]:
        """Return what the server says of files.

        Raises:
            RefusedError: It says nothing, or something that an inspector would not.
        """


def read_answer(found: dict[str, Any], with_heatmap: bool) -> Answer:
    """Read what a server says of one photograph.

    Numbers are rounded to the float32 that the graph computed, so that rows are those of a local engine.

    Args:
        found: The outputs by name; strings, numbers, and a heatmap as nested lists or an array.
        with_heatmap: Whether it was asked for.

    Raises:
        RefusedError: An inspector would not say so.
    """
    try:
        label, status = found["label"], found["status"]
        if label not in LABELS or (status == OK) != (label != UNREADABLE):
            raise ValueError(f"label {label!r}, status {status!r}")
        remark = str(found.get("error", ""))[:LONGEST_ERROR]
        if status != OK:
            return Answer(UNREADABLE, None, None, error=remark)
        probability, novelty = _round(found["probability"]), _round(found["novelty"])
        mean_novelty = _round(found[MEAN_NOVELTY]) if MEAN_NOVELTY in found else None
        if not 0 <= probability <= 1:
            raise ValueError(f"probability {probability}")
        is_foreign = found.get(FOREIGN_OUTPUT, False)  # exports of version 0.1.0 say neither
        if not isinstance(is_foreign, bool | np.bool_):
            raise ValueError(f"{FOREIGN_OUTPUT} {is_foreign!r}")
        heatmap = np.asarray(found["heatmap"], np.float32) if with_heatmap else None
        if heatmap is not None and (heatmap.ndim != 2 or not heatmap.size):
            raise ValueError(f"a heatmap of shape {heatmap.shape}")
        told = found.get(REGIONS) if with_heatmap else None  # TF Serving does not find any
        regions = None if told is None else parse_regions(told)
    except (KeyError, TypeError, ValueError) as error:
        fault = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise RefusedError(f"its answer is not that of an inspector: {fault}") from error
    return Answer(label, probability, novelty, heatmap, remark, bool(is_foreign), mean_novelty, regions)


def _round(value: Any) -> float:
    return float(np.float32(float(value)))


def read_answers(found: Sequence[dict[str, Any]], count: int, with_heatmaps: bool) -> list[Answer]:
    """Read what a server says of so many photographs.

    Raises:
        RefusedError: An inspector would not say so.
    """
    if len(found) != count:
        raise RefusedError(f"its answer is not that of an inspector: {len(found)} for {count} photographs")
    return [read_answer(one, with_heatmaps) for one in found]
