"""Heatmaps laid over the photographs that were inspected, one PNG a photograph."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from mvdefect.data.images import decode_image, mark_photograph, resize_image
from mvdefect.errors import ImageError, RunError
from mvdefect.evaluation.heatmaps import read_heatmaps
from mvdefect.paths import replace_file
from mvdefect.report.overlays import choose_heat_range, overlay_heatmap
from mvdefect.runs import RunFolder, read_json, read_predictions, read_run_config
from mvdefect.serving.engines import Answer, find_export
from mvdefect.serving.photographs import Photograph
from mvdefect.serving.places import MANIFEST, View, parse_view

NAME_CHARACTERS = 60


def read_view(place: Path) -> View:
    """Return how a run or an export sees photographs.

    Args:
        place: Its folder, or the file `inspector.json` of an export.

    Raises:
        RunError: Its files are missing or damaged.
    """
    export = find_export(place)
    if export is None and not place.is_file():
        return view_run(RunFolder(place))
    manifest = place if export is None else export / MANIFEST
    return parse_view(read_json(manifest), manifest)


def view_run(folder: RunFolder) -> View:
    """Return how a run sees photographs; colours go by the good ones of its test part.

    Raises:
        RunError: It has no heatmaps.
    """
    config, maps = read_run_config(folder), read_heatmaps(folder)
    if maps is None:
        raise RunError(f"the run {folder.path} has no heatmaps")
    good = [row.id for row in read_predictions(folder) if row.split == "test" and not row.label]
    return View(config.image_size_px, config.resize, choose_heat_range(maps.select(good)))


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
        image = decode_image(encoded)
    except ImageError:
        return
    inside = mark_photograph(image.shape[0], image.shape[1], view.size_px, view.resize)
    rows, columns = inside.any(axis=1), inside.any(axis=0)
    shown = overlay_heatmap(resize_image(image, view.size_px, view.resize), answer.heatmap, *view.heat_range)
    cropped = shown[rows][:, columns]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_name(photograph.name)}.png"
    with replace_file(path) as partial:
        partial.write_bytes(cv2.imencode(".png", np.ascontiguousarray(cropped[..., ::-1]))[1].tobytes())


def _name(name: str) -> str:
    plain = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in name)
    return f"{plain[-NAME_CHARACTERS:].lstrip('.')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
