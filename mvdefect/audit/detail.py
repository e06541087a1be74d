"""What the working size leaves of images and of their defects."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mvdefect.audit.findings import Finding, Severity
from mvdefect.config import ResizeMethod, Size
from mvdefect.data.resolution import SEEN_PX, settle_resolution
from mvdefect.data.scan import FirstLook

MAX_SHRINKING = 8
MIN_FILLED = 0.5  # share of the network's input
LARGER = "Choose a larger --resolution, crop the images to what counts, or cut them into pieces."


def find_lost_detail(
    look: FirstLook, resolution: int | str | Size, resize: ResizeMethod
) -> Iterator[Finding]:
    """Find images that lose their detail on the way to the network, or hardly fill its input.

    Args:
        look: The readable files.
        resolution: The setting; see `mvdefect.data.resolution`.
        resize: How images are brought to the working size.
    """
    sizes = np.array([facts.size_px for facts in look.facts], np.int64).reshape(-1, 2)
    masks = [facts.mask for facts in look.facts if facts.mask is not None and facts.mask.defect_px]
    defects = np.array([mask.defect_px / max(mask.size_px) for mask in masks], np.float64)
    size_px = settle_resolution(resolution, sizes, defects)
    scales = np.array(size_px) / sizes
    size = f"{size_px[1]}×{size_px[0]}"
    yield from _find_shrunk(look, scales.min(axis=1), size)
    if resize == "letterbox":
        yield from _find_padded(look, scales.min(axis=1) / scales.max(axis=1))
    yield from _find_tiny(look, scales.min(axis=1), size)


def _find_shrunk(look: FirstLook, scales: np.ndarray, size: str) -> Iterator[Finding]:
    files = [
        (record.id, f"{facts.size_px[1]}x{facts.size_px[0]} px: by {1 / scale:.0f}")
        for record, facts, scale in zip(look.records, look.facts, scales, strict=True)
        if scale * MAX_SHRINKING < 1
    ]
    if files:
        message = (
            f"{len(files)} image(s) are shrunk by more than {MAX_SHRINKING} to {size} pixels: a small defect "
            "is gone before the network sees it."
        )
        yield Finding("much-shrunk-images", Severity.WARNING, message, LARGER, tuple(files))


def _find_padded(look: FirstLook, filled: np.ndarray) -> Iterator[Finding]:
    files = [
        (record.id, f"{facts.size_px[1]}x{facts.size_px[0]} px: {1 - share:.0%} padding")
        for record, facts, share in zip(look.records, look.facts, filled, strict=True)
        if share < MIN_FILLED
    ]
    if files:
        message = (
            f"{len(files)} image(s) have such a shape that more than half of the network's input is padding."
        )
        advice = (
            "Sort images of different shapes into categories of their own, or use `--set resize=stretch`."
        )
        yield Finding("mostly-padding", Severity.WARNING, message, advice, tuple(files))


def _find_tiny(look: FirstLook, scales: np.ndarray, size: str) -> Iterator[Finding]:
    """Find defects that are too small at the working size; each counts as a square of as many pixels."""
    seen = [
        (record.id, facts.mask.defect_px * scale)
        for record, facts, scale in zip(look.records, look.facts, scales, strict=True)
        if facts.mask is not None and facts.mask.defect_px
    ]
    files = [(name, f"{side:.1f}×{side:.1f} px") for name, side in seen if side < SEEN_PX]
    if files:
        message = (
            f"{len(files)} of {len(seen)} defects are smaller than {SEEN_PX:.0f}×{SEEN_PX:.0f} pixels at the "
            f"working size of {size}, which a network hardly sees."
        )
        yield Finding("tiny-defects", Severity.WARNING, message, LARGER, tuple(files))
