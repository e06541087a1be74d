"""Export: a finished run becomes what TF Serving loads, the whole inspector with all that belongs to it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.config import FitConfig
from mvdefect.data.records import GOOD
from mvdefect.data.sources import open_source
from mvdefect.data.splits import read_split_plan
from mvdefect.environment import describe_environment
from mvdefect.errors import ExportError, RunError, RunExistsError
from mvdefect.evaluation.operating_point import DEFECTIVE, REVIEW
from mvdefect.paths import write_text
from mvdefect.progress import logger
from mvdefect.runs import (
    PredictionRow,
    RunFolder,
    open_run,
    read_json,
    read_predictions,
    read_run_config,
    write_json,
)
from mvdefect.serving.check import FILES, Comparison, check_export
from mvdefect.serving.decision import UNREADABLE
from mvdefect.serving.graph import BYTES, DEFAULT, EXPLAIN, PIXELS, build_graph, save_graph
from mvdefect.serving.model_card import write_model_card
from mvdefect.serving.overlays import view_run
from mvdefect.serving.places import MANIFEST, MODEL_CARD
from mvdefect.serving.warmup import write_warmup

PARTIAL_SUFFIX = ".partial"
FORMAT = "mvdefect inspector 1"


@dataclass(frozen=True)
class Exported:
    """What an export came to.

    Attributes:
        path: Its folder, `<root>/<name>/<version>`.
        comparison: With the run, on test photographs.
    """

    path: Path
    comparison: Comparison


def export_run(run: Path, root: Path, name: str | None = None, version: int | None = None) -> Exported:
    """Export the inspector of a finished run as a SavedModel, and make sure that it says what the run said.

    Args:
        run: The run.
        root: Where exports go; TF Serving's `model_base_path` is `<root>/<name>`.
        name: Of the model; None: that of the run.
        version: Number of the version; None: one more than the last.

    Raises:
        ExportError: It says something else, cannot be loaded, or the run is of a baseline; nothing is left.
        RunError: `run` is no finished run.
        RunExistsError: There is such a version.
    """
    folder = open_run(run)
    config = read_run_config(folder)
    if config.baseline is not None:
        raise ExportError(
            f"only an inspector can be exported. Received: {run}, a run of the baseline {config.baseline}"
        )
    name = name or run.resolve().name
    place = _choose_place(root / name, version)
    samples = choose_samples(folder, config)
    partial = place.with_name(f".{place.name}{PARTIAL_SUFFIX}")  # TF Serving looks for numbers alone
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        graph = build_graph(folder)
        save_graph(graph, partial)
        _write_warmup(partial, name, samples[0][0])
        paths, rows = [path for path, _ in samples], [row for _, row in samples]
        found = check_export(partial, paths, [row.probability for row in rows], [row.verdict for row in rows])
        if not found.holds:
            raise ExportError(
                f"the export does not say what the run said: of {found.photographs} photographs of the test "
                f"part {found.flips} verdicts differ, and a probability by {found.largest_difference:.1e} "
                "(at most 1e-4 is allowed); it was removed"
            )
        manifest = describe_export(folder, config, name, int(place.name), found)
        write_json(partial / MANIFEST, manifest)
        write_text(partial / MODEL_CARD, write_model_card(manifest))
        partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    logger.info("exported to %s", place)
    return Exported(place, found)


def _choose_place(base: Path, version: int | None) -> Path:
    present = [int(path.name) for path in base.iterdir() if path.name.isdigit()] if base.is_dir() else []
    place = base / str(max(present, default=0) + 1 if version is None else version)
    if place.exists():
        raise RunExistsError(f"{place} exists; name another --version")
    return place


def choose_samples(folder: RunFolder, config: FitConfig) -> list[tuple[Path, PredictionRow]]:
    """Choose test photographs evenly from the most harmless to the worst, each with what the run said.

    Raises:
        ExportError: The photographs are not where they were.
    """
    if config.data is None:
        raise RunError(f"{folder.config} names no data")
    try:
        layout = open_source(config.data, config.categories, config.group_pattern)
    except Exception as error:
        raise ExportError(
            f"an export is compared with the run on its test photographs, which are not there: {error}"
        ) from error
    paths = {record.id: record.path for record in layout.records}
    rows = sorted((row for row in read_predictions(folder) if row.split == "test"), key=lambda row: row.score)
    numbers = np.unique(np.linspace(0, len(rows) - 1, min(FILES, len(rows))).round().astype(int))
    chosen = [rows[number] for number in numbers]
    missing = [row.id for row in chosen if row.id not in paths]
    if missing:
        raise ExportError(f"the photograph {missing[0]} of the test part is no longer in {config.data}")
    return [(paths[row.id], row) for row in chosen]


def _write_warmup(export: Path, name: str, photograph: Path) -> None:
    import tensorflow as tf

    files = tf.constant([photograph.read_bytes()])
    pixels = tf.zeros((1, 64, 64, 3), tf.uint8)
    write_warmup(export, name, {DEFAULT: {BYTES: files}, PIXELS: {PIXELS: pixels}, EXPLAIN: {BYTES: files}})


def describe_export(
    folder: RunFolder, config: FitConfig, name: str, version: int, found: Comparison
) -> dict[str, Any]:
    """Return all that a user of an export has to know, as a tree for JSON."""
    point, metrics = read_json(folder.operating_point), read_json(folder.metrics)
    plan = read_split_plan(folder.split_plan)
    return {
        "format": FORMAT,
        "name": name,
        "version": version,
        "labels": [GOOD, DEFECTIVE, REVIEW, UNREADABLE],
        "image_size_px": config.image_size_px,
        "resize": config.resize,
        "heat_range": list(view_run(folder).heat_range),
        "backbone": config.backbone,
        "operating_point": point,
        "figures": metrics,
        "split_plan": {"protocol": plan.protocol, "digest": plan.digest},
        "comparison": {
            "photographs": found.photographs,
            "largest_difference": found.largest_difference,
            "flips": found.flips,
        },
        "licence": {"weights": _name_licence(config.weights), "photographs": "those of their owner"},
        "settings": config.model_dump(mode="json"),
        "environment": describe_environment(),
    }


def _name_licence(weights: str) -> str:
    known = {
        "imagenet": "of Keras Applications' ImageNet weights, whose photographs have non-commercial terms",
        "texture": "Apache-2.0, learned from drawn images alone",
        "none": "none: the network began with random weights",
    }
    return known.get(weights, f"of the file {Path(weights).name}; see its card")
