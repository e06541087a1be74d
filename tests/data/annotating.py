"""Tiny annotated data sets of each format, and what is read of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvdefect.core.errors import LayoutError
from mvdefect.data.images import decode_mask
from mvdefect.data.records import Record
from mvdefect.data.sources.opening import log_notes, open_source
from tests.conftest import make_texture, write_image

HEIGHT, WIDTH = 40, 48
BOX = (10, 8, 6, 4)  # left, top, width, height
Facts = tuple[str, str, int]  # defect type, part, pixels of the mask


def draw(*paths: Path) -> None:
    for seed, path in enumerate(paths):
        write_image(path, make_texture(seed, HEIGHT, WIDTH))


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_text(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def read(source: Path) -> dict[str, Facts]:
    """Return what is read by id: defect type, part and how many pixels are marked; -1 without a mask."""
    layout = open_source(str(source))
    log_notes(layout)
    assert len({record.category for record in layout.records}) == 1
    return {
        record.id: (record.defect_type, record.part, -1 if record.mask_path is None else count(record))
        for record in layout.records
    }


def count(record: Record) -> int:
    assert record.mask_path is not None
    mask = decode_mask(record.mask_path.read_bytes())
    assert mask.shape == np.asarray(Image.open(record.path)).shape[:2]
    return int(mask.sum())


def refuse(source: Path) -> str:
    with pytest.raises(LayoutError) as caught:
        open_source(str(source))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1200
    return message


def make_coco(images: dict[str, list[dict[str, Any]]], **more: Any) -> dict[str, Any]:
    """Return the content of COCO's file: annotations by the name of their image."""
    listed = [
        {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
        for number, name in enumerate(images)
    ]
    annotations = [
        {"id": 100 * number + place, "image_id": number, "category_id": 1, "iscrowd": 0, **annotation}
        for number, found in enumerate(images.values())
        for place, annotation in enumerate(found)
    ]
    categories = [{"id": 1, "name": "scratch"}, {"id": 2, "name": "dent"}, {"id": 3, "name": "OK"}]
    return {"images": listed, "annotations": annotations, "categories": categories} | more


def make_voc(name: str, *objects: tuple[str, tuple[int, int, int, int] | None], size: bool = True) -> str:
    """Return the XML of an image, with classes and corners."""
    boxes = "".join(
        f"<object><name>{label}</name>"
        + (
            "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>".format(*corners)
            if corners
            else ""
        )
        + "</object>"
        for label, corners in objects
    )
    sides = (WIDTH, HEIGHT) if size else (0, 0)
    return (
        f'<?xml version="1.0"?><annotation><folder>x</folder><filename>{name}</filename>'
        f"<size><width>{sides[0]}</width><height>{sides[1]}</height></size>{boxes}</annotation>"
    )


def make_labelme(name: str, *shapes: tuple[str, str, list[list[float]]]) -> dict[str, Any]:
    return {
        "version": "5.4.1",
        "flags": {},
        "shapes": [
            {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}
            for label, kind, points in shapes
        ],
        "imagePath": name,
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
