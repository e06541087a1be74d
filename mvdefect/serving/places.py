"""The names of what lies in an export, and how its inspector sees photographs."""

from __future__ import annotations

from dataclasses import dataclass

from mvdefect.data.images import ResizeMethod

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
