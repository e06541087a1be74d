"""What an export says of itself: `inspector.json`, and the model card (Mitchell et al., 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mvdefect.config import FitConfig
from mvdefect.core.runtime import describe_environment
from mvdefect.data.counted_region import CountedRegion, read_region
from mvdefect.data.images import choose_decoding
from mvdefect.data.splits.plan import read_split_plan
from mvdefect.evaluation.figures import FIGURES
from mvdefect.evaluation.operating_point import (
    FOREIGN_NUMBERS,
    find_foreign_limit,
    parse_operating_point,
)
from mvdefect.evaluation.requirement import Answer
from mvdefect.exporting.cost import Cost
from mvdefect.inspector.answers import LABELS
from mvdefect.inspector.formats.format import FLOAT32, Format
from mvdefect.inspector.places import MM_PER_PX, REGION, REGION_FILE, REGION_RULE, view_run
from mvdefect.report.requirement import ANSWERS
from mvdefect.report.wording import describe_pooling
from mvdefect.runs import RunFolder, read_json

SHOWN_OF_PARTS = (("recall", "recall"), ("false-alarm rate", "false_alarm_rate"))
FORMAT = "mvdefect inspector 2"
NO_PROBABILITY = (
    "It learned from good photographs alone: its probability is no calibrated one, but 0.5 at the threshold, "
    "and rises with the distance from good ones."
)


def describe_export(folder: RunFolder, config: FitConfig, name: str, version: int) -> dict[str, Any]:
    """Return what a run says of its export, as a tree for JSON, with no engines yet."""
    point, metrics = read_json(folder.operating_point), read_json(folder.metrics)
    plan, view = read_split_plan(folder.split_plan), view_run(folder)
    return {
        "format": FORMAT,
        "name": name,
        "version": version,
        "labels": list(LABELS),
        "image_size_px": list(config.size_px),
        "resize": config.resize,
        "bits": choose_decoding(config).bits,
        REGION: _describe_region(read_region(folder.region)),
        "max_megapixels": config.max_megapixels,
        "heat_range": list(view.heat_range),
        REGION_RULE: None if view.rule is None else asdict(view.rule),
        MM_PER_PX: config.mm_per_px,
        "backbone": config.backbone,
        "operating_point": point,
        "figures": metrics,
        "split_plan": {"protocol": plan.protocol, "digest": plan.digest},
        "engines": [],
        "licence": {"weights": _name_licence(config.weights), "photographs": "those of their owner"},
        "settings": config.model_dump(mode="json"),
        "environment": describe_environment(),
    }


def _describe_region(region: CountedRegion | None) -> dict[str, Any] | None:
    """Say what counts of an image; None: all of it."""
    if region is None:
        return None
    share = round(float(region.mask.mean()), 4)
    return {"file": REGION_FILE, "share": share, "fill": region.fill, "image_px": region.image_px}


def describe_engine(kind: Format, precision: str) -> dict[str, Any]:
    """Return the entry of an engine that has not been measured, by its format and precision."""
    name = kind.name if precision == FLOAT32 else f"{kind.name}-{precision}"
    place = f"{name}/{kind.file}" if kind.has_folder else kind.file
    return {"name": name, "format": kind.name, "precision": precision, "file": place}


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


def write_model_card(manifest: Mapping[str, Any]) -> str:
    """Return the card as Markdown.

    Args:
        manifest: What `mvdefect.exporting.description` describes, its engines measured.
    """
    point, figures, plan = manifest["operating_point"], manifest["figures"], manifest["split_plan"]
    height, width = manifest["image_size_px"]
    lines = [
        f"# {manifest['name']}, version {manifest['version']}",
        "",
        "An inspector by mvdefect: it tells good products from defective ones in photographs.",
        "",
        "## What it was made from",
        "",
        f"- Backbone {manifest['backbone']}; images at {width}×{height} pixels ({manifest['resize']}).",
        *_tell_region(manifest.get(REGION)),
        f"- Licence of its weights: {manifest['licence']['weights']}; of the photographs: "
        f"{manifest['licence']['photographs']}.",
        f"- Split plan {plan['digest'][:12]}, protocol {plan['protocol']}.",
        "",
        "## Where 'defective' begins",
        "",
        f"- Probability {point['probability']:.4f}, chosen by the contract `{point['contract']}` on the part "
        f"{point['part']}; verdict `{point['verdict']}`.",
        f"- {point['guarantee']}" if point["guarantee"] else "- Nothing is promised for fresh photographs.",
        *_describe_foreign(point),
        *([f"- {NO_PROBABILITY}"] if point["verdict"] == "novelty" else []),
        *_describe_parts(point, figures),
        "",
        f"## Measured on {figures['images']} photographs of the part {figures['part']} "
        f"({figures['defective']} defective, {figures['groups']} groups)",
        "",
        *_describe_requirement(figures.get("requirement")),
        "| figure | value | 95% interval |",
        "| --- | --- | --- |",
        *[
            _describe(kind.meaning, figures["figures"].get(name))
            for name, kind in FIGURES.items()
            if kind.meaning
        ],
        "",
        "## What runs it",
        "",
        "| engine | photographs a second | verdicts that differ from the run's | ROC-AUC (the run's) |",
        "| --- | --- | --- | --- |",
        *[_describe_engine(engine) for engine in manifest["engines"]],
        "",
        "## What it does not know",
        "",
        "Another product, camera, lens or light than in the photographs that it learned from. Types of "
        "defects that were not among them may be caught by the novelty, or not at all. Measure it again on "
        "photographs of your line before it decides anything.",
        "",
    ]
    return "\n".join(lines)


def _tell_region(region: Mapping[str, Any] | None) -> list[str]:
    if region is None:
        return []
    height, width = region["image_px"]
    return [
        f"- What counts of an image is white in `{region['file']}`, {region['share']:.0%} of it; the rest is "
        f"never looked at. It was made for images of {width}×{height} pixels or the same shape, in which the "
        "product always lies alike."
    ]


def _describe_parts(point: Mapping[str, Any], figures: Mapping[str, Any]) -> list[str]:
    """Say how parts are judged that several images show, and what that came to."""
    measured = figures.get("by_part")
    by_part = parse_operating_point(point).by_part if measured else None
    if by_part is None or measured is None:
        return []
    values = ((words, measured["figures"][name]["value"]) for words, name in SHOWN_OF_PARTS)
    shares = [f"{words} {share:.3f}" for words, share in values if share is not None]
    return [
        f"- Several images show one part. {describe_pooling(by_part)} A part is rejected from the "
        f"probability {by_part.point.probability:.4f} on, by the contract `{by_part.point.contract}`; the "
        f"requirement is of parts. On {measured['parts']} tested parts: {', '.join(shares)}."
    ]


def _describe_requirement(answer: Mapping[str, Any] | None) -> list[str]:
    if answer is None:
        return []
    said = ANSWERS[Answer(answer["answer"])]
    return [f"Required, stated {answer['stated']}: {answer['text']}. Answer: {said}.", ""]


def _describe_foreign(point: Mapping[str, Any]) -> list[str]:
    foreign = find_foreign_limit(point["thresholds"])
    if foreign is None:
        return []
    return [
        f"- From a {FOREIGN_NUMBERS[foreign[0]]} of {foreign[1]:.4g} on, an image is also called 'not this "
        "product'. That changes no verdict, and another product that looks much alike is not noticed."
    ]


def _describe_engine(engine: Mapping[str, Any]) -> str:
    cost = engine["cost"]
    auc = "" if cost["roc_auc"] is None else f"{cost['roc_auc']:.4f} ({cost['run_roc_auc']:.4f})"
    flips = f"{cost['flips']} of {cost['photographs']}"
    return f"| {engine['name']} | {engine['images_per_s']:.0f} | {flips} | {auc} |"


def _describe(words: str, figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return f"| {words} | not known | |"
    interval = "not known" if figure["low"] is None else f"{figure['low']:.3f} to {figure['high']:.3f}"
    return f"| {words} | {figure['value']:.3f} | {interval} |"
