"""The manifest of an export, `inspector.json`: all that a user of it has to know."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mvdefect.config import FitConfig
from mvdefect.data.splits import read_split_plan
from mvdefect.environment import describe_environment
from mvdefect.runs import RunFolder, read_json
from mvdefect.serving.answers import LABELS
from mvdefect.serving.cost import Cost
from mvdefect.serving.formats.kinds import FLOAT32
from mvdefect.serving.places import SAVED_MODEL, view_run

FORMAT = "mvdefect inspector 2"


def describe_export(folder: RunFolder, config: FitConfig, name: str, version: int) -> dict[str, Any]:
    """Return what a run says of its export, as a tree for JSON, with no engines yet."""
    point, metrics = read_json(folder.operating_point), read_json(folder.metrics)
    plan = read_split_plan(folder.split_plan)
    return {
        "format": FORMAT,
        "name": name,
        "version": version,
        "labels": list(LABELS),
        "image_size_px": config.image_size_px,
        "resize": config.resize,
        "heat_range": list(view_run(folder).heat_range),
        "backbone": config.backbone,
        "operating_point": point,
        "figures": metrics,
        "split_plan": {"protocol": plan.protocol, "digest": plan.digest},
        "engines": [],
        "licence": {"weights": _name_licence(config.weights), "photographs": "those of their owner"},
        "settings": config.model_dump(mode="json"),
        "environment": describe_environment(),
    }


def describe_engine(kind: str, precision: str, file: str) -> dict[str, Any]:
    """Return the entry of an engine that has not been measured.

    Args:
        kind: Its format; a SavedModel lies in the export's own folder, others in one of the engine's name.
        precision: In which it computes.
        file: Name of its main file.
    """
    name = kind if precision == FLOAT32 else f"{kind}-{precision}"
    place = file if kind == SAVED_MODEL else f"{name}/{file}"
    return {"name": name, "format": kind, "precision": precision, "file": place}


def describe_cost(cost: Cost, images_per_s: float) -> dict[str, Any]:
    """Return what is noted of an engine that was measured."""
    return {"images_per_s": images_per_s, "cost": asdict(cost)}


def _name_licence(weights: str) -> str:
    known = {
        "imagenet": "of Keras Applications' ImageNet weights, whose photographs have non-commercial terms",
        "texture": "Apache-2.0, learned from drawn images alone",
        "none": "none: the network began with random weights",
    }
    return known.get(weights, f"of the file {Path(weights).name}; see its card")
