"""The names of what lies in an export, and how its inspector sees photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvdefect.data.images import ResizeMethod
from mvdefect.errors import RunError

MANIFEST = "inspector.json"
MODEL_CARD = "model_card.md"
SAVED_MODEL = "savedmodel"  # the format that TF Serving loads; it lies in the export's own folder
SAVED_MODEL_FILE = "saved_model.pb"


@dataclass(frozen=True)
class View:
    """How an inspector sees photographs.

    Attributes:
        size_px: Its working size.
        resize: How photographs are brought to it.
        heat_range: The ends of the colour scale of its heatmaps.
    """

    size_px: int
    resize: ResizeMethod
    heat_range: tuple[float, float]


def parse_view(manifest: Mapping[str, Any], path: Path) -> View:
    """Return how an export sees photographs, from the content of its `inspector.json` at a path.

    Raises:
        RunError: It is none of an export's.
    """
    try:
        return View(manifest["image_size_px"], manifest["resize"], tuple(manifest["heat_range"]))
    except (KeyError, TypeError) as error:
        raise RunError(f"{path} is not the {MANIFEST} of an export: {error} is missing") from error
