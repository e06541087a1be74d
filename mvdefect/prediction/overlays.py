"""Heatmaps laid over the photographs that were inspected, one PNG a photograph."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from mvdefect.core.errors import ImageError
from mvdefect.core.files import replace_file
from mvdefect.data.images import decode_image
from mvdefect.data.resizing import mark_photograph, resize_image
from mvdefect.evaluation.heatmaps import overlay_heatmap
from mvdefect.inspector.answers import Answer
from mvdefect.inspector.photographs import Photograph
from mvdefect.inspector.places import View

NAME_CHARACTERS = 60


def write_overlay(folder: Path, view: View, photograph: Photograph, encoded: bytes, answer: Answer) -> None:
    """Write what was seen where, if there is anything to show.

    Args:
        folder: Where it goes.
        view: How the inspector sees photographs.
        photograph: Its name becomes that of the file, with a few signs of a hash so that none are alike.
        encoded: The bytes of the photograph.
        answer: With a heatmap.
    """
    if answer.heatmap is None:
        return
    try:
        image = decode_image(encoded, view.decoding)
    except ImageError:
        return
    inside = mark_photograph(image.shape[0], image.shape[1], view.size_px, view.resize)
    rows, columns = inside.any(axis=1), inside.any(axis=0)
    counted = None if view.region is None else view.region.mask
    small = resize_image(image, view.size_px, view.resize)
    shown = overlay_heatmap(small, answer.heatmap, *view.heat_range, counted)
    cropped = shown[rows][:, columns]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_name(photograph.name)}.png"
    with replace_file(path) as partial:
        partial.write_bytes(cv2.imencode(".png", np.ascontiguousarray(cropped[..., ::-1]))[1].tobytes())


def _name(name: str) -> str:
    plain = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in name)
    return f"{plain[-NAME_CHARACTERS:].lstrip('.')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
