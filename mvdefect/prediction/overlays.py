"""Heatmaps and suspicious regions over the images that were inspected, one PNG an image, of its own size."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from mvdefect.core.errors import ImageError
from mvdefect.core.files import replace_file
from mvdefect.data.images import Pixels, decode_image
from mvdefect.data.records import GOOD
from mvdefect.evaluation.overlays import draw_regions, overlay_heatmap
from mvdefect.evaluation.regions import cut_heat, find_place, trace_regions
from mvdefect.inspector.answers import Answer
from mvdefect.inspector.photographs import FAST_PNG, Photograph
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
    shown = draw_overlay(image, view, answer, answer.heatmap)
    cv2.cvtColor(shown, cv2.COLOR_RGB2BGR, dst=shown)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_name(photograph.name)}.png"
    with replace_file(path) as partial:
        cv2.imencode(".png", shown, FAST_PNG)[1].tofile(partial)


def draw_overlay(image: Pixels, view: View, answer: Answer, heatmap: np.ndarray) -> Pixels:
    """Draw a heatmap and the outlines of its regions on an image, which is changed where it can be.

    Args:
        image: uint8 RGB (height, width, 3), upright, of its own size.
        view: How the inspector saw it.
        answer: What was said of it.
        heatmap: Where a defect is seen, floats (h, w), padding included.
    """
    place = find_place(image.shape[0], image.shape[1], view.size_px, view.resize)
    canvas = np.require(image, requirements=["C", "W"])
    heat = cut_heat(heatmap, place)
    counted = None if view.region is None else view.region.cut(place.rows, place.columns)
    shown = overlay_heatmap(canvas, heat, *view.heat_range, in_place=True, counted=counted)
    if view.rule is not None:
        outlines = trace_regions(heatmap, place, view.rule, needs_peak=answer.label != GOOD)
        draw_regions(shown, outlines, answer.regions or ())
    return shown


def _name(name: str) -> str:
    plain = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in name)
    return f"{plain[-NAME_CHARACTERS:].lstrip('.')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
