"""What is known of the inspector that is served: its name, its operating point and what that promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from scipy.special import expit

from mvdefect.errors import ExportError
from mvdefect.evaluation.contracts import parse_contract
from mvdefect.report.overlays import COLOURS, MAX_OPACITY
from mvdefect.report.wording import FIGURE_NAMES, describe_protocol, format_percent, format_probability
from mvdefect.runs import read_json
from mvdefect.serving.places import MANIFEST, find_export
from mvdefect.serving.server.settings import Limits

FIGURES = ("recall", "false_alarm_rate", "roc_auc")
NOTHING_PROMISED = "That is what it came to on those photographs, and no promise for fresh ones."


def read_manifest(place: Path) -> dict[str, Any]:
    """Return what an export says of itself.

    Raises:
        ExportError: The place is no export.
        RunError: Its description is missing or damaged.
    """
    export = find_export(place)
    if export is None:
        raise ExportError(
            f"what is served must be an export, which `mvdefect export RUN` makes. Received: {place}"
        )
    return read_json(export / MANIFEST)


def describe_inspector(manifest: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """Return what the page shows of an inspector and needs for its heatmaps, as a tree for JSON."""
    point = manifest["operating_point"]
    colours = (255 * mpl.colormaps[COLOURS](np.linspace(0, 1, 256))[:, :3]).round().astype(int)
    return {
        "name": manifest["name"],
        "version": manifest["version"],
        "image_size_px": manifest["image_size_px"],
        "resize": manifest["resize"],
        "threshold": point["probability"],
        "threshold_words": format_probability(point["probability"]),
        "threshold_detail": describe_threshold(point),
        "novelty_detail": describe_novelty(point),
        "contract": describe_contract(point),
        "guarantee": describe_guarantee(point),
        "measured": describe_figures(manifest["figures"]),
        "colours": colours.tolist(),
        "max_opacity": MAX_OPACITY,
        "max_upload_mb": limits.max_upload_mb,
        "max_megapixels": limits.max_megapixels,
    }


def describe_contract(point: dict[str, Any]) -> str:
    """Say by what the threshold was chosen, and on what."""
    contract = parse_contract(point["contract"])
    achieved = point["achieved"]
    chosen = {
        "f1": f"for the best F1, which came to {achieved:.3f}",
        "min-recall": f"to catch {100 * contract.value:g}% of the defective photographs at least; "
        f"it caught {format_percent(achieved)}",
        "max-fpr": f"to reject {100 * contract.value:g}% of the good photographs at most; "
        f"it rejected {format_percent(achieved)}",
        "cost": f"for the least cost, where a false alarm costs {contract.price:g} and a missed defect "
        f"{contract.value:g}; that came to {achieved:.3g}",
        "fixed": "by hand",
    }[contract.kind]
    part = {"val": "validation"}.get(point["part"], point["part"])
    return f"The threshold was chosen {chosen}, on the {part} photographs."


def describe_threshold(point: dict[str, Any]) -> str:
    """Say what is called defective, and when a person decides."""
    words = "defective from here on"
    if point["verdict"] == "either":
        words += ", or by its novelty"
    if point["review"]:
        low, high = (format_probability(float(expit(score))) for score in point["review"])
        words += f"; between {low} and {high} a person decides"
    return words


def describe_novelty(point: dict[str, Any]) -> str:
    """Say what the novelty is, and from where on it is unusual."""
    words, limit = "how unlike good photographs it is", point["thresholds"].get("novelty")
    if limit is None:
        return words
    return f"{words}; {'defective' if point['verdict'] == 'either' else 'unusual'} from {limit:.4g} on"


def describe_guarantee(point: dict[str, Any]) -> str:
    """Say what holds on fresh photographs."""
    text = point["guarantee"]
    return f"{text[0].upper()}{text[1:]}." if text else NOTHING_PROMISED


def describe_figures(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return what was measured on the test part: a heading and rows of name, value and interval."""
    rows = []
    for name in FIGURES:
        figure = evaluation["figures"].get(name)
        if figure is not None and all(
            isinstance(figure[key], int | float) for key in ("value", "low", "high")
        ):
            write = format_percent if name != "roc_auc" else "{:.3f}".format
            interval = f"{write(figure['low'])} to {write(figure['high'])}"
            rows.append([FIGURE_NAMES[name], write(figure["value"]), interval])
    heading = (
        f"Measured on {evaluation['images']} test photographs, with 95% intervals. "
        f"Protocol {evaluation['protocol']}: {describe_protocol(evaluation['protocol'])}"
    )
    return {"heading": heading, "rows": rows}
