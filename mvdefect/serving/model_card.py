"""The model card of an export (Mitchell et al., 2019): what it promises, and what it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHOWN = {
    "roc_auc": "ROC-AUC",
    "recall": "recall: share of defective products that are caught",
    "precision": "precision: share of alarms that are right",
    "f1": "F1",
    "accuracy": "accuracy",
    "majority_rate": "accuracy of always naming the larger class",
}


def write_model_card(manifest: Mapping[str, Any]) -> str:
    """Return the card as Markdown.

    Args:
        manifest: What `mvdefect.serving.manifest` describes, its engines measured.
    """
    point, figures, plan = manifest["operating_point"], manifest["figures"], manifest["split_plan"]
    lines = [
        f"# {manifest['name']}, version {manifest['version']}",
        "",
        "An inspector by mvdefect: it tells good products from defective ones in photographs.",
        "",
        "## What it was made from",
        "",
        f"- Backbone {manifest['backbone']}; photographs at {manifest['image_size_px']} pixels "
        f"({manifest['resize']}).",
        f"- Licence of its weights: {manifest['licence']['weights']}; of the photographs: "
        f"{manifest['licence']['photographs']}.",
        f"- Split plan {plan['digest'][:12]}, protocol {plan['protocol']}.",
        "",
        "## Where 'defective' begins",
        "",
        f"- Probability {point['probability']:.4f}, chosen by the contract `{point['contract']}` on the part "
        f"{point['part']}; verdict `{point['verdict']}`.",
        f"- {point['guarantee']}" if point["guarantee"] else "- Nothing is promised for fresh photographs.",
        "",
        f"## Measured on {figures['images']} photographs of the part {figures['part']} "
        f"({figures['defective']} defective, {figures['groups']} groups)",
        "",
        "| figure | value | 95% interval |",
        "| --- | --- | --- |",
        *[_describe(words, figures["figures"].get(name)) for name, words in SHOWN.items()],
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


def _describe_engine(engine: Mapping[str, Any]) -> str:
    cost = engine["cost"]
    auc = "" if cost["roc_auc"] is None else f"{cost['roc_auc']:.4f} ({cost['run_roc_auc']:.4f})"
    flips = f"{cost['flips']} of {cost['photographs']}"
    return f"| {engine['name']} | {engine['images_per_s']:.0f} | {flips} | {auc} |"


def _describe(words: str, figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return f"| {words} | not known | |"
    return f"| {words} | {figure['value']:.3f} | {figure['low']:.3f} to {figure['high']:.3f} |"
